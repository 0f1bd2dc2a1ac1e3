# SPDX-License-Identifier: Apache-2.0
"""ptio.Writer: a checkpoint larger than memory, array by array."""

import gc
import gzip
import io
import os
import threading
import weakref
import zipfile

import ml_dtypes
import numpy as np
import ptio
import pytest
from support import numpy_saving
from support.compare import assert_same
from support.numpy_saving import assert_saved

X = np.arange(12, dtype="f4").reshape(3, 4)
STATE = {
    "w": X,
    "t": X.T,
    "backwards": X[::-1],
    "b": np.arange(5, dtype=ml_dtypes.bfloat16),
    "u": np.arange(5, dtype="u2"),
    "big endian": np.arange(5, dtype=">f8"),
    "empty": np.zeros((0, 2)),
    "0-d": np.array(3),
}


def write(path, use):
    """Runs use(writer) inside of the block."""
    with ptio.Writer(path) as w:
        use(w)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.pt"


def test_names(path):
    with ptio.Writer(path) as w:
        for name, array in STATE.items():
            w[name] = array
    assert_saved(ptio.load(path, verify=True), STATE)
    assert ptio.verify(path).ok


def test_torch_reads_it_in_every_mode(torch, torch_load, path):
    with ptio.Writer(path) as w:
        refs = {name: w.write(array) for name, array in STATE.items()}
        w.root = {"state": refs, "again": [refs["w"]], "small": {"x": X[0], "y": X}, "epoch": 3}
    expected = torch.load(path, weights_only=True)
    assert expected["again"][0] is expected["state"]["w"]
    assert expected["small"]["x"].data_ptr() == expected["small"]["y"].data_ptr()
    for ours in (ptio.load(path), ptio.load(path, mmap=False, verify=True)):
        assert_same(ours, expected)
        assert_same(ours, torch_load(path))
        assert_same(ours, torch.load(path, weights_only=True, mmap=True))


def test_the_order_of_records(path):
    with ptio.Writer(path) as w:
        w["a"] = X
        w["b"] = X
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
        names = [name.partition("/")[2] for name in file.namelist()]
        # .format_version would promise that the pickle comes first
    assert names[:3] == ["data/0", "data/1", "data.pkl"]
    assert names[3:] == ["byteorder", "version", ".data/serialization_id"]


def test_root_with_more_arrays_deferred_and_data(path):
    with ptio.Writer(path) as w:
        ref = w.write(X)
        later = w.write(ptio.Deferred((3,), "i8", lambda: np.arange(3, dtype="i8")))
        assert (ref.shape, ref.dtype, repr(later)) == ((3, 4), "f4", "Reference((3,), int64)")
        inner = ptio.Deferred((2,), "f8", lambda: np.ones(2))
        w.root = [ref, later, ref, X, X[1:], inner, {"lr": 0.1, "dtype": np.dtype("f4")}, {1, 2}]
    loaded = ptio.load(path, verify=True)
    assert_saved(loaded[:2] + loaded[3:6], [X.copy(), np.arange(3, dtype="i8"), X, X[1:], inner])
    assert loaded[0] is loaded[2]
    assert np.shares_memory(loaded[3], loaded[4])
    assert not np.shares_memory(loaded[0], loaded[3])
    assert loaded[6:] == [{"lr": 0.1, "dtype": np.dtype("f4")}, {1, 2}]


def test_nothing_written_at_all(path):
    with ptio.Writer(path):
        pass
    assert ptio.load(path) == {}
    with ptio.Writer(path) as w:
        w.root = [1]
    assert ptio.load(path) == [1]


def test_an_array_is_in_the_file_and_free_when_write_returns(path):
    refs = []
    with ptio.Writer(path) as w:
        for number in range(5):
            array = np.full(300_000, number)
            refs.append((weakref.ref(array), w.write(array)))
            array.fill(99)  # too late
            del array
            gc.collect()
            assert refs[-1][0]() is None
        w.root = [ref for _, ref in refs]
    assert [part[7] for part in ptio.load(path)] == [0, 1, 2, 3, 4]


class Stop(BaseException):
    pass


@pytest.mark.parametrize("error", [ValueError, Stop, KeyboardInterrupt])
@pytest.mark.parametrize("old", [None, b"old"])
def test_exceptions_in_the_block_leave_the_old_file(path, error, old):
    if old is not None:
        path.write_bytes(old)

    def use(w):
        w["a"] = np.zeros(500_000)
        raise error

    with pytest.raises(error):
        write(path, use)
    assert [(p.name, p.read_bytes()) for p in path.parent.iterdir()] == (
        [("model.pt", old)] if old is not None else []
    )


