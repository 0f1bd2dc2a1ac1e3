# SPDX-License-Identifier: Apache-2.0
"""Everything that is not a tensor, as Python's own pickle writes it in every protocol."""

import argparse
import collections
import datetime
import math
import pathlib
import pickle
import struct
import types

import numpy as np
import ptio
import pytest
from support import checkpoints
from support import pickle_asm as asm
from support.compare import assert_same

PROTOCOLS = range(6)


def _ordered_with_attributes():
    value = collections.OrderedDict([("b", 1), ("a", 2)])
    value._metadata = collections.OrderedDict([("", {"version": 1})])
    return value


def _zone(hours, *name):
    return datetime.timezone(datetime.timedelta(hours=hours), *name)


SHARED = ["shared"]
PLAIN = {
    "constants": [None, True, False],
    "small ints": [0, 1, -1, 255, 256, 65535, 65536, -(2**31), 2**31 - 1],
    "large ints": [2**31, 2**63 - 1, -(2**63), 2**63, 2**64, -(2**64), 10**40, -(2**1000)],
    "widest ints": [2 ** (8 * k) + d for k in (1, 2, 7, 8, 9, 255, 256) for d in (-1, 0, 1)],
    "floats": [0.0, -0.0, 1.5, 1e308, 5e-324, math.inf, -math.inf, math.nan],
    "NaN with a payload": struct.unpack("<d", b"\1\2\3\4\5\6\xf8\xff")[0],
    "complex": [1j, complex(math.nan, -0.0), complex(-math.inf, 5e-324)],
    "texts": ["", "a", "ünï", "\U0001f600", "\ud800", "a\nb\\c\x1a\r", "x" * 300, "\0"],
    "bytes": [b"", b"x", bytes(range(256)), b"y" * 60000],
    "bytearrays": [bytearray(), bytearray(b"abc"), bytearray(range(256))],
    "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), ((),), (((1,), 2),)],
    "lists": [[], [1], [[], [[]]], list(range(2500))],
    "dicts": {"b": 1, "a": {}, 3: None, None: 4, 2.5: 5, True: 6, (1, "x"): 7, b"k": 8},
    "large dict": {i: str(i) for i in range(2500)},
    "many keys": [
        {np.int64(i): i for i in range(3000)},
        {pathlib.PurePosixPath(str(i)): i for i in range(3000)},
        {datetime.date.fromordinal(i): i for i in range(1, 3001)},
    ],
    "sets": [set(), {1}, {1, "x", None, (2, 3)}, set(range(2500))],
    "frozensets": [frozenset(), frozenset({1, "x"}), frozenset({frozenset({1}), 2})],
    "ranges": [range(0), range(3), range(-5, 2**40, 3)],
    "slices": [slice(None), slice(1, 2), slice(None, 5, -1), slice(None, None, 2)],
    "ordered dicts": [collections.OrderedDict(), collections.OrderedDict(b=1, a=[2])],
    "ordered dict with attributes": _ordered_with_attributes(),
    "default dicts": [
        collections.defaultdict(factory, {1: factory()}) for factory in (list, dict, int, set, str)
    ],
    "default dict without a factory": collections.defaultdict(None, {1: 2}),
    "counters": [collections.Counter(), collections.Counter("aab")],
    "deques": [
        collections.deque(),
        collections.deque([1, [2]]),
        collections.deque([1, 2], maxlen=3),
        collections.deque(maxlen=0),
    ],
    "dates": [
        datetime.date(2026, 11, 22),
        datetime.datetime(2026, 11, 22, 1, 2, 3, 4),
        datetime.datetime(2026, 10, 25, 2, fold=1),
        datetime.datetime(1, 1, 1, tzinfo=datetime.timezone.utc),
        datetime.datetime(9999, 12, 31, tzinfo=_zone(2)),
    ],
    "times": [
        datetime.time(0),
        datetime.time(23, 59, 59, 999999, fold=1),
        datetime.time(1, tzinfo=_zone(-3.5, "here")),
    ],
    "time deltas": [datetime.timedelta(), datetime.timedelta(-1, 2, 3), datetime.timedelta.max],
    "time zones": [datetime.timezone.utc, _zone(2), _zone(2, "name")],
    "pure paths": [pathlib.PurePosixPath("/a/b"), pathlib.PureWindowsPath("C:\\a\\b")],
    "paths": [pathlib.Path("/a/b"), pathlib.Path(), pathlib.Path("../x")],
    "namespace": argparse.Namespace(lr=0.1, layers=[1, 2], nested=argparse.Namespace(a=None)),
    "simple namespace": types.SimpleNamespace(a=1, b=SHARED),
    "shared": [SHARED, {"again": SHARED}, (SHARED,), "text of more than one letter"] * 2,
}


