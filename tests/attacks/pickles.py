# SPDX-License-Identifier: Apache-2.0
"""Pickles that want to run code, or that no pickler writes."""

import struct

from support import checkpoints
from support import pickle_asm as asm

from . import attack, file_of

SYSTEM = asm.global_("os", "system")
COMMAND = asm.text("echo hostile")


@attack(1, "Forbidden", says=r"os\.system", verifies=True)
def system_call():
    for protocol in range(6):
        yield file_of(asm.call(SYSTEM, COMMAND), protocol=protocol)
    yield file_of(asm.call(asm.stack_global("os", "system"), COMMAND), protocol=4)


@attack(2, "Forbidden", says=r"os\.system", verifies=True)
def name_from_the_memo():
    strings = asm.text("os") + asm.op("BINPUT", 0) + asm.op("POP")
    strings += asm.text("system") + asm.op("BINPUT", 1) + asm.op("POP")
    named = asm.op("BINGET", 0) + asm.op("BINGET", 1) + asm.op("STACK_GLOBAL")
    yield file_of(strings, asm.call(named, COMMAND), protocol=4)
    by_text = asm.op("STRING", "os") + asm.op("STRING", "system") + asm.op("STACK_GLOBAL")
    yield file_of(asm.call(by_text, COMMAND))


NEAR_NAMES = [
    ("torch._utils", "_rebuild_tensor_v2.__globals__"),
    ("collections", "OrderedDict.fromkeys"),
    ("builtins", "getattr"),
    ("collections", "OrderedDict "),
    ("collections ", "OrderedDict"),
    ("collections", "OrderedDict\r"),
    ("collections", "OrderedDict\0"),
    ("collections", "orderedDict"),
    ("collections", "OrderedDic\u0442"),
    ("collections", ""),
    ("", "OrderedDict"),
    ("torch.storage", "_load_from_bytes"),
    ("torch._utils.", "_rebuild_tensor_v2"),
]


@attack(3, "Forbidden", verifies=True)
def near_names():
    for module, name in NEAR_NAMES:
        yield file_of(asm.global_(module, name) + asm.op("EMPTY_TUPLE") + asm.op("REDUCE"))
        yield file_of(asm.stack_global(module, name), protocol=4)


@attack(3, "Forbidden|Malformed|Unsupported")
def other_codecs():
    encode = asm.global_("_codecs", "encode")
    for codec in ("rot13", "zlib", "utf-7", "latin1\0"):
        yield file_of(asm.call(encode, asm.text("abc"), asm.text(codec)))
    yield file_of(asm.call(encode, asm.text("\u20ac"), asm.text("latin1")))
    yield file_of(asm.call(encode, asm.number(1), asm.text("latin1")))


TARGETS = {
    "tensor": asm.tensor(),
    "tuple": asm.ints(1),
    "None": asm.op("NONE"),
    "number": asm.number(3),
    "text": asm.text("x"),
    "frozenset": asm.call(asm.global_("builtins", "frozenset"), asm.list_of(asm.number(1))),
    "storage class": asm.global_("torch", "FloatStorage"),
    "function": asm.global_("torch._utils", "_rebuild_tensor_v2"),
    "bytes": asm.op("SHORT_BINBYTES", b"x"),
    "storage": asm.storage(),
}
MUTATIONS = {
    "SETITEM": asm.text("k") + asm.number(1) + asm.op("SETITEM"),
    "SETITEMS": asm.op("MARK") + asm.text("k") + asm.number(1) + asm.op("SETITEMS"),
    "APPEND": asm.number(1) + asm.op("APPEND"),
    "APPENDS": asm.op("MARK") + asm.number(1) + asm.op("APPENDS"),
    "ADDITEMS": asm.op("MARK") + asm.number(1) + asm.op("ADDITEMS"),
    "BUILD": asm.dict_of(asm.text("k"), asm.number(1)) + asm.op("BUILD"),
}


def _mutations(name):
    @attack(5, "Malformed", name=f"{name}_on_the_wrong_kind", says=name)
    def mutate():
        for target in TARGETS.values():
            yield file_of(target, MUTATIONS[name])

    return mutate


