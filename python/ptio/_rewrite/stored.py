# SPDX-License-Identifier: Apache-2.0
"""Tensors that are still in their file, as parts of an object that is written to another one.

Their bytes pass through memory when their turn to be written comes, piece by piece. A storage is
written as it lies in the file, so tensors that share it go on sharing it, with their strides.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ptio._containers import Container
from ptio._containers.pickled import Pickled
from ptio._errors import UnsupportedError
from ptio._rewrite.cast import Cast
from ptio._save.array_plan import Placed, StoragePlan, TensorPlan, contiguous_pieces, plan_shared
from ptio._types import RawTensor
from ptio._types.arrays import Array, distinct
from ptio._types.dtypes import item_bytes

if TYPE_CHECKING:
    from ptio._core import TensorInfo

_PLAIN = ("tensor", "storage")
_PIECE = 1 << 20  # bytes that are copied at once


@dataclass(eq=False, slots=True)
class Stored:
    """A tensor of an open file.

    Attributes:
        row: what the container knows of it.
        cast: what its elements become, or None.
        plan: where it lies in the new file, once that is planned.
        value: of one that is no plain array, once it has been read.
        of: the contiguous tensor of which it is a view, where the file says so apart from it; the
            row has then the offset from that tensor's first element.
        made: other elements than those in the file, as bytes of `dtype`.
    """

    container: Container
    row: TensorInfo
    cast: Cast | None = None
    plan: TensorPlan | None = None
    value: Any = None
    of: Stored | None = None
    made: Callable[[], Iterator[Array]] | None = None

    @property
    def is_plain(self) -> bool:
        """Its bytes are its elements: not sparse, quantized or nested, and there is data."""
        return self.row.kind in _PLAIN

    @property
    def dtype(self) -> str:
        """torch's name of it in the new file."""
        return self.row.dtype if self.cast is None else self.cast.dtype

    @property
    def type_name(self) -> str:
        """The dtype; with its kind for one that is no plain array, e.g. "sparse float32"."""
        return self.dtype if self.is_plain else f"{self.row.kind} {self.row.dtype}"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.row.shape

    @property
    def nbytes(self) -> int:
        """Of its elements, in the new file."""
        return math.prod(self.shape) * item_bytes(self.dtype) if self.is_plain else self.row.nbytes

    @property
    def storage(self) -> tuple[Any, ...]:
        """Equal for tensors that lie in the same storage."""
        row = self.row
        return id(self.container), ("node", row.node) if row.storage is None else row.storage

    @property
    def view(self) -> tuple[Any, ...]:
        """Equal for tensors that are the same elements of the same storage."""
        row = self.row
        return *self.storage, row.dtype, row.storage_offset, row.shape, row.stride

    @property
    def pickled(self) -> Pickled | None:
        """The container, if it has the storage: others have tensors, each alone."""
        known = isinstance(self.container, Pickled) and self.row.record is not None
        return self.container if known else None  # type: ignore[return-value]

    def read(self) -> Any:
        """The tensor as `Checkpoint.get_tensor` gives it."""
        if self.of is None:
            return self.container.get(self.row)
        flat = as_array(self.of.read(), self.of.row).reshape(-1)[self.row.storage_offset :]
        return _strided(flat, self.shape, self.row.stride)

    def elements(self) -> Iterator[Array]:
        """Its elements in C order, as bytes, cast; read when the first piece is asked for."""
        return self._cast(self._elements()) if self.made is None else self.made()

    def _elements(self) -> Iterator[Array]:
        row = self.row
        if 0 in row.shape:
            return
        if self.of is not None:
            yield from contiguous_pieces(self.read(), _PIECE)
            return
        pickled = self.pickled
        if pickled is not None and is_contiguous(row) and pickled.is_as_stored(row):
            begin = row.storage_offset * item_bytes(row.dtype)
            yield from pickled.stored_pieces(row, begin, begin + row.nbytes)
            return
        if row.nbytes < row.storage_nbytes and row.kind == "tensor":
            out = np.empty(row.nbytes, np.uint8)  # not all of a large storage for a part of it
            self.container.read_into(row, out.data)
            yield out
            return
        yield from contiguous_pieces(as_array(self.read(), row), _PIECE)

    def _cast(self, pieces: Iterator[Array]) -> Iterator[Array]:
        return pieces if self.cast is None else self.cast.pieces(pieces)


def as_array(value: Any, row: TensorInfo) -> Array:
    """What a container gave for a plain tensor, as an array of whatever has its bytes."""
    if not isinstance(value, RawTensor):
        return np.asarray(value)
    assert value.data is not None  # of a plain tensor
    item = item_bytes(row.dtype)
    count = 0 if 0 in value.shape else span(value.shape, value.stride)
    return _strided(value.data[: count * item].view(f"V{item}"), value.shape, value.stride)


def stored_tree(container: Container) -> Any:
    """The object in a file, with a `Stored` in the place of each tensor."""
    made = {row.node: _stored(container, row) for row in reversed(container.tensors())}
    return container.tree(made)


def _stored(container: Container, row: TensorInfo) -> Stored:
    """Of several files the one that has it: in each, storages have names of their own."""
    path = row.path
    while (home_of := getattr(container, "home_of", None)) is not None:
        container, row = home_of(row)
    return Stored(container, row._replace(path=path))


# --- storages ----------------------------------------------------------------------------------


