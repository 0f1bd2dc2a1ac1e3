# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint holds beyond plain Python objects and NumPy arrays, as plain data.

The C extension makes these objects; what they say about bytes has been proven by then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ptio._types.nested import NestedTensor
from ptio._types.opaque import Opaque, make_call
from ptio._types.quantized import QuantizedTensor
from ptio._types.sparse import SparseTensor

__all__ = [
    "NestedTensor",
    "Opaque",
    "QuantizedTensor",
    "RawTensor",
    "SparseTensor",
    "TorchDtype",
    "make_call",
]


@dataclass(frozen=True)
class TorchDtype:
    """A dtype of torch that NumPy has no equal of, e.g. torch.complex32.

    Attributes:
        name: torch's name without "torch.".
    """

    name: str

    def __repr__(self) -> str:
        return f"torch.{self.name}"


@dataclass(eq=False)
class RawTensor:
    """A tensor that NumPy cannot express (complex32, bits*, packed sub-byte), or without data.

    Attributes:
        dtype: a `TorchDtype`, or a numpy.dtype.
        shape: as in torch.
        stride: in elements, as in torch.
        data: one-dimensional uint8 array that begins at the tensor's first element; None for a
            tensor on torch's "meta" device, which has no data.
    """

    dtype: TorchDtype | np.dtype[Any]
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    data: np.ndarray[Any, Any] | None

    def __repr__(self) -> str:
        data = "no data" if self.data is None else f"{self.data.nbytes} bytes"
        return f"RawTensor({self.dtype}, shape={self.shape}, stride={self.stride}, {data})"
