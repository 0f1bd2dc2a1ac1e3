# SPDX-License-Identifier: Apache-2.0
"""What the C collector asks of torch while it writes the pickle of an object."""

from __future__ import annotations

import collections
import copyreg
import pickle
import sys
from _compat_pickle import REVERSE_IMPORT_MAPPING, REVERSE_NAME_MAPPING
from typing import Any

import torch

# Objects whose __reduce_ex__(2) is a plain call, or the name of a global. Others go through
# CPython's pickler, with the whole object: nobody knows what they do.
_REDUCED = (
    torch.Size,
    torch.device,
    torch.dtype,
    torch.layout,
    torch.qscheme,
    complex,
    collections.OrderedDict,
    collections.Counter,
)


def _is_newobj(function: Any = None) -> bool:
    return getattr(function, "__name__", None) in ("__newobj__", "__newobj_ex__")


def _storage_classes() -> dict[torch.dtype, Any]:
    """dtype -> torch.FloatStorage and its like; None for dtypes that are stored untyped."""
    typed = torch.storage._dtype_to_storage_type_map()
    classes = {dtype: getattr(torch, name) for dtype, name in typed.items()}
    return {**classes, **dict.fromkeys(torch.storage._new_dtypes())}


class Saver:
    """torch's side of one save. csrc/py/collect_torch.c reads the attributes by name."""

    Tensor = torch.Tensor
    Parameter = torch.nn.Parameter
    TypedStorage = torch.storage.TypedStorage
    UntypedStorage = torch.UntypedStorage
    uint8 = torch.uint8
    rebuild_v2 = staticmethod(torch._utils._rebuild_tensor_v2)
    rebuild_v3 = staticmethod(torch._utils._rebuild_tensor_v3)
    rebuild_parameter = staticmethod(torch._utils._rebuild_parameter)
    storage_classes = _storage_classes()
    location = staticmethod(torch.serialization.location_tag)

    def __init__(self) -> None:
        packages = torch.serialization._package_registry
        self.cpu_is_cpu = packages[0][1] is torch.serialization._cpu_tag

    @staticmethod
    def describe(storage: Any) -> tuple[Any, Any, Any, Any, int]:
        """(UntypedStorage, dtype, class in the pickle, location tag, number of elements)"""
        if isinstance(storage, torch.storage.TypedStorage):
            untyped, dtype = storage._untyped_storage, storage.dtype
            kind = getattr(torch, storage._pickle_storage_type())
            numel = storage._size()
        else:
            untyped, dtype = storage, torch.uint8
            kind = torch.serialization.normalize_storage_type(type(storage))
            numel = storage.nbytes()
        return untyped, dtype, kind, torch.serialization.location_tag(untyped), numel

    @staticmethod
    def name(obj: Any, reduced: str | None) -> tuple[str, str] | None:
        """Module and name of a global as protocol 2 writes them; None if it has none."""
        name = reduced or getattr(obj, "__qualname__", None) or obj.__name__
        if "." in name or type(obj) in copyreg.dispatch_table:
            return None
        module = pickle.whichmodule(obj, name)  # type: ignore[attr-defined]
        if getattr(sys.modules.get(module), name, None) is not obj:
            return None
        if not (module + name).isascii():  # torch.save fails: so shall we, in the same words
            return None
        if (module, name) in copyreg._extension_registry:  # type: ignore[attr-defined]
            return None
        if (module, name) in REVERSE_NAME_MAPPING:
            return REVERSE_NAME_MAPPING[(module, name)]
        return REVERSE_IMPORT_MAPPING.get(module, module), name

    @staticmethod
    def reduce(obj: Any) -> Any:
        """What __reduce_ex__(2) gives for kinds that are known; None for others."""
        kind = type(obj)
        by_table = copyreg.dispatch_table.get(kind)
        if kind not in _REDUCED and (by_table or not isinstance(obj, torch.Tensor)):
            return None
        reduced = by_table(obj) if by_table else obj.__reduce_ex__(2)
        # These calls of copyreg are not written as calls.
        return None if isinstance(reduced, tuple) and _is_newobj(*reduced[:1]) else reduced
