# SPDX-License-Identifier: Apache-2.0
"""Every kind of file that holds tensors, behind one interface; chosen by content, not by name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ptio._containers.base import Checked, Container, Options, Tick
from ptio._containers.pickled import Pickled
from ptio._core import Source, sniff
from ptio._errors import Error, UnsupportedError
from ptio._source import display_path, is_path, open_source

if TYPE_CHECKING:
    from ptio._containers.index import Index

__all__ = ["Checked", "Container", "Options", "Tick", "container_of", "is_other", "open_container"]

# Why the core does not read a file by itself, where somebody here may.
_OTHERS = (
    "TORCHSCRIPT",
    "TORCH_PACKAGE",
    "TORCH_EXPORT",
    "FORMAT_UNSUPPORTED",
    "NOT_A_CHECKPOINT",
)


def is_other(error: Error) -> bool:
    """Whether the file may be one of those that `open_container` reads beside checkpoints."""
    return error.kind in _OTHERS


def open_container(f: Any, options: Options) -> Container:
    """What is in `f`, a path or a file object."""
    if is_path(f) and os.path.isdir(f):
        from ptio._containers.directory import open_directory

        directory = os.fsdecode(f)
        try:
            return open_directory(directory, options)
        except Error as e:
            if e.path is None:
                e.path = directory
            raise
    return open_file(f, options)


def open_file(f: Any, options: Options, *, index: bool = True) -> Container:
    """What is in a single file. `index`: which may be one of shards."""
    path = display_path(f)
    source = open_source(f, options.mmap)
    try:
        return container_of(source, options, path, os.fsdecode(f) if index and is_path(f) else None)
    except Error as e:
        if e.path is None:
            e.path = path
        raise
    finally:
        source.close()


def container_of(source: Source, options: Options, path: str | None, name: str | None) -> Container:
    """What is in a source. `name`: of the file, which may be the index of shards; else None."""
    kind, words = sniff(source)
    if kind == "safetensors":
        from ptio._containers.safetensors import Safetensors

        return Safetensors(source.part(0, source.size), options, path)
    if words == "a JSON document" and name is not None:
        from ptio._containers.sharded import open_index

        sharded = open_index(source, options, name)
        if sharded is not None:
            return sharded
    try:
        return Pickled(source.part(0, source.size), options, path=path)
    except UnsupportedError as e:
        if e.kind not in ("TORCHSCRIPT", "TORCH_PACKAGE", "TORCH_EXPORT"):
            raise
        kind = e.kind
    return _open_archive(kind, source, options, path)


def _open_archive(kind: str, source: Source, options: Options, path: str | None) -> Container:
    from ptio._containers.index import Index

    index = Index(source, options, path)
    try:
        index.prove()
        return _open_index(kind, index, options)
    except BaseException:
        index.close()
        raise


def _open_index(kind: str, index: Index, options: Options) -> Container:
    if kind == "TORCHSCRIPT":
        from ptio._containers.torchscript import open_torchscript

        return open_torchscript(index, options)
    if kind == "TORCH_PACKAGE":
        from ptio._containers.package import open_package

        return open_package(index, options)
    from ptio._containers.exported import open_exported

    return open_exported(index, options)
