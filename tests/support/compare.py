# SPDX-License-Identifier: Apache-2.0
"""Deep comparison of what ptio.load returned with the object it must equal.

The expected object is what torch.load (or pickle) gives for the same file, or the object that
was saved; tensors in it may be torch's or the stand-ins of checkpoints.py. Compared are types
(by the contract's mapping), values to the bit, order, identity, and which tensors share memory.
"""

import argparse
import collections
import datetime
import itertools
import pathlib
import struct
import types

import numpy as np
import ptio

from . import checkpoints, tensors, torch_values

_PLAIN = (str, bytes, bytearray, int, type(None), range)
_DATES = (datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo)
_MAPPINGS = (dict, collections.OrderedDict, collections.defaultdict, collections.Counter)
_SEQUENCES = (list, tuple, collections.deque)
# Where CPython itself may give one object for two equal ones, or two for one.
_NO_IDENTITY = (int, float, complex, type(None), np.dtype, np.generic)
_IMMUTABLE = (str, bytes, tuple, frozenset, range, slice, pathlib.PurePath, *_DATES)


def assert_same(ours, theirs):
    """Fails with the path of the first difference."""
    Comparison().run(ours, theirs)


def same_float(one, other):
    return struct.pack("<d", one) == struct.pack("<d", other)


def bits(value):
    """A hashable value in a form in which equal means same type and same bits."""
    if isinstance(value, float):
        return struct.pack("<d", value)
    if isinstance(value, complex):
        return complex, struct.pack("<dd", value.real, value.imag)
    if isinstance(value, tuple):
        return tuple, tuple(map(bits, value))
    if isinstance(value, set | frozenset):
        return set, frozenset(collections.Counter(map(bits, value)).items())
    return type(value), value


