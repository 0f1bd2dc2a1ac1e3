# SPDX-License-Identifier: Apache-2.0
"""Random objects: what ptio.save wrote, ptio.load and torch.load(weights_only=True) give back."""

import collections
import io

import numpy as np
import ptio
from hypothesis import given
from hypothesis import strategies as st
from support import checkpoints
from support.compare import assert_same
from support.numpy_saving import assert_saved, saved_bytes
from test_random_objects import FEW, FLOATS, INTS, SMALL, TEXTS

NAMES = sorted(checkpoints.ITEMSIZE.keys() - checkpoints.RAW)
BYTES = st.binary(max_size=12)
KEYS = st.one_of(st.none(), st.booleans(), SMALL, FLOATS, TEXTS, BYTES, st.complex_numbers())
LEAVES = st.one_of(
    KEYS,
    INTS,
    BYTES.map(bytearray),
    SMALL.map(np.int64),
    FLOATS.map(np.float64),
    st.sampled_from(NAMES).map(checkpoints.numpy_dtype),
)


@st.composite
def arrays(draw):
    """One to three views of the same bytes, of any strides."""
    item = np.dtype(checkpoints.numpy_dtype(draw(st.sampled_from(NAMES))))
    if item.kind in "fiuc" and draw(st.booleans()):
        item = item.newbyteorder("S")
    size = draw(st.integers(0, 40)) + item.itemsize * draw(st.integers(1, 8))
    data = draw(st.binary(min_size=size, max_size=size))
    if item.kind == "b":
        data = bytes(byte & 1 for byte in data)
    memory = np.frombuffer(bytearray(data), np.uint8)
    return [draw(views(memory, item)) for _ in range(draw(st.integers(1, 3)))]


@st.composite
def views(draw, memory, item):
    unit = draw(st.sampled_from([1, item.itemsize, item.itemsize, item.itemsize]))
    offset = draw(st.integers(0, (len(memory) - item.itemsize) // unit)) * unit
    low, high = -offset, len(memory) - item.itemsize - offset  # of steps, in bytes
    shape, strides = [], []
    for _ in range(draw(st.integers(0, 3))):
        step = draw(st.integers(-8, 8)) * unit
        n = draw(st.integers(0, 4))
        if n > 1 and not low <= (n - 1) * step <= high:
            n = 1
        if n > 1 and step < 0:
            low -= (n - 1) * step
        elif n > 1:
            high -= (n - 1) * step
        shape.append(n)
        strides.append(step)
    return np.ndarray(shape, item, memory.data, offset, strides)


def containers(inner):
    lists = st.lists(inner, max_size=4)
    items = st.lists(st.tuples(KEYS, inner), max_size=4)
    return st.one_of(
        lists,
        lists.map(tuple),
        items.map(dict),
        items.map(collections.OrderedDict),
        st.lists(KEYS, max_size=4).map(collections.Counter),
        st.sets(KEYS, max_size=4),
        st.tuples(inner).map(lambda one: [one[0], one[0], {"again": one[0]}]),
    )


OBJECTS = st.recursive(st.one_of(LEAVES, arrays()), containers, max_leaves=25)


@FEW
@given(OBJECTS, st.booleans())
def test_what_is_saved_is_loaded(obj, compact):
    data = saved_bytes(obj, compact=compact)
    assert_saved(ptio.load(io.BytesIO(data), verify=True), obj)
    assert saved_bytes(obj, compact=compact) == data


@FEW
@given(obj=OBJECTS)
def test_torch_loads_the_same(torch, obj):
    data = saved_bytes(obj)
    theirs = torch.load(io.BytesIO(data), weights_only=True)
    assert_same(ptio.load(io.BytesIO(data)), theirs)


@FEW
@given(st.lists(arrays(), max_size=3))
def test_sharing_never_makes_a_file_larger(groups):
    assert len(saved_bytes(groups)) <= len(saved_bytes(groups, compact=True)) + 64
    flat = [array for group in groups for array in group]
    ptio.save(flat, io.BytesIO())


@FEW
@given(st.dictionaries(TEXTS, arrays(), max_size=4))
def test_a_writer_and_save_write_the_same_values(obj):
    file = io.BytesIO()
    flat = {f"{name}.{i}": a for name, group in obj.items() for i, a in enumerate(group)}
    with ptio.Writer(file) as w:
        for name, array in flat.items():
            w[name] = array
    assert_saved(ptio.load(io.BytesIO(file.getvalue()), verify=True), flat)
