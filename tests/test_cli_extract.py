# SPDX-License-Identifier: Apache-2.0
"""`ptio extract`: tensors as NumPy files, which numpy.load reads."""

import json
import os
import zipfile

import ml_dtypes
import numpy as np
import pytest
from support import checkpoints

FINE, FINDING, UNREADABLE, NOTHING_TO_DO, USAGE = 0, 1, 2, 3, 4


@pytest.fixture
def path(save):
    weight = checkpoints.tensor("float32", range(6), (2, 3))
    obj = {
        "model": {"w": weight, "t": checkpoints.view(weight, (3, 2), (1, 3))},
        "step": checkpoints.tensor("int64", 7),
        "empty": checkpoints.tensor("int8", b"", (0, 3)),
        "bf": checkpoints.tensor("bfloat16", [1.5, -2]),
        "f8": checkpoints.tensor("float8_e4m3fn", [0.5]),
        "c": checkpoints.tensor("complex64", [1 + 2j]),
        "b": checkpoints.tensor("bool", [True, False]),
    }
    return save(obj, "model.pt")


EXPECTED = {
    "model.w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "model.t": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "step": np.int64(7),
    "empty": np.zeros((0, 3), np.int8),
    "bf": np.array([1.5, -2], np.float32),
    "f8": np.array([0.5], np.float32),
    "c": np.array([1 + 2j], np.complex64),
    "b": np.array([True, False]),
}


def assert_expected(found):
    assert list(found) == list(EXPECTED)
    for name, expected in EXPECTED.items():
        assert found[name].dtype == expected.dtype, name
        assert np.array_equal(found[name], expected), name
        assert found[name].shape == np.shape(expected), name


def test_a_folder_of_npy_files(ptio_command, path, tmp_path):
    folder = tmp_path / "out"
    status, out, err = ptio_command("extract", path, "-o", folder)
    assert (status, err) == (FINE, "")
    assert "8 tensors written" in out
    assert "bfloat16, float8_e4m3fn" in out
    assert sorted(os.listdir(folder)) == sorted(f"{name}.npy" for name in EXPECTED)
    assert_expected({name: np.load(folder / f"{name}.npy") for name in EXPECTED})


def test_one_npz_file(ptio_command, path, tmp_path):
    file = tmp_path / "out.npz"
    assert ptio_command("extract", path, "-o", file)[0] == FINE
    with np.load(file) as arrays:
        assert_expected({name: arrays[name] for name in arrays.files})
    first = file.read_bytes()
    assert ptio_command("extract", path, "-o", file, "--force")[0] == FINE
    assert file.read_bytes() == first
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None


def test_one_tensor_in_one_npy_file(ptio_command, path, tmp_path):
    file = tmp_path / "w.npy"
    assert ptio_command("extract", path, "model/w", "-o", file)[0] == FINE
    assert np.array_equal(np.load(file), EXPECTED["model.w"])
    status, _, err = ptio_command("extract", path, "--glob", "model/*", "-o", tmp_path / "two.npy")
    assert status == USAGE
    assert "2 tensors do not fit" in err
    assert not (tmp_path / "two.npy").exists()


def test_bits_keeps_what_numpy_has_no_type_for(ptio_command, path, tmp_path):
    assert ptio_command("extract", path, "bf", "f8", "w", "-o", tmp_path / "a")[0] == USAGE
    assert ptio_command("extract", path, "bf", "f8", "--bits", "-o", tmp_path / "a")[0] == FINE
    bf, f8 = np.load(tmp_path / "a/bf.npy"), np.load(tmp_path / "a/f8.npy")
    assert (bf.dtype, f8.dtype) == (np.uint16, np.uint8)
    assert bf.view(ml_dtypes.bfloat16).tolist() == [1.5, -2]
    assert f8.view(ml_dtypes.float8_e4m3fn).tolist() == [0.5]


def test_names_and_a_pattern_choose(ptio_command, path, tmp_path):
    status, out, _ = ptio_command(
        "extract", path, "step", "--glob", "model/?", "--json", "-o", tmp_path / "a"
    )
    assert status == FINE
    told = json.loads(out)
    assert [one["name"] for one in told["written"]] == ["step", "model/w", "model/t"]
    assert told["written"][1]["file"] == str(tmp_path / "a" / "model.w.npy")
    assert told["skipped"] == []


