# SPDX-License-Identifier: Apache-2.0
"""New archives, as torch.save writes them: where they go, their names, the order of records."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ptio._core import ArchiveWriter
from ptio._progress import Progress, reporting
from ptio._save.destination import open_destination
from ptio._source import is_path
from ptio._types.arrays import Array

# What torch writes today: storages in the order of their numbers, with this alignment noted.
_FORMAT_VERSION = b"1"
_VERSION = b"3\n"
_MOST_ALIGNED = 32768


def stem_of(f: Any) -> bytes:
    """The top folder of an archive: torch takes the file's name if that is ASCII.

    Raises:
        ValueError: the name has nothing before its last dot.
    """
    if not is_path(f) or not os.fsdecode(f).isascii():
        return b"archive"
    name = os.fsdecode(f).replace("\\", "/").rpartition("/")[2]
    stem = name.rpartition(".")[0] if "." in name else name
    if not stem:
        raise ValueError(f"invalid file name: {os.fsdecode(f)}")
    return stem.encode()


class NewArchive:
    """An archive that is being written: its pickle first and `storages`, or the other way round."""

    def __init__(self, core: ArchiveWriter) -> None:
        self.core = core

    def add_pickle(self, data: bytes | Array) -> None:
        self.core.add("data.pkl", data)

    def add_notes(self, *, alignment: int, byteorder: bool = True) -> None:
        """What torch writes between the pickle and the storages.

        .format_version says that storages follow in their order, where readers may compute
        their offsets.
        """
        self.core.add(".format_version", _FORMAT_VERSION)
        self.core.add(".storage_alignment", str(alignment).encode())
        if byteorder:
            self.add_byteorder()

    def add_byteorder(self) -> None:
        self.core.add("byteorder", sys.byteorder.encode())

    def finish_copy(self, *, version: bool, ids: list[bytes]) -> None:
        """The end of an archive whose other members are those of an old one."""
        if version:
            self.core.add("version", _VERSION)
        self.core.write()
        self.core.add(".data/serialization_id", ids[0] if ids else self.core.id())
        self.core.finish()

    def finish(self, *, byteorder: bool = False) -> None:
        self.core.add("version", _VERSION)
        if byteorder:
            self.add_byteorder()
        self.core.write()
        self.core.add(".data/serialization_id", self.core.id())
        self.core.finish()


@contextmanager
def new_archive(
    f: Any,
    *,
    atomic: bool,
    durable: bool,
    alignment: int,
    crc: bool,
    threads: int,
    progress: bool | Progress | None,
    stem: bytes | None = None,
) -> Iterator[NewArchive]:
    """An archive in `f`, a path or an object with write(); the file appears when the block ends.

    stem: the top folder, instead of that which torch would take.
    """
    with reporting(progress, "saving") as report:

        def begin(target: Any, path: str | None) -> ArchiveWriter:
            return ArchiveWriter(
                target,
                stem_of(f) if stem is None else stem,
                alignment=alignment,
                crc=crc,
                threads=threads,
                progress=report,
                path=path,
            )

        if stem is None:
            stem_of(f)  # before anything is opened
        if is_path(f):
            yield from _in_file(f, begin, atomic, durable)
        else:
            yield NewArchive(begin(f, None))
            flush = getattr(f, "flush", None)
            if flush is not None:
                flush()


def _in_file(
    f: Any, begin: Callable[[Any, str | None], ArchiveWriter], atomic: bool, durable: bool
) -> Iterator[NewArchive]:
    with open_destination(f, atomic=atomic, durable=durable) as destination:
        if destination.seekable:
            core = begin(destination.fd, os.fsdecode(f))
            yield NewArchive(core)
            destination.finish(core.size)
        else:
            with io.FileIO(destination.fd, "wb", closefd=False) as stream:
                yield NewArchive(begin(stream, os.fsdecode(f)))


def durable_setting(durable: bool | None) -> bool:
    """The argument, or the environment variable PTIO_DURABLE."""
    if durable is not None:
        return bool(durable)
    text = os.environ.get("PTIO_DURABLE", "")
    if text not in ("", "0", "1"):
        raise ValueError(f"the environment variable PTIO_DURABLE must be 0 or 1, not {text!r}")
    return text == "1"


def alignment_setting(alignment: int) -> int:
    """The argument, if there are such archives: before a file is opened for it."""
    if not 0 < alignment <= _MOST_ALIGNED or alignment & (alignment - 1):
        raise ValueError(
            f"storage_alignment must be a power of two up to {_MOST_ALIGNED}, not {alignment}"
        )
    return alignment