for _name in MUTATIONS:
    _mutations(_name)


@attack(5, "Malformed")
def mutations_of_the_wrong_container():
    fitting = {
        asm.op("EMPTY_LIST"): ("APPEND", "APPENDS"),
        asm.op("EMPTY_DICT"): ("SETITEM", "SETITEMS"),
        asm.op("EMPTY_SET"): ("ADDITEMS",),
        asm.call(asm.global_("collections", "deque")): ("APPEND", "APPENDS"),
    }
    for target, fit in fitting.items():
        for name in sorted(MUTATIONS.keys() - fit):
            yield file_of(target, MUTATIONS[name], protocol=4)


@attack(5, "Malformed|Forbidden|Unsupported")
def attributes_that_shadow_a_dicts_methods():
    for name in ("keys", "__class__", "items", "__reduce__", "update"):
        state = asm.dict_of(asm.text(name), asm.number(1))
        yield file_of(asm.ordered_dict() + state + asm.op("BUILD"))


def _made_by(constructor):
    yield file_of(asm.call(constructor, asm.number(1 << 20)))
    yield file_of(constructor + asm.ints(4) + asm.op("NEWOBJ"))


@attack(12, "Forbidden", verifies=True)
def constructors():
    for module, name in [
        ("torch", "FloatTensor"),
        ("torch", "empty"),
        ("torch", "Tensor"),
        ("torch", "FloatStorage"),
        ("torch.storage", "UntypedStorage"),
        ("torch.storage", "TypedStorage"),
        ("torch.cuda", "FloatStorage"),
    ]:
        yield from _made_by(asm.global_(module, name))


@attack(12, "Forbidden", options={"allow": ["torch", "torch.*"]})
def constructors_that_the_caller_allows():
    """What an allowed name becomes is data; the names that ptio knows never are."""
    for module, name in [
        ("torch", "FloatStorage"),
        ("torch", "Tensor"),
        ("torch.storage", "UntypedStorage"),
        ("torch.cuda", "FloatStorage"),
    ]:
        yield from _made_by(asm.global_(module, name))


@attack(12, "Malformed", says="is called like a function")
def calls_of_what_is_no_class():
    called = (asm.ordered_dict(), asm.op("EMPTY_LIST"), asm.op("EMPTY_DICT"))
    for value in (*TARGETS.values(), *called):
        if value not in (TARGETS["storage class"], TARGETS["function"]):
            for opcode in ("REDUCE", "NEWOBJ"):
                yield file_of(value, asm.op("EMPTY_TUPLE"), asm.op(opcode), protocol=3)


@attack(22, "Malformed")
def memo_misuse():
    one = asm.number(1)
    yield file_of(asm.op("BINGET", 0))
    yield file_of(asm.op("LONG_BINGET", 0x0FFFFFFF))
    yield file_of(asm.op("GET", 7))
    yield file_of(asm.op("BINPUT", 0), one)
    for index in (-1, 2**64, 2**70):
        yield file_of(one, b"p%d\n" % index)
    yield file_of(asm.op("MARK"), asm.op("BINPUT", 0), one)
    yield file_of(asm.op("MEMOIZE"), one, protocol=4)


@attack(22, "loads")
def memo_indices_cost_nothing():
    one = asm.number(1)
    yield file_of(one, asm.op("LONG_BINPUT", 0x0FFFFFFF))
    yield file_of(one, asm.op("LONG_BINPUT", 0xFFFFFFFF))
    yield file_of(one, asm.op("PUT", 2**31))
    yield file_of(one, asm.op("PUT", 2**32 - 1))
    again = asm.op("EMPTY_LIST") + asm.op("BINPUT", 0) + asm.op("BINGET", 0)
    yield file_of(again, asm.number(2), asm.op("BINPUT", 0), asm.op("POP"), asm.op("APPEND"))


