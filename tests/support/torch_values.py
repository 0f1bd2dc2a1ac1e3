# SPDX-License-Identifier: Apache-2.0
"""How each kind of torch's values must look in what ptio.load returns."""

import sys

import numpy as np
import ptio

from . import checkpoints, tensors


def is_torch(value):
    return "torch" in sys.modules and type(value).__module__.partition(".")[0] == "torch"


def is_singleton(value):
    """Values that torch itself hands out once per process, or wraps anew at each reference."""
    if not is_torch(value):
        return False
    import torch

    kinds = (torch.dtype, torch.device, torch.layout, torch.qscheme)
    return isinstance(value, (*kinds, torch.storage.TypedStorage, torch.storage.UntypedStorage))


def compare(walk, ours, theirs, path):
    import torch

    if isinstance(theirs, torch.Tensor):
        _tensor(walk, ours, theirs, path)
    elif isinstance(theirs, torch.storage.TypedStorage | torch.storage.UntypedStorage):
        dtype = getattr(theirs, "dtype", torch.uint8)
        whole = torch.empty(0, dtype=dtype).set_(theirs)
        walk.tensor(ours, tensors.of_torch(whole), path)
    elif isinstance(theirs, torch.Size):
        assert type(ours) is tuple, path
        assert ours == tuple(theirs), path
    elif isinstance(theirs, torch.dtype):
        compare_dtype(ours, str(theirs).removeprefix("torch."), path)
    elif isinstance(theirs, torch.device | torch.layout | torch.qscheme):
        assert type(ours) is str, f"{path}: {type(ours)}"
        assert ours == str(theirs), path
    else:
        raise AssertionError(f"{path}: no rule to compare {type(theirs)}")


def compare_dtype(ours, name, path):
    known = name in checkpoints.ITEMSIZE and name not in checkpoints.RAW
    if known:
        assert isinstance(ours, np.dtype), f"{path}: {type(ours)}"
        assert ours == checkpoints.numpy_dtype(name), path
    else:
        assert type(ours) is ptio.TorchDtype, f"{path}: {type(ours)}"
        assert ours.name == name, path


def _tensor(walk, ours, theirs, path):
    import torch

    if theirs.is_nested:
        _nested(ours, theirs, path)
    elif theirs.is_quantized:
        _quantized(ours, theirs, path)
    elif theirs.layout is not torch.strided:
        _sparse(ours, theirs, path)
    else:
        walk.tensor(ours, tensors.of_torch(theirs), path)


def same_values(ours, theirs):
    """A plain array against a plain tensor: dtype, shape and values."""
    expected = tensors.of_torch(theirs)
    assert ours.dtype == checkpoints.numpy_dtype(expected.dtype)
    assert ours.shape == expected.shape
    assert ours.tobytes() == expected.data


def _sparse(ours, theirs, path):
    assert type(ours) is ptio.SparseTensor, f"{path}: {type(ours)}"
    assert str(ours.layout).removeprefix("torch.") == str(theirs.layout).removeprefix("torch.")
    assert tuple(ours.shape) == tuple(theirs.shape), path
    same_values(ours.to_dense(), theirs.to_dense())


def _quantized(ours, theirs, path):
    assert type(ours) is ptio.QuantizedTensor, f"{path}: {type(ours)}"
    assert tuple(ours.shape) == tuple(theirs.shape), path
    assert tensors.dtype_name(ours.dtype) == tensors.dtype_name(theirs.dtype), path
    if str(theirs.dtype) not in ("torch.quint4x2", "torch.quint2x4"):
        same_values(ours.int_repr, theirs.int_repr())
        _close(ours.dequantize(), theirs.dequantize())
    else:
        packed = _bytes(theirs)
        assert bytes(ours.int_repr.data)[: len(packed)] == packed, f"{path}: packed values"


def _bytes(tensor):
    return bytes(tensor.untyped_storage())


def _close(ours, theirs):
    assert ours.dtype == np.float32
    assert ours.shape == tuple(theirs.shape)
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-6, atol=0)


def _nested(ours, theirs, path):
    assert type(ours) is ptio.NestedTensor, f"{path}: {type(ours)}"
    parts, expected = ours.unbind(), theirs.unbind()
    assert len(parts) == len(expected), path
    for part, wanted in zip(parts, expected, strict=True):
        same_values(part, wanted)
