# SPDX-License-Identifier: Apache-2.0
"""Basic indexing of a tensor that consists of blocks."""

from __future__ import annotations

from typing import Any

Index = tuple[Any, ...]


class Window:
    """The elements of a tensor of `shape` that a basic index selects.

    Attributes:
        shape: of an array that holds them, with all dimensions of the tensor and rising indices.
        finish: the index that makes the result of that array.
    """

    def __init__(self, shape: tuple[int, ...], index: Index) -> None:
        self._ranges: list[range] = []
        finish: list[Any] = []
        for part in _complete(shape, index):
            if part is None:
                finish.append(None)
                continue
            size = shape[len(self._ranges)]
            if isinstance(part, slice):
                chosen = range(*part.indices(size))
                down = chosen.step < 0
                self._ranges.append(chosen[::-1] if down else chosen)
                finish.append(slice(None, None, -1) if down else slice(None))
                continue
            if not -size <= part < size:
                axis = len(self._ranges)
                raise IndexError(f"index {part} is out of bounds for axis {axis} with size {size}")
            self._ranges.append(range(part % size, part % size + 1))
            finish.append(0)
        self.shape = tuple(len(chosen) for chosen in self._ranges)
        self.finish: Index = tuple(finish)

    def meet(self, offsets: tuple[int, ...], sizes: tuple[int, ...]) -> tuple[Any, Any]:
        """(where in the array, where in the block) the elements of a block are; the second is
        None for all of the block, both where there are none."""
        target, local = [], []
        for chosen, begin, size in zip(self._ranges, offsets, sizes, strict=True):
            step = chosen.step
            first = max(0, -((chosen.start - begin) // step)) if chosen.start < begin else 0
            last = min(len(chosen), -((chosen.start - begin - size) // step))
            if first >= last:
                return None, None
            target.append(slice(first, last))
            start = chosen.start + first * step - begin
            local.append(slice(start, start + (last - first - 1) * step + 1, step))
        whole = all(part == slice(0, size, 1) for part, size in zip(local, sizes, strict=True))
        return (..., *target), None if whole else (..., *local)


def _complete(shape: tuple[int, ...], index: Index) -> Index:
    """The index with ... written out."""
    given = sum(part is not None and part is not Ellipsis for part in index)
    if given > len(shape):
        raise IndexError(
            f"too many indices: the tensor is {len(shape)}-dimensional, {given} were given"
        )
    missing = (slice(None),) * (len(shape) - given)
    places = [i for i, part in enumerate(index) if part is Ellipsis]
    if len(places) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    at = places[0] if places else len(index)
    return (*index[:at], *missing, *index[at + 1 :])
