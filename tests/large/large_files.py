# SPDX-License-Identifier: Apache-2.0
"""Files beyond 4 GiB and with a million tensors, read by us and by others. `make test-large` runs
them: they take minutes and 10 GiB of disk below the temporary folder."""

import shutil
import subprocess
import zipfile

import numpy as np
import ptio
import pytest

GIB = 1 << 30
SIZE = 4 * GIB + 4096
MARK = np.arange(16, dtype=np.uint8)


@pytest.fixture(autouse=True)
def room(tmp_path):
    if shutil.disk_usage(tmp_path).free < 10 * GIB:
        pytest.skip("needs 10 GiB of disk")
    yield
    for path in tmp_path.iterdir():
        path.unlink()


def huge():
    """Zeros that take no memory until they are written, and a mark at either end."""
    array = np.zeros(SIZE, np.uint8)
    array[:16] = array[-16:] = MARK
    return array


def save_arrays(path):
    ptio.save({"huge": huge(), "after": np.arange(5), "epoch": 3}, path)


def save_copies(path):
    table = huge().reshape(-1, 4096)
    obj = {"huge": table[:, ::-1], "after": np.arange(5), "epoch": 3}
    ptio.save(obj, path)


def save_deferred(path):
    obj = {
        "huge": ptio.Deferred((SIZE,), "u1", huge),
        "after": ptio.Deferred((5,), "i8", lambda: np.arange(5)),
        "epoch": 3,
    }
    ptio.save(obj, path)


def save_stream(path):
    with open(path, "wb") as file:
        ptio.save({"huge": huge(), "after": np.arange(5), "epoch": 3}, file)


def save_writer(path):
    with ptio.Writer(path) as w:
        refs = {"huge": w.write(huge()), "after": w.write(np.arange(5))}
        w.root = {**refs, "epoch": 3}


@pytest.mark.parametrize(
    "save", [save_arrays, save_copies, save_deferred, save_stream, save_writer]
)
def test_a_record_beyond_4_gib_and_what_lies_behind_it(torch, tmp_path, save):
    path = tmp_path / "huge.pt"
    save(path)
    assert ptio.verify(path).ok
    for loaded in (ptio.load(path, mmap=True), torch.load(path, mmap=True, weights_only=True)):
        values = np.asarray(loaded["huge"]).reshape(-1)
        first, last = values[:16], values[-16:]
        if save is save_copies:
            first, last = values[4095:4079:-1], values[-4081:-4097:-1]
        assert values.size == SIZE
        assert first.tolist() == MARK.tolist()
        assert last.tolist() == MARK.tolist()
        assert np.asarray(loaded["after"]).tolist() == [0, 1, 2, 3, 4]
        assert loaded["epoch"] == 3


@pytest.mark.parametrize("save", [save_arrays, save_writer])
def test_other_readers_of_archives(tmp_path, save):
    path = tmp_path / "huge.pt"
    save(path)
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
        assert max(entry.file_size for entry in file.infolist()) == SIZE
    if shutil.which("unzip"):
        done = subprocess.run(["unzip", "-tq", path], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_many_records_beyond_4_gib(torch, tmp_path):
    path = tmp_path / "many.pt"
    with ptio.Writer(path) as w:
        for number in range(68):
            w[str(number)] = np.full(GIB // 16, number, np.uint8)
    assert path.stat().st_size > 4 * GIB
    assert ptio.verify(path).ok
    theirs = torch.load(path, mmap=True, weights_only=True)
    for name, array in ptio.load(path, mmap=True).items():
        assert array[0] == array[-1] == int(name) == theirs[name][-1]


def test_a_million_tensors(torch, tmp_path):
    path = tmp_path / "million.pt"
    rows = np.arange(8_000_000, dtype="f4").reshape(-1, 8)
    ptio.save({str(i): row.copy() for i, row in enumerate(rows)}, path)
    loaded = ptio.load(path, verify=True)
    assert len(loaded) == 1_000_000
    assert all(loaded[str(i)][0] == 8 * i for i in range(0, 1_000_000, 997))
    assert len(zipfile.ZipFile(path).namelist()) == 1_000_006
    theirs = torch.load(path, mmap=True, weights_only=True)
    assert theirs["999999"].tolist() == rows[-1].tolist()
