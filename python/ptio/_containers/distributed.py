# SPDX-License-Identifier: Apache-2.0
"""Directories of torch.distributed.checkpoint (DCP).

  .metadata        what there is, see distributed_metadata.py
  __0_0.distcp ... archives of torch.save, one behind the other: a chunk of a tensor, or an object

A tensor is put together from its chunks. Archives are opened when they are read.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from ptio._containers.base import FREE, Checked, Options, Tick
from ptio._containers.chunks import Window
from ptio._containers.described import row_major
from ptio._containers.distributed_metadata import (
    BytesItem,
    Chunk,
    Contents,
    Nested,
    Place,
    TensorItem,
    read_metadata,
)
from ptio._containers.parts import Ticks, finding_of
from ptio._containers.pickled import Pickled
from ptio._containers.siblings import Siblings
from ptio._core import Source, TensorInfo
from ptio._errors import BoundsError, Error, FormatError, UnsupportedError
from ptio._region import memory_of
from ptio._source import open_source
from ptio._types.dtypes import item_bytes, numpy_dtype

_OPEN_FILES = 64
_KIND = "DCP"


def open_distributed(directory: str, options: Options) -> Distributed:
    siblings = Siblings(directory)
    path = os.path.join(directory, ".metadata")
    source = open_source(siblings.resolve(".metadata"), False)
    return Distributed(siblings, read_metadata(source, options, path), options)


class Distributed:
    """A DCP directory. Tensors are named as DCP does: "model.fc.weight"."""

    format = "dcp"

    def __init__(self, siblings: Siblings, contents: Contents, options: Options) -> None:
        self._contents = contents
        self._options = options
        self._archives = Archives(siblings, options)
        self._names = [name for name, i in contents.items.items() if isinstance(i, TensorItem)]
        objects = (i.place for i in contents.items.values() if isinstance(i, BytesItem))
        self._object_bytes = sum(place.length for place in objects)

    def tensors(self) -> list[TensorInfo]:
        return [self._row(node, name) for node, name in enumerate(self._names)]

    def _row(self, node: int, name: str) -> TensorInfo:
        item = self._item_of(name)
        whole = item.chunks[0].place.file if len(item.chunks) == 1 else None
        return TensorInfo(
            path=(name,),
            kind="tensor",
            dtype=item.dtype,
            shape=item.shape,
            stride=row_major(item.shape),
            storage_offset=0,
            nbytes=item.nbytes,
            storage=name,
            storage_nbytes=item.nbytes,
            location="cpu",
            requires_grad=False,
            record=whole,
            node=node,
        )

    def _item_of(self, name: str) -> TensorItem:
        item = self._contents.items[name]
        assert isinstance(item, TensorItem)
        return item

    def _item(self, info: TensorInfo) -> TensorItem:
        return self._item_of(self._names[info.node])

    # --- values

    def get(self, info: TensorInfo) -> Any:
        return self._value(self._item(info))

    def _value(self, item: TensorItem) -> Any:
        if len(item.chunks) == 1:
            with self._archives.chunk(item, item.chunks[0]) as (archive, row):
                return archive.get(row)
        return self._assemble(item, Window(item.shape, ()))

    def get_slice(self, info: TensorInfo, index: tuple[Any, ...]) -> Any:
        item = self._item(info)
        if len(item.chunks) == 1:
            with self._archives.chunk(item, item.chunks[0]) as (archive, row):
                return archive.get_slice(row, index)
        return self._assemble(item, Window(item.shape, index))

    def _assemble(self, item: TensorItem, window: Window) -> Any:
        out, result = self._new(item, window.shape)
        for chunk in item.chunks:
            target, local = window.meet(chunk.offsets, chunk.sizes)
            if target is None:
                continue
            with self._archives.chunk(item, chunk) as (archive, row):
                if local is None:
                    archive.read_into(row, out[target])
                else:
                    out[target] = archive.get_slice(row, local)
        return result(out[window.finish])

    def _new(self, item: TensorItem, shape: tuple[int, ...]) -> tuple[Any, Callable[[Any], Any]]:
        """Memory for a tensor, and what makes it the framework's value."""
        if self._options.framework == "torch":
            import torch

            device = self._options.device
            empty = torch.empty(shape, dtype=getattr(torch, item.dtype))
            return empty, lambda value: value.to(device)
        dtype = numpy_dtype(item.dtype)
        if not isinstance(dtype, np.dtype):
            text = f"NumPy has no dtype {item.dtype} for a tensor in chunks"
            raise UnsupportedError(text, kind=_KIND, hint="open it with framework='torch'")
        return np.empty(shape, dtype), lambda value: value

    def read_into(self, info: TensorInfo, out: Any) -> None:
        item = self._item(info)
        target, memory = out, memory_of(out, info)
        if memory is not None and not hasattr(out, "untyped_storage"):
            dtype = numpy_dtype(item.dtype)
            target = memory.view(dtype) if isinstance(dtype, np.dtype) else memory
        for chunk in item.chunks:
            with self._archives.chunk(item, chunk) as (archive, row):
                ends = zip(chunk.offsets, chunk.sizes, strict=True)
                where = tuple(slice(begin, begin + size) for begin, size in ends)
                archive.read_into(row, target[where or ...])

    def place(self, info: TensorInfo) -> tuple[str | None, int] | None:
        item = self._item(info)
        if len(item.chunks) != 1:
            return None
        at = item.chunks[0].place
        with self._archives.chunk(item, item.chunks[0]) as (archive, row):
            inner = archive.place(row)
        return None if inner is None else (self._archives.path(at.file), at.offset + inner[1])

    def advise(self, info: TensorInfo, needed: bool) -> None:
        item = self._item(info)
        for chunk in item.chunks:
            with self._archives.chunk(item, chunk) as (archive, row):
                archive.advise(row, needed)

    # --- the whole

    def load(self, progress: Tick | None) -> Any:
        items = self._contents.items
        sizes = [i.nbytes if isinstance(i, TensorItem) else i.place.length for i in items.values()]
        ticks = Ticks(progress, sizes)

        def value(name: str, item: TensorItem | BytesItem) -> Any:
            tick = ticks.next()
            loaded = self._object(item) if isinstance(item, BytesItem) else self._value(item)
            if tick is not None:
                tick(2**63, 0)
            return loaded

        return self._nested(value)

    def tree(self, infos: dict[int, Any]) -> Any:
        nodes = {name: node for node, name in enumerate(self._names)}

        def value(name: str, item: TensorItem | BytesItem) -> Any:
            return self._object(item) if isinstance(item, BytesItem) else infos.get(nodes[name])

        return self._nested(value)

    def _nested(self, value: Callable[[str, TensorItem | BytesItem], Any]) -> dict[str, Any]:
        nested = Nested(self._contents.most)
        ways = self._contents.ways or {}
        for name, item in self._contents.items.items():
            nested.put(ways.get(name, (name,)), value(name, item))
        return nested.root

    def _object(self, item: BytesItem) -> Any:
        with self._archives.open(item.place, self._free(item.place)) as archive:
            return archive.load(None)

    def _free(self, place: Place) -> int:
        """What an object gets of what a directory may need."""
        return FREE * place.length // max(self._object_bytes, 1)

    def leaves(self, limit: int) -> list[tuple[tuple[Any, ...], Any]]:
        found: list[tuple[tuple[Any, ...], Any]] = []
        for name, item in self._contents.items.items():
            if isinstance(item, BytesItem) and len(found) < limit:
                with self._archives.open(item.place, self._free(item.place)) as archive:
                    for path, value in archive.leaves(limit - len(found)):
                        found.append(((name, *path), value))
        return found

    def check(self, threads: int, progress: Tick | None) -> Checked:
        """Every archive, also behind one that is bad."""
        checked = Checked(tensors=len(self._names))
        works: list[tuple[str, TensorItem | None, Chunk | None, Place]] = []
        for name, item in self._contents.items.items():
            if isinstance(item, BytesItem):
                works.append((name, None, None, item.place))
            else:
                works += [(name, item, chunk, chunk.place) for chunk in item.chunks]
        try:
            self._nested(lambda name, item: name)
        except Error as e:
            checked.findings.append((".metadata", finding_of(e), ()))
        ticks = Ticks(progress, [place.length for *_, place in works])
        for name, whole, chunk, place in works:
            tick = ticks.next()
            try:
                free = 0 if chunk is not None else self._free(place)
                with self._archives.open(place, free) as archive:
                    result = archive.check(threads, tick)
                    if whole is not None and chunk is not None:
                        self._archives.require_chunk(archive, whole, chunk)
            except Error as e:
                finding = finding_of(e)
                checked.findings.append((place.file, finding, ((name,),)))
                continue
            checked.members += result.members
            checked.bytes += result.bytes
            for _, finding, _ in result.findings:
                touched = ((name,),) if finding.exception else ()
                checked.findings.append((place.file, finding, touched))
        return checked

    def metadata(self) -> dict[str, str] | None:
        return None

    def close(self) -> None:
        self._archives.close()


