# SPDX-License-Identifier: Apache-2.0
"""Checkpoints pickled by Python 2: byte strings, and the `encoding` argument."""

import datetime

import numpy as np
import ptio
import pytest
from support import checkpoints
from support import pickle_asm as asm
from support.compare import assert_same

LATIN1 = b"caf\xe9"
UTF8 = "café".encode()


def short(data):
    return asm.op("SHORT_BINSTRING", data)


@pytest.fixture
def load(write):
    def run(stream, storages=None, **options):
        return ptio.load(write(checkpoints.archive(stream, storages)), **options)

    return run


@pytest.mark.parametrize(
    ("data", "encoding", "expected"),
    [
        (b"plain", "utf-8", "plain"),
        (b"plain", "ASCII", "plain"),
        (b"plain", "bytes", b"plain"),
        (UTF8, "utf-8", "café"),
        (UTF8, "utf8", "café"),
        (LATIN1, "latin1", "café"),
        (LATIN1, "latin-1", "café"),
        (LATIN1, "bytes", LATIN1),
        (b"", "bytes", b""),
    ],
)
@pytest.mark.parametrize("opcode", ["SHORT_BINSTRING", "BINSTRING", "STRING"])
def test_byte_strings_are_decoded_as_asked(load, opcode, data, encoding, expected):
    text = b"S" + repr(data)[1:].encode() + b"\n"
    body = text if opcode == "STRING" else asm.op(opcode, data)
    assert_same(load(asm.program(body), encoding=encoding), expected)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_bytes_that_the_encoding_cannot_decode_are_an_error_with_a_place(load, encoding):
    with pytest.raises(ptio.PickleFormatError, match="encoding") as caught:
        load(asm.program(short(LATIN1)), encoding=encoding)
    assert caught.value.record == "archive/data.pkl"
    assert caught.value.offset is not None


@pytest.mark.parametrize("encoding", ["utf-8", "latin1", "bytes"])
def test_a_tensor_pickled_by_python_2_whatever_the_encoding(load, encoding):
    pid = asm.tuple_of(
        short(b"storage"),
        asm.global_("torch", "FloatStorage"),
        short(b"0"),
        short(b"cpu"),
        asm.number(4),
    )
    stored = asm.tensor(pid + asm.op("BINPERSID"))
    state = asm.call(asm.global_("collections", "OrderedDict"))
    state += asm.op("MARK") + short(b"weight") + stored + asm.op("SETITEMS")
    obj = load(asm.program(state), {"0": bytes(16)}, encoding=encoding)
    key = b"weight" if encoding == "bytes" else "weight"
    assert list(obj) == [key]
    assert obj[key].shape == (4,)


def test_forbidden_names_of_python_2_are_named(load):
    with pytest.raises(ptio.ForbiddenError) as caught:
        load(asm.program(asm.call(asm.global_("__builtin__", "execfile"), asm.text("x"))))
    assert caught.value.globals == ("__builtin__.execfile",)


@pytest.mark.parametrize("encoding", ["latin1", "bytes"])
def test_a_datetime_of_python_2(load, encoding):
    state = short(b"\x07\xe4\x02\x03\x04\x05\x06\x00\x00\x07")
    stream = asm.program(asm.call(asm.global_("datetime", "datetime"), state))
    assert_same(load(stream, encoding=encoding), datetime.datetime(2020, 2, 3, 4, 5, 6, 7))


@pytest.mark.parametrize("encoding", ["latin1", "bytes"])
def test_a_numpy_array_of_python_2(load, encoding):
    """As numpy 1.x under Python 2.7 wrote np.array([1, 258], "<i2")."""
    multiarray = "numpy.core.multiarray"
    array = asm.call(
        asm.global_(multiarray, "_reconstruct"),
        asm.global_("numpy", "ndarray"),
        asm.ints(0),
        short(b"b"),
    )
    dtype = asm.call(
        asm.global_("numpy", "dtype"), short(b"i2"), asm.number(0), asm.number(1)
    ) + asm.tuple_of(
        asm.number(3),
        short(b"<"),
        *[asm.op("NONE")] * 3,
        asm.number(-1),
        asm.number(-1),
        asm.number(0),
    )
    dtype += asm.op("BUILD")
    state = asm.tuple_of(asm.number(1), asm.ints(2), dtype, asm.number(False), short(b"\1\0\2\1"))
    ours = load(asm.program(array + state + asm.op("BUILD")), encoding=encoding)
    assert_same(ours, np.array([1, 258], "<i2"))


def test_the_old_rebuild_function(load):
    rebuild = asm.global_("torch._utils", "_rebuild_tensor")
    pieces = asm.storage(), asm.number(1), asm.ints(3), asm.ints(1)
    array = load(asm.program(asm.call(rebuild, *pieces)), {"0": bytes(range(16))})
    assert array.tobytes() == bytes(range(4, 16))


def test_a_parameter_of_torch_0_3(load):
    """REDUCE with the data alone, then BUILD with (requires_grad, volatile, hooks)."""
    made = asm.call(asm.global_("torch.nn.parameter", "Parameter"), asm.tensor())
    built = made + asm.tuple_of(asm.number(True), asm.number(False), asm.op("NONE"))
    assert load(asm.program(built + asm.op("BUILD")), {"0": bytes(16)}).shape == (4,)
