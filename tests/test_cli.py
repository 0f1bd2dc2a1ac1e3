# SPDX-License-Identifier: Apache-2.0
"""The command line: `ptio ls` and `ptio verify`, their output and exit statuses."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from support import checkpoints, children

FINE, FINDING, UNREADABLE, USAGE = 0, 1, 2, 4


@pytest.fixture
def path(save):
    weight = checkpoints.tensor("float32", list(range(6)), (2, 3), requires_grad=True)
    obj = {
        "model": {"fc.weight": weight, "scalar": checkpoints.tensor("int64", 5)},
        "optimizer": [{"exp_avg": checkpoints.tensor("bfloat16", [1, 2])}],
        "epoch": 3,
    }
    return save(obj, "checkpoint.pt")


def flip(path):
    """Changes one bit of the tensor 0, 1, 2, 3, 4, 5."""
    data = bytearray(path.read_bytes())
    data[data.index(np.arange(6, dtype=np.float32).tobytes()) + 5] ^= 1
    path.write_bytes(data)


def test_ls_lists_every_tensor(ptio_command, path):
    status, out, err = ptio_command("ls", path)
    assert (status, err) == (FINE, "")
    lines = out.splitlines()
    weight = next(line for line in lines if "model/fc.weight" in line)
    assert "float32" in weight
    assert "2" in weight
    assert "3" in weight
    assert any("optimizer/0/exp_avg" in line and "bfloat16" in line for line in lines)
    assert any("model/scalar" in line and "int64" in line for line in lines)


def test_ls_json(ptio_command, path):
    status, out, _ = ptio_command("ls", "--json", path)
    assert status == FINE
    told = json.loads(out)
    assert told["path"] == str(path)
    tensors = {tensor["name"]: tensor for tensor in told["tensors"]}
    assert list(tensors) == ["model/fc.weight", "model/scalar", "optimizer/0/exp_avg"]
    weight = tensors["model/fc.weight"]
    expected = {"dtype": "float32", "shape": [2, 3], "strides": [3, 1], "storage_offset": 0}
    expected |= {"kind": "tensor", "nbytes": 24, "storage": "0", "device": "cpu"}
    expected |= {"requires_grad": True, "member": "archive/data/0"}
    assert {name: weight[name] for name in expected} == expected
    assert tensors["model/scalar"]["shape"] == []


def test_ls_needs_no_class(ptio_command, save):
    obj = {"w": checkpoints.tensor("int8", b"1"), "net": checkpoints.Global("models", "Net")}
    path = save(obj)
    status, out, _ = ptio_command("ls", path)
    assert status == FINE
    assert "w" in out


def test_ls_shows_the_values_nearest_to_the_root_first(ptio_command, save):
    obj = {"model": {"_metadata": {"version": 1}, "deep": {"lr": 0.5}}, "epoch": 3}
    _, out, _ = ptio_command("ls", save(obj))
    assert "epoch=3  model/deep/lr=0.5" in out
    assert "version" not in out


def test_ls_of_a_checkpoint_without_tensors(ptio_command, save):
    status, out, err = ptio_command("ls", save({"epoch": 3}))
    assert (status, err) == (FINE, "")
    assert "0 tensors" in out


def test_ls_of_one_tensor_alone(ptio_command, save):
    status, out, _ = ptio_command("ls", "--json", save(checkpoints.tensor("int8", b"123")))
    assert status == FINE
    assert [tensor["name"] for tensor in json.loads(out)["tensors"]] == [""]


@pytest.mark.parametrize("verb", ["ls", "verify"])
def test_several_files_give_a_line_of_json_each_and_the_worst_status(ptio_command, save, verb):
    good, other = save([1], "good.pt"), save([2], "other.pt")
    bad = good.with_name("bad.pt")
    bad.write_bytes(b"<html>")
    status, out, _ = ptio_command(verb, "--json", good, bad, other)
    assert status == UNREADABLE
    told = [json.loads(line) for line in out.splitlines()]
    assert {str(good), str(other)} <= {one["path"] for one in told}
    status, out, _ = ptio_command(verb, good, other)
    assert status == FINE


def test_verify_of_a_sound_file(ptio_command, path):
    status, out, _ = ptio_command("verify", path)
    assert status == FINE
    assert "ok" in out
    status, out, _ = ptio_command("verify", "--quiet", path)
    assert (status, out) == (FINE, "")
    status, out, _ = ptio_command("verify", "--json", path)
    assert status == FINE
    assert json.loads(out)["ok"] is True


def test_verify_of_a_damaged_file_names_the_tensors(ptio_command, path):
    flip(path)
    status, out, _ = ptio_command("verify", path)
    assert status == FINDING
    assert "model/fc.weight" in out
    assert "archive/data/0" in out
    status, out, _ = ptio_command("verify", "--json", path)
    assert status == FINDING
    told = json.loads(out)
    assert told["ok"] is False
    assert told["problems"][0]["tensors"] == ["model/fc.weight"]


@pytest.mark.parametrize("verb", ["ls", "verify"])
@pytest.mark.parametrize("damage", ["missing", "html", "truncated", "forbidden opcode", "folder"])
def test_what_cannot_be_read_is_status_2_and_one_line(ptio_command, tmp_path, path, verb, damage):
    target = tmp_path / "bad.pt"
    data = path.read_bytes()
    contents = {
        "html": b"<html>",
        "truncated": data[: len(data) // 2],
        "forbidden opcode": checkpoints.archive(b"\x80\x02\x82\x01."),
    }
    if damage in contents:
        target.write_bytes(contents[damage])
    elif damage == "folder":
        target.mkdir()
    status, out, err = ptio_command(verb, target)
    assert status == UNREADABLE
    assert "bad.pt" in out + err
    assert "Traceback" not in out + err
    if verb == "ls":
        assert out == ""
        assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["ls"], ["ls", "--what", "x"], ["verify"]])
def test_wrong_usage_is_status_4(ptio_command, arguments):
    status, out, err = ptio_command(*arguments)
    assert status == USAGE
    assert out == ""
    assert "usage" in err


@pytest.mark.parametrize("arguments", [["--help"], ["ls", "--help"], ["verify", "--help"]])
def test_help_is_status_0(ptio_command, arguments):
    status, out, _ = ptio_command(*arguments)
    assert status == FINE
    assert "usage" in out


HOSTILE_NAMES = [
    "\x1b[2J\x1b[31mred",
    "a\nok: everything is fine",
    "\u202egnp.exe",
    "\ud800",
    "x" * 100_000,
    "\0",
    "a/b",
    "",
]


def test_hostile_names_are_escaped_and_the_json_stays_valid(ptio_command, save):
    obj = {name: checkpoints.tensor("int8", b"1") for name in HOSTILE_NAMES}
    path = save(obj)
    status, out, _ = ptio_command("ls", path)
    assert status == FINE
    for line in out.splitlines():
        assert line.isprintable(), line
        assert len(line) < 2000
    assert not any(line.startswith("ok:") for line in out.splitlines())
    status, out, _ = ptio_command("ls", "--json", path)
    assert status == FINE
    (line,) = out.splitlines()
    assert line.isascii()
    assert [tensor["name"] for tensor in json.loads(line)["tensors"]] == HOSTILE_NAMES


def test_hostile_names_in_a_report_stay_on_their_lines(ptio_command, save):
    path = save({HOSTILE_NAMES[1]: checkpoints.tensor("float32", np.arange(6))})
    flip(path)
    status, out, _ = ptio_command("verify", path)
    assert status == FINDING
    assert not any(line.startswith("ok:") for line in out.splitlines())
    status, out, _ = ptio_command("verify", "--json", path)
    assert json.loads(out)["problems"][0]["tensors"] == [HOSTILE_NAMES[1]]


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_output_that_the_terminal_cannot_show(save, encoding):
    path = save({"ünï\ud800": checkpoints.tensor("int8", b"1")})
    command = [sys.executable, "-m", "ptio", "ls", str(path)]
    settings = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(command, capture_output=True, env=settings)
    assert done.returncode == FINE, done.stderr
    assert b"int8" in done.stdout


def test_the_command_is_installed_and_quiet_about_a_closed_pipe(save):
    path = save({str(i): checkpoints.tensor("int8", b"1") for i in range(3000)})
    code = "import sys; from ptio.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "ls", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        child.stdout.readline()
        child.stdout.close()
        errors = child.stderr.read()
    assert b"Traceback" not in errors
    assert b"BrokenPipe" not in errors


def test_python_m_ptio():
    done = children.run_raw(
        "import runpy, sys; sys.argv = ['ptio', '--version']; "
        "runpy.run_module('ptio', run_name='__main__')"
    )
    assert done.returncode == FINE
    assert done.stdout.startswith("ptio ")