class HasTensors(Protocol):
    def tensors(self) -> list[TensorInfo]: ...


class Archives:
    """The archives inside the files of a directory. Any thread may use it."""

    def __init__(self, siblings: Siblings, options: Options) -> None:
        self._siblings = siblings
        self._options = options
        self._sources: dict[str, Source] = {}  # the last ones that were used
        self._lock = threading.Lock()
        self._closed = False

    def path(self, file: str) -> str:
        return os.path.join(self._siblings.directory, file)

    def _part(self, place: Place) -> Source:
        with self._lock:
            if self._closed:
                raise ValueError("the checkpoint is closed")
            source = self._sources.pop(place.file, None)
            if source is None:
                source = open_source(self._siblings.resolve(place.file), self._options.mmap)
            self._sources[place.file] = source
            if len(self._sources) > _OPEN_FILES:
                self._sources.pop(next(iter(self._sources))).close()
            return source.part(place.offset, place.length)

    @contextmanager
    def open(self, place: Place, free: int = 0) -> Iterator[Pickled]:
        """The archive at a place; errors inside name the file."""
        path = self.path(place.file)
        try:
            options = self._options.share(free, place.length)
            archive = Pickled(self._part(place), options, path=path)
            try:
                yield archive
            finally:
                archive.close()
        except Error as e:
            e.path = path
            raise

    @contextmanager
    def chunk(self, item: TensorItem, chunk: Chunk) -> Iterator[tuple[Pickled, TensorInfo]]:
        """The archive of a chunk, and its row there."""
        with self.open(chunk.place) as archive:
            yield archive, self.require_chunk(archive, item, chunk)

    @staticmethod
    def require_chunk(archive: HasTensors, item: TensorItem, chunk: Chunk) -> TensorInfo:
        """The only tensor of an archive, which is what the metadata says of the chunk."""
        rows = archive.tensors()
        if len(rows) != 1 or rows[0].path != () or rows[0].kind != "tensor":
            raise FormatError("an archive of a chunk holds something else", kind=_KIND)
        row = rows[0]
        if row.dtype != item.dtype or tuple(row.shape) != chunk.sizes:
            raise BoundsError(
                f"a chunk is {row.dtype} {tuple(row.shape)}, the metadata says {item.dtype} "
                f"{chunk.sizes}",
                kind=_KIND,
            )
        nbytes = int(np.prod(row.shape, dtype=object)) * item_bytes(row.dtype)
        if len(item.chunks) > 1 and nbytes > row.storage_nbytes:
            text = f"a chunk of {nbytes} bytes is stored as {row.storage_nbytes}"
            raise BoundsError(text, kind=_KIND)
        return row

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for source in self._sources.values():
                source.close()
            self._sources.clear()
