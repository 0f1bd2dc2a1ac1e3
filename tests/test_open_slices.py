# SPDX-License-Identifier: Apache-2.0
"""Slices of an open checkpoint: what NumPy's and torch's indexing of the whole tensor give."""

import io
import sys
import zipfile

import numpy as np
import ptio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import checkpoints

T = checkpoints.tensor
DTYPES = ["float32", "float64", "int64", "int8", "bool", "bfloat16", "complex64", "float8_e5m2"]


def archive(obj, *, deflated=False, byteorder=sys.byteorder):
    data = io.BytesIO(checkpoints.save(obj, byteorder=byteorder))
    if not deflated:
        return data
    out = io.BytesIO()
    with zipfile.ZipFile(data) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return io.BytesIO(out.getvalue())


@st.composite
def tensors(draw):
    """A tensor of any strides and offset over random bytes."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = tuple(draw(st.lists(st.integers(0, 5), max_size=4)))
    stride = tuple(draw(st.integers(0, 30)) for _ in shape)
    offset = draw(st.integers(0, 20))
    reach = sum((size - 1) * step for size, step in zip(shape, stride, strict=True) if size)
    count = offset + max(reach, 0) + 1 + draw(st.integers(0, 5))
    seed = draw(st.integers(0, 2**16))
    high = 2 if dtype == "bool" else 256
    data = np.random.default_rng(seed).integers(0, high, count * checkpoints.ITEMSIZE[dtype])
    return checkpoints.Tensor(
        checkpoints.Storage(dtype, data.astype(np.uint8).tobytes()), shape, stride, offset
    )


def indices(shape, negative_steps=True):
    """Any basic index that fits."""

    def one(size):
        bound = st.none() | st.integers(-size - 2, size + 2)
        steps = st.none() | st.integers(1, 4)
        if negative_steps:
            steps |= st.integers(-4, -1)
        slices = st.builds(slice, bound, bound, steps)
        return slices | st.integers(-size, size - 1) if size else slices

    @st.composite
    def index(draw):
        used = draw(st.integers(0, len(shape)))
        front = draw(st.integers(0, used))
        parts = [draw(one(size)) for size in shape[:front]]
        behind = used - front
        if behind:
            parts += [Ellipsis, *(draw(one(size)) for size in shape[len(shape) - behind :])]
        elif draw(st.booleans()):
            parts.append(Ellipsis)
        for _ in range(draw(st.integers(0, 2))):
            parts.insert(draw(st.integers(0, len(parts))), None)
        if len(parts) == 1 and draw(st.booleans()):
            return parts[0]
        return tuple(parts)

    return index()


def same(one, other):
    assert type(one) is type(other)
    assert one.dtype == other.dtype
    assert one.shape == other.shape
    assert one.tobytes() == other.tobytes()


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_slices_are_numpys(data):
    tensor = data.draw(tensors())
    index = data.draw(indices(tensor.shape))
    deflated = data.draw(st.booleans())
    byteorder = data.draw(st.sampled_from(["little", "big"]))
    file = archive({"t": tensor}, deflated=deflated, byteorder=byteorder)
    whole = ptio.load(file)["t"]
    file.seek(0)
    with ptio.open(file) as ckpt:
        same(ckpt.get_slice("t")[index], whole[index])
        same(ckpt["t"], whole)
        assert ckpt["t"].strides == whole.strides


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_slices_of_mapped_files_are_numpys(data, tmp_path_factory):
    tensor = data.draw(tensors())
    index = data.draw(indices(tensor.shape))
    byteorder = data.draw(st.sampled_from(["little", "big"]))
    path = tmp_path_factory.mktemp("slices") / "t.pt"
    path.write_bytes(archive({"t": tensor}, byteorder=byteorder).getvalue())
    whole = ptio.load(path)["t"]
    for mmap in (True, False):
        with ptio.open(path, mmap=mmap) as ckpt:
            same(ckpt.get_slice("t")[index], whole[index])


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_slices_for_torch_are_torchs(data, torch):
    tensor = data.draw(tensors())
    index = data.draw(indices(tensor.shape, negative_steps=False))
    byteorder = data.draw(st.sampled_from(["little", "big"]))
    file = archive({"t": tensor}, byteorder=byteorder)
    whole = torch.load(file)["t"]
    file.seek(0)
    with ptio.open(file, framework="pt") as ckpt:
        part, expected = ckpt.get_slice("t")[index], whole[index]
        assert (part.dtype, part.shape) == (expected.dtype, expected.shape)
        assert _bytes(torch, part) == _bytes(torch, expected)
        found = ckpt["t"]
        assert found.stride() == whole.stride()
        assert _bytes(torch, found) == _bytes(torch, whole)


def _bytes(torch, tensor):
    if tensor.numel() == 0:
        return b""
    copy = torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor)
    return copy.flatten().view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("conj", [False, True])
@pytest.mark.parametrize("neg", [False, True])
@pytest.mark.parametrize("mmap", [False, True])
def test_conjugated_and_negated_tensors(tmp_path, torch, conj, neg, mmap):
    base = torch.randn(6, 5, dtype=torch.complex64)
    value = base.conj() if conj else base
    value = torch._neg_view(value) if neg else value
    path = tmp_path / "bits.pt"
    torch.save({"t": value, "part": value[1:3, ::2], "big": base}, path)
    expected = value.resolve_conj().resolve_neg()
    with ptio.open(path, mmap=mmap) as ckpt:
        np.testing.assert_array_equal(ckpt.get_slice("t")[1:4, ::2], expected[1:4, ::2].numpy())
        np.testing.assert_array_equal(ckpt["part"], expected[1:3, ::2].numpy())
        assert ckpt.get_slice("t")[2, 3] == expected[2, 3].numpy()
    with ptio.open(path, framework="pt", mmap=mmap) as ckpt:
        part = ckpt.get_slice("t")[1:4, ::2]
        assert torch.equal(part, expected[1:4, ::2])
        assert (part.is_conj(), part.is_neg()) == (conj, neg)
        assert torch.equal(ckpt["part"], expected[1:3, ::2])
        assert (ckpt["part"].is_conj(), ckpt["part"].is_neg()) == (conj, neg)


def test_indices_that_are_wrong():
    file = archive({"t": T("float32", np.ones((2, 3))), "s": T("float32", 1.0)})
    with ptio.open(file) as ckpt:
        part = ckpt.get_slice("t")
        for index, message in [
            (2, "index 2 is out of bounds for dimension 0 with size 2"),
            (-3, "index -3 is out of bounds for dimension 0 with size 2"),
            ((0, 3), "index 3 is out of bounds for dimension 1 with size 3"),
            ((0, 0, 0), "too many indices: the tensor has 2 dimensions, not 3"),
            ((..., ...), "single ellipsis"),
            ("x", "only integers"),
            (1.5, "only integers"),
        ]:
            with pytest.raises(IndexError, match=message):
                part[index]
        with pytest.raises(ValueError, match="step cannot be zero"):
            part[::0]
        with pytest.raises(TypeError, match="no length"):
            len(ckpt.get_slice("s"))
        assert part[np.int64(1), np.array(2)] == 1
        assert ckpt.get_slice("s")[()] == 1
        assert type(ckpt.get_slice("s")[()]) is np.float32
        assert type(ckpt.get_slice("s")[...]) is np.ndarray


def test_other_indices_are_applied_to_the_whole():
    array = np.arange(12.0).reshape(3, 4)
    with ptio.open(archive({"t": T("float64", array)})) as ckpt:
        part = ckpt.get_slice("t")
        for index in ([0, 2], (slice(None), [1, 1]), array > 5, True, (0, [1, 2])):
            np.testing.assert_array_equal(part[index], array[index])


def test_steps_for_torch_are_positive(tmp_path, torch):
    path = tmp_path / "t.pt"
    torch.save({"t": torch.arange(5)}, path)
    for mmap in (True, False):
        with (
            ptio.open(path, framework="torch", mmap=mmap) as ckpt,
            pytest.raises(ValueError, match="step must be greater than zero"),
        ):
            ckpt.get_slice("t")[::-1]


def test_what_has_no_slices(tmp_path, torch):
    path = tmp_path / "kinds.pt"
    obj = {
        "sparse": torch.eye(3).to_sparse(),
        "nested": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        "raw": torch.empty(3, device="meta"),
        "half": torch.zeros(3, dtype=torch.complex32),
    }
    torch.save(obj, path)
    for mmap in (True, False):
        with ptio.open(path, mmap=mmap) as ckpt:
            for name in ("sparse", "nested", "raw"):
                with pytest.raises(TypeError, match=f"a {name} tensor has no slices"):
                    ckpt.get_slice(name)[0]
                with pytest.raises(TypeError, match=f"a {name} tensor has no elements"):
                    ckpt.read_into(name, np.empty(3))
            with pytest.raises(TypeError, match="NumPy has no dtype complex32"):
                ckpt.get_slice("half")[0]


def test_shapes_that_numpy_does_not_have():
    """Tensors whose bytes, sizes of 0 and repetition apart, do not fit 63 bits."""
    one = T("float32", [1.0, 2.0])
    shapes = {"empty": ((1 << 62, 0), (1, 1)), "three": ((0, 1 << 40, 1 << 40), (1, 1, 1))}
    if np.lib.NumpyVersion(np.__version__) < "2.0.0":
        shapes["dims"] = ((1,) * 33, (1,) * 33)
    obj = {"one": one, **{name: checkpoints.view(one, *how) for name, how in shapes.items()}}
    with ptio.open(archive(obj)) as ckpt:
        for name, (shape, _) in shapes.items():
            assert type(ckpt[name]) is ptio.RawTensor
            assert ckpt[name].shape == shape
            with pytest.raises(TypeError, match="NumPy has no arrays of that shape"):
                ckpt.get_slice(name)[:1]


def test_a_slice_does_not_keep_what_is_around_it():
    big = T("uint8", np.arange(1 << 20) % 251)
    for deflated in (True, False):
        with ptio.open(archive({"t": big}, deflated=deflated)) as ckpt:
            part = ckpt.get_slice("t")[5:9]
            assert part.tolist() == [5, 6, 7, 8]
            assert part.base is None or part.base.nbytes == 4


def test_repeated_elements_are_read_once():
    one = T("float32", np.arange(3.0))
    large = 1 << (40 if sys.maxsize > 1 << 32 else 26)
    wide = checkpoints.view(one, (large, 3), (0, 1))
    with ptio.open(archive({"one": one, "t": wide})) as ckpt:
        part = ckpt.get_slice("t")[: large // 2, 1:]
        assert part.shape == (large // 2, 2)
        assert part[large // 4].tolist() == [1, 2]
        assert ckpt["t"].shape == (large, 3)


@pytest.mark.parametrize("shape", [(0, 1 << 62, 1 << 62), (0, sys.maxsize, 2)])
def test_shapes_that_numpy_has_not(shape):
    t = checkpoints.view(T("float32", np.zeros(1)), shape, (0,) * len(shape))
    with ptio.open(archive({"t": t})) as ckpt:
        assert isinstance(ckpt["t"], ptio.RawTensor)
        with pytest.raises(TypeError, match="NumPy has no arrays of that shape"):
            ckpt.get_slice("t")[0]


def test_large_slices_by_several_threads():
    array = np.random.default_rng(0).integers(0, 256, (3000, 10_000), np.uint8)
    with ptio.open(archive({"t": T("uint8", array)}), threads=4) as ckpt:
        part = ckpt.get_slice("t")
        np.testing.assert_array_equal(part[100:2900], array[100:2900])
        np.testing.assert_array_equal(part[:, 7:9000], array[:, 7:9000])
        np.testing.assert_array_equal(part[::-1, ::3], array[::-1, ::3])
