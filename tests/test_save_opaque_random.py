# SPDX-License-Identifier: Apache-2.0
"""Random graphs of Opaque objects and containers, cycles included, are read as they were saved."""

import io
import random

import numpy as np
import ptio
import pytest
from support import children
from support.leaks import flat
from support.numpy_saving import saved_bytes

PARTS = ("args", "kwargs", "state", "items", "mapping")


def graph(seed):
    """A list of objects, each of which may refer to any other."""
    choose = random.Random(seed)
    made = [make(choose) for _ in range(choose.randint(1, 25))]
    for value in made:
        for _ in range(choose.randint(0, 4)):
            link(value, choose.choice(made), choose)
    return made


def make(choose):
    kind = choose.randrange(8)
    name = choose.choice(["A", "B.C", "B.C.D"])
    if kind == 0:
        return []
    if kind == 1:
        return {}
    if kind == 2:
        return np.arange(choose.randint(0, 3))
    if kind == 3:
        return ptio.Opaque("m", name)
    kwargs = {"k": choose.random()} if kind == 4 else None
    opaque = ptio.Opaque("m", name, tuple(range(choose.randint(0, 2))), kwargs)
    opaque._by_new = kind in (4, 5)
    return opaque


def link(value, target, choose):
    key = choose.choice(["a", "b", 3, (1, "c")])
    if isinstance(value, list):
        value.append(target)
    elif isinstance(value, dict):
        value[key] = target
    elif isinstance(value, ptio.Opaque) and value.args is not None:
        part = choose.choice(("items", "mapping", "state", "args"))
        if part == "args" and not isinstance(target, ptio.Opaque):
            value.args += (target,)
        elif part == "state":
            value.state = {"x": target, "y": (target, 5)}
        elif part in ("items", "mapping"):
            known = getattr(value, part)
            if known is None:
                known = [] if part == "items" else {}
                setattr(value, part, known)
            link(known, target, choose)


def assert_alike(ours, theirs):
    """The same graph: what was one object is one object."""
    twin, todo = {}, [(ours, theirs)]
    while todo:
        one, other = todo.pop()
        assert type(one) is type(other)
        if isinstance(other, (list, dict, ptio.Opaque)):
            if id(other) in twin:
                assert twin[id(other)] is one
                continue
            twin[id(other)] = one
        if isinstance(other, ptio.Opaque):
            facts = [(o.module, o.name, o.args and o._by_new) for o in (one, other)]
            assert facts[0] == facts[1]
            todo += [(getattr(one, part), getattr(other, part)) for part in PARTS]
        elif isinstance(other, dict):
            assert list(one) == list(other)
            todo += zip(one.values(), other.values(), strict=True)
        elif isinstance(other, (list, tuple)):
            assert len(one) == len(other)
            todo += zip(one, other, strict=True)
        else:
            assert np.array_equal(one, other)


@pytest.mark.parametrize("seed", range(150))
def test_graphs_are_read_as_they_were_saved(seed):
    made = graph(seed)
    ours = ptio.load(io.BytesIO(saved_bytes(made)), unknown="inert")
    assert_alike(ours, made)


@children.unless_sanitized
def test_reading_and_saving_leaves_nothing_behind():
    data = saved_bytes([graph(seed) for seed in range(10)])
    flat(lambda: saved_bytes(ptio.load(io.BytesIO(data), unknown="inert")))
