# SPDX-License-Identifier: Apache-2.0
"""Broken streams: what a damaged disk, a careless writer or an attacker makes of sound ones."""

import pickletools
import re
import struct

CODES = bytes(ord(info.code) for info in pickletools.opcodes)
_SIZED = {"U": 1, "C": 1, "\x8c": 1, "\x8a": 1, "T": 4, "X": 4, "B": 4, "\x8b": 4}
_SIZED |= dict.fromkeys("\x8d\x8e\x96", 8)
_LINES = dict.fromkeys("FILPSVgp", 1) | dict.fromkeys("ci", 2)
_FIXED = {"J": 4, "K": 1, "M": 2, "G": 8, "h": 1, "j": 4, "q": 1, "r": 4, "\x80": 1, "\x95": 8}
_FIXED |= {"\x82": 1, "\x83": 2, "\x84": 4}
_SIZES = {ord(code): width for code, width in _SIZED.items()}
_NEWLINES = {ord(code): count for code, count in _LINES.items()}
_WIDTHS = {ord(code): width for code, width in _FIXED.items()}
_NEXT_LINE = re.compile(b"\n")

BYTES = bytes((0, 1, 2, 0x28, 0x2E, 0x7F, 0x80, 0xFE, 0xFF))
# Opcodes with an argument that fits them.
WHOLE = (
    *(
        b"N",
        b"(",
        b")",
        b"]",
        b"}",
        b"\x8f",
        b"K\1",
        b"t",
        b"l",
        b"d",
        b"\x91",
        b"a",
        b"e",
        b"s",
        b"u",
    ),
    *(
        b"\x90",
        b"b",
        b"R",
        b"\x81",
        b"\x92",
        b"o",
        b"Q",
        b"0",
        b"1",
        b"2",
        b"\x85",
        b"\x86",
        b"\x87",
    ),
    *(b"\x88", b"X\1\0\0\0a", b"\x8c\1b", b"C\1c", b"U\1d", b"S'e'\n", b"Vf\n", b"I1\n", b"L2L\n"),
    *(b"I007\n", b"I-0\n", b"F1.5\n", b"F-nan\n", b"J\0\0\0\x80", b"\x8a\0", b"\x8b\0\0\0\0"),
    *(b"h\0", b"q\0", b"g1\n", b"p1\n", b"j\0\0\0\0", b"r\1\0\0\0", b"\x94", b"\x93", b"P0\n"),
    *(b"cbuiltins\nset\n", b"ccollections\nOrderedDict\n", b"ctorch\nSize\n", b"cos\nsystem\n"),
    *(b"ibuiltins\nset\n", b"\x80\2", b"\x80\4", b"\x95" + bytes(8), b"\x95\3" + bytes(7)),
    *(b"\x82\1", b"\x97", b"\x98", b"\x96" + bytes(8), b"G" + bytes(8), b"cbuiltins\nrange\n"),
)


def boundaries(stream):
    """Where opcodes begin, as far as the stream is sound."""
    places, at, end = [], 0, len(stream)
    while at < end:
        places.append(at)
        code = stream[at]
        at += 1
        if code in _SIZES:
            width = _SIZES[code]
            at += width + int.from_bytes(stream[at : at + width], "little")
        elif code in _NEWLINES:
            for _ in range(_NEWLINES[code]):
                newline = stream.find(b"\n", at)
                if newline < 0:
                    return places
                at = newline + 1
        else:
            at += _WIDTHS.get(code, 0)
    return places


def flip(rng, stream, places, other):
    changed = bytearray(stream)
    for _ in range(rng.choice((1, 1, 2))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def put_byte(rng, stream, places, other):
    changed = bytearray(stream)
    changed[rng.randrange(len(changed))] = rng.choice(BYTES)
    return bytes(changed)


def swap_opcode(rng, stream, places, other):
    """Another opcode in front of the same argument."""
    at = rng.choice(places)
    return stream[:at] + bytes((rng.choice(CODES),)) + stream[at + 1 :]


def insert(rng, stream, places, other):
    at = rng.choice(places)
    return stream[:at] + rng.choice(WHOLE) + stream[at:]


def replace(rng, stream, places, other):
    number = rng.randrange(len(places))
    after = places[number + 1] if number + 1 < len(places) else len(stream)
    return stream[: places[number]] + rng.choice(WHOLE) + stream[after:]


def drop(rng, stream, places, other):
    number = rng.randrange(len(places))
    after = places[min(number + rng.choice((1, 1, 2)), len(places) - 1)]
    return stream[: places[number]] + stream[after:]


def repeat(rng, stream, places, other):
    first, second = sorted((rng.choice(places), rng.choice(places)))
    return stream[:second] + stream[first:second] + stream[second:]


def move(rng, stream, places, other):
    first, second, third = sorted(rng.choice(places) for _ in range(3))
    return stream[:first] + stream[second:third] + stream[first:second] + stream[third:]


def splice(rng, stream, places, other):
    return stream[: rng.choice(places)] + other[rng.choice(boundaries(other)) :]


def cut(rng, stream, places, other):
    return stream[: rng.randrange(len(stream))]


def extend(rng, stream, places, other):
    return stream + rng.choice((b".", b"\0", b"N.", other))


def resize(rng, stream, places, other):
    """Another length in front of the same bytes."""
    sized = [at for at in places if stream[at] in _SIZES]
    if not sized:
        return put_byte(rng, stream, places, other)
    at = rng.choice(sized)
    width = _SIZES[stream[at]]
    size = int.from_bytes(stream[at + 1 : at + 1 + width], "little")
    size = rng.choice((size + 1, size - 1, 0, 1 << (8 * width - 1), -1)) % (1 << 8 * width)
    return stream[: at + 1] + size.to_bytes(width, "little") + stream[at + 1 + width :]


def renumber(rng, stream, places, other):
    """Another index or small int."""
    numbered = [at for at in places if stream[at] in b"hqjrKMJ"]
    if not numbered:
        return swap_opcode(rng, stream, places, other)
    at = rng.choice(numbered)
    changed = bytearray(stream)
    if at + 1 < len(changed):
        changed[at + 1] = rng.choice((0, 1, 2, changed[at + 1] ^ 1, rng.randrange(256)))
    return bytes(changed)


def reframe(rng, stream, places, other):
    """A frame where none was."""
    at = rng.choice(places)
    return stream[:at] + b"\x95" + struct.pack("<Q", rng.randrange(40)) + stream[at:]


KINDS = (flip, flip, put_byte, swap_opcode, insert, insert, replace, drop, drop, repeat, move)
KINDS += (splice, splice, cut, extend, resize, renumber, renumber, reframe)


def mutate(rng, stream, other):
    """A stream with one or two faults; `other` is one to splice with."""
    for _ in range(rng.choice((1, 1, 1, 2))):
        places = boundaries(stream)
        if not places:
            break
        stream = rng.choice(KINDS)(rng, stream, places, other)
    return stream
