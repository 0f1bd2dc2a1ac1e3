# SPDX-License-Identifier: Apache-2.0
"""The streams of CPython's own pickle tests: broken ones are PickleFormatError, sound ones load
as CPython loads them."""

import contextlib
import io
import pickle
import unittest

import ptio
import pytest
from support import checkpoints
from support.compare import assert_same

pickletester = pytest.importorskip("test.pickletester")

BROKEN = [
    "test_bad_stack",
    "test_bad_mark",
    "test_truncated_data",
    "test_badly_escaped_string",
    "test_badly_quoted_string",
    "test_negative_put",
]
SOUND = [
    "test_binbytes",
    "test_binbytes8",
    "test_binget",
    "test_binunicode8",
    "test_bytearray8",
    "test_constants",
    "test_correctly_quoted_string",
    "test_dup",
    "test_empty_bytestring",
    "test_frame_readline",
    "test_get",
    "test_load_long_python2_str_as_bytes",
    "test_load_python2_str_as_bytes",
    "test_load_python2_unicode_as_str",
    "test_long_binget",
    "test_maxint64",
    "test_misc_get",
    "test_short_binbytes",
    "test_short_binunicode",
]
CALLS = ["test_bad_newobj", "test_bad_newobj_ex", "test_bad_reduce"]
CLASSES = ["test_compat_unpickle", "test_load_classic_instance", "test_unpickle_from_2x"]
DATA = ["DATA0", "DATA1", "DATA2", "DATA3", "DATA4"]

ERROR = object()


def collect(names):
    """The streams that these tests of CPython would unpickle, with what they become."""
    streams = []

    class Collector(pickletester.AbstractUnpickleTests, unittest.TestCase):
        bad_stack_errors = bad_mark_errors = truncated_errors = truncated_data_error = Exception

        def loads(self, data, **options):
            value = pickle._loads(data, **options)
            streams.append((data, options, value))
            return value

        def check_unpickling_error(self, errors, data):
            streams.append((data, {}, ERROR))

    for name in names:
        if hasattr(Collector, name):
            with contextlib.suppress(unittest.SkipTest):
                getattr(Collector(name), name)()
    return streams


def ends_with_stop(data, options):
    """CPython does not look at what follows STOP; ptio refuses it."""
    file = io.BytesIO(data)
    pickle._Unpickler(file, **options).load()
    return file.tell() == len(data)


def load(data, **options):
    return ptio.load(io.BytesIO(checkpoints.archive(data)), **options)


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("unknown", ["error", "inert"])
def test_broken_streams_are_pickle_format_errors(name, unknown):
    streams = collect([name])
    assert streams
    for data, _, _ in streams:
        with pytest.raises(ptio.Error) as caught:
            load(data, unknown=unknown)
        kinds = (ptio.PickleFormatError, ptio.ForbiddenError)
        assert isinstance(caught.value, kinds), (data, caught.value)
        assert caught.value.record == "archive/data.pkl"
        assert caught.value.offset is None or 0 <= caught.value.offset <= len(data)


def test_there_are_enough_broken_streams():
    assert len(collect(BROKEN)) > 150
    assert sum(value is not ERROR for *_, value in collect(SOUND)) > 20


@pytest.mark.parametrize("name", SOUND)
def test_sound_streams_load_as_in_python(name):
    streams = collect([name])
    assert streams
    for data, options, value in streams:
        if value is ERROR or not ends_with_stop(data, options):
            with pytest.raises(ptio.PickleFormatError):
                load(data)
        else:
            assert_same(load(data, **{"encoding": "utf-8", **options}), value)


@pytest.mark.parametrize("name", CALLS)
def test_calls_of_what_is_no_data_are_refused(name):
    streams = collect([name])
    assert streams
    for data, _, _ in streams:
        with pytest.raises((ptio.PickleFormatError, ptio.ForbiddenError)):
            load(data)


@pytest.mark.parametrize("name", CLASSES)
def test_objects_of_pythons_own_classes_are_forbidden_unless_they_are_plain_data(name):
    streams = collect([name])
    assert streams
    for data, options, value in streams:
        options = {"encoding": "utf-8", **options}
        if isinstance(value, set | range):
            assert_same(load(data, **options), value)
        else:
            with pytest.raises(ptio.ForbiddenError):
                load(data, **options)
        load(data, **options, unknown="inert")


@pytest.mark.parametrize("name", DATA)
def test_the_large_object_of_each_protocol(name):
    """Numbers around every border, and one tuple twice with instances of a class of the tests."""
    data, expected = getattr(pickletester, name), pickletester.create_data()
    with pytest.raises(ptio.ForbiddenError):
        load(data)
    ours = load(data, unknown="inert")
    numbers = [value for value in expected if isinstance(value, int | float | complex)]
    assert_same([value for value in ours if isinstance(value, int | float | complex)], numbers)
    tuples = [value for value in ours if isinstance(value, tuple)]
    assert len(tuples) == 2
    assert tuples[0] is tuples[1]
    assert tuples[0][:2] == ("abc", "abc")
    assert tuples[0][2] is tuples[0][3]
    assert type(tuples[0][2]) is ptio.Opaque
