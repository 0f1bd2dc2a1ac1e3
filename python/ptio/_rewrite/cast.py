# SPDX-License-Identifier: Apache-2.0
"""Elements of one floating dtype as those of another, a few MiB at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ptio._types.arrays import Array
from ptio._types.dtypes import numpy_dtype

FLOATS = ("float64", "float32", "float16", "bfloat16")
_SHORT = {"fp64": "float64", "fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
_ELEMENTS = 1 << 20  # that are cast at once


class Cast:
    """Rounds to nearest, ties to even, as torch does.

    Attributes:
        dtype: torch's name of what the elements become.
        overflows: how many finite elements have become infinite so far.
    """

    def __init__(self, source: str, dtype: str) -> None:
        self.dtype = dtype
        self.overflows = 0
        self._from, self._to = numpy_dtype(source), numpy_dtype(dtype)
        self._may_overflow = _largest(self._to) < _largest(self._from)

    def pieces(self, pieces: Iterator[Array]) -> Iterator[Array]:
        """Of bytes that are elements; each piece has whole ones."""
        for piece in pieces:
            elements = piece.reshape(-1).view(self._from)
            for first in range(0, elements.size, _ELEMENTS):
                yield self.array(elements[first : first + _ELEMENTS]).view(np.uint8)

    def array(self, elements: Array) -> Array:
        with np.errstate(over="ignore", invalid="ignore"):
            result = elements.astype(self._to)
            infinite = np.count_nonzero(np.isinf(result)) if self._may_overflow else 0
            if infinite:
                self.overflows += int(infinite - np.count_nonzero(np.isinf(elements)))
        return result


def float_name(dtype: Any) -> str:
    """torch's name of a dtype to cast to: "bf16", "bfloat16", torch.bfloat16, a NumPy dtype ...

    Raises:
        ValueError: it is none of the four.
    """
    name = str(getattr(dtype, "__name__", None) or dtype).removeprefix("torch.")
    name = _SHORT.get(name, name)
    if name not in FLOATS:
        raise ValueError(f"dtype must be one of {', '.join(_SHORT)}, not {dtype!r}")
    return name


def _largest(dtype: np.dtype[Any]) -> float:
    import ml_dtypes

    return float(ml_dtypes.finfo(dtype).max)
