# SPDX-License-Identifier: Apache-2.0
"""Hostile files as sources of the verbs that write a new file: a status, one clean line or more,
and either a whole file that loads or nothing at all."""

import os
import time

import attacks
import numpy as np
import ptio
import pytest

FINE, FINDING, UNREADABLE, NOTHING_TO_DO = 0, 1, 2, 3
# What these verbs keep as data: names of classes that nobody here knows.
KEPT = {"loads", "Checksum", "Forbidden"}
SLOW = 20 if os.environ.get("PTIO_SANITIZE") or os.environ.get("LD_PRELOAD") else 1
VERBS = {
    "repair": ["repair", "bad.pt", "out.pt"],
    "repair --recompute-crc": ["repair", "--recompute-crc", "bad.pt", "out.pt"],
    "convert": ["convert", "bad.pt", "out.safetensors", "--flatten"],
    "convert to shards": ["convert", "bad.pt", "out", "--to", "safetensors", "--shard-size", "1KB"],
    "convert --to pt": ["convert", "bad.pt", "out.pt"],
    "slim": ["slim", "bad.pt", "out.pt"],
    "slim --dtype": ["slim", "bad.pt", "out.safetensors", "--dtype", "bf16"],
    "merge": ["merge", "good.pt", "bad.pt", "-o", "out.pt"],
    "merge after": ["merge", "bad.pt", "good.pt", "-o", "out.pt"],
}
SMALL = 100_000
LONG_TO_MAKE = ("19", "20", "43", "44", "45", "46")
THOROUGH = os.environ.get("PTIO_SWEEP", "0") not in ("", "0")
# A member that no tensor needs reaches into the directory: a handle proves what it reads.
UNREAD = "32-overlaps-2"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    ptio.save({"w": np.arange(4, dtype=np.float32)}, "good.pt")
    return folder


def check(ptio_command, attack, name, data, verb):
    with open("bad.pt", "wb") as file:
        file.write(data)
    start = time.process_time()
    status, out, err = ptio_command(*VERBS[verb])
    assert time.process_time() - start < SLOW * (5 + len(data) / (2 << 20)), name
    assert status in (FINE, FINDING, UNREADABLE, NOTHING_TO_DO), (name, err)
    assert status != NOTHING_TO_DO or verb.startswith("slim"), name
    assert "Traceback" not in out + err, name
    assert all(line.isprintable() for line in (out + err).splitlines()), name
    with open("bad.pt", "rb") as file:
        assert file.read() == data, f"{name}: the source was changed"
    made = sorted(set(os.listdir()) - {"bad.pt", "good.pt"})
    if verb.startswith("repair"):  # what is whole may be saved from what no load takes
        assert (made == []) == (status == UNREADABLE), (name, made)
    else:
        assert (made == []) == (status != FINE), (name, made, err)
        if not KEPT & {*attack.expects.split("|")} and name != UNREAD:
            assert status != FINE, f"{name} became {made}"
    for file in made:
        # repair copies what has its checksum, be it the indices of a sparse tensor
        assert ptio.verify(file).ok or (verb.startswith("repair") and attack.number == "11"), name
        if os.path.isdir(file):
            for part in os.listdir(file):
                os.unlink(os.path.join(file, part))
            os.rmdir(file)
        else:
            os.unlink(file)
    return status


@pytest.mark.parametrize("verb", VERBS)
def test_nothing_is_made_of_a_hostile_file_but_a_whole_one(ptio_command, folder, verb):
    """One small file of each attack; with PTIO_SWEEP=1 all of them."""
    seen = set()
    for attack in attacks.load_all():
        if attack.number in LONG_TO_MAKE and not THOROUGH:
            continue
        for name, data in attack.files()[: None if THOROUGH else 1]:
            if THOROUGH or len(data) <= SMALL:
                seen.add(check(ptio_command, attack, name, data, verb))
    assert UNREADABLE in seen
    assert len(seen) > 1


@pytest.mark.parametrize("verb", sorted(VERBS.keys() - {"convert to shards"}))
def test_what_is_there_stays_when_the_source_is_hostile(ptio_command, folder, verb):
    (attack,) = (a for a in attacks.load_all() if a.name == "storage_larger_than_its_record")
    (folder / "bad.pt").write_bytes(attack.files()[0][1])
    out = folder / next(part for part in VERBS[verb] if part.startswith("out"))
    out.write_bytes(b"precious")
    status = ptio_command(*VERBS[verb], "--force")[0]
    assert status == UNREADABLE
    assert out.read_bytes() == b"precious"
    assert sorted(os.listdir()) == sorted(["bad.pt", "good.pt", out.name])
