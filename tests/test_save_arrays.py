# SPDX-License-Identifier: Apache-2.0
"""ptio.save: arrays of every dtype, layout and origin, as torch and ptio read them back."""

import collections
import mmap
import zipfile

import ml_dtypes
import numpy as np
import ptio
import pytest
from numpy.lib.stride_tricks import as_strided, sliding_window_view
from ptio._save import array_plan
from support import numpy_saving

NUMPY = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "b1", "c16", "c8"]
ML = [
    "bfloat16",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
]
DTYPES = [*map(np.dtype, NUMPY), *(np.dtype(getattr(ml_dtypes, name)) for name in ML)]


def random_array(shape, dtype="f4"):
    """Random bytes: signalling NaNs too."""
    dtype, size = np.dtype(dtype), int(np.prod(shape)) * np.dtype(dtype).itemsize
    data = np.random.default_rng(len(shape)).integers(0, 256, size, np.uint8)
    return (data % 2 if dtype.kind == "b" else data).view(dtype).reshape(shape)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_in_every_layout(save_and_read, dtype):
    x = random_array((4, 6), dtype)
    loaded = save_and_read(
        {
            "plain": x,
            "transposed": x.copy().T,
            "columns": x.copy()[:, 1:3],
            "backwards": x.copy()[::-1, ::-2],
            "0-d": x.copy()[1, 1, ...],
            "empty": x[:0],
            "swapped": x.astype(dtype.newbyteorder("S")) if dtype in DTYPES[:14] else x,
        }
    )
    assert loaded["plain"].flags.c_contiguous


def test_complex32_where_ml_dtypes_has_it(save_and_read):
    kind = getattr(ml_dtypes, "complex32", None)
    if kind is None:
        pytest.skip("needs ml_dtypes 0.6")
    x = np.arange(6, dtype=np.uint32).view(kind).reshape(2, 3)
    file = numpy_saving.saved_bytes({"x": x, "part": x[:, ::-1]})
    assert b"complex32" in file
    raw = ptio.RawTensor(ptio.TorchDtype("complex32"), (6,), (1,), np.arange(24, dtype=np.uint8))
    assert save_and_read([raw])[0].data.tolist() == list(range(24))


def structured():
    table = np.zeros(5, [("a", "i1"), ("b", "<f4"), ("c", ">i8"), ("d", "f8", (2, 3))])
    table["a"], table["b"], table["c"] = range(5), range(5, 10), range(10, 15)
    table["d"] = np.arange(30).reshape(5, 2, 3)
    return table


def unaligned():
    return np.frombuffer(b"x" + np.arange(6, dtype="f8").tobytes(), "f8", offset=1)


