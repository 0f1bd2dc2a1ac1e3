# SPDX-License-Identifier: Apache-2.0
"""read_into: tensors copied into memory that the caller has."""

import array
import ctypes
import io
import mmap as maps
import zipfile

import numpy as np
import ptio
import pytest
from support import checkpoints

T = checkpoints.tensor
WEIGHT = np.arange(12, dtype=np.float32).reshape(3, 4)


def files():
    """The same tensors, stored in each way that they are read differently."""
    base = T("float32", WEIGHT)
    obj = {"w": base, "t": checkpoints.view(base, (4, 3), (1, 4))}
    obj |= {"part": checkpoints.view(base, (2, 2), (4, 1), 5), "s": T("float32", 7.0)}
    obj |= {
        "wide": checkpoints.view(base, (2, 4), (0, 1), 4),
        "none": T("float32", np.ones((0, 2))),
    }
    little = checkpoints.save(obj, byteorder="little")
    swapped = {"w": T("float32", WEIGHT.byteswap().tobytes(), (3, 4))}
    swapped["t"] = checkpoints.view(swapped["w"], (4, 3), (1, 4))
    swapped["part"] = checkpoints.view(swapped["w"], (2, 2), (4, 1), 5)
    swapped["wide"] = checkpoints.view(swapped["w"], (2, 4), (0, 1), 4)
    swapped |= {"s": T("float32", np.float32(7).byteswap().tobytes(), ()), "none": obj["none"]}
    deflated = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(little)) as old,
        zipfile.ZipFile(deflated, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return {
        "stored": little,
        "swapped": checkpoints.save(swapped, byteorder="big"),
        "deflated": deflated.getvalue(),
    }


EXPECTED = {
    "w": WEIGHT,
    "t": WEIGHT.T,
    "part": WEIGHT.reshape(12)[[[5, 6], [9, 10]]],
    "wide": np.stack([WEIGHT[1], WEIGHT[1]]),
    "s": np.float32(7.0),
    "none": np.ones((0, 2), np.float32),
}
FILES = files()


@pytest.fixture(params=FILES)
def path(tmp_path, request):
    path = tmp_path / "file.pt"
    path.write_bytes(FILES[request.param])
    return path


def targets(shape):
    """Arrays of a shape, with every kind of strides."""
    yield np.full(shape, -1, np.float32)
    yield np.full(shape, -1, np.float32, order="F")
    double = [size * 2 for size in shape]
    yield np.full(double, -1, np.float32)[(..., *[slice(None, None, 2)] * len(shape))]
    yield np.full(shape, -1, np.float32)[(..., *[slice(None, None, -1)] * len(shape))]


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("verify", [None, True, False])
def test_arrays_of_any_strides(path, mmap, verify):
    with ptio.open(path, mmap=mmap, verify=verify) as ckpt:
        for name, expected in EXPECTED.items():
            for out in targets(expected.shape):
                ckpt.read_into(name, out)
                np.testing.assert_array_equal(out, expected, err_msg=name)


def test_what_is_around_the_target_stays(path):
    around = np.full((5, 8), -1, np.float32)
    with ptio.open(path) as ckpt:
        ckpt.read_into("w", around[1:4, 2:6])
    np.testing.assert_array_equal(around[1:4, 2:6], WEIGHT)
    around[1:4, 2:6] = -1
    assert (around == -1).all()


def test_buffers(path, tmp_path):
    with open(tmp_path / "buffer", "w+b") as file:
        file.truncate(48)
        with maps.mmap(file.fileno(), 48) as mapped:
            buffers = [
                bytearray(48),
                array.array("f", [0] * 12),
                array.array("B", [0] * 48),
                mapped,
                (ctypes.c_float * 12)(),
                ((ctypes.c_float * 4) * 3)(),
                memoryview(bytearray(60))[6:54],
            ]
            with ptio.open(path) as ckpt:
                for buffer in buffers:
                    ckpt.read_into("w", buffer)
                    assert bytes(buffer) == WEIGHT.tobytes()
                ckpt.read_into("none", bytearray())
                ckpt.read_into("t", buffers[0])
                assert bytes(buffers[0]) == WEIGHT.T.tobytes()


def test_subclasses_of_arrays(path, tmp_path):
    out = np.memmap(tmp_path / "out", np.float32, "w+", shape=(3, 4))
    with ptio.open(path) as ckpt:
        ckpt.read_into("w", out)
        ckpt.read_into("w", out.view(np.matrix))
    np.testing.assert_array_equal(out, WEIGHT)


def test_targets_that_do_not_fit(path):
    read_only = np.empty((3, 4), np.float32)
    read_only.flags.writeable = False
    same_memory = np.lib.stride_tricks.as_strided(np.empty(4, np.float32), (3, 4), (0, 4))
    cases = [
        (np.empty((3, 4), np.float64), TypeError, "dtype float32, the target float64"),
        (np.empty((3, 4), ">f4"), TypeError, "dtype float32, the target >f4"),
        (np.empty((4, 3), np.float32), ValueError, r"shape \(3, 4\), the target \(4, 3\)"),
        (read_only, ValueError, "read-only"),
        (same_memory, ValueError, "the same memory"),
        (b"x" * 48, ValueError, "read-only"),
        (bytearray(47), ValueError, "of 48 bytes; it has 47"),
        (memoryview(bytearray(96))[::2], ValueError, "contiguous"),
        ([0.0] * 12, TypeError, "a NumPy array, a torch tensor or a writable buffer, not 'list'"),
        (None, TypeError, "not 'NoneType'"),
    ]
    with ptio.open(path) as ckpt:
        for out, error, message in cases:
            with pytest.raises(error, match=message):
                ckpt.read_into("w", out)


def test_a_checksum_is_checked_where_all_of_a_storage_is_read(tmp_path):
    data = bytearray(FILES["stored"])
    data[data.index(WEIGHT.tobytes()) + 5] ^= 1
    path = tmp_path / "damaged.pt"
    path.write_bytes(data)
    out, part = np.empty((3, 4), np.float32), np.empty((2, 2), np.float32)
    with ptio.open(path) as ckpt:
        with pytest.raises(ptio.ChecksumError, match=r"damaged\.pt"):
            ckpt.read_into("w", out)
        ckpt.read_into("part", part)
    with ptio.open(path, verify=True) as ckpt, pytest.raises(ptio.ChecksumError):
        ckpt.read_into("part", part)
    with ptio.open(path, verify=False) as ckpt:
        ckpt.read_into("w", out)


def test_a_large_tensor_by_several_threads(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, 33 << 20, np.uint8)
    path = tmp_path / "large.pt"
    path.write_bytes(checkpoints.save({"w": T("uint8", values)}))
    out = np.empty_like(values)
    for threads in (1, 4):
        with ptio.open(path, threads=threads) as ckpt:
            out[:] = 0
            ckpt.read_into("w", out)
            assert (out == values).all()


# --- torch


def test_torch_tensors_of_any_strides(path, torch):
    with ptio.open(path) as ckpt:
        for name, expected in EXPECTED.items():
            for like in targets(expected.shape):
                if any(step < 0 for step in like.strides):
                    continue
                out = torch.from_numpy(like) if like.ndim else torch.tensor(-1.0)
                ckpt.read_into(name, out)
                np.testing.assert_array_equal(out.numpy(), expected, err_msg=name)


def test_parameters_are_written_to_without_a_gradient(path, torch):
    parameter = torch.nn.Parameter(torch.zeros(3, 4))
    used = (parameter * parameter).sum()
    version = parameter._version
    with ptio.open(path) as ckpt:
        ckpt.read_into("w", parameter)
        ckpt.read_into("w", parameter.data)
        ckpt.read_into("t", parameter.detach().T)
    np.testing.assert_array_equal(parameter.detach().numpy(), WEIGHT)
    assert parameter.requires_grad
    assert parameter._version > version
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        used.backward()


def test_torch_targets_that_only_torch_can_write_to(path, torch):
    conj = torch.zeros(3, dtype=torch.complex64)
    file = io.BytesIO(checkpoints.save({"c": T("complex64", [1j, 2, 3 - 1j])}))
    with ptio.open(file) as ckpt:
        ckpt.read_into("c", conj.conj())
    assert conj.tolist() == [-1j, 2, 3 + 1j]
    with ptio.open(path, framework="pt", device="meta") as ckpt:
        ckpt.read_into("w", out := torch.zeros(3, 4))
        np.testing.assert_array_equal(out.numpy(), WEIGHT)
        ckpt.read_into("w", torch.empty(3, 4, device="meta"))
        with torch.inference_mode():
            inferred = torch.zeros(3, 4)
        ckpt.read_into("w", inferred)
        np.testing.assert_array_equal(inferred.numpy(), WEIGHT)


def test_torch_targets_that_do_not_fit(path, torch):
    with ptio.open(path) as ckpt:
        with pytest.raises(TypeError, match=r"dtype float32, the target torch\.float64"):
            ckpt.read_into("w", torch.zeros(3, 4, dtype=torch.float64))
        with pytest.raises(ValueError, match=r"the target \(12,\)"):
            ckpt.read_into("w", torch.zeros(12))
        with pytest.raises(ValueError, match="the same memory"):
            ckpt.read_into("w", torch.zeros(4).expand(3, 4))


def test_every_dtype_into_torch(tmp_path, torch):
    path = tmp_path / "dtypes.pt"
    obj = {}
    for name in checkpoints.ITEMSIZE:
        dtype = getattr(torch, name)
        size = 4 * dtype.itemsize
        obj[name] = torch.arange(size, dtype=torch.uint8).remainder(2).view(dtype)
    torch.save(obj, path)
    with ptio.open(path) as ckpt:
        for name, value in obj.items():
            out = torch.zeros(4 * value.dtype.itemsize, dtype=torch.uint8).view(value.dtype)
            ckpt.read_into(name, out)
            assert torch.equal(out.view(torch.uint8), value.view(torch.uint8)), name
            raw = bytearray(value.nbytes)
            ckpt.read_into(name, raw)
            assert bytes(raw) == bytes(value.view(torch.uint8).tolist()), name


def test_onto_a_gpu(path, torch):
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    out = torch.zeros(4, 3, device="cuda").T
    with ptio.open(path) as ckpt:
        ckpt.read_into("w", out)
    np.testing.assert_array_equal(out.cpu().numpy(), WEIGHT)
