# SPDX-License-Identifier: Apache-2.0
"""Every truncation and every changed byte of small valid files: the result is the identical
object or one of ptio's errors, never anything else.

PTIO_SWEEP=1 tries all 256 values of each byte instead of a handful.
"""

import contextlib
import io
import os
import pickle
import pickletools
import time

import numpy as np
import ptio
import pytest
from support import checkpoints, zip_files
from support import pickle_asm as asm
from support.compare import assert_same

THOROUGH = os.environ.get("PTIO_SWEEP", "0") not in ("", "0")
SECONDS = 1.0


def _seed_objects():
    tensor = checkpoints.tensor("float32", [1.0, 2.0, 3.0, 4.0])
    return {
        "tensors": {
            "w": tensor,
            "t": checkpoints.view(tensor, (2, 2), (1, 2)),
            "p": checkpoints.tensor("bfloat16", [1, 2], parameter=True),
            "u": checkpoints.tensor("uint16", [7]),
        },
        "plain": [None, True, 2**70, 1.5, "text", b"bytes", (1, 2), {3}, frozenset({4}), [[]]],
        "numpy": [np.arange(3), np.float32(1), np.dtype([("a", "<i4")])],
    }


def _archive(name, protocol=2, **options):
    return checkpoints.save(_seed_objects()[name], protocol=protocol, **options)


def _deflated():
    entries = checkpoints.entries(*checkpoints.dumps(_seed_objects()["tensors"]))
    return zip_files.write([zip_files.deflated(e.name, e.data) for e in entries if e.data])


SEEDS = {
    "tensors": _archive("tensors", stem="a"),
    "tensors, old torch": _archive("tensors", stem="a", records=False, byteorder=None),
    "tensors, big endian": _archive("tensors", stem="a", byteorder="big", records=False),
    "plain, protocol 0": _archive("plain", 0, records=False),
    "plain, protocol 2": _archive("plain", 2, records=False),
    "plain, protocol 5": _archive("plain", 5, records=False),
    "numpy": _archive("numpy", 2, records=False),
    "deflated": _deflated(),
}
VALUES = range(256) if THOROUGH else (0x00, 0x01, 0x2E, 0x7F, 0x80, 0xFF)
STEP = 1 if THOROUGH else 3


def attempt(data, **options):
    """The loaded object, or None after one of ptio's errors; anything else escapes."""
    begin = time.perf_counter()
    loaded = None
    with contextlib.suppress(ptio.Error):
        loaded = (ptio.load(io.BytesIO(data), verify=True, **options),)
    assert time.perf_counter() - begin < SECONDS * (10 if "PTIO_SANITIZE" in os.environ else 1)
    return loaded


@pytest.mark.parametrize("name", SEEDS)
def test_every_truncation_is_an_error(name):
    data = SEEDS[name]
    for end in range(len(data)):
        assert attempt(data[:end]) is None, f"the first {end} bytes loaded"


@pytest.mark.parametrize("name", SEEDS)
def test_every_changed_byte_is_noticed_or_changes_nothing(name):
    """All bytes that matter lie under a checksum or in a header that is checked against another."""
    data = SEEDS[name]
    (expected,) = attempt(data)
    for at in range(len(name) % STEP, len(data), STEP):
        for value in VALUES:
            changed = bytearray(data)
            if changed[at] == value:
                continue
            changed[at] = value
            loaded = attempt(bytes(changed))
            if loaded is not None:
                _same(loaded[0], expected, at, value)


def _same(ours, expected, at, value):
    try:
        _compare(ours, expected)
    except AssertionError as error:
        raise AssertionError(f"byte {at} = {value} went unnoticed: {error}") from None


def _compare(ours, expected):
    """Both are ptio's: pickling is a full comparison of values and types."""
    assert pickle.dumps(ours) == pickle.dumps(expected)


@pytest.mark.parametrize("name", ["plain, protocol 0", "plain, protocol 2", "plain, protocol 5"])
def test_every_changed_byte_of_a_pickle_with_a_right_checksum(name):
    """Here the parser sees the changed bytes: any result, but only ptio's errors."""
    protocol = int(name[-1])
    stream = checkpoints.dumps(_seed_objects()["plain"], protocol)[0]
    _sweep_stream(stream, {})


@pytest.mark.parametrize("protocol", [2, 4])
def test_every_changed_byte_of_a_pickle_with_tensors(protocol):
    _sweep_stream(*checkpoints.dumps(_seed_objects()["tensors"], protocol))


@pytest.mark.parametrize("protocol", [2, 5])
def test_every_changed_byte_of_a_pickle_with_numpy_arrays(protocol):
    _sweep_stream(*checkpoints.dumps(_seed_objects()["numpy"], protocol))


def _sweep_stream(stream, storages):
    accepted = 0
    for at in range(0, len(stream), STEP):
        for value in VALUES:
            changed = bytearray(stream)
            changed[at] = value
            for unknown in ("error", "inert"):
                loaded = attempt(checkpoints.archive(bytes(changed), storages), unknown=unknown)
                accepted += loaded is not None
    assert accepted > 0


def test_every_truncation_of_a_pickle_with_a_right_checksum():
    for protocol in range(6):
        stream, storages = checkpoints.dumps(_seed_objects(), protocol)
        for end in range(0, len(stream), STEP):
            assert attempt(checkpoints.archive(stream[:end], storages)) is None


@pytest.mark.parametrize("protocol", range(6))
def test_every_byte_as_an_opcode_behind_a_value(protocol):
    """Nothing but TUPLE1 and the opcodes that fill the memo leaves exactly one value."""
    accepted = set()
    for code in range(256):
        for argument in (b"", b"\1", b"\1\0\0\0", b"1\n", b"a\nb\n"):
            stream = asm.program(asm.number(1), bytes([code]), argument, protocol=protocol)
            if attempt(checkpoints.archive(stream)) is not None:
                accepted.add(code)
    names = {"TUPLE1", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
    assert accepted == {ord(pickletools_code(name)) for name in names}


def pickletools_code(name):
    return next(info.code for info in pickletools.opcodes if info.name == name)


def test_the_seeds_are_valid():
    for name, data in SEEDS.items():
        if "big" not in name and "numpy" not in name and "deflated" not in name:
            key = name.partition(",")[0]
            assert_same(ptio.load(io.BytesIO(data)), _seed_objects()[key])
