# SPDX-License-Identifier: Apache-2.0
"""Checks shared by the tensors that consist of several arrays (sparse, quantized, nested).

Arrays come from a file that nobody vouches for. Each is proven to lie inside its storage, but
a zero stride lets a few bytes stand for 2**60 elements: nothing here may walk over more elements
than there are bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ptio._errors import BoundsError, LimitError, UnsupportedError
from ptio._text import size

Array = np.ndarray[Any, Any]


def check(condition: Any, message: str) -> None:
    """Raises BoundsError with `message` unless `condition` holds."""
    if not condition:
        raise BoundsError(
            message, hint="the metadata does not fit the data: do not trust this file"
        )


def require_array(value: Any, what: str) -> Array:
    """`value` if it is an array of NumPy; parts that NumPy cannot express are not supported."""
    if not isinstance(value, np.ndarray):
        raise UnsupportedError(f"{what} cannot be read: NumPy has no such array")
    return value


def index_array(value: Any, what: str, ndim: int | None = None, *, expanded: bool = False) -> Array:
    """`value` if it is an array of int32 or int64 whose elements each have their own bytes.

    expanded: dimensions of stride 0 are allowed; walk over `distinct(array)` then.
    """
    array = require_array(value, what)
    check(array.dtype in (np.int64, np.int32), f"{what} must be int64 or int32, not {array.dtype}")
    if ndim is not None:
        check(array.ndim == ndim, f"{what} must have {ndim} dimensions, not {array.ndim}")
    require_own_memory(distinct(array) if expanded else array, what)
    return array


def distinct(array: Array) -> Array:
    """A view of the same values without the repetitions that zero strides make."""
    return array[tuple(slice(None if stride else 1) for stride in array.strides)]


def require_own_memory(array: Array, what: str) -> None:
    """Refuses arrays that have more elements than bytes to hold them."""
    if array.size <= 1:
        return
    if array.size * array.itemsize > memory_span(array):
        raise UnsupportedError(f"{what} overlap in memory")


def memory_span(array: Array) -> int:
    """Bytes from the first to the last that belongs to an element."""
    if array.size == 0:
        return 0
    steps = zip(array.shape, array.strides, strict=True)
    return int(sum((n - 1) * abs(step) for n, step in steps)) + array.itemsize


def require_budget(nbytes: int, max_bytes: int, what: str) -> None:
    """Raises LimitError where a result would be larger than the caller wants."""
    if nbytes > max_bytes:
        raise LimitError(
            f"{what} would take {size(nbytes)}, the limit is {size(max_bytes)}",
            hint="pass a larger max_bytes",
        )
