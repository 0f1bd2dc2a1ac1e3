# SPDX-License-Identifier: Apache-2.0
"""Files of the formats before torch 1.6 that contradict themselves."""

import io
import pickle
import struct
import tarfile

from support import checkpoints, legacy_files, tar_files
from support import pickle_asm as asm

from . import attack

WEIGHT = checkpoints.tensor("float32", [1, 2, 3, 4])


def changed(**parts):
    made = legacy_files.parts_of([WEIGHT])
    for name, value in parts.items():
        setattr(made, name, value)
    return made.join()


@attack(13, "Malformed")
def legacy_keys():
    """None, another one, one too many, one twice, no list, no texts."""
    data = (4, bytes(16))
    for keys in ([], ["1"], ["0", "1"], ["0", "0"], [0], {"0": 1}, "0", None, [["0"]]):
        yield changed(keys=pickle.dumps(keys, 2), storages=[data, data])
    yield changed(keys=asm.program(asm.op("EMPTY_LIST"), asm.op("DUP"), asm.op("APPEND")))


@attack(14, "Malformed")
def legacy_data():
    for count in (3, 5, 0, -1, 1 << 62, -(1 << 63), (1 << 63) - 1, 1 << 32):
        yield changed(storages=[(count, bytes(16))])
    yield changed(storages=[(4, bytes(15))])
    yield changed(storages=[(4, bytes(17))])
    yield changed(storages=[])
    yield changed() + legacy_files.save([WEIGHT])


@attack(14, "Malformed")
def legacy_views():
    root = WEIGHT.storage
    for offset, numel in ((0, 5), (4, 1), (5, 0), (-1, 1), (1, -1), (1 << 62, 1), (1, 1 << 62)):
        view = legacy_files.View(root, offset, numel)
        yield legacy_files.save([checkpoints.Tensor(view, (1,), (1,))])
    view = legacy_files.View(root, 1, 2)
    yield legacy_files.save([checkpoints.Tensor(view, (3,), (1,))])
    yield legacy_files.save([checkpoints.Tensor(view, (2,), (1,), 1)])


@attack(14, "Malformed|Limit")
def legacy_sizes_in_the_pickle():
    """A storage that declares more than the file has."""
    for numel in (5, 1 << 40, 1 << 61, (1 << 63) - 1, -1):
        persistent = asm.storage(numel=numel).removesuffix(asm.op("TUPLE") + asm.op("BINPERSID"))
        storage = persistent + asm.op("NONE") + asm.op("TUPLE") + asm.op("BINPERSID")
        yield changed(obj=asm.program(asm.tensor(storage)), storages=[(numel, bytes(16))])


@attack(41, "Forbidden|Malformed")
def legacy_magic_that_is_computed():
    magic = asm.op("LONG1", legacy_files.MAGIC)
    for name in ("int", "eval"):
        yield changed(magic=asm.program(asm.call(asm.global_("builtins", name), magic)))


@attack(41, "Forbidden")
def legacy_parts_that_are_computed():
    system = asm.global_("os", "system")
    bad = asm.program(asm.call(system, asm.text("echo hostile")))
    for part in ("version", "system", "obj", "keys"):
        yield changed(**{part: bad})
    made = legacy_files.parts_of([WEIGHT])
    made.obj, made.keys, made.storages = bad[:-1], b"", []
    yield made.join()


@attack(42, "Malformed|Limit")
def legacy_lengths():
    """Texts that are longer than the file, in each of its pickles."""
    for part in ("version", "system", "obj", "keys"):
        for size in (0xFFFFFFFF, 0x7FFFFFFF, 100):
            yield changed(**{part: b"\x80\x02X" + struct.pack("<I", size)}, storages=[])
        yield changed(**{part: b"\x80\x04\x8d" + b"\xff" * 8}, storages=[])


# --- torch 0.1 ------------------------------------------------------------------------------------


def tar_of(**parts):
    made = tar_files.parts_of([WEIGHT], format=tarfile.USTAR_FORMAT)
    for name, value in parts.items():
        setattr(made, name, value)
    return made.join()


def _storages(*, count=1, numel=4, data=bytes(16), kind="FloatStorage", views=(), number=7):
    entry = asm.tuple_of(asm.number(number), asm.text("cpu"), asm.global_("torch", kind))
    entry = asm.program(entry) + struct.pack("<q", numel) + data
    return pickle.dumps(count, 2) + entry + pickle.dumps(list(views), 2)


def _tensors(*, count=1, numbers=(4, 1, 0), ndim=1, storage=7, number=9):
    entry = asm.tuple_of(
        asm.number(number), asm.number(storage), asm.global_("torch", "FloatTensor")
    )
    entry = asm.program(entry) + struct.pack(f"<i4x{len(numbers)}q", ndim, *numbers)
    return pickle.dumps(count, 2) + entry


_OBJECT = asm.program(asm.text("9") + asm.op("BINPERSID"))


@attack(14, "Malformed|Limit")
def tar_storages():
    for numel in (3, 5, -1, 1 << 62, (1 << 63) - 1):
        yield tar_of(storages=_storages(numel=numel), tensors=_tensors(), pickle=_OBJECT)
    for count in (2, -1, 1 << 31, 1 << 62, "x"):
        yield tar_of(storages=_storages(count=count), tensors=_tensors(), pickle=_OBJECT)
    for view in (
        (8, 7, 0, 5),
        (8, 7, 5, 0),
        (8, 7, -1, 1),
        (8, 7, 1 << 62, 1),
        (8, 6, 0, 1),
        (7, 7, 0, 1),
    ):
        yield tar_of(storages=_storages(views=[view]), tensors=_tensors(), pickle=_OBJECT)


