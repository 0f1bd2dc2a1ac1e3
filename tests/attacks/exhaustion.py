# SPDX-License-Identifier: Apache-2.0
"""Small files that want much time, memory or stack."""

import itertools
import struct
import zlib

from support import checkpoints, zip_files
from support import pickle_asm as asm

from . import attack, entries_of, file_of

MILLION = 1_000_000


def _put(number):
    return asm.op("BINPUT", number) + asm.op("POP")


@attack(19, "Limit")
def a_tuple_as_key_a_million_levels_deep():
    key = asm.op("EMPTY_TUPLE") + asm.op("TUPLE1") * MILLION
    yield file_of(asm.op("EMPTY_DICT"), key, asm.number(1), asm.op("SETITEM"))
    yield file_of(asm.op("EMPTY_SET") + asm.op("MARK") + key + asm.op("ADDITEMS"), protocol=4)


@attack(19, "Limit|Malformed")
def a_tuple_as_key_just_too_deep():
    key = asm.op("EMPTY_TUPLE") + asm.op("TUPLE1") * 10
    yield file_of(asm.op("EMPTY_DICT"), key, asm.number(1), asm.op("SETITEM"))


@attack(20, "Limit")
def containers_five_million_levels_deep():
    depth = 5 * MILLION
    yield file_of(asm.op("EMPTY_TUPLE") + asm.op("TUPLE1") * depth)
    yield file_of(asm.op("EMPTY_LIST") * depth + asm.op("APPEND") * (depth - 1))


@attack(43, "loads|Limit")
def a_billion_laughs():
    yield file_of(asm.op("EMPTY_TUPLE") + (asm.op("DUP") + asm.op("TUPLE2")) * 40)
    level = asm.op("EMPTY_LIST") + asm.op("BINPUT", 0)
    for i in range(30):
        inner = asm.op("BINGET", i) * 10
        level += asm.op("EMPTY_LIST") + asm.op("BINPUT", i + 1) + asm.op("MARK") + inner
        level += asm.op("APPENDS")
    yield file_of(asm.op("MARK") + level + asm.op("LIST"))
    frozen = asm.op("EMPTY_TUPLE")
    for _ in range(7):
        frozen += asm.op("DUP") + asm.op("TUPLE2")
    yield file_of(asm.op("EMPTY_DICT"), frozen, asm.number(1), asm.op("SETITEM"))


@attack(44, "loads|Limit|Unsupported")
def keys_of_equal_hash():
    step = 2**61 - 1
    numbers = [asm.number(k * step) for k in range(1, 40_000)]
    pairs = [part + asm.op("NONE") for part in numbers if len(part) < 260]
    yield file_of(asm.op("EMPTY_DICT") + asm.op("MARK") + b"".join(pairs) + asm.op("SETITEMS"))
    nan = asm.op("BINFLOAT", float("nan"))
    yield file_of(
        asm.op("EMPTY_SET") + asm.op("MARK") + nan * 30_000 + asm.op("ADDITEMS"), protocol=4
    )
    tuples = [asm.ints(*values) for values in itertools.product((-1, -2), repeat=12)]
    pairs = [part + asm.op("NONE") for part in tuples]
    yield file_of(asm.op("EMPTY_DICT") + asm.op("MARK") + b"".join(pairs) + asm.op("SETITEMS"))
    multiples = [asm.op("LONG1", k * step) for k in range(1, 2**15)]
    zero = asm.op("EMPTY_SET") + asm.op("MARK") + b"".join(multiples) + asm.op("ADDITEMS")
    yield file_of(zero, protocol=4)


@attack(44, "loads|Limit")
def keys_that_equal_nothing():
    """NaNs, of which older Pythons give all the same hash: in dicts, in tuples, in Counters."""
    nan = asm.op("BINFLOAT", float("nan")) + asm.number(1)
    filled = asm.op("MARK") + nan * 30_000 + asm.op("SETITEMS")
    yield file_of(asm.op("EMPTY_DICT") + filled)
    yield file_of(asm.ordered_dict() + filled)
    pair = asm.op("BINFLOAT", float("nan")) + asm.op("TUPLE1") + asm.op("NONE")
    yield file_of(asm.op("EMPTY_DICT") + asm.op("MARK") + pair * 30_000 + asm.op("SETITEMS"))
    counted = asm.op("EMPTY_DICT") + filled
    yield file_of(asm.call(asm.global_("collections", "Counter"), counted))


@attack(44, "loads|Limit|Unsupported|Malformed")
def keys_of_equal_hash_through_calls():
    step = 2**61 - 1
    numbers = [asm.number(k * step) for k in range(1, 2000)]
    listed = asm.op("EMPTY_LIST") + asm.op("MARK") + b"".join(numbers) + asm.op("APPENDS")
    for module, name in (("builtins", "set"), ("builtins", "frozenset")):
        yield file_of(asm.call(asm.global_(module, name), listed))
    pairs = b"".join(number + asm.op("NONE") + asm.op("TUPLE2") for number in numbers)
    listed = asm.op("EMPTY_LIST") + asm.op("MARK") + pairs + asm.op("APPENDS")
    yield file_of(asm.call(asm.global_("collections", "OrderedDict"), listed))