@pytest.fixture
def check(write):
    """Pickles in a protocol, loads, and compares with what Python's unpickler makes of it."""

    def run(obj, protocol, dumps=pickle._dumps):
        pickled = dumps(obj, protocol)
        ours = ptio.load(write(checkpoints.archive(pickled)))
        assert_same(ours, pickle.loads(pickled))
        return ours

    return run


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", PLAIN)
def test_plain_objects(check, name, protocol):
    check(PLAIN[name], protocol)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_objects_by_the_c_pickler(check, protocol):
    check(PLAIN, protocol, pickle.dumps)


def _arrays():
    grid = np.arange(24.0).reshape(2, 3, 4)
    record = np.dtype([("a", "<f4"), ("b", "<i8"), ("c", "S3")])
    aligned = np.dtype([("a", "i1"), ("b", "f8")], align=True)
    return {
        "contiguous": grid,
        "fortran": np.asfortranarray(grid),
        "strided": grid[:, ::2],
        "empty": np.empty((0, 3), np.int32),
        "0-d": np.array(5),
        "bool": np.array([True, False]),
        "float16": np.array([1.5, np.nan], np.float16),
        "complex": np.array([1j, np.inf]),
        "big endian": np.array([1, 2, 3], ">i4"),
        "texts": np.array(["abc", "ü"]),
        "bytes": np.array([b"abc", b"x\0y"], "S5"),
        "void": np.zeros(2, "V7"),
        "dates": np.array(["2026-11-22", "NaT"], "M8[ns]"),
        "deltas": np.array([1, -2], "m8[25s]"),
        "structured": np.ones(2, record),
        "aligned": np.ones(2, aligned),
        "objects": np.array([None, "x", [1], 2**70, SHARED, SHARED], object),
        "matrix of objects": np.array([[1, "a"], [None, ()]], object),
    }


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", _arrays())
def test_numpy_arrays(check, name, protocol):
    array = _arrays()[name]
    obj = {"array": array, "again": array, "copy": array.copy()}
    ours = check(obj, protocol, pickle.dumps)  # pickle._dumps trips over empty arrays
    assert ours["array"] is ours["again"]


def test_structured_arrays_with_parts_that_are_arrays(check):
    check(np.ones(2, [("a", "<f4"), ("b", "<i8", (2,))]), 2)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numpy_scalars_and_dtypes(check, protocol):
    scalars = [np.float32(1.5), np.float64(np.nan), np.int8(-1), np.uint64(2**64 - 1), np.bool_(1)]
    scalars += [np.complex64(1j), np.str_("abc"), np.bytes_(b"x"), np.datetime64("2026-11-22")]
    scalars += [np.timedelta64(3, "s"), np.float16(2)]
    dtypes = [a.dtype for a in _arrays().values()] + [np.dtype("f4"), np.dtype("V3")]
    check({"scalars": scalars, "dtypes": dtypes}, protocol)


@pytest.mark.parametrize("package", ["numpy.core", "numpy._core"])
def test_both_names_of_numpys_internals(write, package):
    obj = [np.arange(3), np.float32(2)]
    pickled = pickle.dumps(obj, 2)
    for old in (b"numpy._core", b"numpy.core"):
        pickled = pickled.replace(old, package.encode())
    assert_same(ptio.load(write(checkpoints.archive(pickled))), obj)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_cycles_through_lists_and_dicts(check, protocol):
    cycle = []
    cycle.append(cycle)
    mapping = {"list": cycle}
    mapping["self"] = mapping
    ordered = collections.OrderedDict(m=mapping)
    mapping["ordered"] = ordered
    recursive = ([],)
    recursive[0].append(recursive)
    queue = collections.deque()
    queue.append([queue])
    obj = [cycle, mapping, ordered, recursive, queue]
    obj.append(obj)
    ours = check(obj, protocol)
    assert ours[0][0] is ours[0]
    assert ours[3][0][0] is ours[3]


