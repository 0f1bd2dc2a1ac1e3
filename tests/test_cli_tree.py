# SPDX-License-Identifier: Apache-2.0
"""`ptio tree`: the nested structure of a checkpoint."""

import json
import resource
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from support import checkpoints

FINE, UNREADABLE, USAGE = 0, 2, 4


@contextmanager
def memory_limit(size):
    """For child processes."""
    old = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, old)


@pytest.fixture
def tree(ptio_command):
    """The lines of `ptio tree`, without the first, which names the file."""

    def show(path, *options):
        status, out, err = ptio_command("tree", path, *options)
        assert (status, err) == (FINE, "")
        return out.splitlines()[1:]

    return show


def test_containers_tensors_and_scalars_are_nested(tree, save):
    weight = checkpoints.tensor("float32", range(6), (2, 3), requires_grad=True)
    obj = {"model": {"fc.weight": weight}, "epoch": 3, "name": "run 1", "lr": 0.5, "none": None}
    assert tree(save(obj)) == [
        "dict of 5 items",
        "  model: dict of 1 item",
        "    fc.weight: float32 2 x 3  24 B, requires grad",
        "  epoch: 3",
        "  name: 'run 1'",
        "  lr: 0.5",
        "  none: None",
    ]


def test_depth_ends_the_walk(tree, save):
    obj = {"a": {"b": {"c": 1}}}
    assert tree(save(obj), "--depth", "1") == ["dict of 1 item", "  a: dict of 1 item"]
    assert tree(save(obj), "--depth", "0") == ["dict of 1 item"]


def test_a_depth_is_a_number(ptio_command, save):
    status, out, err = ptio_command("tree", save([1]), "--depth", "x")
    assert (status, out) == (USAGE, "")
    assert "--depth" in err


def test_long_lists_are_cut(tree, save):
    obj = {"history": list(range(1000)), "steps": [{"loss": i} for i in range(9)]}
    path = save(obj)
    lines = tree(path)
    assert lines[1] == "  history: list of 1,000 ints: 0, 1, 2, 3, 4, 5, 6, 7, ..."
    assert lines[2] == "  steps: list of 9 dicts"
    assert lines[-1] == "    ... 7 more dicts"
    assert len(tree(path, "--all")) > 1000


def test_tensors_that_share_memory_say_with_which(tree, save):
    one = checkpoints.tensor("float32", range(6), (2, 3))
    obj = {"a": one, "tied": one, "same": checkpoints.view(one, (2, 3), (3, 1))}
    obj["row"] = checkpoints.view(one, (3,), (1,), 3)
    lines = tree(save(obj))
    assert "shares" not in lines[1]
    assert lines[2].endswith("the same as a")
    assert lines[3].endswith("the same as a")
    assert lines[4].endswith("shares memory with a")


def test_values_shows_the_first_elements(tree, save):
    obj = {
        "w": checkpoints.tensor("float32", range(12), (3, 4)),
        "s": checkpoints.tensor("int8", 7),
    }
    obj |= {"empty": checkpoints.tensor("int8", b""), "bf": checkpoints.tensor("bfloat16", [1, 2])}
    lines = tree(save(obj), "--values")
    assert lines[1].endswith("[0.0, 1.0, 2.0, 3.0, ...]")
    assert lines[2].endswith("  7")
    assert lines[3].endswith("[]")
    assert lines[4].endswith("[1, 2]")


def test_objects_of_unknown_classes_are_shown_by_their_names(tree, save):
    lines = tree(save({"net": checkpoints.Global("models.yolo", "Model")}))
    assert lines[1] == "  net: class or function models.yolo.Model"


def test_hidden_empty_containers_are_left_out(tree, save):
    path = save({"_hooks": {}, "_modules": {"a": 1}, "empty": {}})
    assert tree(path)[1:] == ["  _modules: dict of 1 item", "    a: 1", "  empty: empty dict"]
    assert "  _hooks: empty dict" in tree(path, "--all")


def test_a_cycle_is_entered_once(tree, save):
    obj = {"a": []}
    obj["a"].append(obj)
    assert tree(save(obj)) == [
        "dict of 1 item",
        "  a: list of 1 dict",
        "    0: the same object as the object itself",
    ]


def test_a_graph_that_is_exponential_as_a_tree_is_shown_once(ptio_command, tmp_path):
    path = tmp_path / "bomb.pt"
    pickled = b"\x80\x02]" + b"2\x86" * 40 + b"."  # DUP, TUPLE2
    path.write_bytes(checkpoints.archive(pickled))
    start = time.process_time()
    status, out, _ = ptio_command("tree", path)
    assert status == FINE
    assert len(out.splitlines()) < 100
    status, out, _ = ptio_command("tree", path, "--all", "--json")
    assert status == FINE
    assert time.process_time() - start < 5


