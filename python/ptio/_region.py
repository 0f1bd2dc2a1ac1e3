# SPDX-License-Identifier: Apache-2.0
"""Parts of tensors: which bytes of a storage a basic index asks for, and where they go."""

from __future__ import annotations

import math
import operator
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ptio._types.dtypes import item_bytes, numpy_dtype

if TYPE_CHECKING:
    from ptio._core import TensorInfo

_MAX_DIMS = 64 if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else 32


def fits_numpy(info: TensorInfo) -> bool:
    """Whether NumPy has arrays of this dtype and shape; else a RawTensor stands for them.

    NumPy multiplies all sizes but 0, whatever the strides.
    """
    if not isinstance(numpy_dtype(info.dtype), np.dtype) or len(info.shape) > _MAX_DIMS:
        return False
    return math.prod(filter(None, info.shape)) * item_bytes(info.dtype) <= sys.maxsize


def basic_index(index: Any) -> tuple[Any, ...] | None:
    """`index` as a tuple of ints, slices, ... and None; None where it has anything else."""
    parts = []
    for part in index if isinstance(index, tuple) else (index,):
        if not (part is None or part is Ellipsis or isinstance(part, slice)):
            if isinstance(part, (bool, np.bool_)) or getattr(part, "ndim", False):
                return None
            try:
                part = operator.index(part)
            except TypeError:
                return None
        parts.append(part)
    return tuple(parts)


@dataclass(frozen=True)
class Region:
    """The elements of a tensor that an index selects.

    Attributes:
        begin: elements of the storage before the first of them.
        shape: of the result.
        strides: of them in the storage, in elements.
    """

    begin: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def select(info: TensorInfo, index: tuple[Any, ...]) -> Region:
    """What NumPy's rules for basic indices select.

    Raises:
        IndexError: there is no such element or dimension.
    """
    begin, shape, strides = info.storage_offset, list[int](), list[int]()
    axis = 0
    for part in _spelled_out(index, len(info.shape)):
        if part is None:
            shape.append(1)
            strides.append(0)
            continue
        size, stride = info.shape[axis], info.stride[axis]
        if isinstance(part, slice):
            chosen = range(*part.indices(size))
            begin += chosen.start * stride if chosen else 0
            shape.append(len(chosen))
            strides.append(stride * chosen.step)
        elif -size <= part < size:
            begin += part % size * stride
        else:
            raise IndexError(f"index {part} is out of bounds for dimension {axis} with size {size}")
        axis += 1
    return Region(begin, tuple(shape), tuple(strides))


def _spelled_out(index: tuple[Any, ...], ndim: int) -> list[Any]:
    """One int or slice for each dimension, and the Nones."""
    dots = [i for i, part in enumerate(index) if part is Ellipsis]
    used = sum(part is not None and part is not Ellipsis for part in index)
    if len(dots) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    if used > ndim:
        raise IndexError(f"too many indices: the tensor has {ndim} dimensions, not {used}")
    at = dots[0] if dots else len(index)
    rest = [slice(None)] * (ndim - used)
    return [*index[:at], *rest, *index[at + 1 :]]


def span(info: TensorInfo) -> int:
    """Elements of the storage from the tensor's first to its last."""
    if 0 in info.shape:
        return 0
    return 1 + sum((size - 1) * step for size, step in zip(info.shape, info.stride, strict=True))


def is_contiguous(info: TensorInfo) -> bool:
    """Whether its elements lie as those of a C array."""
    expected = 1
    for size, stride in zip(reversed(info.shape), reversed(info.stride), strict=True):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


def memory_of(out: Any, info: TensorInfo) -> np.ndarray[Any, Any] | None:
    """The memory of an array, tensor or buffer as an array with the tensor's shape, whose elements
    are bytes; None for a tensor of torch whose memory is elsewhere, or not plain.

    Raises:
        TypeError, ValueError: `out` cannot hold the tensor; says what it has to be.
    """
    item = item_bytes(info.dtype)
    if isinstance(out, np.ndarray):
        _require_same(out.dtype == numpy_dtype(info.dtype), out.dtype, out.shape, info)
        if not out.flags.writeable:
            raise ValueError("the array is read-only")
        return _distinct(out.view(np.ndarray).view(f"V{item}"))
    if "torch" in sys.modules and isinstance(out, sys.modules["torch"].Tensor):
        same = str(out.dtype) == f"torch.{info.dtype}"
        _require_same(same, out.dtype, tuple(out.shape), info)
        from ptio.torch._handle import memory_of_tensor

        memory = memory_of_tensor(out, item)
        return None if memory is None else _distinct(memory)
    try:
        view = memoryview(out)
    except TypeError:
        raise TypeError(
            "a tensor is read into a NumPy array, a torch tensor or a writable buffer, "
            f"not {type(out).__name__!r}"
        ) from None
    if view.readonly:
        raise ValueError("the buffer is read-only")
    if not view.c_contiguous or view.nbytes != info.nbytes:
        raise ValueError(
            f"the buffer must be contiguous and of {info.nbytes} bytes; it has {view.nbytes}"
        )
    if info.nbytes == 0:
        return np.empty(info.shape, f"V{item}")
    return np.frombuffer(view, f"V{item}").reshape(info.shape)


def _require_same(same_dtype: bool, dtype: Any, shape: tuple[int, ...], info: TensorInfo) -> None:
    if not same_dtype:
        raise TypeError(f"the tensor has dtype {info.dtype}, the target {dtype}")
    if tuple(shape) != tuple(info.shape):
        raise ValueError(f"the tensor has shape {info.shape}, the target {tuple(shape)}")


def _distinct(memory: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    repeats = any(n > 1 and step == 0 for n, step in zip(memory.shape, memory.strides, strict=True))
    if repeats and memory.size > 0:
        raise ValueError("several elements of the target are the same memory")
    return memory
