# SPDX-License-Identifier: Apache-2.0
"""Pickles read by ptio, by Python's unpicklers and by torch's: what ptio accepts, they accept and
make the same of it, and no sound stream is refused. 10,000 streams from fixed seeds; `python -m
differential` runs more."""

import collections
import copy
import datetime
import io
import math
import struct

import numpy as np
import ptio
import pytest
from differential import cases, oracles, tally
from differential.comparison import difference
from differential.storages import archive

PARTS = 8
SEEDS = 10_000 // cases.CASES // (PARTS + 2)
FIRST = 1_000_000_000  # far from those that the log counts


def load(stream, **options):
    return ptio.load(io.BytesIO(archive(stream)), **options)


def run(part, torch_reader):
    reader = cases.Reader(torch_reader)
    for seed in range(FIRST + part * SEEDS, FIRST + (part + 1) * SEEDS):
        reader.run(seed)
    return reader.counts


@pytest.mark.filterwarnings("ignore::UserWarning")  # NumPy's, of what old files say
@pytest.mark.parametrize("part", range(PARTS))
def test_readers_agree(part):
    counts = run(part, None)
    assert counts["cases"] == SEEDS * cases.CASES
    assert counts["accepted"] > 0.25 * counts["cases"]
    assert counts["refused"] > 0.25 * counts["cases"]
    assert counts["pickle._Unpickler"] > 0.95 * counts["accepted"]
    assert counts["_pickle.Unpickler"] > 0.95 * counts["accepted"]


@pytest.mark.parametrize("part", range(PARTS, PARTS + 2))
def test_readers_agree_with_torch_among_them(torch, part):
    counts = run(part, oracles.Torch())
    assert counts["torch"] > 0.1 * counts["cases"]


# --- the harness itself: it notices what it is there to notice ----------------------------------


def shared():
    inner = ["x"]
    return [inner, inner]


def cycle():
    made = [[]]
    made[0].append(made)
    return made


NAN = math.nan
OTHER_NAN = struct.unpack(">d", bytes.fromhex("fff8000000000001"))[0]
DIFFERENT = {
    "type": (1, True),
    "zero": (-0.0, 0.0),
    "nan": (NAN, OTHER_NAN),
    "nan in a set": ({NAN}, {OTHER_NAN}),
    "zero in a frozenset": ({frozenset([0.0])}, {frozenset([-0.0])}),
    "key": ({1: "x"}, {True: "x"}),
    "order": ({1: 1, 2: 2}, {2: 2, 1: 1}),
    "dict": ({}, collections.OrderedDict()),
    "identity": (copy.copy(shared()), [["x"], ["x"]]),
    "merged": ([["x"], ["x"]], shared()),
    "cycle": ([[[[]]]], cycle()),
    "bytes": (b"x", bytearray(b"x")),
    "fold": (datetime.time(1, fold=1), datetime.time(1)),
    "maxlen": (collections.deque(maxlen=1), collections.deque()),
    "slice": (slice(1), slice(True)),
    "scalar": (np.float32(1), np.float64(1)),
    "array": (np.zeros(2), np.array([0.0, -0.0])),
    "surrogate": ("\ud800", "?"),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_difference_is_noticed(name):
    ours, theirs = DIFFERENT[name]
    assert difference(ours, theirs) is not None
    assert difference(ours, ours) is None
    assert difference(theirs, theirs) is None


@pytest.mark.parametrize(
    ("stream", "what"),
    [(b"N", "refuses a sound stream"), (b"K\1.", "pickle._Unpickler: obj")],
)
def test_a_disagreement_can_be_reproduced(stream, what, monkeypatch):
    monkeypatch.setattr(oracles, "read_in_python", lambda stream, encoding: (True, True))
    case = cases.Case(7, 3, "generated", True, stream, "utf-8")
    with pytest.raises(cases.Disagreement) as caught:
        cases.Reader().read(case)
    text = str(caught.value)
    assert what in text
    assert "seed 7, case 3" in text
    assert stream.hex() in text
    assert "0: " in text


def test_exceptions_outside_of_the_tree_are_a_disagreement(monkeypatch):
    monkeypatch.setattr(cases.Reader, "load", lambda self, case: 1 // 0)
    with pytest.raises(cases.Disagreement, match="ZeroDivisionError"):
        cases.Reader().read(cases.Case(0, 0, "mutated", False, b"N.", "utf-8"))


def test_a_seed_gives_the_same_cases_again():
    assert list(cases.cases_of(123)) == list(cases.cases_of(123))
    assert list(cases.cases_of(123)) != list(cases.cases_of(124))


def test_refusals_are_told_by_their_check():
    reader = cases.Reader(tally=True)
    reader.read(cases.Case(0, 0, "mutated", False, b"I010\n.", "utf-8"))
    reader.read(cases.Case(0, 0, "mutated", False, b"N..", "utf-8"))
    total = {}
    tally.add(total, reader.refused_beyond)
    assert {check for check, _ in total} == {"P3.trailing"}  # nobody else reads 010 as ptio would
    assert "P3.trailing" in tally.table(total)


def test_every_allowed_global_has_an_oracle():
    assert len(oracles.ROLES) > 180
    assert set(oracles.EXACT) == set(oracles.GUARDED) == set(oracles.ROLES)


# --- streams on which readers once differed ------------------------------------------------------


@pytest.mark.parametrize("line", [b"I010", b"I007", b"I-0", b"I000", b"L010L", b"L-0L"])
def test_integers_that_readers_read_differently_are_refused(line):
    """CPython's unpickler in C takes 010 for 8 and -0 for False, the one in Python does not."""
    with pytest.raises(ptio.PickleFormatError, match="needless zero"):
        load(line + b"\n.")


@pytest.mark.parametrize("stream", [b"N(e.", b")(e.", b"N(u.", b"N(\x90.", b"}(e.", b"](u."])
def test_even_nothing_is_put_only_into_what_can_hold_it(stream):
    with pytest.raises(ptio.PickleFormatError, match=r"APPEND|SETITEM|ADDITEMS"):
        load(stream)


def test_nothing_can_be_put_into_an_empty_container():
    assert load(b"(](e}(u\x8f(\x90t.") == ([], {}, set())


@pytest.mark.parametrize(
    "stream", [b"cbuiltins\ndict\n)R.", b"\x8c\x08builtins\x8c\x04dict\x93)R."]
)
def test_a_refused_constructor_has_its_name_by_either_opcode(stream):
    with pytest.raises(ptio.ForbiddenError) as caught:
        load(stream)
    assert caught.value.globals == ("builtins.dict",)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "bytes"])
