# SPDX-License-Identifier: Apache-2.0
"""When ptio.torch.load calls what the user registered, with what, and what happens when it fails:
as torch's own unpickler for weights, in the order of the stream."""

import collections

import pytest

calls = []  # what the classes and functions below were asked to do, in order


@pytest.fixture
def load(torch):
    import ptio.torch

    calls.clear()
    return ptio.torch.load


def note(value):
    calls.append(value)
    return [value]


class Noted:
    """Pickles as a call of `note`."""

    def __init__(self, value):
        self.value = value

    def __reduce__(self):
        return note, (self.value,)


class MyError(Exception):
    pass


# --- order ----------------------------------------------------------------------------------------


class Watcher:
    """Notes how much of its containers was there when it got its state."""

    def __init__(self, *containers):
        self.containers = containers

    def __setstate__(self, state):
        vars(self).update(state)
        calls.append([len(container) for container in self.containers])


def _cyclic_list():
    outer = [0]
    outer += [Watcher(outer), 1, 2]
    return outer


def _cyclic_dict():
    outer = {"a": 1}
    outer.update(b=Watcher(outer), c=3)
    return outer


def _long_list():
    """Pickled in batches of a thousand."""
    outer = list(range(2500))
    outer[1500] = Watcher(outer)
    return outer


def _ordered_dict():
    outer = collections.OrderedDict(a=1)
    outer["b"] = Watcher(outer)
    return outer


def _two():
    first, second = [1, 2], []
    second += [Watcher(first, second), first]
    return [first, second, Watcher(first, second)]


CYCLES = [_cyclic_list, _cyclic_dict, _long_list, _ordered_dict, _two]


@pytest.mark.parametrize("make", CYCLES)
def test_a_state_is_set_when_the_stream_says_so(torch, load, torch_save, make):
    path = torch_save(make())
    seen = []
    with torch.serialization.safe_globals([Watcher]):
        for function in (torch.load, load):
            calls.clear()
            function(path)
            seen.append(calls[:])
    assert seen[0] == seen[1]


def test_functions_are_called_once_each_in_the_order_of_the_stream(torch, load, torch_save):
    twice = Noted("twice")
    path = torch_save([Noted(1), {"a": twice, "b": [Noted(2), twice]}, (Noted(3),), Noted(4)])
    ours = load(path, allow=[note])
    assert calls == [1, "twice", 2, 3, 4]
    assert ours[1]["a"] is ours[1]["b"][1]


def test_a_function_sees_tensors_with_their_data(torch, load, torch_save):
    base = torch.arange(4.0)
    path = torch_save([Noted(base[1:]), base])
    ours = load(path, allow=[note])
    assert calls[0].tolist() == [1, 2, 3]
    ours[0][0][0] = 7
    assert ours[1].tolist() == [0, 7, 2, 3]


# --- exceptions -----------------------------------------------------------------------------------

RAISED = {}


class Failing:
    """Fails where it is told to."""

    where = ""

    def __new__(cls, *_):
        cls.fail("new")
        return super().__new__(cls)

    def __init__(self, *_):
        self.fail("init")

    def __reduce__(self):
        return Failing, (1,), {"state": 1}

    def __setstate__(self, state):
        self.fail("setstate")

    def __hash__(self):
        self.fail("hash")
        return 3

    def __eq__(self, other):
        self.fail("eq")
        return False

    @classmethod
    def fail(cls, where):
        if cls.where == where:
            RAISED["error"] = RAISED["kind"](where)
            raise RAISED["error"]


@pytest.mark.parametrize("where", ["new", "init", "setstate", "hash", "eq"])
@pytest.mark.parametrize("kind", [KeyError, RuntimeError, MyError, KeyboardInterrupt])
@pytest.mark.parametrize("weights_only", [True, False])
def test_an_exception_of_a_class_comes_out_unchanged(
    load, torch_save, monkeypatch, where, kind, weights_only
):
    path = torch_save([{Failing(): 1, Failing(): 2}, {Failing(), Failing()}])
    monkeypatch.setattr(Failing, "where", where)
    monkeypatch.setitem(RAISED, "kind", kind)
    with pytest.raises(kind) as caught:
        load(path, weights_only=weights_only, allow=[Failing])
    assert caught.value is RAISED["error"]