def test_a_root_that_cannot_be_saved_leaves_no_file(path):

    def put_object(w):
        w.root = {"a": [w.write(X), object()]}

    def use_both(w):
        w["x"] = X
        w.root = {}

    with pytest.raises(TypeError, match="object cannot be saved at 'a/1'"):
        write(path, put_object)
    with pytest.raises(ValueError, match="put all tensors into root"):
        write(path, use_both)
    assert not list(path.parent.iterdir())


def test_arrays_that_cannot_be_written(path):
    """The file goes on without them."""
    with ptio.Writer(path) as w:
        w["before"] = X
        for value in (np.array([None]), object(), np.zeros(1, "M8[s]"), "text", {"a": X}):
            with pytest.raises(TypeError, match="cannot be saved at 'bad'"):
                w["bad"] = value
        with pytest.raises(TypeError, match="masked"):
            w.write(np.ma.array([1]))
        with pytest.raises(ValueError, match="has been written already"):
            w["before"] = X
        for name in (1, None, b"x", ("a",)):
            with pytest.raises(TypeError, match="names are str"):
                w[name] = X
        w["after"] = X
    assert list(ptio.load(path)) == ["before", "after"]


def test_a_failed_write_ends_it(path):
    """Bytes of the file are missing: what comes after them cannot be trusted."""

    def use(w):
        with pytest.raises(ValueError, match="promised"):
            w["x"] = ptio.Deferred((2,), "f4", lambda: np.zeros(3))

    with pytest.raises(ptio.UnsupportedError, match="writing it has failed"):
        write(path, use)
    assert not list(path.parent.iterdir())


def test_outside_of_the_block(path):
    w = ptio.Writer(path)
    for use in (lambda: w.write(X), lambda: w.__setitem__("x", X)):
        with pytest.raises(ValueError, match="inside of"):
            use()
    assert not list(path.parent.iterdir())
    with w:
        w["x"] = X
    with pytest.raises(ValueError, match="inside of"):
        w["y"] = X
    with pytest.raises(ValueError, match="one `with` block"), w:
        pass
    assert list(ptio.load(path)) == ["x"]


def test_references_belong_to_their_file(path, tmp_path):
    with ptio.Writer(tmp_path / "other.pt") as other:
        ref = other.write(X)
    with pytest.raises(ValueError, match="another Writer cannot be saved at 'a'"):
        ptio.save({"a": ref}, path)

    def use(w):
        w.root = [w.write(X), ref]

    with pytest.raises(ValueError, match="another Writer"):
        write(path, use)
    assert not path.exists()


def test_streams():
    expected = None
    for most in (None, 1, 1000):
        sink = numpy_saving.Sink(most)
        with ptio.Writer(sink) as w:
            for name, array in STATE.items():
                w[name] = array
        expected = expected or bytes(sink.data)
        assert bytes(sink.data) == expected
    assert_saved(ptio.load(io.BytesIO(expected)), STATE)


def read_all(fd):
    with open(fd, "rb") as file:
        return file.read()


def test_a_pipe_and_a_gzip_file(path, tmp_path):
    with ptio.Writer(path) as w:
        w["x"] = X
    with gzip.open(tmp_path / "x.gz", "wb") as file, ptio.Writer(file) as w:
        w["x"] = X
    with gzip.open(tmp_path / "x.gz") as file:
        assert_saved(ptio.load(file), {"x": X})
    reader, writer = os.pipe()
    received = []
    thread = threading.Thread(target=lambda: received.append(read_all(reader)))
    thread.start()
    with open(writer, "wb") as file, ptio.Writer(file) as w:
        w["x"] = X
    thread.join()
    assert_saved(ptio.load(io.BytesIO(received[0])), {"x": X})


def test_options(path):
    done = []
    with ptio.Writer(
        path, compute_crc32=False, storage_alignment=4096, progress=lambda *at: done.append(at)
    ) as w:
        w["x"] = X
    with zipfile.ZipFile(path) as file:
        assert {entry.CRC for entry in file.infolist()} == {0}
    assert path.read_bytes().index(X.tobytes()) % 4096 == 0
    assert done
    with pytest.raises(ValueError), ptio.Writer(path, storage_alignment=3):
        pass