def test_a_namespace_that_contains_itself(check):
    value = argparse.Namespace(a=1)
    value.me = value
    ours = check(value, 2)
    assert ours.me is ours


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_tensors_everywhere(save, protocol):
    tensor = checkpoints.tensor("float32", [1.0, 2.0, 3.0])
    part = checkpoints.view(tensor, (2,), (1,), 1)
    state = collections.OrderedDict(w=tensor, part=part)
    state._metadata = {"v": 2}
    obj = {"state": state, "deque": collections.deque([tensor, part]), "t": (tensor,)}
    obj["namespace"] = argparse.Namespace(w=tensor, p=part)
    obj["array"] = np.array([tensor, None, part, "x"], object)
    assert_same(ptio.load(save(obj, protocol=protocol)), obj)


def test_copyregs_reconstructor_makes_no_other_classes(write):
    """Protocols 0 and 1 make a Namespace with it; it could make an instance of any class."""
    callee = asm.global_("copy_reg", "_reconstructor")
    for name in ("OrderedDict", "UserDict"):
        base = asm.global_("__builtin__", "object")
        made = asm.call(callee, asm.global_("collections", name), base, asm.op("NONE"))
        with pytest.raises((ptio.ForbiddenError, ptio.PickleFormatError)):
            ptio.load(write(checkpoints.archive(asm.program(made))))


OTHER_PYTHONS = {
    # 3.13 moved pathlib's classes for one release
    "pathlib._local": (
        asm.call(asm.global_("pathlib._local", "PosixPath"), asm.text("/"), asm.text("a")),
        pathlib.PurePosixPath("/a"),
    ),
    "pathlib._local.PureWindowsPath": (
        asm.call(asm.global_("pathlib._local", "PureWindowsPath"), asm.text("C:\\"), asm.text("a")),
        pathlib.PureWindowsPath("C:\\a"),
    ),
    "pathlib WindowsPath": (
        asm.call(asm.global_("pathlib", "WindowsPath"), asm.text("a"), asm.text("b")),
        pathlib.PureWindowsPath("a", "b"),
    ),
    "datetime with the latin-1 detour of protocol 2": (
        asm.call(
            asm.global_("datetime", "date"),
            asm.call(
                asm.global_("_codecs", "encode"), asm.text("\x07\xe4\x02\x03"), asm.text("latin1")
            ),
        ),
        datetime.date(2020, 2, 3),
    ),
    "_datetime": (
        asm.call(asm.global_("datetime", "timedelta"), *map(asm.number, (1, 2, 3))),
        datetime.timedelta(1, 2, 3),
    ),
    "set by Python 2": (
        asm.call(asm.global_("__builtin__", "set"), asm.list_of(asm.number(1))),
        {1},
    ),
    "complex by Python 2": (
        asm.call(asm.global_("__builtin__", "complex"), asm.number(1.0), asm.number(2.0)),
        1 + 2j,
    ),
    "xrange by Python 2": (
        asm.call(asm.global_("__builtin__", "xrange"), *map(asm.number, (0, 4, 1))),
        range(4),
    ),
    "bytes()": (asm.call(asm.global_("__builtin__", "bytes")), b""),
    "bytearray by protocol 2": (
        asm.call(asm.global_("__builtin__", "bytearray"), asm.text("a\xff"), asm.text("latin-1")),
        bytearray(b"a\xff"),
    ),
    "OrderedDict by Python 2": (
        asm.call(
            asm.global_("collections", "OrderedDict"),
            asm.list_of(asm.list_of(asm.text("a"), asm.number(1))),
        ),
        collections.OrderedDict(a=1),
    ),
}


@pytest.mark.parametrize("name", OTHER_PYTHONS)
def test_what_other_pythons_write(write, name):
    stream, expected = OTHER_PYTHONS[name]
    assert_same(ptio.load(write(checkpoints.archive(asm.program(stream)))), expected)
