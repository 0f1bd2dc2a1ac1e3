# SPDX-License-Identifier: Apache-2.0
"""Random nested objects with tensors, pickled by Python in every protocol: what ptio loads is
what was saved, and what Python's own unpickler makes of the same bytes."""

import collections
import datetime
import io
import pathlib
import pickle

import numpy as np
import ptio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import checkpoints
from support.compare import assert_same

PROTOCOLS = st.integers(0, 5)
TEXTS = st.text(st.characters(codec=None, exclude_categories=()), max_size=12)
SMALL = st.one_of(st.integers(-300, 300), st.integers(-(2**63), 2**63 - 1))
INTS = st.one_of(SMALL, st.integers(-(2**70), 2**70))
FLOATS = st.floats(width=64)
HASHABLE_LEAVES = st.one_of(
    st.none(), st.booleans(), SMALL, FLOATS, TEXTS, st.binary(max_size=12), st.complex_numbers()
)
DATES = st.one_of(
    st.dates(), st.datetimes(), st.timedeltas(), st.times(), st.just(datetime.timezone.utc)
)
LEAVES = st.one_of(
    HASHABLE_LEAVES,
    INTS,
    st.binary(max_size=12).map(bytearray),
    st.builds(range, SMALL, SMALL, st.integers(1, 9)),
    st.builds(slice, SMALL, st.none() | SMALL),
    DATES,
    TEXTS.filter(lambda text: "\0" not in text and text.isascii()).map(pathlib.PurePosixPath),
)
KEYS = st.recursive(
    HASHABLE_LEAVES, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=3
)
DTYPES = st.sampled_from([name for name in checkpoints.ITEMSIZE if name != "bool"])


@st.composite
def tensors(draw):
    """A tensor over a storage of random bytes, with any strides that stay inside."""
    dtype = draw(DTYPES)
    numel = draw(st.integers(1, 12))
    size = numel * checkpoints.ITEMSIZE[dtype]
    data = draw(st.binary(min_size=size, max_size=size))
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    stride = draw(st.lists(st.integers(0, 4), min_size=len(shape), max_size=len(shape)))
    last = sum((n - 1) * s for n, s in zip(shape, stride, strict=True)) if 0 not in shape else 0
    offset = draw(st.integers(0, numel - 1))
    if last + offset >= numel and 0 not in shape:
        shape, stride = [numel - offset], [1]
    grad = "float" in dtype and draw(st.booleans())  # torch refuses it for integers
    flags = {"requires_grad": grad, "parameter": draw(st.booleans())}
    storage = checkpoints.Storage(dtype, data)
    return checkpoints.Tensor(storage, tuple(shape), tuple(stride), offset, **flags)


def containers(inner):
    lists = st.lists(inner, max_size=4)
    items = st.lists(st.tuples(KEYS, inner), max_size=4)
    return st.one_of(
        lists,
        lists.map(tuple),
        lists.map(collections.deque),
        items.map(dict),
        items.map(collections.OrderedDict),
        items.map(lambda pairs: collections.defaultdict(list, pairs)),
        st.sets(KEYS, max_size=4),
        st.frozensets(KEYS, max_size=4),
        st.tuples(inner).map(lambda one: [one[0], one[0], {"again": one[0]}]),
        st.lists(st.integers(-5, 5), min_size=1, max_size=5).map(np.array),
        lists.map(_object_array),
    )


def _object_array(values):
    array = np.empty(len(values), object)
    for index, value in enumerate(values):
        array[index] = value
    return array


OBJECTS = st.recursive(st.one_of(LEAVES, tensors()), containers, max_leaves=25)
PLAIN = st.recursive(LEAVES, containers, max_leaves=25)
FEW = settings(
    max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


def load(data, **options):
    return ptio.load(io.BytesIO(data), **options)


@FEW
@given(PLAIN, PROTOCOLS)
def test_plain_objects_load_as_pythons_unpickler_makes_them(obj, protocol):
    for dumps in (pickle.dumps, pickle._dumps):
        pickled = dumps(obj, protocol)
        assert_same(load(checkpoints.archive(pickled)), pickle._loads(pickled))


class Unpickler(pickle._Unpickler):
    """Python's unpickler, with torch's calls replaced by the stand-ins."""

    def __init__(self, file, storages):
        super().__init__(file)
        self.storages = storages

    def persistent_load(self, pid):
        return self.storages[pid[2]]

    def find_class(self, module, name):
        if not module.startswith("torch"):
            return super().find_class(module, name)
        return getattr(self, name, checkpoints.Global(module, name))

    @staticmethod
    def _rebuild_tensor_v2(storage, offset, shape, stride, grad, hooks):
        return checkpoints.Tensor(storage, shape, stride, offset, grad)

    @staticmethod
    def _rebuild_tensor_v3(storage, offset, shape, stride, grad, hooks, dtype):
        return checkpoints.Tensor(storage, shape, stride, offset, grad)

    @staticmethod
    def _rebuild_parameter(data, grad, hooks):
        return data


@FEW
@given(OBJECTS, PROTOCOLS)
def test_objects_with_tensors_load_as_pythons_unpickler_makes_them(obj, protocol):
    file = io.BytesIO()
    pickler = checkpoints.Pickler(file, protocol)
    pickler.dump(obj)
    storages = dict(pickler.storages.values())
    pickled = file.getvalue()
    expected = Unpickler(io.BytesIO(pickled), storages).load()
    data = {key: storage.data for key, storage in storages.items()}
    assert_same(load(checkpoints.archive(pickled, data)), expected)
