# SPDX-License-Identifier: Apache-2.0
"""scan: pickles in bytes that no reader of ours makes sense of.

A damaged or ambiguous archive has members that some other reader may find, and bytes that belong
to nothing may be pickles, archives or compressed. Here each place is tried where one may begin.
"""

from __future__ import annotations

import bz2
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from ptio import _core
from ptio._scan.leftovers import clipped
from ptio._scan.names import Budget, Named, Walk, walk

_WINDOW = 1 << 20
_LOCAL = b"PK\3\4"
_HEADER = 30
_CHUNKS = (4 << 10, 256 << 10, 16 << 20)  # a pickle is read again when it is longer
_PIECE = 512  # of a deflate stream: what stands before an error in it comes out
_DICTIONARY = 32 << 20  # of a compressed file: what unpacking may take
_TAIL = (64 << 10) + 22
_PICKLE_NAMES = (".pkl", ".pickle", ".p", ".joblib", ".dat", ".data")
_NPY = b"\x93NUMPY"
_WORD = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_."
_OPENS = re.compile(rb"\x80[\0-\5]|\n(?=[A-Za-z_][\w.]{0,200}\n)")  # PROTO, or a name of GLOBAL
_MOST_STARTS = 4

Names = list[Named]
Found = tuple[str | None, int, Names]  # member, offset of its bytes in the file, names


def in_archive(source: _core.Source, budget: Budget) -> Iterator[Found]:
    """Members that have a local header, whatever a directory says of them. A reader takes the
    bytes as they are or inflates them, as its directory says."""
    longer = []
    for name, data in _members(source):
        if not budget.take(_CHUNKS[0]):
            break
        is_pickle = name.lower().endswith(_PICKLE_NAMES)
        for read in (clipped, _inflated):
            found = walk(read(source, data, _CHUNKS[0]), budget)
            names = found.names if is_pickle else found.calls()
            if found.cut:  # after the others had their turn
                longer.append((name, data, is_pickle, read, len(names)))
            if names:
                yield name, data, names
    for name, data, is_pickle, read, seen in longer:
        found = _try(partial(read, source, data), budget, _CHUNKS[1:])
        names = (found.names if is_pickle else found.calls())[seen:]
        if names:
            yield name, data, names


def in_file(source: _core.Source, kind: str, budget: Budget) -> Iterator[Found]:
    """At its first byte, or behind the header of a NumPy file, compressed or not."""
    head = source.read(0, min(_PIECE, source.size))
    start = 0
    if head.startswith(_NPY) and len(head) > 12:
        is_wide = head[6] > 1
        start = (12 if is_wide else 10) + int.from_bytes(head[8 : 12 if is_wide else 10], "little")
    unpack = _unpacker(head)
    if unpack is None:
        found = _try(partial(clipped, source, start), budget)
    else:
        found = _try(partial(_unpacked, unpack, source, 0), budget)
    names = found.calls()
    if kind == "pickle":
        names = found.names
    elif kind == "legacy":  # whose storages follow the pickles
        names = [n for n in found.names if n.is_plausible]
    if names:
        yield None, start, names


def inside(source: _core.Source, budget: Budget) -> Iterator[Found]:
    """Anywhere: for bytes that nothing refers to."""
    yield from in_file(source, "other", budget)
    yield from in_archive(source, budget)
    at = 0
    while at < source.size and budget.take(min(_WINDOW, source.size - at)):
        data = source.read(at, min(_WINDOW + _CHUNKS[1], source.size - at))
        for start in _starts(data, _WINDOW):
            if not budget.take(0):
                return
            names = walk(data, budget, start).calls()
            if names:
                yield None, at, names
                return
        at += _WINDOW


def _starts(data: bytes, end: int) -> Iterator[int]:
    """Where a pickle may begin: at PROTO, at GLOBAL, or at a MARK before INST."""
    for hit in _OPENS.finditer(data, 0, min(end, len(data))):
        at = hit.start()
        if data[at] == 0x80:
            yield at
            continue
        line = data[max(0, at - 200) : at]
        word = line[len(line.rstrip(_WORD)) :]
        begin = at - len(word)
        calls = [begin + i for i, code in enumerate(word) if code == 0x63]
        yield from calls[:_MOST_STARTS]
        if b"i" in word:
            mark = begin
            for _ in range(_MOST_STARTS):
                mark = data.rfind(b"(", max(0, begin - 1000), mark)
                if mark < 0:
                    break
                yield mark


def may_be_archive(source: _core.Source) -> bool:
    """Whether some reader of zip files finds an end record in it."""
    size = min(_TAIL, source.size)
    return b"PK\5\6" in source.read(source.size - size, size)


def _members(source: _core.Source) -> Iterator[tuple[str, int]]:
    """Name and offset of the payload, of each local header."""
    at, size = 0, source.size
    while size - at >= _HEADER:
        window = source.read(at, min(_WINDOW, size - at))
        here = window.find(_LOCAL)
        while here >= 0:
            header = at + here
            if size - header >= _HEADER:
                yield _member(source, header)
            here = window.find(_LOCAL, here + 4)
        at += max(len(window) - 3, 1)


def _member(source: _core.Source, header: int) -> tuple[str, int]:
    head = source.read(header, _HEADER)
    name_length = int.from_bytes(head[26:28], "little")
    data = header + _HEADER + name_length + int.from_bytes(head[28:30], "little")
    room = source.size - header - _HEADER
    name = source.read(header + _HEADER, min(name_length, room))
    return name.decode("utf-8", "surrogateescape"), data


# --- bytes of a place, as far as needed


def _try(read: Callable[[int], bytes], budget: Budget, chunks: tuple[int, ...] = _CHUNKS) -> Walk:
    """Follows what `read(n)` gives; with more bytes as long as that is not enough."""
    found = Walk()
    for n in chunks:
        if n > _CHUNKS[0] and not budget.take(n):
            break
        data = read(n)
        found = walk(data, budget)
        if not found.cut or len(data) < n:
            return found
    budget.spent = True
    return found


def _inflated(source: _core.Source, at: int, n: int) -> bytes:
    return _unpacked(lambda: zlib.decompressobj(-15), source, at, n)


def _unpacked(unpack: Callable[[], Any], source: _core.Source, at: int, n: int) -> bytes:
    out = bytearray()
    stream = unpack()
    # What these raise is not all documented; whatever it is, the stream ends there.
    with suppress(Exception):
        while at < source.size and len(out) < n and not stream.eof:
            piece = source.read(at, min(_PIECE, source.size - at))
            out += stream.decompress(piece, n - len(out))
            at += len(piece)
    return bytes(out)


def _unpacker(head: bytes) -> Callable[[], Any] | None:
    if head.startswith(b"\x1f\x8b"):
        return lambda: zlib.decompressobj(31)
    if head.startswith(b"BZh"):
        return bz2.BZ2Decompressor
    if head.startswith((b"\xfd7zXZ\0", b"]\0\0")):
        return lambda: lzma.LZMADecompressor(memlimit=_DICTIONARY)
    if len(head) > 2 and head[0] == 0x78 and int.from_bytes(head[:2], "big") % 31 == 0:
        return zlib.decompressobj
    return None
