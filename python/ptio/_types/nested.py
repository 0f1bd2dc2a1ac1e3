# SPDX-License-Identifier: Apache-2.0
"""Nested tensors of torch: several tensors of different shapes in one buffer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ptio._types.arrays import Array, check, index_array, require_array


@dataclass(eq=False)
class NestedTensor:
    """Several tensors that differ in shape. Each of them is inside the stored values.

    Attributes:
        layout: "torch.strided" or "torch.jagged".
        values: strided: the one-dimensional buffer; jagged: all rows one after another.
        offsets: strided: first element of each component; jagged: first row of each component,
            and the end of the last.
        sizes, strides: strided only: shape and strides, in elements, of each component.
        lengths: jagged only: number of rows of each component, or None where each reaches to
            the next one's offset.
        ragged_dim: jagged only: the dimension in which the components differ, the batch being
            dimension 0.
    """

    layout: str
    values: Array
    offsets: Array
    sizes: Array | None = None
    strides: Array | None = None
    lengths: Array | None = None
    ragged_dim: int | None = None

    @classmethod
    def _from_rebuild(cls, buffer: Any, sizes: Any, strides: Any, offsets: Any) -> NestedTensor:
        """From the arguments of torch._utils._rebuild_nested_tensor, which it proves."""
        buffer = require_array(buffer, "the buffer of a nested tensor")
        check(buffer.ndim == 1, f"the buffer of a nested tensor has {buffer.ndim} dimensions")
        offsets = index_array(offsets, "offsets of a nested tensor", ndim=1)
        if len(offsets) == 0:  # what torch writes as sizes and strides then has no meaning
            sizes = strides = np.empty((0, 0), np.int64)
        sizes = index_array(sizes, "sizes of a nested tensor", ndim=2)
        strides = index_array(strides, "strides of a nested tensor", ndim=2)
        check(
            sizes.shape == strides.shape and len(sizes) == len(offsets),
            f"sizes {sizes.shape}, strides {strides.shape} and {len(offsets)} offsets of a nested "
            "tensor do not fit each other",
        )
        check(sizes.shape[1] <= 64, f"a nested tensor has {sizes.shape[1]} dimensions")
        _check_components(buffer.size, *(a.astype(np.int64) for a in (sizes, strides, offsets)))
        return cls("torch.strided", buffer, offsets, sizes=sizes, strides=strides)

    @classmethod
    def _from_jagged(cls, state: dict[str, Any]) -> NestedTensor:
        """From the argument of torch.nested._internal.nested_tensor._rebuild_njt."""
        values = require_array(state.get("values"), "the values of a nested tensor")
        offsets = index_array(state.get("offsets"), "offsets of a nested tensor", ndim=1)
        lengths = state.get("lengths")
        ragged_dim = state.get("_ragged_idx", 1)
        check(
            type(ragged_dim) is int and 1 <= ragged_dim <= values.ndim,
            f"ragged dimension {ragged_dim!r} of a nested tensor with {values.ndim} dimensions",
        )
        check(len(offsets) >= 1, "a nested tensor has no offsets")
        rows = values.shape[ragged_dim - 1]
        within = (offsets >= 0).all() and (offsets <= rows).all()
        check(within, f"an offset of a nested tensor is not within its {rows} rows")
        check((offsets[1:] >= offsets[:-1]).all(), "offsets of a nested tensor decrease")
        if lengths is not None:
            lengths = index_array(lengths, "lengths of a nested tensor", ndim=1)
            check(len(lengths) == len(offsets) - 1, "a nested tensor lacks lengths or offsets")
            _check_lengths(offsets, lengths, rows)
        return cls("torch.jagged", values, offsets, lengths=lengths, ragged_dim=ragged_dim)

    def __len__(self) -> int:
        """Number of components."""
        return len(self.offsets) - (self.layout == "torch.jagged")

    def unbind(self) -> list[Array]:
        """The components, as views of `values`."""
        if self.layout == "torch.jagged":
            return self._unbind_jagged()
        assert self.sizes is not None and self.strides is not None
        itemsize = self.values.strides[0]
        parts = zip(self.offsets.tolist(), self.sizes.tolist(), self.strides.tolist(), strict=True)
        return [
            as_strided(self.values[offset:], size, [itemsize * n for n in stride])
            for offset, size, stride in parts
        ]

    def _unbind_jagged(self) -> list[Array]:
        assert self.ragged_dim is not None
        starts = self.offsets[:-1]
        ends = self.offsets[1:] if self.lengths is None else starts + self.lengths
        before = (slice(None),) * (self.ragged_dim - 1)
        return [
            self.values[before + (slice(start, end),)]
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        ]


def _check_lengths(offsets: Array, lengths: Array, rows: int) -> None:
    starts = offsets[:-1].astype(np.int64)
    counts = lengths.astype(np.int64)
    check((counts >= 0).all(), "a nested tensor has a negative length")
    check((counts <= rows - starts).all(), f"a component of a nested tensor exceeds {rows} rows")


def _check_components(numel: int, sizes: Array, strides: Array, offsets: Array) -> None:
    """Proves, for all components at once, that the last element lies inside the buffer."""
    negative = (sizes < 0).any() or (strides < 0).any() or (offsets < 0).any()
    check(not negative, "a nested tensor has a negative size, stride or offset")
    check((offsets <= numel).all(), f"a nested tensor has an offset outside its {numel} elements")
    filled = (sizes > 0).all(axis=1)
    steps, strides, offsets = sizes[filled] - 1, strides[filled], offsets[filled]
    # Division first: steps * strides could wrap around. What passes is below numel, so that the
    # sum over at most 64 dimensions cannot.
    within = strides <= numel // np.maximum(steps, 1)
    check((within | (steps == 0)).all(), "a component of a nested tensor leaves its buffer")
    last = offsets + np.where(steps > 0, steps * strides, 0).sum(axis=1)
    check((last < numel).all(), "a component of a nested tensor leaves its buffer")