FORBIDDEN_OPCODES = {
    "INST": asm.op("MARK") + asm.op("INST", ("collections", "OrderedDict")),
    "OBJ": asm.op("MARK") + asm.global_("collections", "OrderedDict") + asm.op("OBJ"),
    "NEWOBJ_EX": asm.global_("collections", "OrderedDict")
    + asm.op("EMPTY_TUPLE")
    + asm.op("EMPTY_DICT")
    + asm.op("NEWOBJ_EX"),
    "EXT1": asm.op("EXT1", 1),
    "EXT2": asm.op("EXT2", 1),
    "EXT4": asm.op("EXT4", 1),
    "PERSID": asm.op("PERSID", "0"),
    "NEXT_BUFFER": asm.op("NEXT_BUFFER"),
    "READONLY_BUFFER": asm.number(1) + asm.op("READONLY_BUFFER"),
}


def _forbidden_opcode(name):
    data_in_inert_mode = name in ("INST", "OBJ", "NEWOBJ_EX")

    @attack(23, "Forbidden", name=f"opcode_{name}", says=name, verifies=data_in_inert_mode)
    def forbidden_opcode():
        return file_of(FORBIDDEN_OPCODES[name], protocol=5)

    return forbidden_opcode


for _name in FORBIDDEN_OPCODES:
    _forbidden_opcode(_name)


@attack(23, "Forbidden", says="INST|OBJ")
def code_through_opcodes_that_make_instances():
    yield file_of(asm.op("MARK") + COMMAND + asm.op("INST", ("os", "system")), protocol=0)
    yield file_of(asm.op("MARK") + SYSTEM + COMMAND + asm.op("OBJ"), protocol=1)


@attack(36, "Malformed")
def frames():
    one = asm.number(1)
    yield file_of(asm.op("FRAME", 3), one, protocol=4)  # an argument across the end
    yield file_of(asm.op("FRAME", 20) + asm.op("FRAME", 2) + one, asm.op("POP") * 9, protocol=4)
    yield file_of(asm.op("FRAME", 1000), one, protocol=4)
    yield file_of(asm.op("FRAME", 2**64 - 1), one, protocol=4)
    yield file_of(asm.op("FRAME", 2**63), one, protocol=4)


@attack(37, "Malformed")
def more_than_one_object():
    one, stop = asm.number(1), asm.op("STOP")
    for stream in (
        asm.program(one) + b"\0",
        asm.program(one) + asm.program(one),
        asm.op("PROTO", 2) + one + one + stop,
        asm.op("PROTO", 2) + asm.op("MARK") + one + stop,
        asm.op("PROTO", 2) + stop,
        asm.op("PROTO", 2) + asm.op("PROTO", 2) + one + stop,
        asm.op("PROTO", 6) + one + stop,
        asm.op("PROTO", 255) + one + stop,
        one + asm.op("PROTO", 2) + stop,
        asm.op("PROTO", 2) + one,
        b"",
    ):
        yield checkpoints.archive(stream)


@attack(37, "Malformed")
def marks_are_fences():
    mark, none = asm.op("MARK"), asm.op("NONE")
    ordered = asm.global_("collections", "OrderedDict")
    yield file_of(ordered, mark, asm.op("EMPTY_TUPLE"), asm.op("REDUCE"), asm.op("POP"), none)
    yield file_of(asm.op("EMPTY_LIST") + mark + none + asm.op("APPEND"), asm.op("POP_MARK"))
    yield file_of(asm.op("EMPTY_DICT") + mark + none * 2 + asm.op("SETITEM"))
    yield file_of(mark, asm.op("DUP"))
    yield file_of(asm.op("EMPTY_DICT") + mark + none + asm.op("SETITEMS"))
    yield file_of(mark + none + asm.op("DICT"))
    yield file_of(none, asm.op("TUPLE"))
    yield file_of(none, asm.op("TUPLE2"))
    yield file_of(none, asm.op("TUPLE3"))
    yield file_of(mark + none + asm.op("TUPLE2"))


