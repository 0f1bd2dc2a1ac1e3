# SPDX-License-Identifier: Apache-2.0
"""The structure of a checkpoint, one line a value: what `ptio tree` and `ptio report` show.

Walks what `Checkpoint.tree()` gives. Each container is entered once, whatever refers to it, so
that cycles end and a graph that is exponential as a tree stays as small as its file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta, tzinfo
from itertools import islice
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Optional

import numpy as np

from ptio._names import joined
from ptio._open import TensorInfo, _public
from ptio._text import count, printable
from ptio._types import Opaque, TorchDtype

if TYPE_CHECKING:
    from ptio._containers import Container

_LONG = 6  # a sequence of more values is cut ...
_HEAD = 2  # ... to as many of them
_TEXT = 60
_KEY = 1000
_PLACE = 500
_STEPS = 20
_SCALARS_SHOWN = 8
_BIG_INT = 128  # bits
_OPAQUE_PARTS = ("args", "kwargs", "state", "items", "mapping")
_SEQUENCES = (list, tuple, set, frozenset)
# Their repr() is short, and nothing of the file's runs in it.
_SHORT = (np.generic, np.dtype, date, time, timedelta, tzinfo, PurePath, range, TorchDtype)


# Paths share their beginnings: a deep structure with many values would not fit memory otherwise.
Trail = Optional[tuple["Trail", Any]]  # noqa: UP045 - of a name that is not there yet


@dataclass(frozen=True)
class Line:
    """One value of the outline.

    Attributes:
        depth: of nesting; the root has 0.
        key: by which the value stands in its container, cut if it is long; "" for the root.
        kind: "dict", "list" ... for a container; "opaque"; "tensor"; "value"; "same" for a
            container that was shown before; "more" for what was left out.
        text: what it is, in words; not safe for a terminal.
        trail: the trail of the container and the last step of the path; None for the root.
        value: of kind "value": itself.
        info: of a tensor.
        shares: of a tensor: the first one in the same storage, by name, and whether it is
            exactly the same view of it.
    """

    depth: int
    key: str
    kind: str
    text: str
    trail: Trail
    value: Any = None
    info: TensorInfo | None = None
    shares: tuple[str, bool] | None = None

    @property
    def path(self) -> tuple[Any, ...]:
        """Dict keys, positions and attributes from the root; a key that is neither str nor int
        by its text."""
        return _path(self.trail)


def _path(trail: Trail) -> tuple[Any, ...]:
    steps = []
    while trail is not None:
        trail, step = trail
        steps.append(step)
    return tuple(reversed(steps))


def _place(trail: Trail) -> str:
    """The end of the way to a value: thousands of lines may tell of one that lies deep."""
    steps: list[Any] = []
    while trail is not None and len(steps) < _STEPS:
        trail, step = trail
        steps.append(step)
    text = joined(tuple(reversed(steps)))
    return text if trail is None and len(text) <= _PLACE else f"...{text[-_PLACE:]}"


def outline(
    tree: Any,
    infos: Iterable[TensorInfo],
    *,
    depth: int | None = None,
    everything: bool = False,
    budget: int = 100_000,
) -> Iterator[Line]:
    """The lines, each container before what is in it.

    Args:
        tree, infos: of a `Checkpoint`.
        depth: of containers to enter.
        everything: long sequences are not cut.
        budget: after as many lines there is only one more, which says so.
    """
    first = _first_in_storage(infos)
    placed: set[tuple[Any, ...]] = set()  # tensors, which several places may hold
    seen: dict[int, Trail] = {}
    places: dict[int, str] = {}  # of what was met again
    stack: list[tuple[int, Trail, str, Any]] = [(0, None, "", tree)]
    while stack:
        level, trail, key, value = stack.pop()
        if budget == 0:
            yield Line(0, "", "more", "the rest is left out: there are too many values", None)
            return
        budget -= 1
        if isinstance(value, _Rest):
            yield Line(level, "", "more", value.text, trail)
            continue
        if isinstance(value, TensorInfo):
            yield _tensor_line(level, trail, key, value, first, value.path in placed)
            placed.add(value.path)
            continue
        children = _children(value)
        if children is None:
            yield Line(level, key, "value", brief(value), trail, value)
            continue
        if children and id(value) in seen:
            there = places.get(id(value)) or _place(seen[id(value)]) or "the object itself"
            places[id(value)] = there
            yield Line(level, key, "same", f"the same object as {there}", trail)
            continue
        seen[id(value)] = trail
        kind, text, flat = _describe(value, children, everything)
        yield Line(level, key, kind, text, trail)
        if flat or (depth is not None and level >= depth):
            continue
        shown = children if everything else _cut(value, _telling(children))
        for name, child in reversed(shown):
            step = name if type(name) in (str, int) else brief(name)
            stack.append((level + 1, (trail, step), str(step)[:_KEY], child))


def leaves_of(container: Container, limit: int) -> list[tuple[tuple[Any, ...], Any]]:
    """The first values that are no tensors, with their paths: `_core.Checkpoint.leaves` for
    containers that have none."""
    tree = container.tree({row.node: _public("", row) for row in container.tensors()})
    lines = outline(tree, (), everything=True)
    return list(islice(((x.path, x.value) for x in lines if x.kind == "value"), limit))


@dataclass(frozen=True)
class _Rest:
    text: str


def _first_in_storage(infos: Iterable[TensorInfo]) -> dict[str, TensorInfo]:
    first: dict[str, TensorInfo] = {}
    for info in infos:
        if info.storage is not None:
            first.setdefault(info.storage, info)
    return first


def _tensor_line(
    level: int,
    trail: Trail,
    key: str,
    info: TensorInfo,
    first: dict[str, TensorInfo],
    again: bool,
) -> Line:
    shares = None
    other = info if info.storage is None else first.get(info.storage, info)
    if other.path != info.path or again:
        shares = (label(other), view_of(other) == view_of(info))
    shape = " x ".join(map(str, info.shape)) if info.shape else "scalar"
    kind = "" if info.kind == "tensor" else f"{info.kind} "
    text = f"{kind}{info.dtype} {shape}"
    return Line(level, key, "tensor", text, trail, info=info, shares=shares)


def label(info: TensorInfo) -> str:
    """A tensor's name as text; those that are tuples may not be the only ones of this text."""
    return info.name if isinstance(info.name, str) else joined(info.path)


