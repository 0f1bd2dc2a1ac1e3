# SPDX-License-Identifier: Apache-2.0
"""Which bytes of memory become the storages of arrays that are saved.

Arrays that view the same memory share a storage, as tensors do, where that is no larger than
saving each for itself. What no storage can hold as it lies in memory - negative strides, the other
byte order, a few columns of a large table - is copied while it is written, a few MiB at a time.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_PIECE = 8 << 20  # bytes that are copied at once


@dataclass(eq=False)
class StoragePlan:
    """One storage: nbytes of memory from address on, which owner keeps; or pieces, in order."""

    nbytes: int
    address: int = 0
    owner: Any = None
    copied: Array | None = None
    number: int | None = None  # in the file, once the pickle has named it

    def pieces(self) -> Iterator[Array]:
        """The bytes of a storage that is copied while it is written, as contiguous arrays."""
        assert self.copied is not None
        return _pieces(self.copied)


@dataclass(eq=False)
class TensorPlan:
    """Where an array lies in its storage; offset and stride in elements."""

    storage: StoragePlan
    offset: int
    stride: tuple[int, ...]


def plan_arrays(arrays: Iterable[Array], share: bool = True) -> dict[int, TensorPlan]:
    """The plan of each array, by its id. share=False: no storage has more than one array."""
    plans: dict[int, TensorPlan] = {}
    groups: dict[tuple[int, np.dtype[Any]], list[tuple[int, int, Array]]] = defaultdict(list)
    for array in arrays:
        if _lies_as_torch_can(array):
            start = array.__array_interface__["data"][0]
            groups[id(_root(array)), array.dtype].append((start, start + _span(array), array))
        else:
            plans[id(array)] = _copy(array)
    for group in groups.values():
        group.sort(key=lambda item: item[:2])
        for cluster in _clusters(group) if share else ([one] for one in group):
            _plan_cluster(cluster, plans)
    return plans


def contiguous_stride(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Of a C array, in elements, as torch counts them."""
    return tuple(math.prod(max(n, 1) for n in shape[i + 1 :]) for i in range(len(shape)))


def _lies_as_torch_can(array: Array) -> bool:
    """Whether a storage of torch can hold the array as it lies in memory."""
    item = array.itemsize
    steps = all(step >= 0 and step % item == 0 for step in array.strides)
    return array.size > 0 and array.dtype.isnative and steps


def _root(array: Array) -> Any:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array if array.base is None else array.base


def _span(array: Array) -> int:
    """Bytes from the first element to the end of the last."""
    steps = zip(array.shape, array.strides, strict=True)
    last: int = sum((n - 1) * step for n, step in steps)
    return last + array.itemsize


_Placed = tuple[int, int, Array]


def _clusters(group: list[_Placed]) -> Iterator[list[_Placed]]:
    """Runs of arrays, sorted by where they begin, each of which overlaps the one before."""
    cluster: list[_Placed] = []
    end = -1
    for item in group:
        if cluster and item[0] >= end:
            yield cluster
            cluster = []
        end = max(end, item[1]) if cluster else item[1]
        cluster.append(item)
    yield cluster


def _plan_cluster(cluster: list[_Placed], plans: dict[int, TensorPlan]) -> None:
    start, end = cluster[0][0], max(end for _, end, _ in cluster)
    item = cluster[0][2].itemsize
    aligned = all((begin - start) % item == 0 for begin, _, _ in cluster)
    if not aligned or end - start > sum(array.nbytes for _, _, array in cluster):
        for single in cluster:
            _plan_alone(single, plans)
        return
    storage = StoragePlan(end - start, start, [array for _, _, array in cluster])
    for begin, _, array in cluster:
        stride = tuple(step // item for step in array.strides)
        plans[id(array)] = TensorPlan(storage, (begin - start) // item, stride)


def _plan_alone(placed: _Placed, plans: dict[int, TensorPlan]) -> None:
    start, end, array = placed
    if end - start > array.nbytes:
        plans[id(array)] = _copy(array)
        return
    stride = tuple(step // array.itemsize for step in array.strides)
    plans[id(array)] = TensorPlan(StoragePlan(end - start, start, array), 0, stride)


def _copy(array: Array) -> TensorPlan:
    storage = StoragePlan(array.nbytes, owner=array, copied=array)
    return TensorPlan(storage, 0, contiguous_stride(array.shape))


def _pieces(array: Array) -> Iterator[Array]:
    if array.nbytes <= _PIECE or array.ndim == 0:
        yield np.ascontiguousarray(array, array.dtype.newbyteorder("="))
        return
    rows = max(1, _PIECE * len(array) // array.nbytes)
    for first in range(0, len(array), rows):
        part = array[first : first + rows]
        if part.nbytes > _PIECE and len(part) == 1:
            yield from _pieces(part[0])
        else:
            yield np.ascontiguousarray(part, part.dtype.newbyteorder("="))
