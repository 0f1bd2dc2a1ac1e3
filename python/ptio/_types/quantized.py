# SPDX-License-Identifier: Apache-2.0
"""Quantized tensors of torch."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from ptio._errors import UnsupportedError
from ptio._types.arrays import Array, check, distinct, require_array, require_budget


@dataclass(eq=False)
class QuantizedTensor:
    """A quantized tensor: integers, and what they stand for.

    Attributes:
        int_repr: the stored integers (uint8, int8 or int32) with the shape and strides of the
            tensor; for types of less than 8 bits a `RawTensor`.
        dtype: torch's name, e.g. "quint8".
        qscheme: torch's name, e.g. "per_tensor_affine".
        scale, zero_point: numbers; for the per-channel schemes one-dimensional arrays with an
            entry for each channel.
        axis: the dimension of the channels; None for a per-tensor scheme.
    """

    int_repr: Any
    dtype: str
    qscheme: str
    scale: float | Array
    zero_point: int | Array
    axis: int | None = None

    @classmethod
    def _from_rebuild(
        cls, int_repr: Any, dtype: str, qscheme: str, scale: Any, zero_point: Any, axis: int | None
    ) -> QuantizedTensor:
        """From the arguments of torch._utils._rebuild_qtensor, which it proves."""
        if axis is None:
            check(isfinite(scale), f"the scale {scale!r} of a quantized tensor is not finite")
        else:
            shape = int_repr.shape
            check(0 <= axis < len(shape), f"channel axis {axis} of a quantized tensor {shape}")
            _check_channels(scale, "scales", shape[axis])
            _check_channels(zero_point, "zero points", shape[axis])
        return cls(int_repr, dtype, qscheme, scale, zero_point, axis)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return tuple(self.int_repr.shape)

    def dequantize(self, *, max_bytes: int = 2**30) -> Array:
        """The values (int_repr - zero_point) * scale as a float32 array.

        Raises:
            LimitError: the array would be larger than `max_bytes`.
            UnsupportedError: the type has less than 8 bits.
        """
        if not isinstance(self.int_repr, np.ndarray):
            raise UnsupportedError(f"dequantize of {self.dtype} is not supported")
        require_budget(self.int_repr.size * 4, max_bytes, "the float32 array")
        # Where torch rounds differs between the two families; so it does here.
        if self.axis is None:
            whole = self.int_repr.astype(np.int64) - np.int64(self.zero_point)
            values: Array = whole.astype(np.float32) * np.float32(self.scale)
            return values
        along = [1] * self.int_repr.ndim
        along[self.axis] = -1
        scale = np.reshape(self.scale, along)
        zero_point = np.reshape(self.zero_point, along).astype(np.float32)
        values = (self.int_repr.astype(np.float32) - zero_point) * scale
        return values.astype(np.float32)


def _check_channels(values: Any, what: str, channels: int) -> None:
    array = require_array(values, f"{what} of a quantized tensor")
    check(
        array.shape == (channels,),
        f"{what} of shape {array.shape} for the {channels} channels of a quantized tensor",
    )
    known = distinct(array)
    check(np.isfinite(known).all(), f"{what} of a quantized tensor are not finite")
