# SPDX-License-Identifier: Apache-2.0
"""How a pickle makes objects again: `Opaque` ones, and those of the standard library."""

from __future__ import annotations

import collections
import types
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from ptio._save.rebuild import Named
from ptio._types.opaque import Opaque, full_name

_REDUCE, _NEWOBJ, _NEWOBJ_EX = 0x52, 0x81, 0x92


class Made(NamedTuple):
    """An object as its pickle says it; see csrc/py/collect_described.c."""

    callee: Any
    args: tuple[Any, ...] | None  # None: the callee itself
    kwargs: dict[str, Any] | None
    opcode: int
    rest: tuple[Any, ...]  # (None, None, state, items, pairs), the latter three or None


_Name = Callable[[str, str], Named]  # the one object for each name


def opaque_made(opaque: Opaque, name: _Name) -> Made:
    """What the file said from which the object was loaded, as far as that is in it.

    Raises:
        ValueError: its parts are not what an Opaque consists of.
    """
    _check_parts(opaque)
    args = opaque.args
    if args and (opaque.module, opaque.name) == ("", "__call__"):
        callee, args = args[0], args[1:]
    else:
        _check_name(opaque)
        callee = name(opaque.module, opaque.name)
    opcode = _NEWOBJ if opaque._by_new else _REDUCE
    if opaque.kwargs is not None:
        opcode = _NEWOBJ_EX
    pairs = None if opaque.mapping is None else opaque.mapping.items()
    return Made(
        callee, args, opaque.kwargs, opcode, (None, None, opaque.state, opaque.items, pairs)
    )


def _check_parts(opaque: Opaque) -> None:
    kinds = {"args": tuple, "kwargs": dict, "items": list, "mapping": dict}
    for part, kind in kinds.items():
        value = getattr(opaque, part)
        if value is not None and type(value) is not kind:
            raise ValueError(f"{part} of {full_name(opaque)} is no {kind.__name__}")
    if opaque.args is None and opaque.kwargs is not None:
        raise ValueError(f"{full_name(opaque)} has kwargs without args")


def _check_name(opaque: Opaque) -> None:
    for text in (opaque.module, opaque.name):
        if type(text) is not str or not text.isprintable() or not all(text.split(".")):
            raise ValueError(f"no pickle names {full_name(opaque)!r}")


# --- the standard library ----------------------------------------------------------------------

Names = dict[Any, tuple[str, str]]


@cache
def _classes() -> tuple[Names, Names, tuple[type, ...]]:
    """What ptio.load makes of pickles, by names that every version of Python knows; types that a
    defaultdict may call; and those that are nothing but attributes."""
    import argparse  # here: few checkpoints have any of this, and it takes time
    import datetime
    import pathlib

    known: Names = {slice: ("__builtin__", "slice"), range: ("__builtin__", "xrange")}
    known |= {
        getattr(module, name): (module.__name__, name)
        for module, names in {
            argparse: ("Namespace",),
            types: ("SimpleNamespace",),
            collections: ("defaultdict", "deque"),
            datetime: ("date", "datetime", "time", "timedelta", "timezone"),
            pathlib: ("PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath"),
        }.items()
        for name in names
    }
    plain = (bool, dict, float, int, list, set, str, tuple)
    factories: Names = {kind: ("__builtin__", kind.__name__) for kind in plain}
    for kind in (collections.OrderedDict, collections.Counter):
        factories[kind] = ("collections", kind.__name__)
    return known, factories, (argparse.Namespace, types.SimpleNamespace)


def standard_made(value: Any, name: _Name) -> Made | None:
    """None for what is not of these classes, or calls a function of somebody else."""
    known, factories, namespaces = _classes()
    kind = type(value)
    if kind not in known:
        return None
    args: tuple[Any, ...]
    if kind in namespaces:
        args, rest = (), (None, None, vars(value))
    else:
        # Protocol 2 would lose the `fold` of a time.
        _, args, *contents = value.__reduce_ex__(4)
        rest = (None, None, *contents)
    if kind is collections.defaultdict and value.default_factory is not None:
        factory = value.default_factory
        if not isinstance(factory, type) or factory not in factories:
            return None
        args = (name(*factories[factory]),)
    return Made(name(*known[kind]), args, None, _REDUCE, rest)
