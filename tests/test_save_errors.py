# SPDX-License-Identifier: Apache-2.0
"""ptio.save: what it refuses, the words for it, and that nothing is left of the attempt."""

import codecs
import collections
import enum

import ml_dtypes
import numpy as np
import ptio
import pytest

X = np.arange(6, dtype="f4").reshape(2, 3)


class Level(enum.IntEnum):
    HIGH = 3


class Mine(dict):
    pass


Point = collections.namedtuple("Point", "x y")

VALUES = {
    "object dtype": (np.array([None]), "dtype object"),
    "structured dtype": (np.zeros(2, [("a", "i4")]), "dtype [('a', '<i4')]"),
    "text dtype": (np.array(["a"]), "dtype <U1"),
    "date dtype": (np.array(["2020"], "M8[D]"), "dtype datetime64[D]"),
    "void dtype": (np.zeros(2, "V4"), "dtype |V4"),
    "long double": (np.zeros(2, "g"), "dtype "),
    "int4": (np.zeros(2, ml_dtypes.int4), "dtype int4"),
    "float8 that torch lacks": (np.zeros(2, ml_dtypes.float8_e3m4), "dtype float8_e3m4"),
    "masked array": (np.ma.array([1, 2], mask=[0, 1]), "a masked array"),
    "deferred objects": (ptio.Deferred((2,), object, list), "dtype object"),
    "date scalar": (np.datetime64("2020-01-01", "ns"), "scalar of dtype datetime64[ns]"),
    "time scalar": (np.timedelta64(5, "ns"), "scalar of dtype timedelta64[ns]"),
    "long double scalar": (np.longdouble(1), "scalar of dtype "),
    "structured scalar": (np.zeros(2, [("a", "i4")])[0], "scalar of dtype [('a', '<i4')]"),
    "dtype": (np.dtype("M8[s]"), "dtype datetime64[s]"),
    "dtype of nobody": (ptio.TorchDtype("os\nsystem"), "dtype torch.os\nsystem"),
    "factory of a defaultdict": (collections.defaultdict(len), "type collections.defaultdict"),
    "subclass of dict": (Mine(), ".Mine"),
    "named tuple": (Point(1, 2), ".Point"),
    "enum": (Level.HIGH, ".Level"),
    "function": (len, "type builtin_function_or_method"),
    "class": (Mine, "type type"),
    "class that sets need": (set, "the class or function set"),
    "class that tensors need": (collections.OrderedDict, "type type"),
    "class that bytes need": (bytearray, "the class or function bytearray"),
    "function that bytes need": (codecs.encode, "the class or function encode"),
    "exception": (ValueError(), "type ValueError"),
    "module": (np, "type module"),
    "raw tensor": (ptio.RawTensor(ptio.TorchDtype("x"), (), (), X), "dtype torch.x"),
    "raw quantized": (ptio.RawTensor(ptio.TorchDtype("qint8"), (), (), X), "RawTensor of dtype"),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_that_cannot_be_saved(tmp_path, name):
    value, words = VALUES[name]
    path = tmp_path / "model.pt"
    path.write_bytes(b"old")
    obj = {"model": [{1}, b"x", bytearray(b"y"), X, {"layer": (value, 1)}]}
    with pytest.raises(TypeError) as caught:
        ptio.save(obj, path)
    message = str(caught.value)
    assert words in message
    assert "at 'model/4/layer/0'" in message
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.pt"]
    with pytest.raises(TypeError, match="give arrays or plain data"):
        ptio.save(value, path)


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("\x1b[31m\n\u202e", "'\\\\x1b[31m\\\\n\\\\u202e'"),
        ("\ud800", "'\\\\ud800'"),
        ("x" * 500, f"'{'x' * 77}...'"),
        (10**5000, "'<int of 16610 bits>'"),
        ((1, "a"), "\"(1, 'a')\""),
        (("a" * 900, None), None),
        (b"\0" * 400, None),
        (None, "'None'"),
        (-0.5, "'-0.5'"),
    ],
    ids=map(str, range(9)),
)
def test_hostile_keys_are_escaped_and_cut(tmp_path, key, shown):
    with pytest.raises(TypeError) as caught:
        ptio.save({key: object()}, tmp_path / "model.pt")
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 300
    assert shown is None or f"at {shown}:" in message
    assert not list(tmp_path.iterdir())


class Hostile:
    def __str__(self):
        raise AssertionError("not asked")

    __repr__ = __str__


