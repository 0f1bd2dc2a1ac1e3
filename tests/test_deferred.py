# SPDX-License-Identifier: Apache-2.0
"""ptio.Deferred: arrays that are made when their turn to be written comes."""

import gc
import io
import weakref

import ml_dtypes
import numpy as np
import ptio
import pytest
from support import numpy_saving

ARRAYS = {
    "w": np.arange(12, dtype="f4").reshape(3, 4),
    "b": np.arange(3, dtype=ml_dtypes.bfloat16),
    "u": np.arange(5, dtype="u2"),
    "empty": np.zeros((0, 3)),
    "0-d": np.array(7),
    "big": np.arange(700_000, dtype="f8"),
    "last": np.ones(2, "c8"),
}


def deferred(array, produce=None):
    return ptio.Deferred(array.shape, array.dtype, produce or (lambda: array))


def test_the_file_is_that_of_the_arrays():
    obj = {"model": ARRAYS, "epoch": 3}
    later = {"model": {name: deferred(x) for name, x in ARRAYS.items()}, "epoch": 3}
    mixed = {**later, "model": {**later["model"], "b": ARRAYS["b"], "0-d": ARRAYS["0-d"]}}
    expected = numpy_saving.saved_bytes(obj)
    assert numpy_saving.saved_bytes(later) == expected
    assert numpy_saving.saved_bytes(mixed) == expected


def test_they_are_read_back(save_and_read):
    save_and_read({name: deferred(x) for name, x in ARRAYS.items()})


@pytest.mark.parametrize("to_file", [True, False])
def test_each_is_made_in_its_turn_and_at_most_one_is_alive(tmp_path, to_file):
    made = []

    def make(name):
        def produce():
            gc.collect()
            assert not any(ref() is not None for _, ref in made), "two are alive"
            array = np.full(*SHAPES[name])
            made.append((name, weakref.ref(array)))
            return array

        return produce

    SHAPES = {"a": ((1000, 1000), 1.0), "b": (3, 2.0), "none": ((0, 2), 0.0), "c": (200_000, 3.0)}
    obj = {name: ptio.Deferred(np.full(*s).shape, "f8", make(name)) for name, s in SHAPES.items()}
    obj["plain"] = np.zeros(3)
    ptio.save(obj, tmp_path / "x.pt" if to_file else numpy_saving.Sink())
    assert [name for name, _ in made] == list(SHAPES)
    assert not any(ref() is not None for _, ref in made)


def test_the_same_one_in_two_places_is_one_tensor(save_and_read):
    calls = []
    one = ptio.Deferred((2,), "i8", lambda: calls.append(1) or np.array([1, 2], "i8"))
    file = io.BytesIO()
    ptio.save({"a": one, "b": [one]}, file)
    assert calls == [1]
    loaded = save_and_read({"a": one, "b": [one]})
    assert loaded["a"] is loaded["b"][0]


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x.T.copy().T,
        lambda x: x[::-1][::-1],
        lambda x: np.repeat(x, 2, axis=1)[:, ::2],
        lambda x: x.tolist() if x.dtype == float else x,
        lambda x: memoryview(x),
        lambda x: x.view(np.matrix),
    ],
)
def test_whatever_the_layout_is(make):
    x = np.arange(12.0).reshape(3, 4)
    data = numpy_saving.saved_bytes([deferred(x, lambda: make(x))])
    assert data == numpy_saving.saved_bytes([x])


def test_big_endian(save_and_read):
    x = np.arange(12, dtype=">f4").reshape(3, 4)
    save_and_read([deferred(x), deferred(np.array(1.5, ">f8"))])


@pytest.mark.parametrize(
    "made",
    [
        np.zeros((2, 4), "f4"),
        np.zeros((12,), "f4"),
        np.zeros((3, 4), "f8"),
        np.zeros((3, 4), ">f4"),
        np.zeros((3, 4), "i4"),
        None,
    ],
)
def test_another_array_than_was_promised(tmp_path, made):
    path = tmp_path / "x.pt"
    path.write_bytes(b"old")
    later = ptio.Deferred((3, 4), "<f4", lambda: made)
    with pytest.raises(ValueError, match=r"promised were \(3, 4\) and float32"):
        ptio.save({"first": np.zeros(3), "w": later}, path)
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_an_empty_one_must_be_as_promised_too(tmp_path):
    with pytest.raises(ValueError, match="promised"):
        ptio.save(ptio.Deferred((0, 2), "f4", lambda: np.zeros(3, "f4")), tmp_path / "x.pt")


def test_masked_arrays_are_refused(tmp_path):
    with pytest.raises(TypeError, match="masked"):
        ptio.save(ptio.Deferred((2,), "i8", lambda: np.ma.array([1, 2])), tmp_path / "x.pt")


class Stop(BaseException):
    pass


@pytest.mark.parametrize("error", [KeyError("mine"), Stop(), KeyboardInterrupt(), StopIteration(1)])
@pytest.mark.parametrize("to_file", [True, False])
def test_exceptions_come_out_as_they_are(tmp_path, error, to_file):
    def fail():
        raise error

    path = tmp_path / "x.pt"
    obj = [np.zeros(700_000), ptio.Deferred((2,), "f4", fail)]
    expected = RuntimeError if isinstance(error, StopIteration) else type(error)
    with pytest.raises(expected) as caught:
        ptio.save(obj, path if to_file else numpy_saving.Sink())
    assert error in (caught.value, caught.value.__cause__)
    assert not list(tmp_path.iterdir())


def test_produce_may_change_what_is_saved(tmp_path):
    """The pickle has been made by then, and arrays are kept until they are written."""
    obj = {}
    expected = np.arange(1000)

    def produce():
        obj.clear()
        gc.collect()
        return np.zeros(2)

    obj |= {"d": ptio.Deferred((2,), "f8", produce), "x": expected.copy(), "y": expected[::-1]}
    ptio.save(obj, tmp_path / "x.pt")
    loaded = ptio.load(tmp_path / "x.pt", verify=True)
    assert (loaded["x"] == expected).all()
    assert (loaded["y"] == expected[::-1]).all()


def test_produce_may_save_and_load(tmp_path):
    def produce():
        ptio.save({"x": np.ones(3)}, tmp_path / "inner.pt")
        return ptio.load(tmp_path / "inner.pt")["x"]

    ptio.save([ptio.Deferred((3,), "f8", produce)], tmp_path / "x.pt")
    assert ptio.load(tmp_path / "x.pt")[0].tolist() == [1, 1, 1]


def test_arguments():
    one = ptio.Deferred([np.int64(2), 3], ">f4", list)
    assert (one.shape, one.dtype, one.nbytes) == ((2, 3), np.dtype(">f4"), 24)
    assert repr(one) == "Deferred((2, 3), >f4)"
    for shape, error in [((-1,), ValueError), ((1.5,), TypeError), ((2**40, 2**40), ValueError)]:
        with pytest.raises(error):
            ptio.Deferred(shape, "f4", list)
    with pytest.raises(ValueError, match="no memory"):
        ptio.Deferred((0, 2**62, 2**62), "f4", list)
    with pytest.raises(TypeError, match="callable"):
        ptio.Deferred((1,), "f4", np.zeros(1))
    with pytest.raises(TypeError):
        ptio.Deferred((1,), "no dtype", list)
