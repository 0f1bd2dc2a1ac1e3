# SPDX-License-Identifier: Apache-2.0
"""What the C builder asks of torch, for one load.

Plain tensors and parameters are made in C. The rest comes from here: storages on other devices,
further tensors of a storage, and what pickles do to objects of registered classes.
"""

from __future__ import annotations

import collections
import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from ptio._errors import UnsupportedError
from ptio.torch import _compat
from ptio.torch._rebuild import MAKERS

if TYPE_CHECKING:
    from ptio.torch._rules import Rules

# The fills of a pickle, in the order of graph.h.
_APPEND, _SETITEM, _ADD, _BUILD = range(4)


class _Dtypes(dict[str, torch.dtype]):
    def __missing__(self, name: str) -> torch.dtype:
        raise UnsupportedError(
            f"a tensor of dtype {name}, which torch {torch.__version__} does not have",
            hint="load it with a newer torch",
        )


_DTYPES = _Dtypes(
    (str(value).removeprefix("torch."), value)
    for value in vars(torch).values()
    if isinstance(value, torch.dtype)
)


class Ring:
    """torch's side of one load. csrc/py/build_torch.c reads the attributes by name."""

    Tensor = torch.Tensor
    Parameter = torch.nn.Parameter
    make_subclass = staticmethod(torch.Tensor._make_subclass)
    dtypes = _DTYPES
    makers = MAKERS
    set_state = staticmethod(torch._utils._set_obj_state)

    def __init__(self, map_location: Any, rules: Rules) -> None:
        self._map_location = map_location
        self._rules = rules
        self._typed: dict[int, Any] = {}
        self._places: dict[str, Callable[[Any], Any] | None] = {}

    # --- storages

    def place(self, tag: str) -> Callable[[Any], Any] | None:
        """What brings storages with this location tag to their device; None: they stay.

        Asked for every tag before data is read, so a device that is not there is found early.
        """
        if tag not in self._places:
            self._places[tag] = self._find_place(tag)
        return self._places[tag]

    def _find_place(self, tag: str) -> Callable[[Any], Any] | None:
        target = self._target(tag)
        packages = torch.serialization._package_registry
        if target == "cpu" and packages[0][2] is torch.serialization._cpu_deserialize:
            return None
        restore = torch.serialization._get_restore_location(self._map_location)
        if target is not None and all(_is_torchs_own(package[2]) for package in packages):
            restore(torch.UntypedStorage(0), tag)
        return lambda storage: restore(storage, tag)

    def _target(self, tag: str) -> Any:
        where = self._map_location
        if where is None:
            return tag
        if isinstance(where, dict):
            return where.get(tag, tag)
        return str(where) if isinstance(where, (str, torch.device)) else None

    @staticmethod
    def untyped(storage: Any) -> torch.UntypedStorage:
        """The memory of a _core.Storage."""
        return torch.from_dlpack(storage).untyped_storage()

    @staticmethod
    def meta_storage(nbytes: int, offset: int) -> torch.UntypedStorage:
        storage = torch.UntypedStorage(nbytes, device="meta")
        if offset:  # where its bytes lie in the file, as torch notes it
            storage._checkpoint_offset = offset
        return storage

    def typed(self, number: int, untyped: Any, dtype: torch.dtype) -> Any:
        """A storage as a value of its own: the same object wherever it is named."""
        if untyped.data_ptr() == 0 or number not in self._typed:
            self._typed[number] = torch.storage.TypedStorage(
                wrap_storage=untyped, dtype=dtype, _internal=True
            )
        return self._typed[number]

    # --- tensors

    @staticmethod
    def view(
        storage: Any,
        dtype: torch.dtype,
        offset: int,
        size: tuple[int, ...],
        stride: tuple[int, ...],
    ) -> torch.Tensor:
        """A tensor over part of a storage that is not an autograd view of its other tensors."""
        empty = torch.empty((0,), dtype=dtype, device=storage.device)
        return empty.set_(storage, offset, size, stride)

    @staticmethod
    def meta(dtype: torch.dtype, size: tuple[int, ...], stride: tuple[int, ...]) -> torch.Tensor:
        return torch.empty_strided(size, stride, dtype=dtype, device="meta")

    @staticmethod
    def set_bits(tensor: torch.Tensor, conj: bool, neg: bool) -> None:
        bits = {"conj": conj, "neg": neg}
        torch._utils.set_tensor_metadata(tensor, {name: True for name in bits if bits[name]})

    # --- registered classes, by the rules of torch's own weights_only unpickler

    @staticmethod
    def call(form: int, cls: Any, args: tuple[Any, ...]) -> Any:
        """NEWOBJ (form 1) and NEWOBJ_EX (form 2)."""
        positional, keywords = args if form == 2 else (args, {})
        return cls.__new__(cls, *positional, **keywords)

    def fill(self, kind: int, target: Any, items: tuple[Any, ...]) -> None:
        """APPEND, SETITEM, ADDITEMS or BUILD on what a registered class or function returned."""
        if kind == _APPEND:
            _require(self._is_list(target), "append to lists", target)
            target.extend(items)
        elif kind == _SETITEM:
            known = (dict, collections.OrderedDict, collections.Counter)
            _require(type(target) in known, "SETITEM for dict, OrderedDict and Counter", target)
            for key, value in zip(items[::2], items[1::2], strict=True):
                target[key] = value
        elif kind == _ADD:
            _require(type(target) is set, "add to sets", target)
            target.update(items)
        else:
            self._build(target, items[0])

    def _is_list(self, target: Any) -> bool:
        if _compat.APPENDS_TO_REGISTERED_LISTS and isinstance(target, list):
            return type(target) is list or self._rules.allows(type(target))
        return type(target) is list

    def _build(self, target: Any, state: Any) -> None:
        kind = type(target)
        if kind is torch.nn.Parameter:
            target.__setstate__(state)
        elif kind is collections.OrderedDict:
            target.__dict__.update(state)
        else:
            known = kind is not torch.Tensor and self._rules.allows(kind)
            _require(known, "build Parameter, OrderedDict or registered classes", target)
            if hasattr(target, "__setstate__"):
                target.__setstate__(state)
            else:
                _set_attributes(target, state)


def _is_torchs_own(deserialize: Any) -> bool:
    function = getattr(deserialize, "func", deserialize)  # of a functools.partial
    return bool(function.__module__ == "torch.serialization")


def _require(condition: bool, what: str, target: Any) -> None:
    if not condition:
        raise pickle.UnpicklingError(
            f"Weights only load failed. Can only {what}, but got {type(target)}"
        )


def _set_attributes(target: Any, state: Any) -> None:
    """As pickle does it for objects without __setstate__."""
    slots = None
    if isinstance(state, tuple) and len(state) == 2:
        state, slots = state
    if state:
        target.__dict__.update(state)
    for name, value in (slots or {}).items():
        setattr(target, name, value)
