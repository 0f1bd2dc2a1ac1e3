# SPDX-License-Identifier: Apache-2.0
"""Archives that are malformed, or that two readers would read differently."""

import struct
import zlib

from support import checkpoints, zip_files
from support import pickle_asm as asm

from . import STORAGE, attack, entries_of, file_of

DATA = 4  # position of archive/data/0 among the entries


def _with(**fields):
    """A file whose entry data/0 has other fields."""
    entries = entries_of()
    for name, value in fields.items():
        setattr(entries[DATA], name, value)
    return zip_files.write(entries)


def _good(**options):
    return zip_files.write(entries_of(), **options)


def _end_at(data):
    return data.rindex(b"PK\5\6")


def _patch(data, at, layout, value):
    changed = bytearray(data)
    struct.pack_into(layout, changed, at, value)
    return bytes(changed)


@attack(15, "Malformed")
def central_sizes_and_offsets():
    for size in (2**31, 2**32 - 1, 17, 15, 0):
        yield _with(central={"csize": size, "usize": size})
    size = len(_good())
    for offset in (size, size - 10, 2**32 - 2, 1, _good().index(b"PK\1\2")):
        yield _with(at=offset)
    yield _with(at=0xFFFFFFFF)  # the sentinel, without a zip64 field
    yield _with(central={"csize": 0xFFFFFFFF})


@attack(15, "Malformed")
def names_and_extras_past_the_end():
    yield _with(central={"name_length": 0xFFFF})
    yield _with(central={"extra_length": 0xFFFF})
    yield _with(central={"comment_length": 0xFFFF})
    yield _with(local={"name_length": 0xFFFF})
    yield _with(local={"extra_length": 0xFFFF})
    yield _with(central={"signature": b"PK\1\3"})
    yield _with(local={"signature": b"PK\1\2"})


def _zip64(*values, size=None):
    body = struct.pack(f"<{len(values)}Q", *values)
    return struct.pack("<HH", 1, len(body) if size is None else size) + body


@attack(16, "Malformed")
def zip64_fields():
    sizes = {"csize": 0xFFFFFFFF, "usize": 0xFFFFFFFF}
    yield _with(central=sizes, central_extra=_zip64(16))  # short
    yield _with(central=sizes, central_extra=_zip64(16, 16) * 2)  # twice
    yield _with(central=sizes, central_extra=_zip64(2**64 - 1, 2**64 - 1))
    yield _with(central=sizes, central_extra=_zip64(2**63, 2**63))
    yield _with(central=sizes, central_extra=_zip64(16, 16, size=40))
    yield _with(central=sizes, central_extra=_zip64(16, 16, 0))  # more than the fields that need it
    yield _with(central_extra=b"\1")
    yield _with(central_extra=b"UT\xff\xff")
    yield _with(at=0xFFFFFFFF, central_extra=_zip64(2**64 - 10))
    yield _with(local_extra=_zip64(1, 1, 1, 1))


@attack(16, "Malformed")
def zip64_end_records():
    yield _good(zip64={"count": 2**63, "here": 2**63})
    yield _good(zip64={"cd_offset": 2**64 - 1})
    yield _good(zip64={"cd_size": 2**64 - 1})
    yield _good(zip64={"size": 43})
    yield _good(zip64={"size": 2**64 - 1})
    yield _good(zip64={"signature": b"PK\6\5"})
    yield _good(zip64={"disk": 1})
    data = _good()
    where = data.index(b"PK\6\6")
    for offset in (len(data), 2**64 - 1, 2**63, where + 1, where + 56, 0):
        yield _good(locator={"offset": offset})
    yield _good(locator={"disks": 2})
    yield _good(locator={"disk": 1})


@attack(17, "Malformed")
def end_record():
    good = _good()
    count = len(entries_of())
    for wrong in (0xFFFE, count + 1, count - 1, 0):
        yield _good(end={"count": wrong, "here": wrong})
    yield _good(end={"here": count - 1})
    start = good.index(b"PK\1\2")
    size = good.index(b"PK\6\6") - start
    for change in (-1, 1):
        yield _good(end={"cd_size": size + change})
        yield _good(end={"cd_offset": start + change})
        yield _good(end={"cd_size": size + change}, zip64={"cd_size": size + change})
        yield _good(end={"cd_offset": start + change}, zip64={"cd_offset": start + change})
        wrong = {"count": count + change, "here": count + change}
        yield _good(end=wrong, zip64=wrong)
    yield _good(end={"disk": 1})
    yield _good(end={"comment_length": 5})


def _without_zip64(**end):
    """As small archives of other tools end: with one record alone."""
    data = _good(end=end)
    start = data.index(b"PK\6\6")
    return data[:start] + data[_end_at(data) :]


