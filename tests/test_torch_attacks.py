# SPDX-License-Identifier: Apache-2.0
"""Hostile files through ptio.torch.load: each ends as it does with ptio.load, or is refused
earlier because torch's list of names is shorter; and nothing else happens.
"""

import os
import pathlib
import re

import attacks
import pytest
from attacks import running

MIB = 1 << 20
SLOW = 20 if os.environ.get("PTIO_SANITIZE") or os.environ.get("LD_PRELOAD") else 1
MODES = ("copied", "mapped")
ATTACKS = attacks.load_all()
CHILD = pathlib.Path(attacks.__file__).with_name("torch_child.py")
OURS = set().union(*attacks.KINDS.values()) - {""}

# What torch.load makes of these is what it makes of any file: harmless objects.
AS_TORCH = {
    "a_function_as_the_result": {""},  # of torch's own list
    "keys_that_cannot_be_keys": {"", *OURS},  # tensors and torch's classes can, in torch
    "opcode_NEWOBJ_EX": {"PickleFormatError"},  # registered classes may need it
}

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs /proc")


@pytest.fixture(scope="module")
def results(torch, tmp_path_factory):
    """(file, mode) -> what happened."""
    return running.run_once(tmp_path_factory, MODES, CHILD)


def _ends_as_it_must(attack, told, mode):
    if mode == "mapped" and told["message"].startswith("mmap can only be used with files saved"):
        return not told["is_zip"] and told["error"] == "builtins.RuntimeError"  # as in torch
    allowed = AS_TORCH.get(attack.name, attack.allowed())
    if not told["is_zip"] or attack.make.__module__ == "attacks.containers":
        allowed = allowed - {""} | {"UnsupportedError"}  # it is none of torch's files
    stricter = {"ForbiddenError"} if mode == "copied" else set()
    return told["error"] in allowed | stricter


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.number}-{attack.name}")
def test_a_load_ends_as_it_must(results, attack, mode):
    if attack.only_copied and mode == "mapped":
        return
    for key, told in running.of(results, attack, mode).items():
        fine = _ends_as_it_must(attack, told, mode)
        assert fine, f"{key}: {told['error']}: {told['message']}"
        assert told["error"] not in ("CRASH", "builtins.MemoryError", "builtins.RecursionError")


def test_no_file_causes_any_act(results):
    acts = {key: told["events"] for key, told in results.items() if told["events"]}
    assert not acts, dict(list(acts.items())[:20])


def test_every_file_is_done_in_time_and_in_bounded_memory(results):
    for key, told in results.items():
        assert told["seconds"] < SLOW * (1 + told["size"] / (10 * MIB)), key
        assert SLOW > 1 or told["rss"] <= 64 * MIB + 32 * told["size"], key


def test_no_message_advises_to_switch_safety_off(results):
    for key, told in results.items():
        assert "\033" not in told["message"], key
        assert "weights_only=False" not in told["message"], key
        if told["error"] in OURS - {"ForbiddenError"}:
            assert told["message"].isprintable(), key
            assert len(told["message"]) < 1024, key


def test_a_name_that_forges_lines_stays_inside_its_sentence(results):
    """Each line of the message is ptio's, whatever a file calls its classes."""
    for key, told in results.items():
        if told["error"] == "ForbiddenError":
            first, *others = told["message"].split("\n")
            assert first.startswith("Weights only load failed. "), key
            known = (
                r"\t(Unsupported global: GLOBAL|Trying to load unsupported GLOBAL|``torch|\.\.\.)"
            )
            assert all(re.match(known, line) for line in others), (key, told["message"])
            assert all(line.lstrip("\t").isprintable() for line in others), key
