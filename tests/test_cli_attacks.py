# SPDX-License-Identifier: Apache-2.0
"""Hostile files under every verb that looks into files: a status, clean lines, no traceback."""

import os
import time

import attacks
import ptio
import pytest

pytestmark = pytest.mark.slow

VERBS = {
    "ls": [["ls"], ["ls", "--json"]],
    "tree": [["tree", "--values"], ["tree", "--all", "--json"]],
    "inspect": [["inspect", "--all"], ["inspect", "--json"]],
    "verify": [["verify", "--values", "--second-opinion"]],
    "scan": [["scan", "--strict"], ["scan", "--sarif"], ["scan", "--json"]],
    "report": [["report", "--force", "-o", "page.html"]],
    "extract": [["extract", "--force", "-o", "arrays.npz"]],
}
SLOW = 20 if os.environ.get("PTIO_SANITIZE") or os.environ.get("LD_PRELOAD") else 1
SECONDS = 10 * SLOW


def _names(attack):
    return f"{attack.number}-{attack.name}"


@pytest.mark.parametrize("attack", attacks.load_all(), ids=_names)
def test_every_verb_ends_with_a_status(ptio_command, tmp_path, monkeypatch, attack):
    monkeypatch.chdir(tmp_path)
    for name, data in attack.files():
        (tmp_path / "hostile.pt").write_bytes(data)
        for commands in VERBS.values():
            for verb, *options in commands:
                start = time.process_time()
                status, out, err = ptio_command(verb, "hostile.pt", *options)
                where = f"{name}: {verb} {options}"
                assert status in (0, 1, 2, 3), where
                assert "Traceback" not in err, where
                assert all(line.isprintable() for line in (out + err).splitlines()), where
                assert time.process_time() - start < SECONDS, where
        (tmp_path / "other.pt").write_bytes(data)
        assert ptio_command("diff", "hostile.pt", "other.pt")[0] in (0, 1, 2), name
        assert sorted(set(os.listdir(tmp_path)) - {"page.html", "arrays.npz"}) == [
            "hostile.pt",
            "other.pt",
        ]
        found = ptio.inspect("hostile.pt")
        assert found.size == len(data)
