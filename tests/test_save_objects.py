# SPDX-License-Identifier: Apache-2.0
"""ptio.save: plain data around the arrays, as torch and ptio read it back."""

import collections

import ml_dtypes
import numpy as np
import ptio
import pytest

X = np.arange(6, dtype="f4").reshape(2, 3)

OBJECTS = {
    "array": X,
    "empty dict": {},
    "flat state dict": {"fc.weight": X, "fc.bias": X[0]},
    "keys of all types": {0: X, 2.5: "x", None: 1, True: 2, (1, "a"): 3, b"b": 4, "": 5, 1j: 6},
    "order": {str(i): i for i in reversed(range(3000))},
    "nested": {"a": [1, (2, [3, {"b": (X,)}]), ()], "c": ((), [], {}, ((),))},
    "thousands": [list(range(1001)), {i: i for i in range(1000)}, {i: i for i in range(1001)}],
    "text": ["", "ascii", "ü", "日本", "\U0001f600", "\0", "\ud800", "a\nb", "x" * 300],
    "numbers": [0, -1, 255, 256, 65535, 65536, 2**31, -(2**31), 2**63, -(2**63), 10**400],
    "floats": [0.0, -0.0, 1e-320, float("inf"), float("nan"), 0.1],
    "complex": [0j, 1 + 2j, complex("nan"), complex(0.0, -0.0)],
    "constants": [None, True, False],
    "bytes": [b"\0\xff", bytes(range(256)), bytearray(), bytearray(b"\x80x")],
    "sets": [set(), {1, "two", (3,)}, {None}],
    "counter": [collections.Counter(), collections.Counter("abracadabra")],
    "ordered dict": collections.OrderedDict([("b", X), ("a", collections.OrderedDict())]),
    "scalars": [
        np.float32(1.5),
        np.float64(0.1),
        np.float16(2),
        np.int8(-3),
        np.uint64(2**64 - 1),
        np.bool_(True),
        np.complex64(1 - 2j),
        np.str_("text"),
        np.bytes_(b"raw"),
        ml_dtypes.bfloat16(1.25),
        ml_dtypes.float8_e5m2(3),
    ],
    "scalar keys": {np.str_("name"): X, np.int64(3): 1},
    "dtypes": [np.dtype("f4"), np.dtype(">i8"), np.dtype(ml_dtypes.bfloat16), np.dtype(bool)],
    "dtypes of torch": [ptio.TorchDtype("complex32"), ptio.TorchDtype("bits8")],
}


@pytest.mark.parametrize("name", OBJECTS)
def test_objects(save_and_read, name):
    loaded = save_and_read(OBJECTS[name])
    assert type(loaded) is type(OBJECTS[name])


def test_attributes_of_an_ordered_dict(save_and_read):
    state = collections.OrderedDict(w=X)
    state._metadata = collections.OrderedDict({"": {"version": 1}, "array": X})
    loaded = save_and_read({"model": state})
    assert loaded["model"]._metadata["array"] is loaded["model"]["w"]


def test_identity_and_cycles(save_and_read):
    inner = [1]
    around = {"self": None, "list": inner, "again": inner, "pair": (inner, inner)}
    around["self"] = around
    inner.append(inner)
    inner.append((around,))
    text = "x" * 20
    loaded = save_and_read([around, text, text, {text: text}])
    assert loaded[0]["self"] is loaded[0]
    assert loaded[0]["list"][1] is loaded[0]["again"]
    ordered = collections.OrderedDict()
    ordered["self"] = ordered
    assert save_and_read(ordered)["self"]["self"]["self"]["self"] is not None


def test_what_torch_refuses_to_load_with_weights_only(tmp_path):
    """So it does when torch.save wrote it."""
    pair = ([], X)
    pair[0].append(pair)
    ptio.save({"pair": pair}, tmp_path / "x.pt")
    loaded = ptio.load(tmp_path / "x.pt")
    assert loaded["pair"][0][0] is loaded["pair"]


def test_no_bytes_at_all(save_and_read):
    """torch.save writes bytes(), which torch.load refuses with weights_only."""
    assert save_and_read([b"", b"x", b""]) == [b"", b"x", b""]