def test_a_device_of_python_2_is_text_whatever_the_encoding(encoding):
    assert load(b"ctorch\ndevice\n(U\x04cudaK\x01tR.", encoding=encoding) == "cuda:1"


def test_a_device_that_is_no_text_is_an_error():
    with pytest.raises(ptio.PickleFormatError):
        load(b"ctorch\ndevice\n(U\x02\xff\xffK\x01tR.", encoding="bytes")


def test_a_simple_namespace_is_not_made_by_object_new():
    name = b"ctypes\nSimpleNamespace\n"
    with pytest.raises(ptio.PickleFormatError):
        load(b"ccopy_reg\n_reconstructor\n(" + name + b"c__builtin__\nobject\nNtR.")
    assert load(b"ccopy_reg\n_reconstructor\n(cargparse\nNamespace\nc__builtin__\nobject\nNtR.")


def test_a_codec_is_text():
    with pytest.raises(ptio.PickleFormatError, match="codec"):
        load(b"c_codecs\nencode\n(X\x01\0\0\0aC\x06latin1tR.")


DATE = b"\x07\x70\x02\x0b"
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0tU\x01btR"
BYTE = b"cnumpy\ndtype\n(U\x02u1\x89\x88tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"


@pytest.mark.parametrize(
    ("stream", "text", "value"),
    [
        (b"cdatetime\ndate\n(U\x04%sq\0tRh\0\x86.", DATE, datetime.date(1904, 2, 11)),
        (ARRAY + b"(K\1(K\4t" + BYTE + b"\x89U\x04%sq\0tbh\0\x86.", b"weig", None),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "bytes"])
def test_text_of_python_2_stays_text_though_it_is_also_data(stream, text, value, encoding):
    """Python 2 shares short strings: the data of an array may be the key of a dict, too."""
    made, again = load(stream % text, encoding=encoding)
    assert again == (text if encoding == "bytes" else text.decode())
    if value is None:
        assert made.tobytes() == text
    else:
        assert made == value


def test_a_text_of_numpy_that_is_none_is_an_error():
    dtype = b"cnumpy\ndtype\n(X\2\0\0\0U1\x89\x88tR(K\3X\1\0\0\0<NNNK\4K\4K\x08tb"
    scalar = b"cnumpy.core.multiarray\nscalar\n(" + dtype + b"C\4\xac\x20\x00\x01tR"
    with pytest.raises(ptio.PickleFormatError, match="the character 0x10020ac"):
        load(scalar + b".")


def test_data_of_python_2_need_not_be_text():
    date = b"\x07\xe8\x02\x0b"
    made, again = load(b"cdatetime\ndate\n(U\x04%sq\0tRh\0\x86." % date)
    assert made == datetime.date(2024, 2, 11)
    assert again == date