@attack(37, "Malformed|Forbidden|Unsupported")
def a_function_as_the_result():
    for module, name in [("torch", "FloatStorage"), ("torch._utils", "_rebuild_tensor_v2")]:
        yield file_of(asm.global_(module, name))
        yield file_of(asm.list_of(asm.global_(module, name)))
        yield file_of(asm.dict_of(asm.text("k"), asm.global_(module, name)))


@attack(38, "Malformed")
def text_dialect():
    for line in (
        *(b"I0x10\n", b"I1_0\n", b"I 7\n", b"I+0\n", b"I7 \n", b"I\n", b"I--1\n", b"I1\r\n"),
        *(b"I\xd9\xa1\n", b"F1e999x\n", b"Fnan(1)\n", b"F0x1p3\n", b"F1_0.0\n", b"F\n", b"F 1\n"),
        *(b"F1e999\n", b"F-1e999\n", b"F1.0\r\n"),
        *(b"L1\n", b"L1l\n", b"LL\n", b"L1_0L\n", b"L 1L\n", b"L1L\r\n"),
        *(b"Np+1\n", b"Np1L\n", b"Np 1\n", b"Np\n", b"Np1_0\n", b"Np0x1\n", b"Np1\r\n"),
        *(b"Np1\n0g+1\n", b"Np1\n0g1L\n", b"Np1\n0g 1\n", b"Np1\n0g\n", b"Np1\n0g1\r\n"),
        *(rb"V\ud8" + b"\n", rb"V\U00110000" + b"\n", rb"V\u12" + b"\n"),
        *(b"Sabc\n", b"S'abc\n", b"S'abc\"\n", b"S'\n", b"S\n", b"S'a' \n", rb"S'\x'" + b"\n"),
        b"S'a'\r\n",
        b"I1",
    ):
        yield checkpoints.archive(line + b".")


@attack(38, "Malformed")
def text_that_is_not_utf8():
    for data in (b"\xff", b"\xc0\x80", b"\xe2\x82", b"\xf5\x80\x80\x80", b"a\x80"):
        yield file_of(b"X" + struct.pack("<I", len(data)) + data)
        yield file_of(b"\x8c" + bytes([len(data)]) + data, protocol=4)


@attack(40, "Forbidden|Malformed")
def a_payload_before_a_broken_stream():
    stream = asm.op("PROTO", 2) + asm.call(SYSTEM, COMMAND)
    yield checkpoints.archive(stream + b"\xff")
    yield checkpoints.archive(stream)
    yield checkpoints.archive(stream + asm.op("POP") * 2 + b".")


@attack(42, "Malformed", says=r"needs \d+ .*\d+ left|negative size")
def lengths_beyond_the_end():
    for code in (b"B", b"T", b"X", b"\x8b", b"\x8c", b"C", b"U", b"\x8a"):
        for size in (4, 2**31 - 1, 2**31, 2**32 - 1):
            length = struct.pack("<I", size)
            short = code in (b"\x8c", b"C", b"U", b"\x8a")
            yield checkpoints.archive(b"\x80\x05" + code + (b"\xff" if short else length) + b"abc")
    for code in (b"\x8d", b"\x8e", b"\x96", b"\x95"):
        for size in (4, 2**31, 2**32 + 1, 2**63 - 1, 2**63, 2**64 - 1):
            yield checkpoints.archive(b"\x80\x05" + code + struct.pack("<Q", size) + b"abc")


@attack(47, "Malformed|Limit|Unsupported|Forbidden")
def keys_that_cannot_be_keys():
    for key in (
        asm.op("EMPTY_LIST"),
        asm.op("EMPTY_DICT"),
        asm.op("EMPTY_SET"),
        asm.tensor(),
        asm.op("EMPTY_LIST") + asm.op("TUPLE1"),
        asm.storage(),
        asm.op("BYTEARRAY8", b"x"),
        asm.global_("torch", "FloatStorage"),
    ):
        yield file_of(asm.op("EMPTY_DICT"), key, asm.number(1), asm.op("SETITEM"), protocol=5)
        yield file_of(asm.op("EMPTY_SET") + asm.op("MARK") + key + asm.op("ADDITEMS"), protocol=5)


