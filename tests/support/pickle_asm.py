# SPDX-License-Identifier: Apache-2.0
"""An assembler for pickles: every opcode of every protocol, right or wrong on purpose.

`op` encodes one opcode after pickletools' table; the other functions are the phrases that
torch.save writes. All return bytes, so that a stream is written by adding them up.
"""

import pickletools
import struct

_CODES = {info.name: info for info in pickletools.opcodes}
NAMES = tuple(_CODES)


def _line(value):
    return str(value).encode("utf-8") + b"\n"


def _decimal_short(value):
    return {True: b"01", False: b"00"}[value] + b"\n" if isinstance(value, bool) else _line(value)


def _counted(prefix):
    def encode(value):
        data = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else bytes(value)
        return struct.pack(prefix, len(data)) + data

    return encode


def _twos_complement(value):
    if value == 0:
        return b""
    data = value.to_bytes((value.bit_length() >> 3) + 1, "little", signed=True)
    if value < 0 and len(data) > 1 and data[-1] == 0xFF and data[-2] & 0x80:
        data = data[:-1]
    return data


_ENCODERS = {
    "uint1": lambda n: struct.pack("<B", n),
    "uint2": lambda n: struct.pack("<H", n),
    "int4": lambda n: struct.pack("<i", n),
    "uint4": lambda n: struct.pack("<I", n),
    "uint8": lambda n: struct.pack("<Q", n),
    "float8": lambda x: struct.pack(">d", x),
    "floatnl": lambda x: _line(repr(x)),
    "decimalnl_short": _decimal_short,
    "decimalnl_long": lambda n: _line(f"{n}L"),
    "stringnl": lambda s: _line(repr(s)),
    "stringnl_noescape": _line,
    "stringnl_noescape_pair": lambda pair: _line(pair[0]) + _line(pair[1]),
    "unicodestringnl": lambda s: s.encode("raw-unicode-escape") + b"\n",
    "string1": _counted("<B"),
    "string4": _counted("<i"),
    "bytes1": _counted("<B"),
    "bytes4": _counted("<I"),
    "bytes8": _counted("<Q"),
    "bytearray8": _counted("<Q"),
    "unicodestring1": _counted("<B"),
    "unicodestring4": _counted("<I"),
    "unicodestring8": _counted("<Q"),
    "long1": lambda n: _counted("<B")(_twos_complement(n)),
    "long4": lambda n: _counted("<i")(_twos_complement(n)),
}


def op(name, *argument):
    """One opcode by its name in pickletools, e.g. op("BINUNICODE", "x")."""
    info = _CODES[name]
    code = info.code.encode("latin-1")
    if info.arg is None:
        if argument:
            raise TypeError(f"{name} takes no argument")
        return code
    return code + _ENCODERS[info.arg.name](*argument)


def text(value):
    return op("BINUNICODE", value)


def number(value):
    if value is True or value is False:
        return op("NEWTRUE" if value else "NEWFALSE")
    if isinstance(value, float):
        return op("BINFLOAT", value)
    return op("BININT", value) if -(2**31) <= value < 2**31 else op("LONG1", value)


def tuple_of(*parts):
    return op("MARK") + b"".join(parts) + op("TUPLE")


def ints(*values):
    return tuple_of(*map(number, values))


def list_of(*parts):
    return op("EMPTY_LIST") + op("MARK") + b"".join(parts) + op("APPENDS")


def dict_of(*parts):
    """A dict from keys and values in turn."""
    return op("EMPTY_DICT") + op("MARK") + b"".join(parts) + op("SETITEMS")


def global_(module, name):
    return op("GLOBAL", (module, name))


def stack_global(module, name):
    return op("SHORT_BINUNICODE", module) + op("SHORT_BINUNICODE", name) + op("STACK_GLOBAL")


def call(callee, *parts):
    return callee + tuple_of(*parts) + op("REDUCE")


def ordered_dict():
    return call(global_("collections", "OrderedDict"))


def storage(kind="FloatStorage", key="0", location="cpu", numel=4, *, module="torch"):
    """The persistent id of a storage, with any part replaced by ready bytes."""
    parts = [value if isinstance(value, bytes) else text(value) for value in (key, location)]
    count = numel if isinstance(numel, bytes) else number(numel)
    kind = kind if isinstance(kind, bytes) else global_(module, kind)
    return tuple_of(text("storage"), kind, *parts, count) + op("BINPERSID")


def tensor(of=None, offset=0, size=(4,), stride=(1,), grad=False, hooks=None, extra=b""):
    """A call of _rebuild_tensor_v2; any argument may be ready bytes instead of its value."""

    def part(value):
        if isinstance(value, bytes):
            return value
        return ints(*value) if isinstance(value, tuple) else number(value)

    return call(
        global_("torch._utils", "_rebuild_tensor_v2"),
        storage() if of is None else of,
        *map(part, (offset, size, stride, grad)),
        ordered_dict() if hooks is None else hooks,
        extra,
    )


def program(*parts, protocol=2):
    """A whole pickle; protocol None leaves PROTO out."""
    head = b"" if protocol is None or protocol < 2 else op("PROTO", protocol)
    return head + b"".join(parts) + op("STOP")
