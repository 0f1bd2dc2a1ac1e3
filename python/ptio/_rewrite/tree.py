# SPDX-License-Identifier: Apache-2.0
"""Walks over what a checkpoint holds, and takes parts of it out, by name."""

from __future__ import annotations

import types
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ptio._types.opaque import Opaque

Path = tuple[Any, ...]

_CONTAINERS = (
    *(dict, list, tuple, set, frozenset, deque),
    *(Namespace, types.SimpleNamespace, Opaque),
)


class Entry(NamedTuple):
    """A value, its path, and the container that has it under a key."""

    path: Path
    value: Any
    container: Any
    key: Any


def entries(root: Any, enter: Callable[[Entry], bool] = lambda entry: True) -> Iterator[Entry]:
    """All that an object holds, itself first; each container once, by the first way to it.

    Args:
        root: what `Checkpoint.tree` gives.
        enter: of an entry that has been given out, whether what it holds comes, too.
    """
    seen: set[int] = set()
    # Iterators rather than lists: a path is as long as the object is deep.
    todo: list[Iterator[Entry]] = [iter([Entry((), root, None, None)])]
    while todo:
        entry = next(todo[-1], None)
        if entry is None:
            todo.pop()
            continue
        yield entry
        if enter(entry) and isinstance(entry.value, _CONTAINERS) and id(entry.value) not in seen:
            seen.add(id(entry.value))
            todo.append(_entries_of(entry))


def _entries_of(entry: Entry) -> Iterator[Entry]:
    for step, *rest in _held(entry.value):
        yield Entry((*entry.path, step), *rest)


def _held(value: Any) -> Iterator[tuple[Any, Any, Any, Any]]:
    """(step of the path, value, container, key) of each part."""
    if isinstance(value, dict):
        yield from ((key, child, value, key) for key, child in value.items())
        yield from _attributes(getattr(value, "__dict__", None))
    elif isinstance(value, (list, tuple, deque)):
        yield from ((i, child, value, i) for i, child in enumerate(value))
    elif isinstance(value, (set, frozenset)):
        yield from ((i, child, value, None) for i, child in enumerate(value))
    elif isinstance(value, (Namespace, types.SimpleNamespace)):
        yield from _attributes(vars(value))
    elif type(value) is Opaque:
        for part in (value.args, value.kwargs, value.state, value.items, value.mapping):
            if isinstance(part, (dict, list, tuple)):
                yield from _held(part)


def _attributes(table: Any) -> Iterator[tuple[Any, Any, Any, Any]]:
    if isinstance(table, dict):
        yield from ((name, child, table, name) for name, child in table.items())


def remove(gone: list[Entry]) -> None:
    """Takes entries out of the containers that have them.

    Raises:
        ValueError: one of them is a member of a tuple or a set.
    """
    from ptio._names import joined

    for entry in gone:
        if not isinstance(entry.container, (dict, list, deque)):
            kind = type(entry.container).__name__
            raise ValueError(
                f"{joined(entry.path)} is a member of a {kind}, which cannot lose one: "
                f"drop all of {joined(entry.path[:-1])}"
            )
    for entry in reversed(gone):  # later members of a list first
        del entry.container[entry.key]
