# SPDX-License-Identifier: Apache-2.0
"""Hostile files: the right error, in time, in memory, and without a single side effect.

All files are opened in one child process, which reports what happened while each was open.
"""

import os
import pathlib
import re
import subprocess
import sys

import attacks
import pytest
from attacks import child, running

MIB = 1 << 20
SLOW = 20 if os.environ.get("PTIO_SANITIZE") or os.environ.get("LD_PRELOAD") else 1
ATTACKS = attacks.load_all()
REPORTS = ("verify", "scan", "inspect", "command")

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs /proc")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """(file, mode) -> what happened."""
    return running.run_once(tmp_path_factory, child.MODES, child.__file__)


def _names(attack):
    return f"{attack.number}-{attack.name}"


def test_the_table_of_the_readme_lists_every_generator():
    table = pathlib.Path(attacks.__file__).with_name("README.md").read_text()
    rows = re.findall(r"^\| (\w+) \| `(\w+)` \| ([\w, ]+) \| (.+) \| `(\w+)` \|$", table, re.M)
    told = {(number, name): ends for number, name, ends, _, _ in rows}
    known = {(a.number, a.name): a.expects.replace("|", ", ") for a in ATTACKS}
    assert told == known
    assert list(told) == sorted(told, key=lambda row: (int(row[0].rstrip("b")), row[0]))
    here = "".join(path.read_text() for path in pathlib.Path(__file__).parent.glob("test_*.py"))
    assert all(f"def {test}(" in here for *_, test in rows)
    root = pathlib.Path(attacks.__file__).parents[2]
    for path in re.findall(r"`((?:csrc|python|tests)/\S+)`", table):
        assert (root / path).exists(), path


def _list(wrong):
    return "\n".join(f"{key}: {value}" for key, value in wrong.items())


@pytest.mark.parametrize("attack", ATTACKS, ids=_names)
def test_a_load_ends_as_it_must(results, attack):
    modes = ["copied"] if attack.only_copied else ["copied", "mapped"]
    wrong = {
        key: told["error"] + ": " + told["message"]
        for key, told in running.of(results, attack, *modes).items()
        if told["error"] not in attack.allowed()
    }
    assert not wrong, f"expected {attack.expects}\n{_list(wrong)}"


@pytest.mark.parametrize("attack", ATTACKS, ids=_names)
def test_a_handle_ends_as_a_load(results, attack):
    wrong = {
        key: told["error"] + ": " + told["message"]
        for key, told in running.of(results, attack, "handle").items()
        if told["error"] not in attack.allowed() and not attack.only_copied
    }
    assert not wrong, f"expected {attack.expects}\n{_list(wrong)}"


@pytest.mark.parametrize("attack", [a for a in ATTACKS if a.says], ids=_names)
def test_the_message_says_what_is_wrong(results, attack):
    for key, told in running.of(results, attack, "copied").items():
        assert re.search(attack.says, told["message"]), f"{key}: {told['message']}"


@pytest.mark.parametrize("attack", ATTACKS, ids=_names)
def test_inert_mode_and_reports_raise_nothing_else(results, attack):
    known = set().union(*attacks.KINDS.values())
    wrong = {
        key: told["error"] + ": " + told["message"]
        for key, told in running.of(results, attack, "inert", *REPORTS).items()
        if told["error"] not in (known if key.endswith("inert") else {""})
    }
    assert not wrong, _list(wrong)


@pytest.mark.parametrize(
    "attack",
    [a for a in ATTACKS if not a.verifies and not {"Forbidden", "loads"} & {*a.expects.split("|")}],
    ids=_names,
)
def test_verify_finds_it(results, attack):
    content = [key for key, told in running.of(results, attack, "verify").items() if told["ok"]]
    assert not content, f"verify was content with {content}"


@pytest.mark.parametrize("attack", [a for a in ATTACKS if a.expects == "loads"], ids=_names)
def test_verify_is_content_with_what_loads(results, attack):
    for key, told in running.of(results, attack, "verify").items():
        assert told["ok"], key


def test_no_file_causes_any_act(results):
    acts = {f"{key}": told["events"] for key, told in results.items() if told["events"]}
    assert not acts, _list(dict(list(acts.items())[:20]))


def test_no_file_and_no_folder_is_touched(results):
    touched = [key for key, told in results.items() if told["touched"]]
    assert not touched


def test_every_file_is_done_in_time(results):
    slow = {
        key: told["seconds"]
        for key, told in results.items()
        if told["seconds"]
        > SLOW * (len(child.VERBS) if key[1] == "command" else 1) * (1 + told["size"] / (10 * MIB))
    }
    assert not slow, _list(slow)


@pytest.mark.skipif(SLOW > 1, reason="a sanitizer needs memory of its own")
def test_every_file_is_done_in_bounded_memory(results):
    greedy = {
        key: f"{told['rss'] / MIB:.0f} MiB for a file of {told['size']} bytes"
        for key, told in results.items()
        if told["rss"] > 64 * MIB + 32 * told["size"]
    }
    assert not greedy, _list(greedy)


def test_every_message_is_one_short_line(results):
    for key, told in results.items():
        assert told["message"].isprintable() or not told["message"], key
        assert len(told["message"]) < 1024, key
        assert "weights_only=False" not in told["message"], key


def test_the_hook_of_the_child_works(tmp_path):
    """An import, an opened file and a system call inside an attempt are seen."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from attacks import child\n"
        "sys.addaudithook(child.watch)\n"
        "child.MODES['test'] = lambda path, options: (open(path, 'w'), __import__('this'))\n"
        "print(child.attempt('test', sys.argv[2], {})['events'])\n"
    )
    here = str(pathlib.Path(__file__).parent)
    (tmp_path / "x").touch()
    command = [sys.executable, "-W", "ignore", "-c", code, here, str(tmp_path / "x")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "open(" in done.stdout
    assert "import(" in done.stdout