@attack(45, "Limit|Malformed")
def two_megabytes_of_containers():
    size = 2 * MILLION
    yield file_of(asm.op("MARK") + asm.op("EMPTY_SET") * size + asm.op("TUPLE"), protocol=4)
    yield file_of(asm.op("MARK") + asm.op("EMPTY_DICT") * size + asm.op("TUPLE"))
    yield file_of(asm.op("MARK") * size)
    yield file_of(asm.op("MARK") + asm.op("EMPTY_LIST") * size + asm.op("LIST"))


@attack(45, "loads|Limit")
def two_megabytes_of_memo():
    yield file_of(asm.number(1) + asm.op("MEMOIZE") * 2 * MILLION, protocol=4)
    puts = b"".join(asm.op("LONG_BINPUT", i * 997) for i in range(400_000))
    yield file_of(asm.number(1) + puts)


@attack(46, "Limit|Malformed")
def deflate_bombs():
    size = 1 << 30
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    stored = b"".join(packer.compress(bytes(1 << 20)) for _ in range(size >> 20)) + packer.flush()
    crc = 0
    for _ in range(size >> 20):
        crc = zlib.crc32(bytes(1 << 20), crc)
    sizes = struct.pack("<III", crc, len(stored), size)
    fields = {"method": 8, "crc": crc, "csize": len(stored), "usize": size}
    entries = entries_of(asm.tensor(asm.storage("ByteStorage", numel=size), size=(size,)))
    bomb = zip_files.Entry(b"archive/data/0", b"x", {"method": 8}, fields)
    bomb.stored, bomb.descriptor = stored, b"PK\7\x08" + sizes
    entries[4] = bomb
    yield zip_files.write(entries)
    lying = {**fields, "usize": 1 << 16}
    entries[4].central = lying
    entries[4].descriptor = b"PK\7\x08" + struct.pack("<III", crc, len(stored), 1 << 16)
    small = entries_of(asm.tensor(asm.storage("ByteStorage", numel=1 << 16), size=(1,)))
    yield zip_files.write([*small[:4], bomb, *small[5:]])


@attack(46, "Limit|loads|Malformed")
def a_directory_of_many_entries():
    """A hundred thousand empty members, each with its local header."""
    yield many_entries(100_000)


def many_entries(count):
    local, central = bytearray(), bytearray()
    for i in range(count):
        name = b"archive/data/x%d" % i
        offset = len(local)
        local += (
            struct.pack("<4s5H3I2H", b"PK\3\4", 0, 0x800, 0, 0, 0, 0, 0, 0, len(name), 0) + name
        )
        head = (b"PK\1\2", 0, 0, 0x800, 0, 0, 0, 0, 0, 0, len(name), 0, 0, 0, 0, 0, offset)
        central += struct.pack("<4s6H3I5H2I", *head) + name
    start, size = len(local), len(central)
    end = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 0, 45, 0, 0, count, count, size, start)
    end += struct.pack("<4sIQI", b"PK\6\7", 0, start + size, 1)
    end += struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, size, start, 0)
    return bytes(local + central + end)


@attack(46, "Limit|loads|Malformed|Ambiguous")
def names_of_65535_bytes():
    names = [b"archive/" + b"%04d" % i + b"x" * 65_523 for i in range(40)]
    yield zip_files.write([*entries_of(), *[zip_files.Entry(name, b"") for name in names]])


@attack(47, "Limit|loads|Malformed|Unsupported")
def amplification_by_calls():
    """Each call copies its argument: 4 KB become gigabytes without a budget."""
    text = asm.text("x" * 60_000) + asm.op("BINPUT", 0) + asm.op("POP")
    latin = asm.op("SHORT_BINUNICODE", "latin-1") + asm.op("BINPUT", 1) + asm.op("POP")
    maker = asm.global_("builtins", "bytearray") + asm.op("BINPUT", 2) + asm.op("POP")
    one = asm.op("BINGET", 2) + asm.op("BINGET", 0) + asm.op("BINGET", 1)
    one += asm.op("TUPLE2") + asm.op("REDUCE")
    yield file_of(text + latin + maker + asm.list_of(one * 20_000), protocol=4)
    big = asm.list_of(*[asm.number(i) for i in range(5000)]) + asm.op("BINPUT", 0) + asm.op("POP")
    for name in ("set", "frozenset"):
        maker = asm.global_("builtins", name) + asm.op("BINPUT", 2) + asm.op("POP")
        one = asm.op("BINGET", 2) + asm.op("BINGET", 0) + asm.op("TUPLE1") + asm.op("REDUCE")
        yield file_of(big + maker + asm.list_of(one * 20_000))
    maker = asm.global_("collections", "deque") + asm.op("BINPUT", 2) + asm.op("POP")
    one = asm.op("BINGET", 2) + asm.op("BINGET", 0) + asm.op("TUPLE1") + asm.op("REDUCE")
    yield file_of(big + maker + asm.list_of(one * 20_000))


