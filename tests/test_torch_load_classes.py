# SPDX-License-Identifier: Apache-2.0
"""ptio.torch.load of objects of registered classes: they are made as torch's own unpickler for
weights makes them."""

import collections
import dataclasses
import enum
import pickle
import typing

import pytest

calls = []  # what the classes and functions below were asked to do, in order


@pytest.fixture
def load(torch):
    import ptio.torch

    calls.clear()
    return ptio.torch.load


class Plain:
    def __init__(self, **attributes):
        vars(self).update(attributes)


class Slots:
    __slots__ = ("a", "b", "unset")

    def __init__(self):
        self.a, self.b = 1, [2]


class SlotsAndDict(Slots):
    def __init__(self):
        super().__init__()
        self.c = {"d": 3}


class State(Plain):
    def __getstate__(self):
        return ["state", vars(self)]

    def __setstate__(self, state):
        calls.append(("setstate", state[0]))
        vars(self).update(state[1])


class Reduced:
    def __init__(self, value):
        calls.append(("init", value))
        self.value = value

    def __reduce__(self):
        return Reduced, (self.value,), {"extra": [self.value]}


class NewArguments(tuple):
    def __new__(cls, *items):
        return super().__new__(cls, items)

    def __getnewargs__(self):
        return tuple(self)


class Keywords:
    def __new__(cls, *, size):
        self = super().__new__(cls)
        self.size = size
        return self

    def __getnewargs_ex__(self):
        return (), {"size": self.size}


class Color(enum.Enum):
    RED = 1
    BLUE = (2, "b")


class Flag(enum.IntFlag):
    A = 1
    B = 2


@dataclasses.dataclass
class Config:
    rate: float
    layers: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Frozen:
    name: str


Pair = collections.namedtuple("Pair", "left right")


class Point(typing.NamedTuple):
    x: int
    y: float = 0.0


class Outer:
    class Inner(Plain):
        pass


class MyInt(int):
    pass


class MyStr(str):
    pass


class MyError(Exception):
    pass


class Key:
    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        return Key, (self.name,)

    def __hash__(self):
        return hash(self.name)

    def __eq__(self, other):
        return type(other) is Key and self.name == other.name


def note(value):
    calls.append(("note", value))
    return [value]


class Noted:
    """Pickles as a call of `note`."""

    def __init__(self, value):
        self.value = value

    def __reduce__(self):
        return note, (self.value,)


def _shared():
    one = Plain(a=1)
    return [one, one, Plain(other=one)]


OBJECTS = {
    "attributes": lambda: Plain(a=1, b=[2, {"c": 3}]),
    "no state": lambda: Plain(),
    "slots": Slots,
    "slots and attributes": SlotsAndDict,
    "setstate": lambda: State(a=1, b=State(c=2)),
    "reduce": lambda: [Reduced(1), Reduced("x")],
    "getnewargs": lambda: NewArguments(1, "a"),
    "enum": lambda: [Color.RED, Color.BLUE, Color.RED],
    "flag": lambda: Flag.A | Flag.B,
    "dataclass": lambda: Config(0.1, [1, 2]),
    "frozen dataclass": lambda: Frozen("x"),
    "namedtuple": lambda: Pair(1, [2]),
    "typed namedtuple": lambda: Point(3),
    "int": lambda: MyInt(3),
    "str": lambda: MyStr("text"),
    "exception": lambda: MyError("text", 3),
    "keys": lambda: {Key("a"): 1, (1, Key("b")): {Key("c")}},
    "shared": _shared,
    "function": lambda: [note, Plain],
    "calls": lambda: [Noted(1), Plain(a=Noted(2)), Noted(3)],
}
NESTED = {"nested class": lambda: Outer.Inner(a=1), "keywords": lambda: Keywords(size=3)}
CLASSES = [
    *(Plain, Slots, SlotsAndDict, State, Reduced, NewArguments, Keywords, Color, Flag, Config),
    *(Frozen, Pair, Point, Outer.Inner, MyInt, MyStr, MyError, Key, note),
]


@pytest.mark.parametrize("kind", OBJECTS)
def test_registered_classes_are_made_as_in_torch(torch, load, torch_save, kind):
    from support.torch_compare import assert_same_objects

    path = torch_save({"w": torch.ones(2), "object": OBJECTS[kind]()})
    calls.clear()
    with torch.serialization.safe_globals(CLASSES):
        theirs, their_calls = torch.load(path), calls[:]
        calls.clear()
        ours, our_calls = load(path), calls[:]
    assert_same_objects(ours, theirs)
    assert our_calls == their_calls
    assert_same_objects(load(path, allow=CLASSES), theirs)


# Without __getstate__, classes with slots need protocol 2; names with dots and keywords need 4.
IN_PROTOCOL = [
    (kind, protocol)
    for kind in (*OBJECTS, *NESTED)
    for protocol in range(4 if kind in NESTED else 2 if "slots" in kind else 0, 6)
]


@pytest.mark.parametrize(("kind", "protocol"), IN_PROTOCOL)
def test_registered_classes_are_made_in_every_protocol(torch, load, torch_save, kind, protocol):
    """torch's own unpickler for weights reads protocol 2 only: Python's is the measure."""
    from support.torch_compare import assert_same_objects

    make = OBJECTS.get(kind) or NESTED[kind]
    path = torch_save(make(), pickle_protocol=protocol)
    calls.clear()
    theirs, their_calls = torch.load(path, weights_only=False), calls[:]
    calls.clear()
    bases = [tuple, int, str] if protocol < 2 else []
    assert_same_objects(load(path, allow=CLASSES + bases), theirs)
    assert calls == their_calls


class MyList(list):
    pass


class MyDict(dict):
    pass


class MySet(set):
    pass


@pytest.mark.parametrize("make", [lambda: MyList([1]), lambda: MyDict(a=1)])
def test_items_go_into_no_subclasses_as_in_torch(torch, load, torch_save, make):
    path = torch_save(make())
    with torch.serialization.safe_globals([MyList, MyDict]):
        for function in (torch.load, load):
            with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
                function(path)


def test_what_is_not_registered_gets_no_state(torch, load, torch_save):
    """A function that is allowed may return an object of a class that is not."""

    path = torch_save(Made())
    with torch.serialization.safe_globals([make_plain]):
        for function in (torch.load, load):
            with pytest.raises(pickle.UnpicklingError, match="Can only build"):
                function(path)


def make_plain():
    return Plain()


class Made:
    def __reduce__(self):
        return make_plain, (), {"state": 1}
