# SPDX-License-Identifier: Apache-2.0
"""Every way of handing a file to ptio.load, as context managers over a path."""

import io
import os
from contextlib import contextmanager
from functools import partial

JUNK = b"not part of the checkpoint" * 7


class PathLike:
    def __init__(self, path):
        self._path = path

    def __fspath__(self):
        return str(self._path)


class DuckFile:
    """A file-like object that has read, seek and tell, and nothing else."""

    def __init__(self, data, position=0):
        self._file = io.BytesIO(data)
        self._file.seek(position)

    def read(self, size=-1):
        return self._file.read(size)

    def seek(self, offset, whence=0):
        return self._file.seek(offset, whence)

    def tell(self):
        return self._file.tell()


class ShortReads(DuckFile):
    """Gives at most 1000 bytes at a time, as sockets and some remote files do."""

    def read(self, size=-1):
        return self._file.read(min(size, 1000) if size >= 0 else 1000)


class ReadInto(io.RawIOBase):
    """A raw stream: readinto may fill only a part of the buffer."""

    def __init__(self, data):
        self._file = io.BytesIO(data)

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=0):
        return self._file.seek(offset, whence)

    def tell(self):
        return self._file.tell()

    def readinto(self, buffer):
        return self._file.readinto(memoryview(buffer)[:4096])


@contextmanager
def _open_at_offset(path):
    shifted = path.with_name(path.name + ".shifted")
    shifted.write_bytes(JUNK + path.read_bytes())
    with open(shifted, "rb") as file:
        file.seek(len(JUNK))
        yield file


@contextmanager
def _plain(value):
    yield value


def _bytesio_at_offset(path):
    file = io.BytesIO(JUNK + path.read_bytes())
    file.seek(len(JUNK))
    return file


# What the mmap argument may be, and how to open.
MAPPABLE = {
    "str": lambda path: _plain(str(path)),
    "bytes": lambda path: _plain(os.fsencode(path)),
    "Path": _plain,
    "PathLike": lambda path: _plain(PathLike(path)),
    "open file": partial(open, mode="rb"),
    "unbuffered file": partial(open, mode="rb", buffering=0),
    "read-write file": partial(open, mode="r+b"),
    "open file at an offset": _open_at_offset,
}
READ_ONLY = {
    "BytesIO": lambda path: _plain(io.BytesIO(path.read_bytes())),
    "BytesIO at an offset": lambda path: _plain(_bytesio_at_offset(path)),
    "duck-typed": lambda path: _plain(DuckFile(path.read_bytes())),
    "duck-typed at an offset": lambda path: _plain(
        DuckFile(JUNK + path.read_bytes(), position=len(JUNK))
    ),
    "short reads": lambda path: _plain(ShortReads(path.read_bytes())),
    "partial readinto": lambda path: _plain(ReadInto(path.read_bytes())),
}
ALL = {**MAPPABLE, **READ_ONLY}
