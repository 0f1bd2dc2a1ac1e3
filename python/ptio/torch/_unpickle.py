# SPDX-License-Identifier: Apache-2.0
"""weights_only=False: the unpickler of Python, or of a pickle_module, with our storages.

The file decides what is imported and called. Nothing leads here but the caller's own
weights_only=False.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from ptio._checkpoint import open_archive
from ptio._errors import BoundsError, FormatError
from ptio._progress import reporting
from ptio.torch import _compat
from ptio.torch._ring import Ring
from ptio.torch._rules import ExactRules

if TYPE_CHECKING:
    from ptio._core import Archive, Storage
    from ptio.torch._load import Request

_MOVED_MODULES = {"torch.tensor": "torch._tensor"}


def unpickle(request: Request, pickle_module: Any, arguments: dict[str, Any]) -> Any:
    """The object of the request's archive, by pickle_module.Unpickler(file, **arguments)."""
    order = _compat.order_if_missing()
    opened = open_archive(request.f, mmap=request.mmap, limits=request.limits, order=order)
    with reporting(request.progress, "loading") as report, opened as archive:

        def read() -> dict[str, Storage]:
            return archive.storages(
                verify=request.verify,
                private=request.private,
                threads=request.threads,
                progress=report,
            )

        storages = _Storages(archive, read, request)

        class Unpickler(pickle_module.Unpickler):  # type: ignore[misc]
            def find_class(self, module: str, name: str) -> Any:
                if type(name) is str and "Storage" in name:
                    try:
                        return torch.serialization.StorageType(name)
                    except KeyError:
                        pass
                return super().find_class(_MOVED_MODULES.get(module, module), name)

        unpickler = Unpickler(io.BytesIO(archive.pickle), **arguments)
        unpickler.persistent_load = storages.find
        result = unpickler.load()
        torch._utils._validate_loaded_sparse_tensors()
        return result


class _Storages:
    """The storages of one load, by the persistent ids of its pickle."""

    def __init__(
        self, archive: Archive, read: Callable[[], dict[str, Storage]], request: Request
    ) -> None:
        self._archive = archive
        self._read = read
        self._on_meta = request.on_meta
        self._ring = Ring(request.map_location, ExactRules())
        self._records: dict[str, Storage] | None = None
        self._found: dict[str, Any] = {}

    def find(self, saved_id: Any) -> Any:
        """The torch.storage.TypedStorage of a persistent id."""
        if not isinstance(saved_id, tuple):
            kind = type(saved_id).__name__
            raise AssertionError(f"saved_id must be a tuple, got {kind}")
        typename, *data = saved_id
        typename = torch.serialization._maybe_decode_ascii(typename)
        if typename != "storage":
            raise AssertionError(
                f"Unknown typename for persistent_load, expected 'storage' but got '{typename}'"
            )
        storage_type, key, location, numel = data
        if key not in self._found:
            untyped = storage_type is torch.UntypedStorage
            dtype = torch.uint8 if untyped else storage_type.dtype
            location = torch.serialization._maybe_decode_ascii(location)
            storage = self._load(key, location, numel * torch._utils._element_size(dtype), dtype)
            typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=dtype, _internal=True)
            if typed._data_ptr() == 0:
                return typed  # torch does not share empty storages either
            self._found[key] = typed
        return self._found[key]

    def _load(self, key: str, location: str, nbytes: int, dtype: torch.dtype) -> Any:
        if self._on_meta:
            return self._ring.meta_storage(nbytes, self._archive.offset(key) or 0)
        place = self._ring.place(location)
        if self._records is None:
            self._records = self._read()
        record = self._records.get(key)
        if record is None:
            raise FormatError(
                f"storage {key!r} has no record data/{key} in the archive", kind="RECORD_MISSING"
            )
        if record.nbytes != nbytes:
            raise BoundsError(
                f"storage {key!r} declares {nbytes} bytes, the record has {record.nbytes}",
                kind="BOUNDS",
            )
        storage = self._ring.untyped(record)
        if self._archive.swap:
            storage.byteswap(dtype)
        return storage if place is None else place(storage)