@attack(47, "Limit")
def amplification_by_calls_that_copy_a_dict():
    pairs = [asm.number(i) + asm.op("NONE") for i in range(5000)]
    counts = [asm.number(i) + asm.number(1) for i in range(5000)]
    listed = [asm.number(i) + asm.op("NONE") + asm.op("TUPLE2") for i in range(5000)]
    for name, argument in (
        ("Counter", asm.dict_of(*counts)),
        ("OrderedDict", asm.dict_of(*pairs)),
        ("OrderedDict", asm.list_of(*listed)),
    ):
        maker = asm.global_("collections", name) + _put(1)
        one = asm.op("BINGET", 1) + asm.op("BINGET", 0) + asm.op("TUPLE1") + asm.op("REDUCE")
        yield file_of(argument + _put(0) + maker + asm.list_of(one * 20_000))


@attack(47, "Limit|Malformed|Unsupported|loads")
def bytes_by_a_number():
    """bytes(10**9) and bytearray(10**9) would make memory from nothing."""
    for name in ("bytes", "bytearray"):
        yield file_of(asm.call(asm.global_("builtins", name), asm.number(10**9)))


@attack(47, "Malformed|Limit")
def a_number_of_a_million_digits():
    for line in (b"I" + b"9" * MILLION + b"\n", b"L" + b"9" * MILLION + b"L\n"):
        yield checkpoints.archive(line + b".")
    yield checkpoints.archive(
        b"\x80\x02\x8b" + struct.pack("<I", MILLION) + b"\x7f" * MILLION + b"."
    )


@attack(47, "Limit|loads")
def many_tensors_of_one_storage():
    """400,000 arrays over 16 bytes."""
    one = asm.tensor() + asm.op("BINPUT", 0) + asm.op("POP")
    parts = asm.global_("torch._utils", "_rebuild_tensor_v2") + asm.op("BINPUT", 1) + asm.op("POP")
    arguments = asm.storage() + asm.number(0) + asm.op("EMPTY_TUPLE") * 2 + asm.number(False)
    parts += asm.op("MARK") + arguments + asm.ordered_dict() + asm.op("TUPLE")
    parts += asm.op("BINPUT", 2) + asm.op("POP")
    again = asm.op("BINGET", 1) + asm.op("BINGET", 2) + asm.op("REDUCE")
    yield file_of(one + parts + asm.list_of(again * 400_000))


def _below(depth, inner, before):
    """What stands below one long key, nested."""
    key = asm.text("k" * 90) + _put(0)
    nested = (asm.op("EMPTY_DICT") + asm.op("BINGET", 0)) * depth
    return file_of(key, before, nested, inner, asm.op("SETITEM") * depth)


@attack(48, "loads|Limit")
def deep_names():
    """20,000 references of two bytes, below a key that is nested 900 times."""
    yield _below(900, asm.list_of(asm.op("BINGET", 1) * 20_000), asm.tensor() + _put(1))
    pairs = [asm.number(i) + asm.op("BINGET", 1) for i in range(20_000)]
    yield _below(900, asm.dict_of(*pairs), asm.tensor() + _put(1))


@attack(48, "loads|Limit")
def deep_names_of_values():
    yield _below(900, asm.list_of(asm.op("BINGET", 1) * 20_000), asm.number(5) + _put(1))
    shared = asm.list_of(asm.number(1)) + _put(1)
    yield _below(900, asm.list_of(asm.op("BINGET", 1) * 20_000), shared)


@attack(48, "loads|Limit")
def long_keys_in_many_places():
    """A megabyte, again for each item of a key or for each dict that has it."""
    key = asm.text("k" * 1_000_000) + _put(0) + asm.tensor() + _put(1)
    get = asm.op("BINGET", 0), asm.op("BINGET", 1)
    of_items = asm.tuple_of(get[0] * 60) + get[1]
    yield file_of(key, asm.op("EMPTY_DICT"), of_items, asm.op("SETITEM"))
    one = asm.op("EMPTY_DICT") + get[0] + get[1] + asm.op("SETITEM")
    yield file_of(key, asm.list_of(one * 20_000))


@attack(48, "loads|Limit")
def one_long_text_in_many_places():
    yield file_of(asm.text("x" * 500_000) + _put(0), asm.list_of(asm.op("BINGET", 0) * 20_000))
