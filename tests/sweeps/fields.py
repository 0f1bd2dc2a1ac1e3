# SPDX-License-Identifier: Apache-2.0
"""Where the binary numbers stand in a file: [(offset, width)]."""

import io
import pickletools
import struct
import tarfile

_LOCAL = ((4, 2), (6, 2), (8, 2), (10, 2), (12, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2))
_CENTRAL = (
    *((4, 2), (6, 2), (8, 2), (10, 2), (16, 4), (20, 4), (24, 4)),
    *((28, 2), (30, 2), (32, 2), (34, 2), (36, 2), (38, 4), (42, 4)),
)
_END = ((4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2))
_ZIP64 = ((4, 8), (12, 2), (14, 2), (16, 4), (20, 4), (24, 8), (32, 8), (40, 8), (48, 8))
_LOCATOR = ((4, 4), (8, 8), (16, 4))
_HAS_DESCRIPTOR = 8

# What an opcode's argument begins with.
_WIDTHS = {
    **dict.fromkeys(("uint1", "string1", "bytes1", "unicodestring1", "long1"), 1),
    "uint2": 2,
    **dict.fromkeys(("int4", "uint4", "string4", "bytes4", "unicodestring4", "long4"), 4),
    **dict.fromkeys(("uint8", "float8", "bytes8", "bytearray8", "unicodestring8"), 8),
}


def _at(base, layout):
    return [(base + offset, width) for offset, width in layout]


def of_zip(data):
    end = data.rindex(b"PK\5\6")
    found = _at(end, _END)
    if data[end - 20 : end - 16] == b"PK\6\7":
        found += _at(end - 20, _LOCATOR) + _at(struct.unpack_from("<Q", data, end - 12)[0], _ZIP64)
    (at,) = struct.unpack_from("<I", data, end + 16)
    while data[at : at + 4] == b"PK\1\2":
        found += _at(at, _CENTRAL)
        flags, csize = struct.unpack_from("<H", data, at + 8)[0], _size(data, at)
        name, extra, comment = struct.unpack_from("<HHH", data, at + 28)
        local = struct.unpack_from("<I", data, at + 42)[0]
        found += _of_local(data, local, csize if flags & _HAS_DESCRIPTOR else None)
        found += _of_extra(data, at + 46 + name, extra)
        at += 46 + name + extra + comment
    return found


def _size(data, at):
    return struct.unpack_from("<I", data, at + 20)[0]


def _of_extra(data, at, size):
    if size >= 4 and data[at : at + 2] == b"\1\0":
        return [(at + 2, 2), *((at + 4 + 8 * i, 8) for i in range((size - 4) // 8))]
    return [(at, 2), (at + 2, 2)] if size >= 4 else []


def _of_local(data, at, described):
    name, extra = struct.unpack_from("<HH", data, at + 26)
    found = _at(at, _LOCAL) + _of_extra(data, at + 30 + name, extra)
    if described is not None:
        behind = at + 30 + name + extra + described
        if data[behind : behind + 4] == b"PK\7\x08":
            found += [(behind + 4, 4), (behind + 8, 4), (behind + 12, 4)]
    return found


def of_pickle(data, base=0):
    return _of_pickle(data, base)[0]


def _of_pickle(data, at):
    """The numbers of the pickle at a place, and its end."""
    found, end = [], at
    for info, _, position in pickletools.genops(data[at:]):
        width = _WIDTHS.get(info.arg.name) if info.arg else None
        if width:
            found.append((at + position + 1, width))
        if info.name == "LONG1" and data[at + position + 1] == 8:
            found.append((at + position + 2, 8))
        end = at + position + 1
    return found, end


def of_legacy(data):
    found, at = [], 0
    for _ in range(5):
        more, at = _of_pickle(data, at)
        found += more
    return [*found, (at, 8)]


def of_tar(data):
    """Those of the pickles, and the binary ones that follow each entry of a table."""
    found = []
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for info in archive:
            at, end = info.offset_data, info.offset_data + info.size
            while at < end and data[at : at + 1] == b"\x80":
                more, at = _of_pickle(data, at)
                found += more
                while at < end and data[at : at + 1] != b"\x80":
                    found.append((at, 8))
                    at += 8
    return [(at, width) for at, width in found if at + width <= len(data)]
