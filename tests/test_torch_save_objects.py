# SPDX-License-Identifier: Apache-2.0
"""ptio.torch.save of objects of any class, and of objects that run code while they are saved: the
bytes are those of torch.save, or the same exception."""

import collections
import copyreg
import dataclasses
import datetime
import decimal
import enum
import pathlib
import types
import weakref

import numpy as np
import pytest


@pytest.fixture
def check(torch, tmp_path):
    from support.torch_saving import assert_saved_the_same

    return lambda obj, **options: assert_saved_the_same(obj, tmp_path / "model.pt", **options)


@pytest.fixture
def check_made(torch, tmp_path):
    """Saves what make() gives, by torch and by us: saving it changes it."""
    from support.torch_saving import assert_same_files, saved_by_torch, saved_by_us

    def run(make):
        path = tmp_path / "model.pt"
        assert_same_files(saved_by_us(make(), path), saved_by_torch(make(), path))

    return run


class Plain:
    def __init__(self, **attributes):
        vars(self).update(attributes)


class Slots:
    __slots__ = ("a", "b")

    def __init__(self):
        self.a = 1


class Reduced:
    def __init__(self, *parts):
        self.parts = parts

    def __reduce__(self):
        return Reduced, (1,), None, iter([1, 2]), iter([("a", self.parts)])

    def extend(self, items):
        pass

    append = __setitem__ = extend


class NewArguments(tuple):
    def __getnewargs_ex__(self):
        return (), {}


class Color(enum.Enum):
    RED = 1


class List(list):
    pass


class Dict(dict):
    pass


class Text(str):
    pass


Point = collections.namedtuple("Point", "x y")


@dataclasses.dataclass
class Config:
    lr: float
    names: list


def test_objects_of_any_class(torch, check):
    tensor = torch.arange(4.0)
    plain = Plain(weight=tensor, again=tensor)
    plain.itself = plain
    own = [plain, Slots(), Reduced(tensor), NewArguments(), Color.RED, Config(0.1, ["a"])]
    derived = [List([1, tensor]), Dict(a=tensor), Text("text"), Point(1, tensor), Point]
    known = [
        pathlib.PurePosixPath("a"),
        datetime.date(2020, 1, 1),
        decimal.Decimal("1.5"),
        range(3),
    ]
    containers = [collections.deque([tensor], 3), collections.defaultdict(list, a=[tensor])]
    spaces = [types.SimpleNamespace(a=tensor), slice(1, 2), torch.Generator, tensor]
    for obj in (own, derived, known, containers, spaces, [own, derived, known, containers, spaces]):
        check(obj)
        check({"before": tensor[1:], "objects": obj, "after": tensor}, pickle_protocol=4)


def test_numpy_arrays_and_scalars(torch, check):
    base = np.arange(6.0)
    check([base, base[1:3], np.float32(1.5), np.dtype("int8"), torch.from_numpy(base)])


@pytest.fixture(scope="module")
def subclasses(torch):
    """Tensor subclasses: plain, with slots, and one whose __reduce_ex__ calls `during`."""

    class Sub(torch.Tensor):
        pass

    class WithSlots(torch.Tensor):
        __slots__ = ("first", "unset")

    class Busy(torch.Tensor):
        def __reduce_ex__(self, protocol):
            during = vars(self).get("during")
            if during is not None:
                during()
            return torch._utils._rebuild_tensor_v2, (self.as_subclass(torch.Tensor).storage(),)

    class New(torch.Tensor):
        def __reduce_ex__(self, protocol):
            return copyreg.__newobj__, (New,), None

    for kind in (Sub, WithSlots, Busy, New):
        kind.__qualname__ = kind.__name__
        globals()[kind.__name__] = kind
    return Sub, WithSlots, Busy, New


def test_subclasses_of_tensors(torch, check, subclasses):
    plain, with_slots, busy, new = subclasses
    sub = torch.arange(6.0)[1:].as_subclass(plain)
    sub.note = ["attribute", sub]
    slots = torch.ones(2).as_subclass(with_slots)
    slots.first, slots.other = 1, sub
    wrapped = torch.nn.Parameter(torch.ones(2).as_subclass(plain))
    made = [torch.ones(3).as_subclass(kind) for kind in (plain, busy, new)]
    check([sub, slots, wrapped, made, torch.nn.parameter.UninitializedParameter(), plain])
    check(made[2])


def busy_tensor(torch, subclasses, during):
    tensor = torch.ones(2).as_subclass(subclasses[2])
    tensor.during = during
    return tensor


