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
def numpy_dtype(name: str) -> Any:
    """The numpy.dtype of arrays of torch.<name>; a TorchDtype where NumPy has none."""
    numpy_name = _rows()[name][1]
    if not numpy_name:
        return TorchDtype(name)
    try:
        return np.dtype(numpy_name)
    except TypeError:
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, numpy_name))


_SAFETENSORS = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "bool": "BOOL",
    "complex64": "C64",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e8m0fnu": "F8_E8M0",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float4_e2m1fn_x2": "F4",
}


def safetensors_name(name: str) -> str:
    """What safetensors calls torch.<name>; torch's own name where it has no such type."""
    return _SAFETENSORS.get(name, name)


def from_safetensors(name: str) -> str:
    """The other way round."""
    return next((ours for ours, theirs in _SAFETENSORS.items() if theirs == name), name)
