# SPDX-License-Identifier: Apache-2.0
"""An object -> its pickle, and the storages that the pickle names."""

from __future__ import annotations

import copyreg
import io
import pickle
from typing import Any, NamedTuple

import torch

from ptio._core import collect_torch
from ptio._types.arrays import Array
from ptio.torch import _compact
from ptio.torch._saver import Saver

_TENSORS = (torch.Tensor, torch.nn.Parameter)


class Collected(NamedTuple):
    """What is to be written of an object.

    Attributes:
        pickle: names the storages by their numbers.
        storages: torch.UntypedStorage, by number.
        places: where all of them lie, for `ArchiveWriter.add_storages`; None: ask each.
    """

    pickle: bytes | Array
    storages: tuple[Any, ...]
    places: bytes | None = None


def collect(obj: Any, pickle_module: Any, protocol: int) -> Collected:
    """By the C collector, or where there is an object that it does not know, by a pickler."""
    if pickle_module is pickle and protocol == 2 and not _are_registered(*_TENSORS):
        collected = collect_torch(obj, Saver())
        if collected is not None:
            return Collected(*collected)
    return _collect_by(pickle_module, obj, protocol)


def collect_compact(obj: Any, pickle_module: Any, protocol: int) -> Collected:
    """Storages are only as much as the tensors of the object view of them."""
    spans = _compact.Spans()

    def note_whole(storage: Any) -> str | None:
        if not _is_storage(storage):
            return None
        spans.note_whole(Saver.describe(storage)[0])
        return "storage"

    _pickle_by(pickle_module, obj, protocol, note_whole, spans.note_tensor)
    if not spans.settle():
        return collect(obj, pickle_module, protocol)
    return _collect_by(pickle_module, obj, protocol, spans.cut)


def _collect_by(pickle_module: Any, obj: Any, protocol: int, rewrite: Any = None) -> Collected:
    """By the pickler of a module, which knows every object."""
    numbers: dict[int, str] = {}
    storages: dict[str, Any] = {}
    dtypes: dict[int, torch.dtype] = {}

    def name_storage(storage: Any) -> Any:
        if not _is_storage(storage):
            return None
        untyped, dtype, kind, location, numel = Saver.describe(storage)
        if untyped.device.type != "meta" and untyped.data_ptr() != 0:
            _check_dtype(dtypes, untyped.data_ptr(), dtype)
        key = numbers.setdefault(untyped._cdata, str(len(numbers)))
        storages[key] = untyped
        return ("storage", kind, key, location, numel)

    data = _pickle_by(pickle_module, obj, protocol, name_storage, rewrite)
    return Collected(data, tuple(storages.values()))


def _pickle_by(module: Any, obj: Any, protocol: int, name_storage: Any, rewrite: Any) -> bytes:
    class Pickler(module.Pickler):  # type: ignore[misc]
        def persistent_id(self, obj: Any) -> Any:
            return name_storage(obj)

    class RewritingPickler(Pickler):
        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, torch.Tensor) and not _are_registered(type(obj)):
                return _compact.reduced(obj, protocol, rewrite)
            others = getattr(super(), "reducer_override", None)  # cloudpickle has its own
            return NotImplemented if others is None else others(obj)

    file = io.BytesIO()
    (Pickler if rewrite is None else RewritingPickler)(file, protocol=protocol).dump(obj)
    return file.getvalue()


def _is_storage(obj: Any) -> bool:
    return isinstance(obj, torch.storage.TypedStorage) or torch.is_storage(obj)


def _are_registered(*classes: type) -> bool:
    """Whether somebody has told copyreg how such objects are pickled."""
    return not copyreg.dispatch_table.keys().isdisjoint(classes)


def _check_dtype(dtypes: dict[int, torch.dtype], address: int, dtype: torch.dtype) -> None:
    if dtypes.setdefault(address, dtype) != dtype:
        raise RuntimeError(
            "Cannot save multiple tensors or storages that view the same data as different types"
        )
