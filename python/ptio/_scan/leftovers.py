# SPDX-License-Identifier: Apache-2.0
"""scan: what of a sound archive no load looks at: members, and bytes in and around members."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from ptio import _core

_CENTRAL = Struct("<4s6H3I5H2I")
_LOCAL = 30
_END = 22  # bytes of an end record, ...
_END64 = 56  # ... of that of zip64, ...
_LOCATOR = 20  # ... and of what says where that is

# Extra fields that only say what a reader may know: the most bytes that they need.
_EXTRAS = {
    0x0001: 28,  # zip64
    0x000A: 32,  # times of NTFS
    0x5455: 13,  # times
    0x5855: 12,  # times and owner
    0x7855: 4,  # owner
    0x7875: 24,  # owner
    0xCAFE: 0,  # of Java
}
_FILLER = 0x4246  # "FB": torch aligns payloads with it


class Rest(NamedTuple):
    """Bytes that belong to nothing."""

    what: str
    offset: int
    size: int


def unclaimed(source: _core.Source, gaps: list[tuple[int, int]]) -> Iterator[Rest]:
    """What a reader passes over, in and between the headers of an archive that has been proven.

    gaps: what stands between its members, and last what stands behind its directory.
    """
    if not gaps:
        return
    end = gaps[-1][0]
    folders: set[int] = set()
    yield from _headers(source, end, folders)
    for offset, size in gaps[:-1]:
        taken = _folders(source, offset, size, folders)
        if taken < size:
            yield Rest("bytes that belong to no member", offset + taken, size - taken)
    yield from _behind(source, end)


def _behind(source: _core.Source, directory_end: int) -> Iterator[Rest]:
    """The comment of the archive, and what stands between the records of zip64."""
    end = _end_record(source)
    more = end - _LOCATOR - _END64 - directory_end
    if more > 0:
        yield Rest("bytes between the end records", directory_end + _END64, more)
    if end + _END < source.size:
        yield Rest("the comment of the archive", end + _END, source.size - end - _END)


def _end_record(source: _core.Source) -> int:
    """Offset; the archive has exactly one."""
    size = min(_END + 0xFFFF, source.size)
    tail = source.read(source.size - size, size)
    at = tail.rfind(b"PK\5\6")
    while at > 0 and int.from_bytes(tail[at + 20 : at + 22], "little") != size - at - _END:
        at = tail.rfind(b"PK\5\6", 0, at)
    return source.size - size + max(at, 0)


def _headers(source: _core.Source, end: int, folders: set[int]) -> Iterator[Rest]:
    """Comments and extra fields of members; adds the offsets of directories to `folders`."""
    at, size = _directory(source, end)
    directory = source.read(at, size)
    here = 0
    while here < size:
        fields = _CENTRAL.unpack_from(directory, here)
        name, extra, comment = fields[10:13]
        extras = here + _CENTRAL.size + name
        here = extras + extra + comment
        header = fields[16]
        yield from _extras(directory[extras : extras + extra], at + extras)
        if comment:
            yield Rest("the comment of a member", at + here - comment, comment)
        if header == 0xFFFFFFFF:
            header = _wide_offset(directory[extras : extras + extra], fields[8:10])
        if directory[extras - 1 : extras] == b"/":
            folders.add(header)
        head = clipped(source, header, _LOCAL)
        begin = header + _LOCAL + int.from_bytes(head[26:28], "little")
        length = int.from_bytes(head[28:30], "little")
        yield from _extras(clipped(source, begin, length), begin)


def _directory(source: _core.Source, end: int) -> tuple[int, int]:
    """Offset and size."""
    head = source.read(end, _END)
    if head.startswith(b"PK\6\6"):
        size = int.from_bytes(source.read(end + 40, 8), "little")
    else:
        size = int.from_bytes(head[12:16], "little")
    return end - size, size


def clipped(source: _core.Source, at: int, size: int) -> bytes:
    """As many of these bytes as the file has."""
    return source.read(at, min(size, source.size - at)) if at < source.size else b""


def _wide_offset(extras: bytes, sizes: tuple[int, int]) -> int:
    for kind, begin, size in _fields(extras):
        if kind == 1:
            at = begin + 8 * sum(value == 0xFFFFFFFF for value in sizes)
            return int.from_bytes(extras[at : min(at + 8, begin + size)], "little")
    return 0xFFFFFFFF


def _fields(extras: bytes) -> Iterator[tuple[int, int, int]]:
    """Kind, offset and size of each."""
    at = 0
    while len(extras) - at >= 4:
        kind, size = (int.from_bytes(extras[at + i : at + i + 2], "little") for i in (0, 2))
        if size > len(extras) - at - 4:
            break
        yield kind, at + 4, size
        at += 4 + size


def _extras(extras: bytes, offset: int) -> Iterator[Rest]:
    for kind, begin, size in _fields(extras) if extras else ():
        if kind == _FILLER and not extras[begin : begin + size].strip(b"Z\0"):
            continue
        if size > _EXTRAS.get(kind, 0):
            yield Rest("an extra field of a member", offset + begin, size)


def _folders(source: _core.Source, offset: int, length: int, known: set[int]) -> int:
    """Bytes of the headers of directories ("folder/"), which are members without a content."""
    taken = 0
    while length - taken >= _LOCAL and offset + taken in known:
        head = source.read(offset + taken, _LOCAL)
        end = taken + _LOCAL + sum(int.from_bytes(head[at : at + 2], "little") for at in (26, 28))
        if head[:4] != b"PK\3\4" or head[18:26] != bytes(8) or end > length:
            break
        taken = end
        if head[6] & 8 and length - taken >= 16 and source.read(offset + taken, 4) == b"PK\7\x08":
            taken += 16
    return taken
