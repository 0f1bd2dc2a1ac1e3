# SPDX-License-Identifier: Apache-2.0
"""The command line: `ptio convert`, `slim` and `merge`, their output and exit statuses."""

import json
import os
import subprocess
import sys

import numpy as np
import ptio
import pytest
from support import checkpoints

pytest.importorskip("safetensors")

FINE, FINDING, UNREADABLE, NOTHING_TO_DO, USAGE = range(5)
HOSTILE = "\x1b[2J\nok: fine\u202e" + "x" * 300


@pytest.fixture
def path(save):
    weight = checkpoints.tensor("float32", list(range(6)), (2, 3))
    moment = checkpoints.tensor("float32", [1.0, 2.0])
    state = {"model": {"fc.weight": weight}, "optimizer": {"exp_avg": [moment]}, "epoch": 3}
    return save(state, "checkpoint.pt")


@pytest.fixture
def single(save):
    return save({"w": checkpoints.tensor("float32", [1.0, 3.0])}, "single.pt")


def read_safetensors(path):
    from safetensors.numpy import load_file

    return load_file(path)


# --- convert ------------------------------------------------------------------------------------


def test_convert(ptio_command, path, tmp_path):
    target = tmp_path / "model.safetensors"
    status, out, err = ptio_command("convert", path, target)
    assert (status, err) == (FINE, "")
    assert out.splitlines() == [f"{target}: 1 tensor, 24 B", "left out: optimizer/exp_avg/0"]
    assert read_safetensors(target)["fc.weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    status, out, _ = ptio_command("convert", path, target, "--force", "--quiet")
    assert (status, out) == (FINE, "")


def test_convert_json(ptio_command, path, tmp_path):
    target = tmp_path / "model.safetensors"
    status, out, _ = ptio_command("convert", path, target, "--json")
    assert status == FINE
    assert json.loads(out) == {
        "src": str(path),
        "dst": str(target),
        "source_format": "zip",
        "format": "safetensors",
        "files": [str(target)],
        "tensors": 1,
        "nbytes": 24,
        "aliases": [],
        "left_out": ["optimizer/exp_avg/0"],
    }


def test_convert_options(ptio_command, path, tmp_path):
    target = tmp_path / "x.safetensors"
    assert ptio_command("convert", path, target, "--flatten")[0] == FINE
    assert sorted(read_safetensors(target)) == ["model.fc.weight", "optimizer.exp_avg.0"]
    command = ("convert", path, tmp_path / "y", "--to", "safetensors", "--select", "model")
    assert ptio_command(*command, "--strip-prefix", "fc.")[0] == FINE
    assert list(read_safetensors(tmp_path / "y")) == ["weight"]
    status, _, _ = ptio_command("convert", path, tmp_path / "shards", "--shard-size", "10MB")
    assert status == FINE
    assert os.listdir(tmp_path / "shards") == ["model.safetensors"]
    assert ptio_command("convert", path, tmp_path / "copy.pt")[0] == FINE
    assert ptio.load(tmp_path / "copy.pt")["epoch"] == 3


def test_nothing_is_replaced_without_force(ptio_command, path, tmp_path):
    target = tmp_path / "x.pt"
    target.write_bytes(b"precious")
    for verb in (["convert", path, target], ["slim", path, target, "--drop", "epoch"]):
        status, out, err = ptio_command(*verb)
        assert (status, out) == (USAGE, "")
        assert "--force replaces it" in err
        assert target.read_bytes() == b"precious"
    status, _, err = ptio_command("merge", "-o", path, path, path, "--force")
    assert status == USAGE
    assert "is what is read" in err
    assert "--force" not in err


def test_what_cannot_be_converted_is_a_finding(ptio_command, save, tmp_path):
    weight = checkpoints.tensor("float32", [1.0])
    path = save({"a": {"w": weight}, HOSTILE: {"w": weight}})
    status, out, err = ptio_command("convert", path, tmp_path / "x.safetensors", "--json")
    assert status == FINDING
    assert json.loads(out)["error"]["kind"] == "ValueError"
    assert json.loads(out)["path"] == str(path)
    assert "select='a'" in err
    assert len(err.splitlines()) == 1
    assert err.rstrip("\n").isprintable()
    assert os.listdir(tmp_path) == [path.name]


def test_unreadable_files(ptio_command, path, tmp_path):
    path.write_bytes(path.read_bytes()[:100])
    for verb in (
        ["convert", path, tmp_path / "x.pt"],
        ["slim", path, tmp_path / "x.pt"],
        ["merge", path, path, "-o", tmp_path / "x.pt"],
        ["convert", tmp_path / "nothing.pt", tmp_path / "x.pt"],
        ["slim", tmp_path / "nothing.pt", tmp_path / "x.pt"],
    ):
        status, out, err = ptio_command(*verb)
        assert (status, out) == (UNREADABLE, "")
        assert str(verb[1]) in err
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize(
    "arguments",
    [
        ["convert", "x.pt"],
        ["convert", "x.pt", "y.onnx"],
        ["convert", "x.pt", "y.pt", "--to", "onnx"],
        ["convert", "x.pt", "y", "--shard-size", "huge"],
        ["convert", "x.pt", "y.safetensors", "--flatten", "--select", "a"],
        ["slim", "x.pt"],
        ["slim", "x.pt", "y.onnx"],
        ["slim", "x.pt", "y.pt", "--dtype", "int8"],
        ["merge", "x.pt", "y.pt"],
        ["merge", "-o", "z.pt", "x.pt"],
        ["merge", "-o", "z.onnx", "x.pt", "y.pt"],
        ["merge", "-o", "z.pt", "x.pt", "y.pt", "--weights", "1"],
        ["merge", "-o", "z.pt", "x.pt", "y.pt", "--weights", "1,nan"],
        ["merge", "-o", "z.pt", "x.pt", "y.pt", "--weights", "a,b"],
        ["merge", "-o", "z.pt", "x.pt", "y.pt", "--ints", "last"],
    ],
)
def test_wrong_usage(ptio_command, arguments):
    status, out, err = ptio_command(*arguments)
    assert (status, out) == (USAGE, "")
    assert f"usage: ptio {arguments[0]}" in err


@pytest.mark.parametrize("verb", ["convert", "slim", "merge"])
def test_help_has_examples(ptio_command, verb):
    status, out, _ = ptio_command(verb, "--help")
    assert status == 0
    assert f"examples:\n  ptio {verb} " in out


# --- slim ---------------------------------------------------------------------------------------


def test_slim(ptio_command, path, tmp_path):
    target = tmp_path / "small.pt"
    status, out, err = ptio_command("slim", path, target, "--drop", "opt*", "--dtype", "fp16")
    assert (status, err) == (FINE, "")
    assert out.splitlines() == [
        "1 tensor, 12 B; before 32 B, saved 20 B (62%)",
        "dropped: optimizer (1 tensor)",
        "cast: 1 tensor",
    ]
    result = ptio.load(target)
    assert list(result) == ["model", "epoch"]
    assert result["model"]["fc.weight"].dtype == np.float16


def test_slim_json(ptio_command, path, tmp_path):
    command = ("slim", path, tmp_path / "small.pt", "--weights-only", "--json")
    status, out, _ = ptio_command(*command)
    assert status == FINE
    assert json.loads(out) == {
        "src": str(path),
        "dst": str(tmp_path / "small.pt"),
        "dropped": ["optimizer", "epoch"],
        "dropped_tensors": 1,
        "cast": [],
        "overflows": {},
        "unmatched": [],
        "tensors": 1,
        "nbytes_before": 32,
        "nbytes": 24,
    }


def test_slim_dry_run(ptio_command, path, tmp_path):
    status, out, _ = ptio_command("slim", path, "--dry-run", "--keep", "model")
    assert status == FINE
    assert "dropped: optimizer, epoch (1 tensor)" in out
    assert os.listdir(tmp_path) == [path.name]


def test_slim_with_nothing_to_do(ptio_command, path, tmp_path):
    for options in ([], ["--drop", HOSTILE], ["--dtype", "fp32"]):
        status, _, err = ptio_command("slim", path, tmp_path / "x.pt", *options)
        assert status == NOTHING_TO_DO
        assert "nothing to leave out" in err
        assert len(err.splitlines()) == 1
        assert err.rstrip("\n").isprintable()
    assert os.listdir(tmp_path) == [path.name]
    status, out, _ = ptio_command("slim", path, tmp_path / "x.pt", "--json")
    assert status == NOTHING_TO_DO
    assert json.loads(out)["nbytes"] == 32


def test_slim_tells_what_became_infinite(ptio_command, save, tmp_path):
    path = save({"w": checkpoints.tensor("float32", [1.0, 1e30])})
    status, out, _ = ptio_command("slim", path, tmp_path / "x.pt", "--dtype", "fp16")
    assert status == FINDING
    assert "became infinite: 1 element of w" in out


def test_hostile_names_stay_on_their_lines(ptio_command, save, tmp_path):
    weight = checkpoints.tensor("float32", [1.0])
    path = save({HOSTILE: weight, "w": checkpoints.tensor("float32", [2.0])})
    target = tmp_path / "x.pt"
    for verb in (
        ["slim", path, target, "--drop", "*ok*"],
        ["convert", path, tmp_path / "x.safetensors", "--select", ""],
        ["merge", path, path, "-o", tmp_path / "y.pt"],
    ):
        status, out, err = ptio_command(*verb)
        assert (status, err) == (FINE, "")
        assert all(line.isprintable() and len(line) < 1000 for line in out.splitlines())
        assert not any(line.startswith("ok:") for line in out.splitlines())
    assert set(read_safetensors(tmp_path / "x.safetensors")) == {HOSTILE, "w"}


# --- merge --------------------------------------------------------------------------------------


def test_merge(ptio_command, save, single, tmp_path):
    other = save({"w": checkpoints.tensor("float32", [3.0, 5.0])}, "other.pt")
    target = tmp_path / "soup.pt"
    status, out, err = ptio_command("merge", "-o", target, single, other)
    assert (status, err) == (FINE, "")
    assert out == f"{target}: 1 tensor averaged, 8 B\n"
    assert ptio.load(target)["w"].tolist() == [2, 4]
    command = ("merge", single, other, "-o", target, "--force", "--weights", "0.25,0.75", "--json")
    status, out, _ = ptio_command(*command)
    assert status == FINE
    assert ptio.load(target)["w"].tolist() == [2.5, 4.5]
    assert json.loads(out) == {
        "srcs": [str(single), str(other)],
        "dst": str(target),
        "weights": [0.25, 0.75],
        "files": [str(target)],
        "tensors": 1,
        "averaged": 1,
        "from_first": [],
        "nbytes": 8,
        "overflows": {},
    }
    status, _, _ = ptio_command("merge", single, other, "-o", tmp_path / "x.pt", "--dtype", "bf16")
    assert status == FINE
    assert ptio.load(tmp_path / "x.pt")["w"].dtype.name == "bfloat16"


def test_merge_of_what_does_not_fit(ptio_command, save, single, tmp_path):
    numbers = checkpoints.tensor("int64", [1])
    other = save({"w": checkpoints.tensor("float32", [3.0]), "n": numbers}, "other.pt")
    status, out, err = ptio_command("merge", single, other, "-o", tmp_path / "x.pt", "--json")
    assert status == FINDING
    assert json.loads(out)["error"]["kind"] == "MismatchError"
    assert "w has shape (2,)" in err
    assert "n is not in" in err
    third = save({"n": numbers}, "third.pt")
    fourth = save({"n": checkpoints.tensor("int64", [2])}, "fourth.pt")
    assert ptio_command("merge", third, fourth, "-o", tmp_path / "x.pt")[0] == FINDING
    command = ("merge", third, fourth, "-o", tmp_path / "x.pt", "--ints", "first")
    assert ptio_command(*command)[0] == FINE


def test_the_command_as_a_program(path, tmp_path):
    command = [sys.executable, "-m", "ptio", "convert", path, tmp_path / "x.safetensors"]
    done = subprocess.run([os.fspath(part) for part in command], capture_output=True)
    assert (done.returncode, done.stderr) == (FINE, b"")
    assert read_safetensors(tmp_path / "x.safetensors")["fc.weight"].shape == (2, 3)


def test_no_verb_imports_torch(path, tmp_path):
    code = (
        "import sys; from ptio.cli import main\n"
        "path, folder = sys.argv[1:]\n"
        "main(['convert', path, folder + '/x.safetensors'])\n"
        "main(['slim', path, folder + '/x.pt', '--dtype', 'bf16'])\n"
        "main(['merge', path, path, '-o', folder + '/y.pt'])\n"
        "assert not {'torch', 'safetensors'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, os.fspath(path), os.fspath(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(os.listdir(tmp_path)) == 4
