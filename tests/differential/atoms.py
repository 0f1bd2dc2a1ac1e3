# SPDX-License-Identifier: Apache-2.0
"""Numbers, texts and bytes, each by every opcode that can say it."""

import struct

INTS = (
    *(0, 1, -1, 2, 255, 256, 65535, 65536, -128, -129, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1),
    *(2**32 - 1, 2**32, 2**53, 2**61 - 1, 2**61, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1),
    *(2**64 - 1, 2**64, -(2**64), 10**30, -(10**30), 2**2039 - 1, 2**2039, -(2**2047), 10**500),
)
FLOATS = tuple(
    struct.unpack(">d", bytes.fromhex(digits))[0]
    for digits in (
        *("0000000000000000", "8000000000000000", "3ff0000000000000", "bff8000000000000"),
        *("7ff0000000000000", "fff0000000000000", "0000000000000001", "7fefffffffffffff"),
        *("3fb999999999999a", "43e0000000000000", "4340000000000001", "001fffffffffffff"),
    )
)
# quiet and signalling, of both signs, with payloads
NANS = tuple(
    bytes.fromhex(digits)
    for digits in ("7ff8000000000000", "fff8000000000000", "7ff0000000000001", "fffabcdef0123456")
)
TEXTS = (
    *(
        "",
        "a",
        "x" * 255,
        "x" * 256,
        "weight",
        "module.0.bias",
        "\0",
        "\n",
        "\r\n",
        "\\",
        "\\u0041",
    ),
    *(
        "'",
        '"',
        "caf\xe9",
        "\x80\xff",
        "€",
        "\U0001f600",
        "\ud800",
        "\udc00\ud800",
        "a\udfffb",
        "\x1a",
    ),
)
BLOBS = (b"", b"\0", b"abc", b"\xff\x80", bytes(range(256)), b"z" * 300, b"\n", b".")


def any_int(rng):
    kind = rng.random()
    if kind < 0.5:
        return rng.choice(INTS)
    if kind < 0.8:
        return rng.randrange(-5, 300)
    return rng.randrange(-1, 2) + rng.choice((-1, 1)) * 2 ** rng.randrange(0, 70)


def any_text(rng):
    if rng.random() < 0.6:
        return rng.choice(TEXTS)
    alphabet = "ab.\\u0 \n\xe9\u0416\ud83d\U0001f40d"
    return "".join(rng.choice(alphabet) for _ in range(rng.randrange(6)))


def any_blob(rng):
    return rng.choice(BLOBS) if rng.random() < 0.7 else rng.randbytes(rng.randrange(8))


def twos_complement(value, spare=0):
    """Little-endian, as short as it can be, and `spare` bytes more."""
    size = 0 if value == 0 else (value.bit_length() >> 3) + 1
    if size > 1 and value == -(1 << (8 * size - 9)):
        size -= 1
    return value.to_bytes(size + spare, "little", signed=True)


def int_ways(value, spare=0):
    """(opcode with its argument, kind): ptio keeps what fits 64 bits apart from the others."""
    ways = []
    if 0 <= value <= 0xFF:
        ways.append((b"K" + bytes((value,)), "int"))
    if 0 <= value <= 0xFFFF:
        ways.append((b"M" + struct.pack("<H", value), "int"))
    if -(2**31) <= value < 2**31:
        ways.append((b"J" + struct.pack("<i", value), "int"))
    data = twos_complement(value, spare)
    binary = "int" if len(data) <= 8 else "big"
    if len(data) <= 255:
        ways.append((b"\x8a" + bytes((len(data),)) + data, binary))
    ways.append((b"\x8b" + struct.pack("<i", len(data)) + data, binary))
    decimal = "int" if abs(value) < 2**63 else "big"
    if abs(value) < 10**600:
        ways += [(b"I%d\n" % value, decimal), (b"L%dL\n" % value, decimal)]
    return ways


def float_ways(rng, text=True):
    """Ways to say one float; not as text, if that is False."""
    if rng.random() < 0.15:
        return [(b"G" + rng.choice(NANS), "float")]
    value = rng.choice(FLOATS) if rng.random() < 0.7 else rng.uniform(-1e6, 1e6)
    binary = (b"G" + struct.pack(">d", value), "float")
    if not text:
        return [binary]
    text = repr(value)
    if rng.random() < 0.1:
        text = rng.choice(("nan", "-nan", "1.", ".5", "1E5", "-0.0e-7", "0001.5", "4.9e-324"))
        return [(f"F{text}\n".encode(), "float")]
    return [binary, (f"F{text}\n".encode(), "float")]


def _raw_unicode_escape(text):
    for plain in "\\\0\n\r\x1a":
        text = text.replace(plain, f"\\u{ord(plain):04x}")
    return text.encode("raw-unicode-escape")


def text_ways(text):
    data = text.encode("utf-8", "surrogatepass")
    ways = [(b"X" + struct.pack("<I", len(data)) + data, "str")]
    if len(data) <= 255:
        ways.append((b"\x8c" + bytes((len(data),)) + data, "str"))
    ways.append((b"\x8d" + struct.pack("<Q", len(data)) + data, "str"))
    ways.append((b"V" + _raw_unicode_escape(text) + b"\n", "str"))
    return ways


def blob_ways(data):
    ways = [(b"B" + struct.pack("<I", len(data)) + data, "bytes")]
    if len(data) <= 255:
        ways.append((b"C" + bytes((len(data),)) + data, "bytes"))
    ways.append((b"\x8e" + struct.pack("<Q", len(data)) + data, "bytes"))
    return ways


def _octal(data):
    return b"'" + b"".join(b"\\%03o" % byte for byte in data) + b"'"


def python2_ways(data):
    ways = [(b"T" + struct.pack("<i", len(data)) + data, "py2")]
    if len(data) <= 255:
        ways.append((b"U" + bytes((len(data),)) + data, "py2"))
    ways.append((b"S" + repr(data)[1:].encode() + b"\n", "py2"))
    ways.append((b"S" + _octal(data) + b"\n", "py2"))
    return ways


def elements(rng, dtype, count):
    """Bytes that are values of the dtype."""
    if dtype.kind == "b":
        return bytes(rng.randrange(2) for _ in range(count))
    if dtype.kind == "U":
        return b"".join(struct.pack("<I", ord(rng.choice("aé€\0"))) for _ in range(count * 2))
    return rng.randbytes(count * dtype.itemsize)