class Comparison:
    """Walks both objects side by side, without recursion."""

    def __init__(self):
        self.todo = []
        self.ours_of = {}  # id of an expected object -> ours
        self.theirs_of = {}  # id of one of ours -> the expected object
        self.storages = {}  # expected storage -> (where ours begins, its bytes)
        self.alive = []

    def run(self, ours, theirs):
        self.todo.append((ours, theirs, "obj"))
        while self.todo:
            ours, theirs, path = self.todo.pop()
            if not self._is_known(ours, theirs, path):
                self._compare(ours, theirs, path)
        self._storages_lie_apart()

    def _is_known(self, ours, theirs, path):
        """Identity: an expected object reached again is ours reached again, and only then."""
        if isinstance(theirs, _NO_IDENTITY) or torch_values.is_singleton(theirs):
            return False
        if isinstance(theirs, str | bytes | tuple | frozenset) and len(theirs) < 2:
            return False
        self.alive.append((ours, theirs))
        first = self.theirs_of.setdefault(id(ours), theirs)
        assert first is theirs or isinstance(ours, _IMMUTABLE), f"{path}: merged with another"
        if id(theirs) not in self.ours_of:
            self.ours_of[id(theirs)] = ours
            return False
        assert self.ours_of[id(theirs)] is ours, f"{path}: one object became two"
        return True

    def _compare(self, ours, theirs, path):
        kind = type(theirs)
        if torch_values.is_torch(theirs):
            torch_values.compare(self, ours, theirs, path)
        elif kind is checkpoints.Tensor:
            self.tensor(ours, tensors.of_stand_in(theirs), path)
        elif isinstance(theirs, np.ndarray | np.generic):
            self._numpy(ours, theirs, path)
        elif isinstance(theirs, pathlib.PurePath):
            self._path(ours, theirs, path)
        else:
            assert type(ours) is kind, f"{path}: {type(ours)} instead of {kind}"
            self._same_type(ours, theirs, path)

    def _same_type(self, ours, theirs, path):
        kind = type(theirs)
        if kind in _MAPPINGS:
            self._mapping(ours, theirs, path)
        elif kind in _SEQUENCES:
            self._sequence(ours, theirs, path)
        elif kind in (argparse.Namespace, types.SimpleNamespace):
            self._attributes(ours, theirs, path)
        elif kind is slice:
            for name in ("start", "stop", "step"):
                pair = getattr(ours, name), getattr(theirs, name)
                self.todo.append((*pair, f"{path}.{name}"))
        elif kind is float:
            assert same_float(ours, theirs), f"{path}: {ours!r} instead of {theirs!r}"
        elif kind is complex:
            parts = same_float(ours.real, theirs.real) and same_float(ours.imag, theirs.imag)
            assert parts, f"{path}: {ours!r} instead of {theirs!r}"
        else:
            self._equal(ours, theirs, path)

    def _equal(self, ours, theirs, path):
        known = isinstance(theirs, (*_PLAIN, *_DATES, set, frozenset, np.dtype, type))
        assert known, f"{path}: no rule to compare {type(theirs)}"
        assert bits(ours) == bits(theirs), f"{path}: {ours!r} instead of {theirs!r}"
        if isinstance(theirs, datetime.datetime | datetime.time):
            assert (ours.tzinfo, ours.fold) == (theirs.tzinfo, theirs.fold), path

    def _mapping(self, ours, theirs, path):
        assert len(ours) == len(theirs), f"{path}: {len(ours)} items instead of {len(theirs)}"
        if isinstance(theirs, collections.defaultdict):
            assert ours.default_factory is theirs.default_factory, path
        pairs = zip(ours.items(), theirs.items(), strict=True)
        for (our_key, our_value), (key, value) in pairs:
            self.todo.append((our_key, key, f"{path}.key({key!r:.40})"))
            self.todo.append((our_value, value, f"{path}[{key!r:.40}]"))
        if hasattr(theirs, "__dict__"):
            self._attributes(ours, theirs, path)

    def _sequence(self, ours, theirs, path):
        assert len(ours) == len(theirs), f"{path}: {len(ours)} items instead of {len(theirs)}"
        assert getattr(ours, "maxlen", None) == getattr(theirs, "maxlen", None), path
        for index, (our_item, item) in enumerate(zip(ours, theirs, strict=True)):
            self.todo.append((our_item, item, f"{path}[{index}]"))

    def _attributes(self, ours, theirs, path):
        assert list(vars(ours)) == list(vars(theirs)), f"{path}: attributes"
        for name, value in vars(theirs).items():
            self.todo.append((vars(ours)[name], value, f"{path}.{name}"))

    def _path(self, ours, theirs, path):
        assert isinstance(ours, pathlib.PurePath), f"{path}: {type(ours)}"
        assert not isinstance(ours, pathlib.Path), f"{path}: a path that can touch the disk"
        windows = isinstance(theirs, pathlib.PureWindowsPath)
        assert isinstance(ours, pathlib.PureWindowsPath) == windows, path
        assert str(ours) == str(theirs), path

    def _numpy(self, ours, theirs, path):
        assert type(ours) is type(theirs), f"{path}: {type(ours)} instead of {type(theirs)}"
        native = ours.dtype.newbyteorder("="), theirs.dtype.newbyteorder("=")
        assert native[0] == native[1], f"{path}: {ours.dtype} instead of {theirs.dtype}"
        assert ours.shape == theirs.shape, path
        if isinstance(theirs, np.ndarray):
            assert ours.flags.fnc == theirs.flags.fnc, f"{path}: order of the elements"
            assert ours.flags.writeable >= theirs.flags.writeable, f"{path}: read-only"
        if theirs.dtype.hasobject:
            pairs = zip(ours.ravel("K").tolist(), theirs.ravel("K").tolist(), strict=True)
            self.todo += [(one, other, f"{path}[{i}]") for i, (one, other) in enumerate(pairs)]
        else:
            same_order = ours if ours.dtype == theirs.dtype else ours.astype(theirs.dtype)
            assert same_order.tobytes() == theirs.tobytes(), f"{path}: values"

    def tensor(self, ours, expected, path):
        """A strided tensor: an ndarray, or a RawTensor where NumPy has no such thing."""
        if expected.data is None or expected.dtype in checkpoints.RAW:
            assert type(ours) is ptio.RawTensor, f"{path}: {type(ours)} for {expected.dtype}"
            facts = tensors.of_raw(ours, checkpoints.ITEMSIZE[expected.dtype])
        else:
            assert type(ours) is np.ndarray, f"{path}: {type(ours)} for {expected.dtype}"
            facts = tensors.of_array(ours)
            assert ours.dtype == checkpoints.numpy_dtype(expected.dtype), path
            assert ours.dtype.isnative, f"{path}: byte order"
            assert ours.flags.writeable, f"{path}: read-only"
            assert ours.flags.aligned, f"{path}: not aligned"
        for name in ("dtype", "shape", "stride"):
            one, other = getattr(facts, name), getattr(expected, name)
            assert other in (one, None), f"{path}: {name} {one} instead of {other}"
        assert facts.data == expected.data, f"{path}: values"
        if expected.memory is not None and expected.data:
            self._memory(facts.memory[0], *expected.memory, path)

    def _memory(self, address, storage, offset, nbytes, path):
        begin = self.storages.setdefault(storage, (address - offset, nbytes))[0]
        assert begin == address - offset, f"{path}: lies elsewhere than others of its storage"

    def _storages_lie_apart(self):
        places = sorted(self.storages.values())
        for (begin, size), (following, _) in itertools.pairwise(places):
            assert begin + size <= following, "two storages overlap in memory"