def test_deep_objects(tmp_path):
    obj = X
    for _ in range(300):
        obj = [obj]
    ptio.save(obj, tmp_path / "x.pt")
    for _ in range(100_000):
        obj = [obj]
    with pytest.raises(RecursionError):
        ptio.save(obj, tmp_path / "y.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["x.pt"]
    while isinstance(obj, list):  # freed one by one
        obj = obj[0]


def test_equal_objects_give_equal_files(tmp_path):
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        ptio.save({"w": X.copy(), "n": [1, 2]}, folder / "model.pt")
    files = [(tmp_path / str(number) / "model.pt").read_bytes() for number in range(2)]
    assert files[0] == files[1]


def test_thousands_of_views(save_and_read):
    x = np.arange(5_000)
    loaded = save_and_read({"views": [x[i : i + 1] for i in range(5_000)], "x": x})
    assert np.shares_memory(loaded["views"][17], loaded["x"])


# Tensors that NumPy has no arrays for


def raw(name, shape, stride, data):
    return ptio.RawTensor(ptio.TorchDtype(name), shape, stride, data)


@pytest.mark.parametrize("name", ["complex32", "bits8", "bits16", "float4_e2m1fn_x2", "bits2x4"])
def test_raw_tensors(save_and_read, name):
    data = np.arange(48, dtype=np.uint8)
    save_and_read([raw(name, (2, 3), (3, 1), data[:24]), raw(name, (3, 2), (1, 3), data[24:])])
    loaded = save_and_read({"a": raw(name, (4,), (1,), data), "b": raw(name, (2,), (2,), data)})
    assert np.shares_memory(loaded["a"].data, loaded["b"].data)
    assert loaded["a"].data.nbytes <= 16  # no more than its elements
    save_and_read([raw(name, (0, 3), (3, 1), data[:0]), raw(name, (), (), data)])


@pytest.mark.parametrize("dtype", [ptio.TorchDtype("complex32"), np.dtype("f4")])
def test_tensors_without_data(save_and_read, dtype):
    loaded = save_and_read([ptio.RawTensor(dtype, (2, 3), (3, 1), None)])
    assert loaded[0].data is None
    assert loaded[0].shape == (2, 3)


def sparse(layout, shape, values, **parts):
    arrays = {name: np.array(part) for name, part in parts.items() if name != "is_coalesced"}
    values = np.array(values, "f4")
    flag = parts.get("is_coalesced")
    return ptio.SparseTensor(f"torch.sparse_{layout}", shape, values, is_coalesced=flag, **arrays)


SPARSE = [
    sparse("coo", (2, 3), [1, 2], indices=[[0, 1], [2, 0]]),
    sparse("coo", (2, 3), [1, 2], indices=[[0, 1], [2, 0]], is_coalesced=True),
    sparse("coo", (2, 3), [1, 2], indices=[[1, 1], [2, 2]], is_coalesced=False),
    sparse("csr", (2, 3), [1, 2], crow_indices=[0, 1, 2], col_indices=[2, 0]),
    sparse("csc", (2, 3), [1, 2], ccol_indices=[0, 1, 1, 2], row_indices=[1, 0]),
    sparse("bsr", (2, 4), [[[1, 2], [3, 4]]], crow_indices=[0, 1], col_indices=[1]),
    sparse("bsc", (2, 4), [[[1, 2], [3, 4]]], ccol_indices=[0, 1, 1], row_indices=[0]),
]


def test_sparse_tensors(save_and_read):
    loaded = save_and_read(SPARSE)
    assert [one.is_coalesced for one in loaded[:3]] == [None, True, False]


def test_quantized_tensors(save_and_read):
    x = np.arange(-6, 6, dtype="i1").reshape(3, 4)
    affine, channels = "torch.per_tensor_affine", "torch.per_channel_affine"
    scales, points = np.array([0.1, 0.2, 0.3]), np.array([0, 1, 2])
    loaded = save_and_read(
        {
            "int8": ptio.QuantizedTensor(x, "qint8", affine, 0.5, 3),
            "transposed": ptio.QuantizedTensor(x.T, "qint8", affine, 0.5, 3),
            "part": ptio.QuantizedTensor(x[1:, :2].copy(), "qint8", affine, 0.25, -1),
            "plain": x[:],
            "uint8": ptio.QuantizedTensor(x.view("u1"), "quint8", affine, 0.5, 3),
            "int32": ptio.QuantizedTensor(x.astype("i4"), "qint32", affine, 0.5, 3),
            "channels": ptio.QuantizedTensor(x, "qint8", channels, scales, points, 0),
        }
    )
    assert np.shares_memory(loaded["int8"].int_repr, loaded["transposed"].int_repr)
    assert not np.shares_memory(loaded["int8"].int_repr, loaded["plain"])
    assert loaded["int8"].dequantize().tolist() == ((x - 3.0) * 0.5).tolist()


@pytest.mark.parametrize(("name", "nbytes"), [("quint4x2", 8), ("quint2x4", 4)])
def test_packed_quantized_tensors(tmp_path, name, nbytes, save_and_read):
    data = np.arange(nbytes + 10, dtype="u1")
    scheme = "torch.per_channel_affine_float_qparams"
    scale, zero_point = np.ones(3, "f4"), np.zeros(3, "f4")
    packed = raw(name, (3, 5), (5, 1), data)
    ptio.save(ptio.QuantizedTensor(packed, name, scheme, scale, zero_point, 0), tmp_path / "q.pt")
    loaded = ptio.load(tmp_path / "q.pt")
    assert (loaded.int_repr.shape, loaded.int_repr.stride) == ((3, 5), (5, 1))
    assert loaded.int_repr.data.tolist() == data[:nbytes].tolist()


def test_nested_tensors(save_and_read):
    values = np.arange(18, dtype="f4")
    sizes, strides = np.array([[2, 3], [4, 3]]), np.array([[3, 1], [3, 1]])
    strided = ptio.NestedTensor("torch.strided", values, np.array([0, 6]), sizes, strides)
    rows, offsets = values.reshape(6, 3), np.array([0, 2, 6])
    jagged = ptio.NestedTensor("torch.jagged", rows, offsets, ragged_dim=1)
    holes = ptio.NestedTensor(
        "torch.jagged", rows.copy(), np.array([0, 2, 6]), lengths=np.array([1, 3]), ragged_dim=1
    )
    loaded = save_and_read([strided, jagged, holes])
    assert [part.shape for part in loaded[0].unbind()] == [(2, 3), (4, 3)]
    assert [part.shape for part in loaded[2].unbind()] == [(1, 3), (3, 3)]
    assert np.shares_memory(loaded[0].values, loaded[1].values)
