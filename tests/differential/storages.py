# SPDX-License-Identifier: Apache-2.0
"""The archive around every stream: the same few storages, and the stream as data.pkl."""

import struct
import zlib

from support import checkpoints

UNTYPED = "UntypedStorage"


def _bytes(size):
    return bytes(i * 37 % 251 for i in range(size))


# key -> (class, number of elements, bytes)
STORAGES = {
    "0": ("FloatStorage", 6, struct.pack("<6f", 1, -0.0, 3, 4.5, float("inf"), 6)),
    "1": ("LongStorage", 4, _bytes(32)),
    "a.b-c_d": ("ByteStorage", 16, _bytes(16)),
    "3": ("BFloat16Storage", 8, _bytes(16)),
    "4": (UNTYPED, 16, _bytes(16)),
    "5": ("ComplexFloatStorage", 3, _bytes(24)),
}
LEGACY = tuple(key for key, (kind, *_) in STORAGES.items() if kind != UNTYPED)
_DTYPES = {name: dtype for dtype, name in checkpoints.LEGACY.items()} | {UNTYPED: "uint8"}

# What a persistent id gives, by its key.
STAND_INS = {
    key: checkpoints.Storage(_DTYPES[kind], data) for key, (kind, _, data) in STORAGES.items()
}


def _member(name, data, offset):
    """Local header with payload, and the entry of the directory."""
    facts = (zlib.crc32(data), len(data), len(data), len(name), 0)
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 0, 0, 0, 0, 0, *facts) + name + data
    fields = (b"PK\1\2", *(0,) * 6, *facts, *(0,) * 4, offset)
    return local, struct.pack("<4s6H3I5H2I", *fields) + name


def _fixed():
    body, directory = b"", b""
    members = {"version": b"3\n", "byteorder": b"little"}
    members |= {f"data/{key}": data for key, (_, _, data) in STORAGES.items()}
    for name, data in members.items():
        local, central = _member(f"archive/{name}".encode(), data, len(body))
        body, directory = body + local, directory + central
    return body, directory, len(members)


_BODY, _DIRECTORY, _COUNT = _fixed()


def archive(stream):
    """The bytes of a file with this pickle: a plain zip, whose index is quick to write."""
    local, central = _member(b"archive/data.pkl", stream, len(_BODY))
    size = len(_DIRECTORY) + len(central)
    facts = (_COUNT + 1, _COUNT + 1, size, len(_BODY) + len(local), 0)
    return b"".join(
        (_BODY, local, _DIRECTORY, central, struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, *facts))
    )
