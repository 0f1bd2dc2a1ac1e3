# SPDX-License-Identifier: Apache-2.0
"""Which bytes of memory become the storages of arrays that are saved.

Arrays that view the same memory share a storage, as tensors do, where that is no larger than
saving each for itself. What no storage can hold as it lies in memory - negative strides, the other
byte order, a few columns of a large table - is copied while it is written, a few MiB at a time.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ptio._types.arrays import Array, distinct

_PIECE = 8 << 20  # bytes that are copied at once


@dataclass(eq=False, slots=True)
class StoragePlan:
    """One storage: `nbytes` of memory from `address` on, which `owner` keeps; or `pieces`."""

    nbytes: int
    address: int = 0
    owner: Any = None
    pieces: Callable[[], Iterator[Array]] | None = None  # makes the bytes, in order
    number: int | None = None  # in the file, once the pickle has named it


@dataclass(eq=False, slots=True)
class TensorPlan:
    """Where an array lies in its storage; offset and stride in elements."""

    storage: StoragePlan
    offset: int = 0
    stride: tuple[int, ...] | None = None  # None: contiguous, in C order


class Placed(NamedTuple):
    """An array, with the address of its first element."""

    array: Array
    address: int


def plan_alone(placed: Placed) -> TensorPlan:
    """A storage for one array: its memory, or a copy of its elements."""
    array, address = placed
    if array.size == 0 or (array.flags.c_contiguous and array.dtype.isnative):
        return TensorPlan(StoragePlan(array.nbytes, address, array))
    if not _lies_as_torch_can(array) or _span(array) > _distinct_bytes(array):
        return _plan_copy(array)
    return TensorPlan(StoragePlan(_span(array), address, array), 0, _strides(array))


def plan_shared(arrays: dict[Any, Placed]) -> dict[Any, TensorPlan]:
    """The plans of those of the arrays that should share a storage with another.

    Args:
        arrays: by a key whose first item is torch's dtype: a storage has one.
    """
    plans: dict[Any, TensorPlan] = {}
    if not _any_overlap(arrays.values()):
        return plans
    groups: dict[Any, list[_Member]] = defaultdict(list)
    for key, placed in arrays.items():
        if _lies_as_torch_can(placed.array):
            end = placed.address + _span(placed.array)
            group = groups[key[0], placed.address % placed.array.itemsize]
            group.append(_Member(placed.address, end, key, placed.array))
    for group in groups.values():
        for cluster in _clusters(group):
            _plan_cluster(cluster, plans)
    return plans


def contiguous_pieces(array: Array, most: int = _PIECE) -> Iterator[Array]:
    """The elements of an array in C order and this machine's byte order, in contiguous arrays.

    Args:
        most: bytes to copy at once, where they have to be copied.
    """
    whole = array.flags.c_contiguous and array.dtype.isnative
    if whole or array.nbytes <= most or array.ndim == 0:
        yield _bytes(array)
        return
    rows = max(1, most * len(array) // array.nbytes)
    for first in range(0, len(array), rows):
        part = array[first : first + rows]
        if part.nbytes > most:  # one row
            yield from contiguous_pieces(part[0], most)
        else:
            yield _bytes(part)


def _bytes(array: Array) -> Array:
    contiguous = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    return contiguous.reshape(-1).view(np.uint8)  # the types of ml_dtypes are no buffers


def _steps(array: Array) -> Iterator[tuple[int, int]]:
    """(size, stride in bytes) of the dimensions that have more than one element."""
    return ((n, s) for n, s in zip(array.shape, array.strides, strict=True) if n > 1)


def _lies_as_torch_can(array: Array) -> bool:
    """Whether a storage of torch can hold the array as it lies in memory."""
    item = array.itemsize
    steps = all(step >= 0 and step % item == 0 for _, step in _steps(array))
    return array.size > 0 and array.dtype.isnative and steps


def _span(array: Array) -> int:
    """Bytes from the first element to the end of the last, where no stride is negative."""
    return sum((n - 1) * step for n, step in _steps(array)) + array.itemsize


def _distinct_bytes(array: Array) -> int:
    """Bytes of the elements, without the repetitions that strides of 0 make."""
    return math.prod(n for n, step in _steps(array) if step) * array.itemsize


def _strides(array: Array) -> tuple[int, ...]:
    item, pairs = array.itemsize, zip(array.shape, array.strides, strict=True)
    return tuple(step // item if n > 1 else 1 for n, step in pairs)


def _plan_copy(array: Array) -> TensorPlan:
    once = distinct(array)
    if once.size == array.size:
        return TensorPlan(StoragePlan(array.nbytes, 0, None, partial(contiguous_pieces, array)))
    stride, step = [0] * array.ndim, 1
    for axis in reversed(range(array.ndim)):
        if once.shape[axis] == array.shape[axis]:
            stride[axis] = step
            step *= array.shape[axis]
    storage = StoragePlan(once.nbytes, 0, None, partial(contiguous_pieces, once))
    return TensorPlan(storage, 0, tuple(stride))


# --- arrays that view the same memory --------------------------------------------------------


class _Member(NamedTuple):
    start: int  # address of the first element
    end: int  # behind the last
    key: Any
    array: Array

    @property
    def cost(self) -> int:
        """Bytes in the file where it shares with nobody."""
        return min(self.end - self.start, _distinct_bytes(self.array))


def _any_overlap(arrays: Collection[Placed]) -> bool:
    count = len(arrays)
    starts = np.fromiter((address for _, address in arrays), np.uint64, count)
    sizes = np.fromiter((_extent(array) for array, _ in arrays), np.uint64, count)
    starts, sizes = starts[sizes > 0], sizes[sizes > 0]
    order = np.argsort(starts)
    starts = starts[order]
    ends = np.maximum.accumulate(starts + sizes[order])
    return bool((starts[1:] < ends[:-1]).any())


def _extent(array: Array) -> int:
    return array.nbytes if array.size == 0 or array.flags.c_contiguous else max(_span(array), 0)


def _clusters(group: list[_Member]) -> Iterator[list[_Member]]:
    """Runs of arrays, in the order of their addresses, that overlap the ones before."""
    cluster: list[_Member] = []
    end = 0
    for member in sorted(group, key=lambda member: member.start):
        if cluster and member.start >= end:
            yield cluster
            cluster = []
        end = max(end, member.end)
        cluster.append(member)
    if cluster:
        yield cluster


def _plan_cluster(cluster: list[_Member], plans: dict[Any, TensorPlan]) -> None:
    """One storage for all; where that is larger, for those at least that have no gaps."""
    start, end = cluster[0].start, max(member.end for member in cluster)
    if end - start <= sum(member.cost for member in cluster):
        storage = StoragePlan(end - start, start, [member.array for member in cluster])
        for member in cluster:
            offset = (member.start - start) // member.array.itemsize
            plans[member.key] = TensorPlan(storage, offset, _strides(member.array))
        return
    dense = [member for member in cluster if member.end - member.start == member.cost]
    for part in _clusters(dense):
        _plan_cluster(part, plans)
