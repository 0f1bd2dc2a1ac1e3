# SPDX-License-Identifier: Apache-2.0
"""Turns what the user calls a file - a name or an open file object - into a _core.Source."""

from __future__ import annotations

import io
import os
import stat
from typing import Any

from ptio._core import Source


def is_path(f: Any) -> bool:
    """Whether `f` names a file, rather than being one."""
    return isinstance(f, (str, bytes, os.PathLike))


def position(f: Any) -> int | None:
    """Where a file object is; None for a path, or where it cannot tell."""
    if is_path(f) or not hasattr(f, "tell"):
        return None
    try:
        return int(f.tell())
    except (OSError, ValueError, TypeError):
        return None  # reading it will say what is wrong


def open_source(f: Any, mmap: bool | str) -> Source:
    """The bytes of `f`, from its current position where it is a file object.

    mmap: True maps, or raises ValueError where that is impossible; False reads; "auto" maps
    files given by name that lie on a local file system.
    """
    if mmap is not True and mmap is not False and mmap != "auto":
        raise ValueError(f"mmap must be True, False or 'auto', not {mmap!r}")
    if is_path(f):
        return Source.from_path(_path_bytes(f), _mode(mmap, automatic="auto"))
    _require_binary_reader(f)
    if _is_plain_file(f):
        f.flush()
        return Source.from_fd(f.fileno(), f.tell(), _mode(mmap, automatic="never"))
    if mmap is True:
        raise ValueError(
            f"mmap=True needs a file on disk, and {_kind(f)} is none: "
            "pass the file's name, or leave mmap out"
        )
    if type(f) is io.BytesIO:
        return Source.from_bytes(f.getvalue(), f.tell())
    return _seekable(f)


def display_path(f: Any) -> str | None:
    """The name of `f` for messages; None where it has none."""
    if is_path(f):
        return os.fsdecode(f)
    name = getattr(f, "name", None) if isinstance(f, io.IOBase) else None
    return os.fsdecode(name) if isinstance(name, (str, bytes)) else None


def _mode(mmap: bool | str, automatic: str) -> str:
    if mmap == "auto":
        return automatic
    return "always" if mmap else "never"


def _path_bytes(f: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> bytes:
    path = os.fsencode(f)
    if isinstance(f, bytes) and (b"\0" in path or path.startswith(b"PK\3\4")):
        raise ValueError("these bytes are the content of a file: wrap them in io.BytesIO")
    if b"\0" in path:
        raise ValueError("a path cannot hold a NUL character")
    return path


def _kind(f: Any) -> str:
    module = type(f).__module__
    prefix = "" if module in ("builtins", "_io") else f"{module}."
    return f"a {prefix}{type(f).__qualname__} object"


def _require_binary_reader(f: Any) -> None:
    if isinstance(f, (bytearray, memoryview)):
        raise TypeError(f"{_kind(f)} is the content of a file, not a file: wrap it in io.BytesIO")
    if isinstance(f, io.TextIOBase):
        raise TypeError("the file is open in text mode: open it with open(path, 'rb')")
    if not (hasattr(f, "read") or hasattr(f, "readinto")):
        raise TypeError(
            f"expected a path (str, bytes or os.PathLike) or a binary file object, not {_kind(f)}"
        )
    readable = getattr(f, "readable", None)
    if readable is not None and not readable():
        raise io.UnsupportedOperation(
            f"{_kind(f)} is not open for reading: open it with open(path, 'rb')"
        )


def _is_plain_file(f: Any) -> bool:
    """Whether the bytes of `f` are exactly those of its descriptor, a regular file.

    Only exact types tell: the fileno() of a GzipFile, or of a BufferedReader around one, is the
    compressed file's.
    """
    raw = f.raw if type(f) in (io.BufferedReader, io.BufferedRandom) else f
    return type(raw) is io.FileIO and stat.S_ISREG(os.fstat(raw.fileno()).st_mode)


def _seekable(f: Any) -> Source:
    advice = (
        f"{_kind(f)} cannot seek, and a checkpoint is read from its end: "
        "read it into memory first, io.BytesIO(f.read())"
    )
    if not (hasattr(f, "seek") and hasattr(f, "tell")):
        raise TypeError(advice)
    try:
        base = f.tell()
        end = f.seek(0, os.SEEK_END)
        if end is None:  # allowed to file-like objects that are no io.IOBase
            end = f.tell()
        f.seek(base)
    except OSError as e:  # io.UnsupportedOperation too
        raise io.UnsupportedOperation(advice) from e
    return Source.from_file(f, base, max(end - base, 0))