def test_a_name_that_is_not_there(ptio_command, path, tmp_path):
    status, _, err = ptio_command("extract", path, "model/v", "-o", tmp_path / "a")
    assert status == USAGE
    assert "did you mean" in err
    status, _, err = ptio_command("extract", path, "--glob", "x*", "-o", tmp_path / "a")
    assert status == NOTHING_TO_DO
    assert not (tmp_path / "a").exists()


def test_nothing_is_replaced_without_force(ptio_command, path, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "step.npy").write_bytes(b"mine")
    status, _, err = ptio_command("extract", path, "-o", folder)
    assert status == UNREADABLE
    assert "step.npy" in err and "--force" in err
    assert os.listdir(folder) == ["step.npy"]
    assert (folder / "step.npy").read_bytes() == b"mine"
    assert ptio_command("extract", path, "-o", folder, "--force")[0] == FINE
    assert np.load(folder / "step.npy") == 7


def test_a_failure_leaves_the_old_file(ptio_command, path, tmp_path, monkeypatch):
    import ptio._rewrite.extract

    file = tmp_path / "out.npz"
    file.write_bytes(b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ptio._rewrite.extract, "_write", fail)
    status, _, err = ptio_command("extract", path, "-o", file, "--force")
    assert status == UNREADABLE
    assert "No space" in err
    assert file.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["model.pt", "out.npz"]


HOSTILE = [
    "../../evil",
    "/etc/passwd",
    "..",
    ".",
    "",
    ".hidden",
    "a\\b",
    "C:evil",
    "nul\0",
    "\x1b[2J\n",
    "\ud800",
    "A",
    "a",
    "x" * 5000,
    "x" * 5001,
    "ü",
]


@pytest.mark.parametrize("target", ["out", "out.npz"])
def test_hostile_names_become_harmless_files(ptio_command, save, tmp_path, target):
    path = save({name: checkpoints.tensor("int8", [i]) for i, name in enumerate(HOSTILE)})
    before = set(os.listdir(tmp_path))
    status, out, _ = ptio_command("extract", path, "--json", "-o", tmp_path / target)
    assert status == FINE
    assert set(os.listdir(tmp_path)) == before | {target}
    told = json.loads(out)["written"]
    assert [one["name"] for one in told] == HOSTILE
    if target == "out":
        assert len(os.listdir(tmp_path / target)) == len(HOSTILE)
        names = [os.path.basename(one["file"]) for one in told]
        values = [np.load(tmp_path / target / name) for name in names]
    else:
        with np.load(tmp_path / target) as arrays:
            names = [one["file"] for one in told]
            values = [arrays[name] for name in names]
        with zipfile.ZipFile(tmp_path / target) as archive:
            assert len({info.filename.lower() for info in archive.infolist()}) == len(HOSTILE)
    assert [int(value[0]) for value in values] == list(range(len(HOSTILE)))
    for name in names:
        assert "/" not in name and "\\" not in name and not name.startswith("."), name
        assert name.isascii() and name.isprintable() and len(name) < 200


def test_what_is_no_array_is_left_out_and_told(ptio_command, save, tmp_path):
    small = checkpoints.tensor("float32", [1])
    obj = {"w": small, "bits": checkpoints.tensor("bits8", b"1")}
    obj["huge"] = checkpoints.view(small, (2**40,), (0,))
    status, _, err = ptio_command("extract", save(obj), "-o", tmp_path / "a")
    assert status == FINDING
    assert "bits is left out" in err
    assert "huge is left out" in err
    assert os.listdir(tmp_path / "a") == ["w.npy"]


def test_large_tensors_come_out_in_pieces(ptio_command, tmp_path):
    import ptio

    array = np.arange(1 << 20, dtype=np.float32).reshape(1 << 10, 1 << 10)
    ptio.save({"a": array, "t": np.asfortranarray(array)}, tmp_path / "m.pt")
    assert ptio_command("extract", tmp_path / "m.pt", "-o", tmp_path / "o.npz")[0] == FINE
    with np.load(tmp_path / "o.npz") as arrays:
        assert np.array_equal(arrays["a"], array)
        assert np.array_equal(arrays["t"], array)


def test_what_cannot_be_read(ptio_command, write, tmp_path):
    status, out, err = ptio_command("extract", write(b"<html>"), "-o", tmp_path / "a")
    assert (status, out) == (UNREADABLE, "")
    assert "HTML" in err
    assert not (tmp_path / "a").exists()
