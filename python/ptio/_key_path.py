# SPDX-License-Identifier: Apache-2.0
"""Where in an object a value is, for messages."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any

from ptio._names import joined
from ptio._text import printable
from ptio._types.opaque import Brief, Opaque

_Entry = tuple[Any, Any, Any]  # that of what holds the value, the step from there, the value


def path_to(root: Any, value: Any) -> str:
    """The way to a value, for people: "" for the root itself and for what is not in it."""
    entry = next((entry for entry in _walk(root) if entry[2] is value), None)
    steps = []
    while entry is not None and entry[0] is not None:
        steps.append(_text(entry[1]))
        entry = entry[0]
    return printable(joined(tuple(reversed(steps))))


def contains(root: Any, value: Any) -> bool:
    """Whether this very object is the root or in it."""
    return any(entry[2] is value for entry in _walk(root))


def holds_type(root: Any, kind: type) -> bool:
    """Whether an object of this class is the root or in it."""
    return any(type(entry[2]) is kind for entry in _walk(root))


def _walk(root: Any) -> Iterator[_Entry]:
    """All that an object holds, each container once."""
    seen = {id(root)}
    todo: list[_Entry] = [(None, None, root)]
    for entry in todo:
        yield entry
        for step, child in _children(entry[2]):
            if id(child) not in seen:
                seen.add(id(child))
                todo.append((entry, step, child))


def _children(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict):
        yield from value.items()
        yield from ((key, key) for key in value if type(key) is not str)
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from enumerate(value)
    if isinstance(value, OrderedDict) or is_dataclass(value):
        yield from getattr(value, "__dict__", {}).items()
    if type(value) is Opaque:
        parts = ("args", "kwargs", "state", "items", "mapping")
        yield from ((part, getattr(value, part)) for part in parts)


def _text(step: Any) -> str:
    return step if type(step) is str else Brief().text(step, 2)