@attack(17, "Malformed")
def a_count_that_only_a_missing_record_could_explain():
    yield _without_zip64(count=0xFFFF, here=0xFFFF)
    yield _without_zip64(cd_size=0xFFFFFFFF)
    yield _without_zip64(cd_offset=0xFFFFFFFF)
    count = len(entries_of())
    for wrong in (count + 1, count - 1, 0):
        yield _without_zip64(count=wrong, here=wrong)


@attack(26, "Ambiguous")
def two_pickles():
    entries = entries_of()
    yield zip_files.write([entries[0], *entries])
    other = zip_files.Entry(entries[0].name, asm.program(asm.number(2)))
    yield zip_files.write([*entries, other])


@attack(27, "Ambiguous|Malformed")
def names():
    for name in (
        *(b"ARCHIVE/DATA/0", b"archive/Data/0", b"archive/data\\1", b"archive/a\0b"),
        *(b"/archive/x", b"archive/../x", b"archive/./x", b"", b"\xff\xfe"),
        *(b"other/x", b"x", b"__MACOSX/archive/x", b"archive/x/..", b"archive\\x"),
    ):
        yield zip_files.write([*entries_of(), zip_files.Entry(name, b"x")])


@attack(27, "Ambiguous|Malformed")
def stems_that_are_none():
    for stem in ("", "a\0b"):
        yield checkpoints.archive(asm.program(asm.tensor()), STORAGE, stem=stem)


@attack(28, "Ambiguous")
def local_differs_from_central():
    yield _with(local_name=b"archive/data/1")
    yield _with(local_name=b"archive/data/0x")
    yield _with(local={"method": 8})
    yield _with(local={"flags": 0x0008})
    yield _with(local={"flags": 0x0800})
    yield _with(local={"csize": 15})
    yield _with(local={"usize": 17})
    yield _with(local={"crc": 1})


@attack(28, "Ambiguous")
def local_without_a_descriptor_differs():
    plain = {"flags": 0x0800}
    right = {"crc": zlib.crc32(STORAGE["0"]), "csize": 16, "usize": 16, **plain}
    for wrong in ({"crc": 1}, {"csize": 15}, {"usize": 17}, {"csize": 0}, {"crc": 0}):
        yield _with(local={**right, **wrong}, central=plain, descriptor=b"")


@attack(28, "loads")
def local_without_a_descriptor():
    plain = {"flags": 0x0800}
    right = {"crc": zlib.crc32(STORAGE["0"]), "csize": 16, "usize": 16, **plain}
    yield _with(local=right, central=plain, descriptor=b"")


@attack(29, "Malformed")
def flags():
    for flag in (0x1, 0x20, 0x40, 0x2000, 0x8000):
        yield _with(local={"flags": 0x0808 | flag}, central={"flags": 0x0808 | flag})
        yield _with(local={"flags": 0x0808 | flag})
        yield _with(central={"flags": 0x0808 | flag})


@attack(30, "Malformed")
def checksum_of_the_pickle():
    entries = entries_of()
    entries[0].central = {"crc": 1}
    size = struct.pack("<I", len(entries[0].data))
    entries[0].descriptor = b"PK\7\x08" + struct.pack("<I", 1) + size * 2
    yield zip_files.write(entries)


def _wrong_checksum(value):
    sizes = struct.pack("<III", value, 16, 16)
    return _with(central={"crc": value}, descriptor=b"PK\7\x08" + sizes)


@attack(30, "Checksum", only_copied=True)
def checksum_of_a_storage():
    return _wrong_checksum(1)


@attack(30, "loads", verifies=True)
def checksums_not_computed():
    yield _wrong_checksum(0)
    entries = entries_of()
    for entry in entries:
        entry.central = {"crc": 0}
        entry.descriptor = b"PK\7\x08" + struct.pack("<III", 0, len(entry.data), len(entry.data))
    yield zip_files.write(entries)


@attack(31, "Ambiguous|Malformed")
def descriptors():
    right = struct.pack("<III", zlib.crc32(STORAGE["0"]), 16, 16)
    wide = struct.pack("<IQQ", zlib.crc32(STORAGE["0"]), 16, 16)
    yield _with(descriptor=b"")
    yield _with(descriptor=b"PK\7\7" + right)
    yield _with(descriptor=right)
    yield _with(descriptor=b"PK\7\x08" + wide)
    for at in range(3):
        values = [zlib.crc32(STORAGE["0"]), 16, 16]
        values[at] ^= 1
        yield _with(descriptor=b"PK\7\x08" + struct.pack("<III", *values))


@attack(31, "loads")
def a_wide_descriptor_where_it_belongs():
    wide = struct.pack("<IQQ", zlib.crc32(STORAGE["0"]), 16, 16)
    yield _with(descriptor=b"PK\7\x08" + wide, local_extra=_zip64(0, 0))


