# SPDX-License-Identifier: Apache-2.0
"""The one way in which everything in this package opens a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ptio._core import Archive, Checkpoint, Salvage, Source
from ptio._errors import Error
from ptio._limits import Limits
from ptio._progress import Progress
from ptio._source import display_path, is_path, open_source

_DEFAULT_LIMITS = Limits()

# judge(module, name, whether globals.def has it) -> (judgement, object)
Judge = Callable[[str, str, bool], tuple[int, Any]]


@contextmanager
def open_checkpoint(
    f: Any,
    *,
    mmap: bool | str = "auto",
    limits: Limits | None = None,
    inert: bool = True,
    allow: tuple[str, ...] = (),
    encoding: str = "utf-8",
    judge: Judge | None = None,
    order: int = 0,
    for_torch: bool = False,
    members: Any = None,
    lenient: bool = False,
) -> Iterator[Checkpoint]:
    """The parsed and vetted checkpoint in `f`. Errors inside carry the name of the file."""
    with _open_source(f, mmap) as (source, path):
        start = None if is_path(f) else f.tell()
        checkpoint = Checkpoint(
            source,
            limits=for_core(limits),
            inert=inert,
            allow=allow,
            encoding=encoding,
            path=path,
            judge=judge,
            order=order,
            for_torch=for_torch,
            members=members,
            lenient=lenient,
        )
        yield checkpoint
        if start is not None and checkpoint.end is not None:
            f.seek(start + checkpoint.end)  # other objects may follow one of a legacy format


def read_leniently(
    source: Source,
    *,
    limits: Limits | None,
    inert: bool = False,
    allow: tuple[str, ...] = (),
    encoding: str = "utf-8",
    path: str | None = None,
    members: Any = None,
) -> Checkpoint:
    """As much of a checkpoint as can be read: what is wrong with it is its `error`."""
    return Checkpoint(
        source,
        limits=for_core(limits),
        inert=inert,
        allow=allow,
        encoding=encoding,
        path=path,
        judge=None,
        order=0,
        for_torch=False,
        members=members,
        lenient=True,
    )


@contextmanager
def open_archive(
    f: Any, *, mmap: bool | str, limits: Limits | None = None, order: int = 0
) -> Iterator[Archive]:
    """The archive in `f`, whose pickle the caller reads. Errors inside carry its name."""
    with _open_source(f, mmap) as (source, path):
        yield Archive(source, limits=for_core(limits), order=order, path=path)


@contextmanager
def open_salvage(
    f: Any, *, limits: Limits | None, any_crc: bool, threads: int, progress: Progress | None
) -> Iterator[Salvage]:
    """What is intact in `f`. Errors inside carry the name of the file."""
    with _open_source(f, "auto") as (source, path):
        yield Salvage(
            source,
            limits=for_core(limits),
            any_crc=any_crc,
            threads=threads,
            progress=progress,
            path=path,
        )


def for_core(limits: Limits | None) -> tuple[int, int, int, int, int, int]:
    if limits is None:
        limits = _DEFAULT_LIMITS
    elif not isinstance(limits, Limits):
        raise TypeError(f"limits must be a ptio.Limits, not {limits!r}")
    return limits._for_core()


@contextmanager
def _open_source(f: Any, mmap: bool | str) -> Iterator[tuple[Source, str | None]]:
    path = display_path(f)
    source = open_source(f, mmap)
    try:
        yield source, path
    except Error as e:
        if e.path is None:
            e.path = path
        raise
    finally:
        source.close()
