# SPDX-License-Identifier: Apache-2.0
"""A tensor that is made when its turn to be written comes."""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ptio._save.array_plan import contiguous_pieces


class Deferred:
    """Stands for an array in `ptio.save`: produce() is called when it is written, in order.

    At most one produced array is alive at a time, so saving needs memory for the largest only. The
    file is what it would be with the arrays themselves.

    Args:
        shape: of the array.
        dtype: of the array: anything numpy.dtype takes, or an ml_dtypes type.
        produce: callable() -> array of exactly this shape and dtype.
    """

    def __init__(self, shape: Any, dtype: Any, produce: Callable[[], Any]) -> None:
        self.shape: tuple[int, ...] = tuple(operator.index(n) for n in shape)
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.produce = produce
        if any(n < 0 for n in self.shape):
            raise ValueError(f"a shape cannot be negative: {self.shape}")
        if math.prod(max(n, 1) for n in self.shape) * self.dtype.itemsize > sys.maxsize:
            raise ValueError(f"no memory holds a {self.dtype} array of shape {self.shape}")
        if not callable(produce):
            raise TypeError(f"produce must be callable, not {produce!r}")

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __repr__(self) -> str:
        return f"Deferred({self.shape}, {self.dtype})"

    def pieces(self) -> Iterator[np.ndarray[Any, Any]]:
        """The produced array, checked, as bytes to write."""
        made = np.asanyarray(self.produce())
        if isinstance(made, np.ma.MaskedArray):
            raise TypeError("produce() returned a masked array, which torch does not have")
        if made.shape != self.shape or made.dtype != self.dtype:
            raise ValueError(
                f"produce() returned an array of shape {made.shape} and dtype {made.dtype}, "
                f"promised were {self.shape} and {self.dtype}"
            )
        yield from contiguous_pieces(np.ndarray.view(made, np.ndarray))