def view_of(info: TensorInfo) -> tuple[Any, ...]:
    """Tensors of one storage for which this is equal have the same elements."""
    return info.dtype, info.shape, info.strides, info.storage_offset


def _children(value: Any) -> list[tuple[Any, Any]] | None:
    """What is in a value, by key; None for one that is no container."""
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, _SEQUENCES):
        return list(enumerate(value))
    if isinstance(value, Opaque):
        parts = ((part, getattr(value, part)) for part in _OPAQUE_PARTS)
        return [(name, part) for name, part in parts if part is not None and part != ()]
    if type(value).__name__ == "deque":
        return list(enumerate(value))
    if type(value).__name__ in ("Namespace", "SimpleNamespace"):
        return list(vars(value).items())
    return None


def _describe(
    value: Any, children: Sequence[tuple[Any, Any]], everything: bool
) -> tuple[str, str, bool]:
    """Kind, text, and whether the text says all of it."""
    if isinstance(value, Opaque):
        what = "object of" if value.args is not None else "class or function"
        return "opaque", f"{what} {value.module}.{value.name}", False
    kind = type(value).__name__
    if not children:
        return kind, f"empty {kind}", True
    values = [child for _, child in children]
    types = {type(child) for child in values}
    if isinstance(value, (dict, *_SEQUENCES[2:])) or len(types) > 1:
        noun = "item"
    else:
        noun = "tensor" if TensorInfo in types else types.pop().__name__
    text = f"{kind} of {count(len(children), noun)}"
    # A set's order means nothing, and numbers in a row need no line each.
    flat = not everything and not isinstance(value, dict) and all(map(_is_scalar, values))
    if flat and hasattr(value, "__len__"):
        shown = ", ".join(brief(child, 20) for child in values[:_SCALARS_SHOWN])
        more = ", ..." if len(values) > _SCALARS_SHOWN else ""
        return kind, f"{text}: {shown}{more}", True
    return kind, text, False


def _telling(children: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Without the dozen empty _hooks that every module of torch has."""
    return [(name, child) for name, child in children if not _is_hidden(name, child)]


def _is_hidden(name: Any, child: Any) -> bool:
    return isinstance(name, str) and name.startswith("_") and _children(child) == []


def _cut(value: Any, children: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """The first of many values that stand under numbers, as in an optimizer's state."""
    numbered = not isinstance(value, (dict, Opaque)) or all(
        type(name) is int for name, _ in children
    )
    if len(children) <= _LONG or not numbered:
        return children
    left = len(children) - _HEAD
    types = {type(child) for _, child in children[_HEAD:]}
    noun = types.pop().__name__ if len(types) == 1 else "value"
    noun = "tensor" if noun == "TensorInfo" else noun
    return [*children[:_HEAD], ("", _Rest(f"... {count(left, f'more {noun}')}"))]


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, complex, str, bytes))


def brief(value: Any, width: int = _TEXT) -> str:
    """A value that is no container, on at most `width` characters, however much is in it."""
    if isinstance(value, int) and value.bit_length() > _BIG_INT:
        return f"int of {value.bit_length()} bits"
    if isinstance(value, (str, bytes, bytearray)):
        return printable(repr(value[: width + 1]), width)
    if isinstance(value, (np.ndarray, np.void)):
        shape = " x ".join(map(str, value.shape)) or "scalar"
        return printable(f"numpy {value.dtype.name} {shape}", width)
    if isinstance(value, (tuple, frozenset)):  # as a key
        return f"{type(value).__name__} of {count(len(value), 'value')}"
    if _is_scalar(value) or isinstance(value, _SHORT):
        return printable(repr(value), width)
    return f"<{type(value).__name__}>"
