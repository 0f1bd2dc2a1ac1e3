# SPDX-License-Identifier: Apache-2.0
"""Records and offsets beyond 4 GiB, in a sparse file with the bytes that torch writes there: a
zip64 field in the local header too, and descriptors of 24 bytes."""

import os
import struct
import sys

import numpy as np
import ptio
import pytest
from support import checkpoints, zip_files
from support.compare import assert_same

HUGE = (1 << 32) + 4096  # bytes of the first storage
SENTINEL = 0xFFFFFFFF
MARK = b"the last bytes!!"


class Writer:
    """Appends records to a file as torch's writer does, without checksums."""

    def __init__(self, file):
        self.file = file
        self.directory = bytearray()
        self.count = 0

    def add(self, name, data, size=None):
        """A record whose last bytes are `data` and whose other bytes are a hole."""
        size = len(data) if size is None else size
        offset = self.file.tell()
        big, far = size >= SENTINEL, offset >= SENTINEL
        local = struct.pack("<QQ", size, 0) * big + struct.pack("<Q", offset) * far
        self.file.write(self._local_header(name, offset, local))
        self.file.seek(size - len(data), os.SEEK_CUR)
        self.file.write(data + self._descriptor(size, wide=big or far))
        self._remember(name, size, offset, big, far)

    def _local_header(self, name, offset, zip64):
        extra = struct.pack("<HH", 1, len(zip64)) + zip64 if zip64 else b""
        padding = zip_files.padding(offset + len(extra), name)
        sizes = len(name), len(extra) + len(padding)
        head = struct.pack("<4s5H3I2H", b"PK\3\4", 0, 0x0808, 0, 0, 0, 0, 0, 0, *sizes)
        return head + name + extra + padding

    @staticmethod
    def _descriptor(size, wide):
        return b"PK\7\x08" + struct.pack("<IQQ" if wide else "<III", 0, size, size)

    def _remember(self, name, size, offset, big, far):
        zip64 = struct.pack("<QQ", size, size) * big + struct.pack("<Q", offset) * far
        extra = struct.pack("<HH", 1, len(zip64)) + zip64 if zip64 else b""
        sizes = min(size, SENTINEL), min(size, SENTINEL), len(name), len(extra)
        head = (b"PK\1\2", 0, 0, 0x0808, 0, 0, 0, 0, *sizes, 0, 0, 0, 0, min(offset, SENTINEL))
        self.directory += struct.pack("<4s6H3I5H2I", *head) + name + extra
        self.count += 1

    def close(self):
        start, size = self.file.tell(), len(self.directory)
        record = (b"PK\6\6", 44, 0x031E, 0x2D, 0, 0, self.count, self.count, size, start)
        self.file.write(self.directory + struct.pack("<4sQHHIIQQQQ", *record))
        self.file.write(struct.pack("<4sIQI", b"PK\6\7", 0, start + size, 1))
        end = (b"PK\5\6", 0, 0, self.count, self.count, size, min(start, SENTINEL), 0)
        self.file.write(struct.pack("<4s4H2IH", *end))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """{"huge": 4 GiB of zeros and a mark, "after": a small tensor behind it}"""
    huge = checkpoints.tensor("uint8", b"x")
    huge.shape = (HUGE,)
    after = checkpoints.tensor("float32", [1.0, 2.0, 3.0])
    pickled, storages = checkpoints.dumps({"huge": huge, "after": after})
    # the count of a storage of one byte becomes that of the huge one
    old = b"K\x01"
    cut = pickled.index(old, pickled.index(b"cpu"))
    count = b"\x8a\x05" + HUGE.to_bytes(5, "little")
    pickled = pickled[:cut] + count + pickled[cut + len(old) :]
    target = tmp_path_factory.mktemp("large") / "huge.pt"
    with open(target, "wb") as file:
        writer = Writer(file)
        writer.add(b"huge/data.pkl", pickled)
        writer.add(b"huge/byteorder", b"little")
        writer.add(b"huge/data/0", MARK, HUGE)
        writer.add(b"huge/data/1", storages["1"])
        writer.add(b"huge/version", b"3\n")
        writer.close()
    if target.stat().st_blocks * 512 > HUGE // 2:
        target.unlink()
        pytest.skip("the file system has no sparse files")
    yield target
    target.unlink()


@pytest.mark.skipif(sys.maxsize < 1 << 32, reason="no such file can be mapped here")
def test_a_record_beyond_4_gib_and_what_lies_behind_it(path):
    ours = ptio.load(path, mmap=True)
    assert ours["huge"].shape == (HUGE,)
    assert ours["huge"][-len(MARK) :].tobytes() == MARK
    assert ours["huge"][:100].sum() == 0
    np.testing.assert_array_equal(ours["after"], np.float32([1, 2, 3]))


def test_it_is_what_torch_reads(path, torch, torch_load):
    ours, theirs = ptio.load(path, mmap=True), torch_load(path, mmap=True)
    assert ours["huge"].shape == tuple(theirs["huge"].shape)
    assert bytes(theirs["huge"][-len(MARK) :].tolist()) == MARK
    assert_same(ours["after"], theirs["after"])


def test_a_record_larger_than_the_file_is_refused(path):
    with open(path, "rb") as file:
        head = file.read(8192)
        file.seek(-800, os.SEEK_END)
        tail = file.read()
    shorter = path.with_name("short.pt")
    shorter.write_bytes(head + tail)
    with pytest.raises(ptio.FormatError):
        ptio.load(shorter)
