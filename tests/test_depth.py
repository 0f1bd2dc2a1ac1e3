# SPDX-License-Identifier: Apache-2.0
"""Deep nesting: to the limit it loads, beyond it there is a LimitError, and nothing recurses."""

import collections
import io
import threading

import ptio
import pytest
from support import checkpoints
from support import pickle_asm as asm
from support.compare import assert_same

DEEP = 1000


def _list(inner):
    return [inner]


WRAPPERS = {
    "list": _list,
    "tuple": lambda inner: (inner,),
    "dict": lambda inner: {"k": inner},
    "ordered dict": lambda inner: collections.OrderedDict(k=inner),
    "deque": lambda inner: collections.deque([inner]),
}


def nested(wrap, depth):
    value = 1
    for _ in range(depth):
        value = wrap(value)
    return value


def stream(wrap, depth):
    """The pickle of a nested value, written without recursion."""
    around = {
        "list": (asm.op("EMPTY_LIST"), asm.op("APPEND")),
        "tuple": (b"", asm.op("TUPLE1")),
        "dict": (asm.op("EMPTY_DICT") + asm.text("k"), asm.op("SETITEM")),
        "ordered dict": (asm.ordered_dict() + asm.text("k"), asm.op("SETITEM")),
        "deque": (asm.call(asm.global_("collections", "deque")), asm.op("APPEND")),
    }
    before, after = around[wrap]
    return asm.program(before * depth + asm.number(1) + after * depth)


def load(pickled, **options):
    return ptio.load(io.BytesIO(checkpoints.archive(pickled)), **options)


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_the_deepest_allowed_nesting_loads(wrap):
    ours = load(stream(wrap, DEEP))
    theirs = nested(WRAPPERS[wrap], DEEP)
    assert_same(ours, theirs)


@pytest.mark.parametrize("wrap", WRAPPERS)
@pytest.mark.parametrize("depth", [DEEP + 1, 5000])
def test_deeper_nesting_is_a_limit_error(wrap, depth):
    with pytest.raises(ptio.LimitError, match="depth"):
        load(stream(wrap, depth))


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_a_raised_limit_lets_it_through(wrap):
    depth = 5000
    value = load(stream(wrap, depth), limits=ptio.Limits(depth=depth))
    levels = 0
    while value != 1:
        value = value["k"] if isinstance(value, dict) else value[0]
        levels += 1
    assert levels == depth


@pytest.mark.parametrize("wrap", ["list", "tuple", "dict", "key", "member"])
def test_millions_of_levels_are_refused_quickly_on_a_small_stack(wrap):
    key = asm.op("EMPTY_TUPLE") + asm.op("TUPLE1") * 1_000_000
    if wrap == "key":
        data = asm.program(asm.op("EMPTY_DICT"), key, asm.number(1), asm.op("SETITEM"))
    elif wrap == "member":
        data = asm.program(asm.op("EMPTY_SET") + asm.op("MARK") + key + asm.op("ADDITEMS"))
    else:
        data = stream(wrap, 1_000_000)
    caught = []

    def work():
        with pytest.raises(ptio.LimitError) as info:
            load(data)
        caught.append(info.value)

    previous = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(60)
    finally:
        threading.stack_size(previous)
    assert len(caught) == 1


def test_depth_through_calls_and_state_counts_too():
    """Each level is an argument of a call: set inside tuple inside Namespace state."""
    made = asm.global_("argparse", "Namespace") + asm.op("EMPTY_TUPLE") + asm.op("NEWOBJ")
    before = made + asm.op("EMPTY_DICT") + asm.text("k")
    after = asm.op("SETITEM") + asm.op("BUILD")
    with pytest.raises(ptio.LimitError):
        load(asm.program(before * 2000 + asm.number(1) + after * 2000))


def test_shared_depth_is_counted_along_the_longest_way():
    """A chain of 600 levels above another of 600, joined through the memo."""
    low = asm.op("EMPTY_LIST") * 600 + asm.number(1) + asm.op("APPEND") * 600
    low += asm.op("BINPUT", 0) + asm.op("POP")
    high = asm.op("EMPTY_LIST") * 600 + asm.op("BINGET", 0) + asm.op("APPEND") * 600
    with pytest.raises(ptio.LimitError):
        load(asm.program(low + high))


def test_a_cycle_is_not_infinitely_deep():
    obj = []
    obj.append({"again": obj})
    ours = ptio.load(io.BytesIO(checkpoints.save(obj)))
    assert ours[0]["again"] is ours


def test_a_dag_that_is_exponential_as_a_tree_loads():
    body = asm.op("EMPTY_TUPLE") + (asm.op("DUP") + asm.op("TUPLE2")) * 100
    value = load(asm.program(body))
    for _ in range(100):
        assert value[0] is value[1]
        value = value[0]
    assert value == ()