def test_too_many_values_end_in_one_line_that_says_so(save):
    from ptio._inspect.outline import outline

    lines = list(outline({str(i): [] for i in range(50)}, (), budget=10))
    assert len(lines) == 11
    assert lines[-1].kind == "more"
    assert "too many" in lines[-1].text


def test_a_deep_structure_needs_no_deep_stack(tree, write):
    path = write(checkpoints.archive(b"\x80\x02" + b"]" * 901 + b"a" * 900 + b"."))
    lines = tree(path)
    assert len(lines) == 901
    assert max(map(len, lines)) < 200


@pytest.mark.parametrize("options", [["--all"], ["--json", "--all"]])
def test_one_long_key_nested_a_thousand_times_takes_no_memory(write, options):
    key = b"X" + (10_000).to_bytes(4, "little") + b"k" * 10_000 + b"q\x01"
    leaves = b"".join(b"J" + i.to_bytes(4, "little") + b"K\x01" for i in range(20_000))
    pickled = b"\x80\x02" + key + b"0" + b"}h\x01" * 900 + b"}(" + leaves + b"u" + b"s" * 900
    path = write(checkpoints.archive(pickled + b"."))
    for verb in (["tree", *options], ["ls", *options[:-1]], ["diff", path]):
        with memory_limit(1 << 30):
            command = [sys.executable, "-m", "ptio", *verb, path]
            done = subprocess.run(command, capture_output=True, timeout=60)
        unread = verb[0] == "diff" and b"not compared" in done.stdout
        assert done.returncode in (FINE, UNREADABLE) or unread, done.stderr
        assert b"MemoryError" not in done.stderr
        assert len(done.stdout) < 100 << 20


@pytest.mark.parametrize("verb", ["ls", "tree", "verify", "report", "extract", "diff"])
def test_one_long_key_above_many_tensors_takes_little_memory(write, tmp_path, verb):
    tensor, storages = checkpoints.dumps(checkpoints.tensor("int8", b"1"))
    key = b"X" + (10_000).to_bytes(4, "little") + b"k" * 10_000
    pickled = b"\x80\x02" + tensor[2:-1] + b"q\xfe0" + key + b"q\xff0" + b"}h\xff" * 900
    leaves = b"".join(b"J" + i.to_bytes(4, "little") + b"h\xfe" for i in range(1000))
    pickled += b"}(" + leaves + b"u" + b"s" * 900 + b"."
    path = write(checkpoints.archive(pickled, storages))
    more = {"report": ["-o", tmp_path / "p.html"], "extract": ["-o", tmp_path / "p.npz"]}
    command = [sys.executable, "-m", "ptio", verb, path, *more.get(verb, [])]
    with memory_limit(1 << 30):
        done = subprocess.run(
            [*command, *[path] * (verb == "diff")], capture_output=True, timeout=60
        )
    assert (done.returncode, done.stderr) == (FINE, b"")
    assert len(done.stdout) < 20 << 20


def test_json_is_a_list_of_nodes_in_the_order_of_the_text(ptio_command, save):
    path = save({"model": {"w": checkpoints.tensor("float32", range(6), (2, 3))}, 7: float("nan")})
    status, out, _ = ptio_command("tree", path, "--json")
    assert status == FINE
    told = json.loads(out)
    assert told["path"] == str(path)
    nodes = told["nodes"]
    assert [node["key"] for node in nodes] == ["", "model", "w", "7"]
    assert [node["depth"] for node in nodes] == [0, 1, 2, 1]
    assert nodes[2]["kind"] == "tensor"
    assert nodes[2]["shape"] == [2, 3]
    assert nodes[3]["text"] == "nan"


def test_hostile_names_stay_on_their_lines(tree, save):
    names = ["\x1b[2Jred", "a\nepoch: 3", "\u202egnp.exe", "\ud800", "x" * 100_000]
    obj = {name: {name: checkpoints.Global("m\x1b[0m", name)} for name in names[:1]}
    obj |= {name: {name: 1} for name in names[1:]}
    lines = tree(save(obj))
    assert all(line.isprintable() and len(line) < 1000 for line in lines)
    assert "  epoch: 3" not in lines


def test_what_cannot_be_read_is_status_2(ptio_command, tmp_path):
    bad = tmp_path / "bad.pt"
    bad.write_bytes(b"<html>")
    status, out, err = ptio_command("tree", bad)
    assert (status, out) == (UNREADABLE, "")
    assert "HTML" in err
    status, out, _ = ptio_command("tree", bad, "--json")
    assert status == UNREADABLE
    assert json.loads(out)["error"]["kind"] == "UnsupportedError"