LAYOUTS = {
    "fortran": lambda x: np.asfortranarray(x),
    "fortran, swapped": lambda x: np.asfortranarray(x).astype(">f4", order="F"),
    "every second": lambda x: x[:, ::2],
    "one column": lambda x: x[:, 2],
    "two axes swapped": lambda x: np.ascontiguousarray(x).reshape(4, 3, 2).swapaxes(0, 1),
    "broadcast": lambda x: np.broadcast_to(x, (3, 4, 6)),
    "broadcast scalar": lambda x: np.broadcast_to(x[0, 0], (3, 4)),
    "broadcast column": lambda x: np.broadcast_to(x[:, 2:3], (4, 100)),
    "broadcast, swapped": lambda x: np.broadcast_to(x.astype(">f4"), (3, 4, 6)),
    "broadcast, backwards": lambda x: np.broadcast_to(x[::-1], (3, 4, 6)),
    "diagonal": lambda x: x.diagonal(),
    "windows": lambda x: sliding_window_view(x, 2, axis=1),
    "windows backwards": lambda x: sliding_window_view(x[:, ::-1], 2, axis=1),
    "one row backwards": lambda x: x[:1][::-1],
    "odd stride of one": lambda x: as_strided(x, (1, 3), (7, 4)),
    "imaginary": lambda x: x.astype("c8").imag,
    "half of each": lambda x: x.view("u2")[:, 1::2],
    "read-only": lambda x: np.frombuffer(x.tobytes(), "f4"),
    "over a bytearray": lambda x: np.frombuffer(bytearray(x.tobytes()), "f4"),
    "over a memoryview": lambda x: np.asarray(memoryview(x.tobytes())),
    "unaligned": lambda x: unaligned(),
    "field": lambda x: structured()["a"],
    "field at odd strides": lambda x: structured()["b"],
    "field, swapped": lambda x: structured()["c"],
    "field with a shape": lambda x: structured()["d"],
    "no rows": lambda x: x[:0].astype(">f4"),
    "no columns, backwards": lambda x: x[::-1, :0],
    "0-d, swapped": lambda x: np.array(1.5, ">f8"),
    "32 dimensions": lambda x: x.reshape(*[1] * 30, 4, 6)[..., ::-1],
    "matrix": lambda x: x.view(np.matrix)[::-1],
    "record array": lambda x: np.rec.fromarrays([x[0], x[1]]).f1,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(save_and_read, layout):
    x = random_array((4, 6))
    save_and_read({"x": LAYOUTS[layout](x)})
    save_and_read(LAYOUTS[layout](x), compact=True)


def test_small_pieces_make_the_same_file(monkeypatch):
    """Every layout, copied a few bytes at a time."""
    x = random_array((4, 6))
    obj = {name: make(x.copy()) for name, make in LAYOUTS.items()}
    obj |= {f"{shape}": x.reshape(shape)[..., ::-1] for shape in [(1, 24), (24, 1), (1, 1, 24)]}
    whole = numpy_saving.saved_bytes(obj)
    for size in (1, 8, 20, 64):
        monkeypatch.setattr(array_plan, "_PIECE", size)
        assert numpy_saving.saved_bytes(obj) == whole


def test_pieces_are_small_whatever_the_shape():
    """A row of 100 MiB, 100 million rows of a byte, and all between, backwards."""
    huge = np.broadcast_to(np.uint8(1), 100 << 20)
    for shape in [(1, -1), (-1, 1), (1, 1, -1), (1, -1, 1), (2, 1, -1), (-1, 5, 1), (-1,)]:
        array = as_strided(huge, (*huge.reshape(shape).shape, 2), (*[0] * len(shape), 0))
        sizes = [piece.nbytes for piece in array_plan.contiguous_pieces(array)]
        assert sum(sizes) == 200 << 20
        assert max(sizes) <= 8 << 20
        assert len(sizes) <= 30  # and not too small


def test_memory_maps(save_and_read, tmp_path):
    x = random_array((4, 6))
    (tmp_path / "raw").write_bytes(x.tobytes())
    mapped = np.memmap(tmp_path / "raw", "f4", "r", shape=(4, 6))
    with open(tmp_path / "raw", "rb") as file:
        view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    over = np.frombuffer(view, "f4")
    save_and_read([mapped, mapped[:, 1], over])


class Strange(np.ndarray):
    """A subclass whose attributes are not those of the array."""

    dtype = strides = shape = nbytes = property(lambda self: 1 / 0)

    def __getitem__(self, at):
        raise AssertionError


def test_subclasses_are_saved_as_arrays():
    x = random_array((2, 3)).view(Strange)
    plain = np.ndarray.view(x, np.ndarray)
    data = numpy_saving.saved_bytes([x, np.ndarray.view(plain[::-1], Strange)])
    assert data == numpy_saving.saved_bytes([plain, plain[::-1]])


def test_saving_over_the_file_that_the_arrays_are_mapped_from(tmp_path):
    path = tmp_path / "model.pt"
    x = random_array((300, 400))
    ptio.save({"w": x, "b": x[0]}, path)
    for round in range(3):
        mapped = ptio.load(path, mmap=True)
        assert isinstance(mapped["w"], np.ndarray)
        ptio.save({"w": mapped["w"], "b": mapped["b"], "t": mapped["w"].T, "n": round}, path)
        assert mapped["w"].tobytes() == x.tobytes()  # it keeps its data
        again = ptio.load(path, verify=True)
        assert again["w"].tobytes() == x.tobytes()
        assert again["t"].T.tobytes() == x.tobytes()
        assert again["n"] == round


def test_writing_in_place_over_mapped_arrays_is_refused(tmp_path):
    path = tmp_path / "model.pt"
    ptio.save({"w": random_array((300, 400))}, path)
    before = path.read_bytes()
    mapped = ptio.load(path, mmap=True)
    with pytest.raises(OSError, match="mapped"):
        ptio.save(mapped, path, atomic=False)
    assert path.read_bytes() == before


def test_the_file_is_that_of_torch(torch, tmp_path):
    """The same pickle and the same storages as torch.save writes for the same tensors."""
    names = [name for name in NUMPY if name != "b1"]
    arrays = {name: random_array((2, 3), name) for name in names}
    tensors = {name: torch.from_numpy(x) for name, x in arrays.items()}
    rest = [1, 2.5, "three", None, {"four": ()}, 10**30, b"bytes", {1}, bytearray(b"x")]
    for of, suffix in ((arrays, "ours"), (tensors, "theirs")):
        obj = collections.OrderedDict(of)
        obj |= {"again": of["f4"], "view": of["f8"].T, "bool": of["u1"] > 9, "rest": rest}
        (ptio.save if of is arrays else torch.save)(obj, tmp_path / f"{suffix}.pt")
    files = [_records(tmp_path / name) for name in ("ours.pt", "theirs.pt")]
    assert files[0] == files[1]
    assert len(files[0]) == len(names) + 6


def _records(path):
    """Without the one that tells files apart."""
    with zipfile.ZipFile(path) as file:
        records = {name.partition("/")[2]: file.read(name) for name in file.namelist()}
    assert len(records.pop(".data/serialization_id")) == 40
    return records