CHANGES = {
    "a list grows": lambda: ([1], lambda c: c.append("more")),
    "a list of one grows": lambda: ([], lambda c: c.append("more")),
    "a long list grows": lambda: ([[i] for i in range(999)], lambda c: c.extend(["a", "b"])),
    "a list is emptied": lambda: ([1, 2, 3], lambda c: c.clear()),
    "a list is cut to one": lambda: ([], lambda c: c.__delitem__(slice(1, None))),
    "a list gets other items": lambda: ([[1], [2]], lambda c: c.__setitem__(-1, [3])),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("followers", [0, 1, 2])
def test_lists_that_change_while_they_are_saved(torch, check_made, subclasses, name, followers):
    def make():
        items, change = CHANGES[name]()
        items.append(busy_tensor(torch, subclasses, lambda: change(items)))
        items += [f"follower {i}" for i in range(followers)]
        return items

    check_made(make)


def _delete_and_add(pairs):
    pairs.pop("first", None)
    pairs["new"] = ["new"]


DICT_CHANGES = {
    "one more": lambda pairs: pairs.update(more=1),
    "one less": lambda pairs: pairs.pop("first", None),
    "one for another": _delete_and_add,
    "other values": lambda pairs: pairs.update(dict.fromkeys(pairs, "other")),
    "nothing left": lambda pairs: pairs.clear(),
}


@pytest.mark.parametrize("change", DICT_CHANGES)
@pytest.mark.parametrize("size", [0, 1, 3])
def test_dicts_that_change_while_they_are_saved(torch, tmp_path, subclasses, change, size):
    from support.torch_saving import outcome

    def make():
        pairs = {"first": 1, "second": [2], "third": "3"} if size == 3 else {}
        pairs.update({"first": 0} if size == 1 else {})
        tensor = busy_tensor(torch, subclasses, lambda: DICT_CHANGES[change](pairs))
        pairs["busy"] = tensor
        return pairs

    path = tmp_path / "model.pt"
    theirs, ours = outcome(torch.save, make(), path), outcome(None, make(), path)
    assert ours == theirs


def test_objects_that_die_while_the_rest_is_saved_do_not_lend_their_place(
    torch, check_made, subclasses
):
    """A memo of addresses would take a new object for the one that was at its address before."""

    def make():
        pairs = {f"name {i}": [f"text {i}" * 2, torch.full((2,), float(i))] for i in range(50)}

        def replace():
            for name in pairs:
                pairs[name] = None
            for i, name in enumerate(pairs):
                pairs[name] = [f"other {i}" * 2, torch.full((2,), -float(i))]

        items = [*pairs.values()]
        obj = [[pairs], busy_tensor(torch, subclasses, lambda: (items.clear(), replace())), pairs]
        return [obj, [pairs, items]]

    check_made(make)


def test_saving_inside_of_saving(torch, check_made, subclasses, tmp_path):
    import ptio.torch

    def inner():
        ptio.torch.save({"a": torch.ones(3)}, tmp_path / "inner.pt")

    check_made(lambda: [torch.ones(2), busy_tensor(torch, subclasses, inner), torch.zeros(2)])
    assert torch.equal(torch.load(tmp_path / "inner.pt")["a"], torch.ones(3))


def test_classes_that_copyreg_knows(torch, check, subclasses):
    copyreg.pickle(subclasses[0], lambda tensor: (list, ([1, 2],)))
    try:
        check([torch.ones(2).as_subclass(subclasses[0])])
    finally:
        del copyreg.dispatch_table[subclasses[0]]
    for kind, obj in ((torch.Tensor, torch.ones(2)), (torch.Size, torch.Size([1]))):
        copyreg.pickle(kind, lambda obj: (list, ([3, 4],)))
        try:
            check([obj, torch.nn.Parameter(torch.ones(1))])
        finally:
            del copyreg.dispatch_table[kind]


class Meta(type):
    pass


class OfMeta(metaclass=Meta):
    pass


def test_kinds_of_classes_that_copyreg_knows(check):
    check([OfMeta, OfMeta(), len])
    for kind in (Meta, type(len), type):
        copyreg.pickle(kind, lambda obj: (list, ([3, 4],)))
        try:
            check([OfMeta, len, list])
        finally:
            del copyreg.dispatch_table[kind]


def test_nothing_is_kept_alive(torch, tmp_path):
    import gc

    import ptio.torch

    for extra in (1, Plain()):
        obj = {
            "weight": torch.ones(3),
            "more": [List([1]), torch.nn.Parameter(torch.ones(1)), extra],
        }
        weak = [weakref.ref(obj["weight"]), weakref.ref(obj["more"][1])]
        weak += [weakref.ref(obj["more"][0])]
        ptio.torch.save(obj, tmp_path / "model.pt")
        ptio.torch.save(obj, tmp_path / "model.pt", compact=True)
        del obj
        gc.collect()
        assert [ref() for ref in weak] == [None] * 3