def test_keys_are_saved_values_too(tmp_path):
    with pytest.raises(TypeError, match="Hostile cannot be saved at '<Hostile>'"):
        ptio.save({Hostile(): 1}, tmp_path / "x.pt")
    with pytest.raises(TypeError, match="Level cannot be saved"):
        ptio.save({(1, Level.HIGH): 1}, tmp_path / "x.pt")
    with pytest.raises(TypeError, match="type type cannot be saved"):
        ptio.save({collections.OrderedDict: X}, tmp_path / "x.pt")


def test_deep_and_cyclic_paths(tmp_path):
    obj = [object()]
    for _ in range(200):
        obj = {"deeper": obj}
    with pytest.raises(TypeError, match=r"at 'deeper/deeper/.*\.\.\.'"):
        ptio.save(obj, tmp_path / "x.pt")
    around = {"x": 1}
    around["me"] = around
    around["last"] = [around, object()]
    with pytest.raises(TypeError, match="at 'last/1'"):
        ptio.save(around, tmp_path / "x.pt")


def test_a_path_through_attributes_and_parts(tmp_path):
    state = collections.OrderedDict()
    state.note = [np.array([None])]
    with pytest.raises(TypeError, match="at 'state/note/0'"):
        ptio.save({"state": state}, tmp_path / "x.pt")
    values = np.zeros(1, "M8[s]")
    sparse = ptio.SparseTensor("torch.sparse_coo", (2,), values, np.zeros((1, 1), int))
    with pytest.raises(TypeError, match="at 's/values'"):
        ptio.save({"s": sparse}, tmp_path / "x.pt")


def coo(indices, shape=(2, 3)):
    return ptio.SparseTensor("torch.sparse_coo", shape, np.ones(1, "f4"), np.array(indices))


def raw(shape, stride, nbytes=8):
    data = np.zeros(nbytes, "u1")
    return ptio.RawTensor(ptio.TorchDtype("complex32"), shape, stride, data)


def quantized(int_repr, dtype="qint8", scheme="torch.per_tensor_affine", **parts):
    return ptio.QuantizedTensor(
        int_repr, dtype, scheme, **{"scale": 1.0, "zero_point": 0, "axis": None, **parts}
    )


INVALID = {
    "sparse: index outside": coo([[2], [0]]),
    "sparse: no indices": ptio.SparseTensor("torch.sparse_coo", (2,), np.ones(1)),
    "sparse: layout": ptio.SparseTensor("torch.strided", (2,), np.ones(1)),
    "raw: outside of its data": raw((3,), (1,)),
    "raw: stride outside": raw((2,), (2,)),
    "raw: negative stride": raw((2,), (-1,)),
    "raw: other lengths": raw((2,), (1, 1)),
    "quantized: dtype of int_repr": quantized(X),
    "quantized: no such dtype": quantized(np.zeros(2, "i1"), "qint7"),
    "quantized: scheme": quantized(np.zeros(2, "i1"), scheme="os.system"),
    "quantized: axis": quantized(np.zeros(2, "i1"), axis=0, scale=X[0], zero_point=X[0]),
    "quantized: scale": quantized(np.zeros(2, "i1"), scale=float("nan")),
    "quantized: packed": quantized(np.zeros(2, "u1"), "quint4x2"),
    "nested: outside": ptio.NestedTensor(
        "torch.strided", X.ravel(), np.array([0, 6]), np.ones((2, 1), int), np.ones((2, 1), int)
    ),
    "nested: offsets": ptio.NestedTensor("torch.jagged", X, np.array([0, 9]), ragged_dim=1),
    "nested: layout": ptio.NestedTensor("torch.sparse_coo", X, np.array([0, 9])),
}


@pytest.mark.parametrize("name", INVALID)
def test_tensors_whose_parts_do_not_fit(tmp_path, name):
    with pytest.raises(ValueError, match=r"an invalid \w+Tensor .* at 'part/0'"):
        ptio.save({"part": [INVALID[name]]}, tmp_path / "x.pt")
    assert not list(tmp_path.iterdir())


def test_arguments(tmp_path):
    path = tmp_path / "x.pt"
    with pytest.raises(ValueError, match=r"invalid file name: \.pt"):
        ptio.save({}, ".pt")
    for alignment in (0, 3, -64, 48):
        with pytest.raises((ValueError, OverflowError)):
            ptio.save({}, path, storage_alignment=alignment)
    with pytest.raises(AttributeError):
        ptio.save({}, object())
    with pytest.raises(FileNotFoundError, match="missing"):
        ptio.save({}, tmp_path / "missing" / "x.pt")
    assert not list(tmp_path.iterdir())
