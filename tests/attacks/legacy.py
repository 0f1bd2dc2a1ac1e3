# SPDX-License-Identifier: Apache-2.0
"""Files of the formats before torch 1.6 that contradict themselves."""

import pickle
import struct

from support import checkpoints, legacy_files
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


@attack(41, "Forbidden|Unsupported")
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
