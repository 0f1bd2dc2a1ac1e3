# SPDX-License-Identifier: Apache-2.0
"""Parts of tensors: which bytes of a storage a basic index asks for, and where they go."""

from __future__ import annotations

import ctypes
import operator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ptio._dtypes import item_bytes, numpy_dtype

if TYPE_CHECKING:
    from ptio._core import TensorInfo


def basic_index(index: Any) -> tuple[Any, ...]:
    """`index` as a tuple of ints, slices, ... and None; TypeError for anything else."""
    parts = index if isinstance(index, tuple) else (index,)
    return tuple(_part(part) for part in parts)


def _part(part: Any) -> Any:
    if part is None or part is Ellipsis or isinstance(part, slice):
        return part
    if not isinstance(part, (bool, np.bool_)):
        try:
            return operator.index(part)
        except TypeError:
            pass
    raise TypeError(
        "a slice takes ints, slices, ... and None; for other indices read the whole tensor: "
        "get_tensor(name)[index]"
    )


class Region:
    """The elements of a tensor that an index selects.

    Attributes:
        begin: bytes of the storage before the first of them.
        shape: of the result.
        strides: of them in the storage, in bytes.
        is_scalar: NumPy would return an element rather than an array.
    """

    def __init__(
        self,
        item: int,
        begin: int,
        shape: tuple[int, ...],
        stride: tuple[int, ...],
        index: tuple[Any, ...],
    ) -> None:
        # NumPy does the arithmetic of indices, on an array that is never read.
        strides = tuple(step * item for step in stride)
        whole = as_strided(np.empty((), f"V{item}"), shape, strides)
        dots = () if Ellipsis in index else (Ellipsis,)
        part = whole[index + dots]
        self.shape = part.shape
        self.strides = part.strides
        self.begin = begin + _address(part) - _address(whole)
        self.is_scalar = not self.shape and bool(dots) and bool(index)


def _address(array: np.ndarray[Any, Any]) -> int:
    return int(array.__array_interface__["data"][0])


def memory_of(out: Any, info: TensorInfo) -> np.ndarray[Any, Any] | None:
    """The memory of an array, tensor or buffer as an array with the tensor's shape, whose elements
    are bytes; None for a tensor of torch that is not on the CPU.

    Raises:
        TypeError, ValueError: `out` cannot hold the tensor; says what it has to be.
    """
    item = item_bytes(info.dtype)
    if isinstance(out, np.ndarray):
        _require_same(out.dtype == numpy_dtype(info.dtype), out.dtype, out.shape, info)
        if not out.flags.writeable:
            raise ValueError("the array is read-only")
        return out.view(f"V{item}")
    if hasattr(out, "untyped_storage"):
        same = str(out.dtype) == f"torch.{info.dtype}"
        _require_same(same, out.dtype, tuple(out.shape), info)
        return _memory_of_tensor(out, item)
    view = memoryview(out)
    if view.readonly or not view.c_contiguous or view.nbytes != info.nbytes:
        raise ValueError(
            f"the buffer must be writable, contiguous and of {info.nbytes} bytes, "
            f"this one has {view.nbytes}"
        )
    return np.frombuffer(view, f"V{item}").reshape(info.shape)


def _require_same(same_dtype: bool, dtype: Any, shape: tuple[int, ...], info: TensorInfo) -> None:
    if not same_dtype:
        raise TypeError(f"the tensor has dtype {info.dtype}, the target {dtype}")
    if tuple(shape) != tuple(info.shape):
        raise ValueError(f"the tensor has shape {info.shape}, the target {tuple(shape)}")


def _memory_of_tensor(tensor: Any, item: int) -> np.ndarray[Any, Any] | None:
    if tensor.device.type != "cpu" or tensor.is_conj() or tensor.is_neg():
        return None
    storage = tensor.untyped_storage()
    memory = (ctypes.c_char * storage.nbytes()).from_address(storage.data_ptr())
    elements = np.frombuffer(memory, f"V{item}", count=storage.nbytes() // item)
    strides = tuple(step * item for step in tensor.stride())
    return as_strided(elements[tensor.storage_offset() :], tuple(tensor.shape), strides)