@attack(32, "Malformed")
def overlaps():
    entries = entries_of(storages={"0": bytes(16), "1": bytes(16)})
    data = zip_files.write(entries)
    first = data.index(b"archive/data/0") - 30
    entries[DATA + 1].at = first
    yield zip_files.write(entries)  # two entries, one local header
    inner = zip_files.write(entries_of())
    entries = entries_of(asm.tensor(), storages={"0": bytes(16), "1": inner})
    outer = zip_files.write(entries)
    entries[DATA].at = outer.index(inner) + inner.index(b"archive/data/0") - 30
    yield zip_files.write(entries)  # an entry inside the data of another
    entries = entries_of()
    entries[-1].central = {"csize": 100, "usize": 100}
    yield zip_files.write(entries)  # into the directory


@attack(33, "Ambiguous|Malformed|Unsupported")
def more_than_one_archive():
    good, other = _good(), file_of(asm.number(2))
    yield other + good
    yield good + other
    yield b"\x7fELF" + bytes(60) + good
    yield good + b"\0"
    yield good + b"trailing garbage" * 100
    yield _good(comment=other[_end_at(other) :])
    yield _good(comment=b"PK\5\6" + bytes(18))
    yield good[: _end_at(good)] + good[_end_at(good) :] * 2


@attack(33, "Malformed|Unsupported")
def a_self_extracting_archive():
    yield b"#!/bin/sh\nexit\n" + _good()
    yield b"PK\7\x08" + _good()


@attack(34, "Malformed|Unsupported")
def methods():
    for method in (1, 8, 9, 12, 14, 93, 95, 99):
        yield _with(local={"method": method}, central={"method": method})
    longer = struct.pack("<III", zlib.crc32(STORAGE["0"]), 16, 17)
    yield _with(central={"usize": 17}, descriptor=b"PK\7\x08" + longer)
    packed = zip_files.deflated(b"archive/data/0", STORAGE["0"])
    for stored in (packed.stored[:-3], b"", b"\x07" * 10):
        yield _stored_as(stored)


def _stored_as(stored):
    entries = entries_of()
    entries[DATA] = zip_files.deflated(b"archive/data/0", STORAGE["0"])
    entries[DATA].stored = stored
    return zip_files.write(entries)


@attack(34, "loads|Malformed|Unsupported")
def a_deflate_stream_that_does_not_end_with_its_member():
    """All bytes of the record come out, and other readers do not mind."""
    packed = zip_files.deflated(b"archive/data/0", STORAGE["0"]).stored
    yield _stored_as(packed[:-1])
    yield _stored_as(packed + b"\0")


@attack(34, "Malformed|Unsupported")
def deflated_sizes():
    for size in (15, 17, 2**31):
        entries = entries_of()
        entries[DATA] = zip_files.deflated(b"archive/data/0", STORAGE["0"])
        entries[DATA].central = {"method": 8, "usize": size}
        stored = entries[DATA].stored
        values = struct.pack("<III", zlib.crc32(STORAGE["0"]), len(stored), size)
        entries[DATA].descriptor = b"PK\7\x08" + values
        yield zip_files.write(entries)


@attack(34, "Malformed")
def a_symbolic_link():
    yield _with(central={"external": 0o120777 << 16, "made": 0x031E})


@attack(39, "loads", verifies=True)
def a_pickle_hidden_where_nobody_looks():
    hidden = asm.program(asm.call(asm.global_("os", "system"), asm.text("echo hostile")))
    entries = entries_of()
    yield zip_files.write([*entries, zip_files.Entry(b"archive/evil.pkl", hidden)])
    storages = {"0": bytes(16), "1": hidden}
    yield zip_files.write(entries_of(asm.tensor(), storages=storages))
    yield _good(comment=hidden)
    yield _good(gap=hidden)
    sizes = struct.pack("<III", zlib.crc32(STORAGE["0"]), 16, 16)
    yield _with(descriptor=b"PK\7\x08" + sizes + hidden)


@attack(48, "Malformed|Ambiguous|Unsupported|loads|Limit")
def hostile_member_names():
    for name in ("\x1b[31mred", "a\nok: fine", "\u202egnp.exe", "x" * 65_000):
        yield zip_files.write(
            [*entries_of(), zip_files.Entry(f"archive/{name}".encode()[:65_535], b"x")]
        )


@attack(35, "Malformed|Unsupported")
def other_members_of_the_family():
    """Records that decide how the file is read."""
    for name, data in (("version", b"0"), ("version", b"abc"), ("version", b"99\n")):
        entries = entries_of()
        entry = next(e for e in entries if e.name == f"archive/{name}".encode())
        entry.data = data
        yield zip_files.write(entries)