@attack(6, "Malformed|Limit")
def tar_tensors():
    for numbers in (
        (5, 1, 0),
        (4, 1, 1),
        (4, 2, 0),
        (1, 1, -1),
        (-1, 1, 0),
        (2, 1 << 61, 0),
        (1 << 62, 1, 0),
    ):
        yield tar_of(storages=_storages(), tensors=_tensors(numbers=numbers), pickle=_OBJECT)
    for ndim in (65, -1, 0x7FFFFFFF, 2, 0):
        yield tar_of(storages=_storages(), tensors=_tensors(ndim=ndim), pickle=_OBJECT)
    for storage in (8, 9):
        yield tar_of(storages=_storages(), tensors=_tensors(storage=storage), pickle=_OBJECT)


@attack(1, "Forbidden")
def tar_names():
    """In each of its pickles that is looked at."""
    bad = asm.program(asm.call(asm.global_("os", "system"), asm.text("echo hostile")))
    for part in ("storages", "tensors", "pickle"):
        yield tar_of(**{part: bad})
    yield tar_of(storages=_storages(kind="Thing"))


@attack(41, "Malformed|Forbidden")
def tar_tables_that_are_computed():
    """Counts, entries and views are literal: no call makes them."""
    one = asm.call(asm.global_("builtins", "int"), asm.number(1))
    rest = _storages()[len(pickle.dumps(1, 2)) :]
    yield tar_of(storages=asm.program(one) + rest, tensors=_tensors(), pickle=_OBJECT)
    rest = _tensors()[len(pickle.dumps(1, 2)) :]
    yield tar_of(storages=_storages(), tensors=asm.program(one) + rest, pickle=_OBJECT)
    views = asm.program(asm.list_of(asm.tuple_of(asm.number(8), asm.number(7), one, one)))
    whole = _storages()[: -len(pickle.dumps([], 2))]
    yield tar_of(storages=whole + views, tensors=_tensors(), pickle=_OBJECT)


@attack(9, "Malformed|Bounds|Ambiguous")
def tar_numbers_that_are_taken():
    """Two storages, two tensors, or a tensor and nothing, under one number."""
    entry = _storages()[len(pickle.dumps(1, 2)) : -len(pickle.dumps([], 2))]
    twice = pickle.dumps(2, 2) + entry * 2 + pickle.dumps([], 2)
    yield tar_of(storages=twice, tensors=_tensors(), pickle=_OBJECT)
    entry = _tensors()[len(pickle.dumps(1, 2)) :]
    yield tar_of(storages=_storages(), tensors=pickle.dumps(2, 2) + entry * 2, pickle=_OBJECT)
    for number in ("8", "x", "", "9 ", "-9", "9" * 100):
        missing = asm.program(asm.text(number) + asm.op("BINPERSID"))
        yield tar_of(storages=_storages(), tensors=_tensors(), pickle=missing)


def _members(*members):
    """A tar archive of (name, bytes, fields of its header)."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:", format=tarfile.USTAR_FORMAT) as archive:
        for name, data, fields in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for field, value in fields.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return file.getvalue()


def _tar_members():
    made = tar_files.parts_of([WEIGHT])
    return [(name, getattr(made, name), {}) for name in made.order]


def _header(data, at, changes):
    """The header at `at` with other bytes and a right checksum."""
    block = bytearray(data[at : at + 512])
    for begin, value in changes.items():
        block[begin : begin + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return data[:at] + bytes(block) + data[at + 512 :]


@attack(26, "Ambiguous|Malformed")
def tar_members_twice():
    """Readers that take the first and those that take the last one see two objects."""
    parts = _tar_members()
    other = pickle.dumps({"other": 1}, 2)
    yield _members(*parts, ("pickle", other, {}))
    yield _members(("pickle", other, {}), *parts)
    yield _members(*parts, parts[-1])


@attack(27, "Malformed|Unsupported|Ambiguous|Forbidden")
def tar_members_that_are_no_files():
    """Links, devices and directories in the place of the members; none is followed or made."""
    parts = {name: (name, data, fields) for name, data, fields in _tar_members()}
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        link = ("pickle", b"", {"type": kind, "linkname": "/etc/passwd"})
        yield _members(*{**parts, "pickle": link}.values())
    yield _members(*{**parts, "pickle": ("pickle", b"", {"type": tarfile.DIRTYPE})}.values())


@attack(15, "Malformed|Unsupported|Limit")
def tar_headers():
    """Sizes that are none, negative, wrap or lie beyond the end."""
    good = _members(*_tar_members())
    for size in (b"77777777777\0", b"-0000000001\0", b"0x000000010\0", b"99999999999\0"):
        yield _header(good, 0, {124: size})
    for size in (2**63 - 1, 2**64 - 1, 2**88, -1):
        number = (size % 2**88).to_bytes(11, "big")
        yield _header(good, 0, {124: (b"\xff" if size < 0 else b"\x80") + number})
    yield good[:1024] + b"\xff" * 512 + good[1536:]
