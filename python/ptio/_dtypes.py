# SPDX-License-Identifier: Apache-2.0
"""torch's names of dtypes, and what NumPy and ml_dtypes call them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ptio._core import dtypes
from ptio._types import TorchDtype


@lru_cache(maxsize=1)
def _rows() -> dict[str, tuple[int, str]]:
    return {name: (item_bytes, numpy_name) for name, item_bytes, _, numpy_name in dtypes()}


def item_bytes(name: str) -> int:
    """Bytes of an element of torch.<name> (of a pack of elements, where they are packed)."""
    return _rows()[name][0]


@lru_cache(maxsize=64)
def numpy_dtype(name: str) -> np.dtype[Any] | TorchDtype:
    """What arrays of torch.<name> have as their dtype; a TorchDtype where NumPy has none."""
    numpy_name = _rows()[name][1]
    if not numpy_name:
        return TorchDtype(name)
    try:
        return np.dtype(numpy_name)
    except TypeError:
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, numpy_name))