def plan_storages(tensors: Iterable[Stored], *, compact: bool) -> None:
    """Decides which storages the new file has, and where in them the tensors lie.

    Args:
        compact: True: only what tensors view is written, as `ptio.save` does it: tensors share
            a storage where that is no larger than saving each for itself. False: whole storages.
    """
    groups: dict[Any, dict[Stored, None]] = defaultdict(dict)  # by storage and dtype; ordered
    views = []
    for stored in tensors:
        stored.plan = None
        if stored.of is not None:
            views.append(stored)
        owner = stored.of or stored
        if owner.is_plain:
            key = *owner.storage, owner.row.dtype, owner.dtype
            groups[key][owner] = None
    for members in groups.values():
        _plan_group(list(members), compact)
    for stored in views:
        assert stored.of is not None and stored.of.plan is not None
        storage = stored.of.plan.storage
        stored.plan = TensorPlan(storage, stored.row.storage_offset, stored.row.stride)


def _plan_group(members: list[Stored], compact: bool) -> None:
    for member in members:
        if 0 in member.shape or member.made is not None:
            _plan_alone(member)
    members = [member for member in members if member.plan is None]
    if not members:
        return
    first = members[0]
    same = all(member.view == first.view for member in members)
    if same and _fills_storage(first.row) and (len(members) == 1 or lie_in_storage(members)):
        storage = StoragePlan(first.nbytes, pieces=first.elements)
        for member in members:
            member.plan = TensorPlan(storage, 0, member.row.stride)
        return
    inside = [member for member in members if lie_in_storage([member])]
    for member in members:
        if member not in inside:
            _plan_alone(member)
    if not inside:
        return
    if compact:
        _plan_compact(inside)
    else:
        storage = _storage(inside[0], 0, inside[0].row.storage_nbytes)
        for member in inside:
            member.plan = TensorPlan(storage, member.row.storage_offset, member.row.stride)


def _plan_alone(stored: Stored) -> None:
    """For a tensor that is written by its elements."""
    stored.plan = TensorPlan(StoragePlan(stored.nbytes, pieces=stored.elements))


def _plan_compact(members: list[Stored]) -> None:
    """As for arrays, which these would be if the storage were at the address 0."""
    by_view = {member.view: member for member in members}
    item = item_bytes(members[0].row.dtype)
    placed = {
        view: Placed(_untouchable(member.row, item), member.row.storage_offset * item)
        for view, member in by_view.items()
    }
    shared = plan_shared({("", view): each for view, each in placed.items()})
    storages: dict[int, StoragePlan] = {}
    for member in members:
        plan = shared.get(("", member.view))
        if plan is not None:
            storage = storages.get(id(plan.storage))
            if storage is None:
                begin = plan.storage.address
                storage = _storage(member, begin, begin + plan.storage.nbytes)
                storages[id(plan.storage)] = storage
            member.plan = TensorPlan(storage, plan.offset, plan.stride)
        elif (known := by_view[member.view].plan) is not None:
            member.plan = known
        else:
            member.plan = by_view[member.view].plan = _plan_own(member, placed[member.view].array)


def _plan_own(stored: Stored, untouchable: Array) -> TensorPlan:
    """The part of the storage that a tensor spans, or where that has gaps its elements."""
    row, item = stored.row, item_bytes(stored.row.dtype)
    once = distinct(untouchable)
    length = span(row.shape, row.stride)
    if length <= once.size:
        begin = row.storage_offset * item
        return TensorPlan(_storage(stored, begin, begin + length * item), 0, row.stride)
    stride, step = [0] * once.ndim, 1
    for axis in reversed(range(once.ndim)):
        if once.shape[axis] == row.shape[axis]:
            stride[axis] = step
            step *= row.shape[axis]
    nbytes = once.size * item_bytes(stored.dtype)
    return TensorPlan(StoragePlan(nbytes, pieces=partial(_once, stored)), 0, tuple(stride))


def _once(stored: Stored) -> Iterator[Array]:
    """Elements, without the repetitions that strides of 0 make."""
    array = distinct(as_array(stored.read(), stored.row))
    return stored._cast(contiguous_pieces(array, _PIECE))


def _storage(stored: Stored, begin: int, end: int) -> StoragePlan:
    """Bytes of the storage of a tensor that lies in it."""
    nbytes = (end - begin) // item_bytes(stored.row.dtype) * item_bytes(stored.dtype)
    return StoragePlan(nbytes, pieces=partial(_storage_pieces, stored, begin, end))


def _storage_pieces(stored: Stored, begin: int, end: int) -> Iterator[Array]:
    assert stored.pickled is not None  # as lie_in_storage found
    return stored._cast(stored.pickled.stored_pieces(stored.row, begin, end))


def lie_in_storage(members: list[Stored]) -> bool:
    """Whether their elements are the bytes of a storage that can be read as such."""
    return all(
        member.pickled is not None and member.pickled.lies_in_storage(member.row)
        for member in members
    )


def _fills_storage(row: TensorInfo) -> bool:
    return row.nbytes == row.storage_nbytes and is_contiguous(row)


def is_contiguous(row: TensorInfo) -> bool:
    if 0 in row.shape:
        return True
    step = 1
    for n, stride in zip(reversed(row.shape), reversed(row.stride), strict=True):
        if n != 1 and stride != step:
            return False
        step *= n
    return True


def span(shape: tuple[int, ...], stride: tuple[int, ...]) -> int:
    """Elements from the first to the last one."""
    return sum((n - 1) * step for n, step in zip(shape, stride, strict=True)) + 1


def _untouchable(row: TensorInfo, item: int) -> Array:
    """An array with these strides, whose elements nobody may look at."""
    return _strided(np.empty((), f"V{item}"), row.shape, row.stride)


def _strided(flat: Array, shape: tuple[int, ...], stride: tuple[int, ...]) -> Array:
    """A view with these strides, in elements."""
    try:
        return as_strided(flat, shape, tuple(step * flat.itemsize for step in stride))
    except (OverflowError, ValueError) as e:  # expanded beyond what NumPy counts to
        raise UnsupportedError(f"a tensor of shape {shape} is no array of NumPy: {e}") from None