@attack(47, "Malformed|Limit|Unsupported|Forbidden")
def a_key_that_contains_its_dict():
    own = asm.op("EMPTY_DICT") + asm.op("BINPUT", 0)
    yield file_of(own + asm.op("BINGET", 0) + asm.number(1) + asm.op("SETITEM"))
    yield file_of(own + asm.op("BINGET", 0) + asm.op("TUPLE1") + asm.number(1) + asm.op("SETITEM"))


@attack(47, "Malformed|Unsupported|Forbidden|Bounds|Limit")
def wrong_arguments():
    """Every maker with arguments that it does not take."""
    makers = [
        *(("collections", n) for n in ("OrderedDict", "Counter", "defaultdict", "deque")),
        *(("builtins", n) for n in ("set", "frozenset", "complex", "bytearray", "range")),
        *(("datetime", n) for n in ("date", "datetime", "time", "timedelta", "timezone")),
        *(("pathlib", n) for n in ("PosixPath", "PureWindowsPath")),
        *(("torch", n) for n in ("Size", "device")),
        *(("torch._utils", n) for n in ("_rebuild_tensor", "_rebuild_tensor_v2")),
        *(("torch._utils", n) for n in ("_rebuild_tensor_v3", "_rebuild_parameter")),
        *(("torch._utils", n) for n in ("_rebuild_sparse_tensor", "_rebuild_qtensor")),
        *(("numpy._core.multiarray", n) for n in ("_reconstruct", "scalar")),
        ("numpy", "dtype"),
        ("argparse", "Namespace"),
    ]
    none = asm.op("NONE")
    for module, name in makers:
        callee = asm.global_(module, name)
        yield file_of(asm.call(callee, *[none] * 12))
        yield file_of(callee + none + asm.op("REDUCE"))
        yield file_of(asm.call(callee, asm.tensor()))
        yield file_of(asm.call(callee, asm.global_("torch", "FloatStorage")))


@attack(47, "Malformed|Unsupported|Forbidden|Bounds|Limit")
def dates_out_of_range():
    for name, size in (("date", 4), ("datetime", 10), ("time", 6)):
        for data in (b"\0" * size, b"\xff" * size, b"", b"\1" * (size + 1)):
            state = asm.op("SHORT_BINBYTES", data)
            if name == "time" and data == bytes(6):
                continue  # midnight
            yield file_of(asm.call(asm.global_("datetime", name), state), protocol=3)
    delta = asm.global_("datetime", "timedelta")
    yield file_of(asm.call(delta, asm.number(10**10), asm.number(0), asm.number(0)))
    zone = asm.call(delta, asm.number(2), asm.number(0), asm.number(0))
    yield file_of(asm.call(asm.global_("datetime", "timezone"), zone))


HOSTILE_NAMES = (
    *("\x1b[31mred\x1b[0m", "a\nok: no problems", "a\r\x1b[2Kok", "\u202egnp.exe", "\x9b2J"),
    *("\ud800", "a\0b", "\u2028", "<script>alert(1)</script>", "\\x1b[31m", "x" * 10_000_000),
)


@attack(48, "loads|Limit", verifies=True)
def hostile_names_of_tensors():
    """Names that a terminal or a log would take for something else."""
    for name in HOSTILE_NAMES:
        key, again = asm.text(name) + asm.op("BINPUT", 0), asm.op("BINGET", 0)
        yield file_of(asm.dict_of(key, asm.tensor(), asm.text("n"), asm.dict_of(again, again)))
    keys = b"".join(asm.text(name) + asm.tensor() for name in HOSTILE_NAMES[:-1])
    yield file_of(asm.dict_of(keys))


@attack(48, "Forbidden|Malformed")
def hostile_names_of_classes():
    for name in HOSTILE_NAMES:
        for parts in ((name, "C"), ("m", name)):
            named = asm.text(parts[0]) + asm.text(parts[1]) + asm.op("STACK_GLOBAL")
            yield file_of(asm.call(named, COMMAND), protocol=4)
