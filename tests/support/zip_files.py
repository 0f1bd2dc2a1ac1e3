# SPDX-License-Identifier: Apache-2.0
"""Zip archives: byte for byte as torch writes them, with any field overridden, and re-zipped by
the tools that people use.
"""

import io
import shutil
import struct
import subprocess
import zipfile
import zlib
from dataclasses import dataclass, field

import pytest

_LOCAL = ("signature", "need", "flags", "method", "time", "date", "crc", "csize", "usize")
_LOCAL_FORMAT = "<4sHHHHHIIIHH"
_CENTRAL = (
    *("signature", "made", "need", "flags", "method", "time", "date", "crc", "csize", "usize"),
    *("name_length", "extra_length", "comment_length", "disk", "internal", "external", "offset"),
)
_CENTRAL_FORMAT = "<4sHHHHHHIIIHHHHHII"
_ZIP64_FORMAT = "<4sQHHIIQQQQ"
_LOCATOR_FORMAT = "<4sIQI"
_END_FORMAT = "<4sHHHHIIH"


@dataclass
class Entry:
    """One member. `local` and `central` override header fields by name; None means "the right
    bytes" for the others."""

    name: bytes
    data: bytes
    local: dict = field(default_factory=dict)
    central: dict = field(default_factory=dict)
    local_name: bytes | None = None
    local_extra: bytes | None = None
    central_extra: bytes = b""
    comment: bytes = b""
    descriptor: bytes | None = None
    stored: bytes | None = None  # what lies in the file; default: data as it is
    at: int | None = None  # offset in the central directory


def _pack(layout, names, fields, overrides):
    values = {**fields, **overrides}
    return struct.pack(layout, *(values[name] for name in names))


def padding(offset, name, alignment=64):
    """torch's "FB" field, which aligns the payload."""
    size = -(offset + 30 + len(name) + 4) % alignment
    return b"FB" + struct.pack("<H", size) + b"Z" * size


def _flags(entry):
    return 0x0808 if entry.data else 0x0800


def _local(entry, offset, alignment):
    name = entry.name if entry.local_name is None else entry.local_name
    extra = padding(offset, name, alignment) if entry.local_extra is None else entry.local_extra
    fields = dict.fromkeys(_LOCAL, 0) | {"signature": b"PK\3\4", "flags": _flags(entry)}
    fields |= {"name_length": len(name), "extra_length": len(extra)}
    names = (*_LOCAL, "name_length", "extra_length")
    return _pack(_LOCAL_FORMAT, names, fields, entry.local) + name + extra


def _descriptor(entry, payload):
    if entry.descriptor is not None:
        return entry.descriptor
    if not entry.data:
        return b""
    return b"PK\7\x08" + struct.pack("<III", zlib.crc32(entry.data), len(payload), len(entry.data))


def _central(entry, offset, payload):
    fields = dict.fromkeys(_CENTRAL, 0) | {
        "signature": b"PK\1\2",
        "flags": _flags(entry),
        "crc": zlib.crc32(entry.data),
        "csize": len(payload),
        "usize": len(entry.data),
        "name_length": len(entry.name),
        "extra_length": len(entry.central_extra),
        "comment_length": len(entry.comment),
        "offset": offset if entry.at is None else entry.at,
    }
    head = _pack(_CENTRAL_FORMAT, _CENTRAL, fields, entry.central)
    return head + entry.name + entry.central_extra + entry.comment


def _zip64(count, size, start, overrides):
    fields = {"signature": b"PK\6\6", "size": 44, "made": 0x031E, "need": 0x2D, "disk": 0}
    fields |= {"start_disk": 0, "here": count, "count": count, "cd_size": size, "cd_offset": start}
    return _pack(_ZIP64_FORMAT, tuple(fields), fields, overrides)


def _locator(offset, overrides):
    fields = {"signature": b"PK\6\7", "disk": 0, "offset": offset, "disks": 1}
    return _pack(_LOCATOR_FORMAT, tuple(fields), fields, overrides)


