# SPDX-License-Identifier: Apache-2.0
"""Which classes and functions a file may name in a load for torch."""

from __future__ import annotations

import copyreg
import importlib
import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Iterable
from typing import Any

import torch

from ptio._core import AS_DATA, OURS, REFUSED, THEIRS
from ptio._errors import ForbiddenError
from ptio._text import printable
from ptio._types import Opaque

# Not even when they are registered.
_BLOCKED = ("sys", "os", "posix", "nt")

# What pickles of every protocol say of plain objects, and torch's own list leaves out.
_SYNTAX = {
    "builtins.bytes": bytes,
    "builtins.object": object,
    "copyreg._reconstructor": copyreg._reconstructor,  # type: ignore[attr-defined]
}

# In jagged tensors: only torch needs the object itself.
_ANNOTATION = "torch._dynamo.decorators._DimRange"

Answer = tuple[int, Any]
_NO: Answer = (REFUSED, None)


def python3_name(module: str, name: str) -> tuple[str, str]:
    """The name today of what Python 2 called module.name; pickle protocols 0 to 2 still do."""
    if (module, name) in NAME_MAPPING:
        return NAME_MAPPING[(module, name)]
    return IMPORT_MAPPING.get(module, module), name


class Rules:
    """torch's own list, what the user registered with torch, and allow= of one call.

    torch's registry is read when the rules are made: what other threads register meanwhile
    does not change a load that runs.
    """

    inert = False  # whether a file may make objects in ways that torch does not know

    def __init__(self, allow: Iterable[Any]) -> None:
        self._registry: list[Any] = torch.serialization.get_safe_globals()
        self._names: list[str] = []
        if isinstance(allow, str):
            raise TypeError(f"allow must be several names: allow=({allow!r},)")
        for entry in allow:
            if isinstance(entry, str):
                self._names.append(entry)
            elif isinstance(entry, tuple) or hasattr(entry, "__qualname__"):
                self._registry.append(entry)
            else:
                raise TypeError(
                    "allow takes classes, functions, (class, 'module.name') and names such as "
                    f"'module.name', not {entry!r}"
                )
        self._registered: dict[str, Any] | None = None

    def judge(self, module: str, name: str, known: bool) -> Answer:
        """What the core asks for each name once; `known`: it has a handler of ours."""
        module, name = python3_name(module, name)
        path = f"{module}.{name}"
        if module in _BLOCKED:
            return _NO
        defaults = torch._weights_only_unpickler._get_allowed_globals()
        if path in defaults:
            return self._callable(defaults[path], known)
        if path in self._by_name():
            ours = known and module.partition(".")[0] in ("numpy", "torch") and path != _ANNOTATION
            return self._callable(self._by_name()[path], ours)
        if path in _SYNTAX:
            return OURS, _SYNTAX[path]
        return self._by_allow(module, name, known)

    def allows(self, cls: Any) -> bool:
        """Whether instances of this class may be given a state."""
        return any(cls is one for one in self._by_name().values())

    def _by_name(self) -> dict[str, Any]:
        if self._registered is None:
            self._registered = dict(_full_name(entry) for entry in self._registry)
        return self._registered

    @staticmethod
    def _callable(value: Any, ours: bool) -> Answer:
        if ours:
            return OURS, value
        if value in torch._tensor_classes or value in torch._storage_classes:
            return _NO  # these make tensors of memory that is not the file's
        return THEIRS, value

    def _by_allow(self, module: str, name: str, known: bool) -> Answer:
        for entry in self._names:
            if entry == f"{module}.{name}" or f"{module}.".startswith(f"{entry}."):
                return (OURS if known else AS_DATA), Opaque(module, name)
            if entry == "stdlib" and known and module.partition(".")[0] in sys.stdlib_module_names:
                return OURS, Opaque(module, name)
        return _NO


class DataRules(Rules):
    """What is not allowed becomes data, but for the modules that torch blocks."""

    inert = True

    def judge(self, module: str, name: str, known: bool) -> Answer:
        answer = super().judge(module, name, known)
        if answer[0] != REFUSED or python3_name(module, name)[0] in _BLOCKED:
            return answer
        return (OURS if known else AS_DATA), Opaque(*python3_name(module, name))


class ExactRules(Rules):
    """For weights_only=False: all that the core makes exactly as Python's unpickler would."""

    def __init__(self) -> None:
        super().__init__(())

    def judge(self, module: str, name: str, known: bool) -> Answer:
        module, name = python3_name(module, name)
        top = module.partition(".")[0]
        if not known or top == "pathlib" or name == "_rebuild_from_type":
            return _NO
        defaults = torch._weights_only_unpickler._get_allowed_globals()
        if top == "torch" and f"{module}.{name}" not in defaults:
            return _NO
        return OURS, defaults.get(f"{module}.{name}") or _find(module, name)


def _find(module: str, name: str) -> Any:
    """A name that globals.def lists. NumPy moved its private modules in 2.0."""
    if module.startswith("numpy.core") and "numpy._core" in sys.modules:
        module = module.replace("numpy.core", "numpy._core", 1)
    return getattr(importlib.import_module(module), name)


def _full_name(entry: Any) -> tuple[str, Any]:
    if not isinstance(entry, tuple):
        return f"{entry.__module__}.{entry.__qualname__}", entry
    if len(entry) != 2:
        raise ValueError(
            "Expected tuple of length 2 (global, str of callable full path), but got tuple of "
            f"length: {len(entry)}"
        )
    if type(entry[1]) is not str:
        raise TypeError(
            "Expected second item in tuple to be str of callable full path, but got: "
            f"{type(entry[1])}"
        )
    return entry[1], entry[0]


# --- the error -------------------------------------------------------------------------------

_NEEDS_IMPORT = {
    "torch.nested._internal.nested_tensor.NestedTensor": "nested",
    "torch.nested._internal.nested_tensor._rebuild_njt": "nested",
    "torch._dynamo.decorators._DimRange": "nested",
}
_MOST_SHOWN = 20


def forbidden(error: ForbiddenError) -> ForbiddenError:
    """The same error in torch's words: each name, and how to register it."""
    sentences = list(dict.fromkeys(_sentence(name) for name in error.globals))
    more = len(sentences) - _MOST_SHOWN
    if more > 0:
        sentences[_MOST_SHOWN:] = [f"... and {more} more"]
    return ForbiddenError(
        "Weights only load failed. " + "\n\t".join([str(error.args[0]), *sentences]),
        globals=error.globals,
        path=error.path,
        record=error.record,
        offset=error.offset,
        kind=error.kind,
        hint="register only what you trust; allow=(...) does it for one call",
    )


def _sentence(name: str) -> str:
    module, _, attribute = name.rpartition(".")
    module, attribute = python3_name(module, attribute)
    path = f"{module}.{attribute}"
    shown = printable(path.removeprefix("builtins."))
    if module in _BLOCKED:
        return f"Trying to load unsupported GLOBAL {shown} whose module {module} is blocked."
    if path in _NEEDS_IMPORT:
        return (
            "``torch.nested`` and ``torch._dynamo`` must be imported to load nested jagged "
            "tensors (NJTs)"
        )
    if module.startswith("torch.distributed.") and ("tensor" in module or "device_mesh" in module):
        return "``torch.distributed.tensor`` must be imported to load DTensors"
    return (
        f"Unsupported global: GLOBAL {shown} was not an allowed global by default. Please use "
        f"`torch.serialization.add_safe_globals([{shown}])` or the "
        f"`torch.serialization.safe_globals([{shown}])` context manager to allowlist this global "
        "if you trust this class/function."
    )