def _end(count, size, start, comment, overrides):
    fields = {"signature": b"PK\5\6", "disk": 0, "start_disk": 0, "here": count, "count": count}
    fields |= {"cd_size": size, "cd_offset": start, "comment_length": len(comment)}
    return _pack(_END_FORMAT, tuple(fields), fields, overrides) + comment


def write(entries, *, alignment=64, zip64=None, locator=None, end=None, comment=b"", gap=b""):
    """The archive's bytes. zip64, locator and end override fields of the three end records;
    gap stands between the members and the directory."""
    body, directory = bytearray(), bytearray()
    for entry in entries:
        offset = len(body)
        payload = entry.data if entry.stored is None else entry.stored
        body += _local(entry, offset, alignment) + payload + _descriptor(entry, payload)
        directory += _central(entry, offset, payload)
    start = len(body) + len(gap)
    tail = _zip64(len(entries), len(directory), start, zip64 or {})
    tail += _locator(start + len(directory), locator or {})
    tail += _end(len(entries), len(directory), start, comment, end or {})
    return bytes(body + gap + directory + tail)


def deflate(data, level=9):
    packer = zlib.compressobj(level, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def deflated(name, data, level=9):
    """A member that is compressed, as `zip` would have it but in torch's layout."""
    method = {"method": 8}
    return Entry(name, data, local=method, central=method, stored=deflate(data, level))


# --- the same members, written by other tools -------------------------------------------------


def unpack(archive, folder):
    with zipfile.ZipFile(archive) as old:
        old.extractall(folder)
    return sorted(path.name for path in folder.iterdir())


def _run(tool, *arguments, cwd):
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    subprocess.run([tool, *arguments], cwd=cwd, check=True, stdout=subprocess.DEVNULL)


def _by_tool(tool, *options):
    def rezip(archive, folder):
        tops = unpack(archive, folder / "tree")
        target = folder / "rezipped.pt"
        _run(tool, *options, str(target), *tops, cwd=folder / "tree")
        return target

    return rezip


def _by_make_archive(archive, folder):
    unpack(archive, folder / "tree")
    return shutil.make_archive(str(folder / "rezipped"), "zip", folder / "tree")


class WriteOnly(io.RawIOBase):
    """A stream that cannot seek, so that zipfile writes data descriptors."""

    def __init__(self, file):
        self._file = file

    def writable(self):
        return True

    def write(self, data):
        return self._file.write(data)


def by_zipfile(*, force_zip64=False, stream=False, method=zipfile.ZIP_STORED):
    def rezip(archive, folder):
        target = folder / "rezipped.pt"
        with open(target, "wb") as file, zipfile.ZipFile(archive) as old:
            sink = WriteOnly(file) if stream else file
            with zipfile.ZipFile(sink, "w", method) as new:
                for info in old.infolist():
                    with new.open(info.filename, "w", force_zip64=force_zip64) as member:
                        member.write(old.read(info))
        return target

    return rezip


REZIPPERS = {
    "zip -0": _by_tool("zip", "-q", "-r", "-0"),
    "zip -1": _by_tool("zip", "-q", "-r", "-1"),
    "zip -9": _by_tool("zip", "-q", "-r", "-9"),
    "zip -X -D": _by_tool("zip", "-q", "-r", "-X", "-D"),
    "7z": _by_tool("7z", "a", "-tzip", "-bso0"),
    "7z store": _by_tool("7z", "a", "-tzip", "-mx0", "-bso0"),
    "shutil.make_archive": _by_make_archive,
    "zipfile": by_zipfile(),
    "zipfile force_zip64": by_zipfile(force_zip64=True),
    "zipfile to a stream": by_zipfile(stream=True),
    "zipfile to a stream force_zip64": by_zipfile(stream=True, force_zip64=True),
    "zipfile deflated": by_zipfile(method=zipfile.ZIP_DEFLATED),
    "zipfile deflated to a stream": by_zipfile(method=zipfile.ZIP_DEFLATED, stream=True),
}
