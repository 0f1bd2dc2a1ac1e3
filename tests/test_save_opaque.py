# SPDX-License-Identifier: Apache-2.0
"""What ptio.load gives for unknown classes, saved again: the classes' own objects come back."""

import argparse
import collections
import datetime
import io
import pathlib
import pickle
import types

import numpy as np
import ptio
import pytest
from support import checkpoints, gone
from support import pickle_asm as asm
from support.compare import assert_same
from support.numpy_saving import saved_bytes


@pytest.fixture(scope="module")
def classes(torch):
    return gone.load()


@pytest.fixture
def through(torch, torch_load, classes):
    """Saves with torch, loads as data, saves with ptio, loads with torch and the classes."""

    def go(obj, change=lambda data: None, **options):
        data = ptio.load(io.BytesIO(gone.saved(obj, torch, classes, **options)), unknown="inert")
        change(data)
        written = saved_bytes(data)
        again = ptio.load(io.BytesIO(written), unknown="inert")
        assert saved_bytes(again) == written
        with gone.importable(classes):
            return torch_load(io.BytesIO(written))

    return go


# --- every way to make an object ----------------------------------------------------------------


def slots(classes, kind="Slots"):
    made = getattr(classes, kind)()
    made.left, made.right = 1, [2]
    return made


def slots_and_dict(classes):
    made = slots(classes, "SlotsAndDict")
    made.extra = "x"
    return made


def filled(classes):
    made = classes.Reduced(5)
    made.list, made.dict, made.state = [1, 2], {"k": 3, 4: 5}, {"s": 6}
    return made


def with_attribute(made):
    made.note = "attribute"
    return made


OBJECTS = {
    "class": lambda c: c.Config,
    "class in a class": lambda c: c.DetectionModel.Mode,
    "function": lambda c: c.maker,
    "type of Python": lambda c: int,
    "dataclass": lambda c: c.Config(0.5),
    "enum member": lambda c: c.Task.DETECT,
    "member of an enum in a class": lambda c: c.DetectionModel.Mode.TRAIN,
    "named tuple": lambda c: c.Point(1, [2]),
    "list": lambda c: c.Items([1, 2]),
    "empty list": lambda c: c.Items(),
    "list with attributes": lambda c: with_attribute(c.Items(range(2000))),
    "dict": lambda c: c.Attributes({"a": 1, 2: "b"}),
    "large dict": lambda c: c.Attributes((i, str(i)) for i in range(2000)),
    "dict with attributes": lambda c: with_attribute(c.StateDict(a=1)),
    "set": lambda c: c.Members([1, 2]),
    "set with attributes": lambda c: with_attribute(c.Members([1])),
    "slots": slots,
    "slots and dict": slots_and_dict,
    "keyword arguments": lambda c: c.Keywords(1, b=2),
    "call, items, pairs and state": filled,
    "call of a result": lambda c: c.Caller(7),
    "partial": lambda c: __import__("functools").partial(c.maker, 5),
    "complex dict keys": lambda c: {c.Task.DETECT: 1, (c.Config, 2): 3},
    "exception": lambda c: ValueError("x", 1),
    "fraction": lambda c: __import__("fractions").Fraction(1, 3),
    "decimal": lambda c: __import__("decimal").Decimal("1.50"),
    "uuid": lambda c: __import__("uuid").UUID(int=5),
    "user dict": lambda c: collections.UserDict(a=1),
    "chain map": lambda c: collections.ChainMap({"a": 1}, {"b": 2}),
}


def facts(value):
    """All that is in an object, as plain data that can be compared."""
    if isinstance(value, type) or type(value) in (types.FunctionType, int, float, str):
        return value
    if isinstance(value, BaseException):
        return type(value), facts(value.args)
    contents = [facts(each) for each in value] if isinstance(value, (list, tuple)) else []
    if isinstance(value, (set, frozenset)):
        contents = sorted(map(repr, value))
    if isinstance(value, dict):
        contents = [(facts(key), facts(child)) for key, child in value.items()]
    attributes = {name: facts(getattr(value, name)) for name in getattr(value, "__slots__", ())}
    if hasattr(value, "__dict__") and not isinstance(value, __import__("enum").Enum):
        attributes.update({name: facts(child) for name, child in vars(value).items()})
    if not contents and not attributes:
        return type(value), repr(value) if type(value).__repr__ is not object.__repr__ else None
    return type(value), contents, attributes


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("kind", OBJECTS)
def test_objects_come_back_as_what_they_were(through, classes, kind, protocol):
    obj = OBJECTS[kind](classes)
    back = through({"x": [obj, obj]}, pickle_protocol=protocol)
    first, second = back["x"]
    assert first is second
    assert facts(first) == facts(obj)
    if type(obj).__eq__ is not object.__eq__ and not isinstance(obj, BaseException):
        assert first == obj


def test_an_object_made_by_what_a_call_returned(through, classes):
    assert through([classes.Called()]) == [(1, 2, 3)]


def test_protocols_0_and_1(torch, classes):
    """Made by copyreg._reconstructor there."""
    for protocol in (0, 1):
        with gone.importable(classes):
            data = checkpoints.archive(pickle.dumps(classes.Config(0.5), protocol))
        ours = ptio.load(io.BytesIO(data), unknown="inert")
        assert (ours.module, ours.name, ours.args) == ("gone", "Config", ())
        with gone.importable(classes):
            back = torch.load(io.BytesIO(saved_bytes(ours)), weights_only=False)
        assert back == classes.Config(0.5)


# --- identity and cycles ------------------------------------------------------------------------


def test_cycles_through_state_items_and_mapping(through, classes):
    node, items, pairs = classes.Node(), classes.Items(), classes.StateDict()
    node.others = [node, items, pairs]
    items.extend([items, node])
    pairs["me"], pairs["node"] = pairs, node
    back = through(node)
    assert back.others[0] is back
    assert back.others[1][0] is back.others[1]
    assert back.others[1][1] is back
    assert back.others[2]["me"] is back.others[2]
    assert back.others[2]["node"] is back


def test_a_cycle_through_the_arguments(through, classes):
    """What contains an object is its argument: the pickle that began with the container does."""
    inner = []
    made = classes.Reduced(inner)
    inner.append(made)

    def turn(data):  # now the object is met first
        data["a"], data["b"] = data["b"], data["a"]

    back = through({"a": inner, "b": made}, turn)
    assert back["a"].a is back["b"]
    assert back["b"][0] is back["a"]


def test_names_and_classes_are_shared(through, classes):
    back = through([classes.Config(), classes.Config, classes.Config(0.1), classes.Config])
    assert back[1] is back[3] is classes.Config
    assert back[0].names is not back[2].names


# --- whole models -------------------------------------------------------------------------------


def test_a_model_comes_back_and_computes_the_same(torch, through, classes):
    model = classes.DetectionModel().eval()
    checkpoint = {"model": model, "ema": classes.ModelEMA(model), "date": "today"}
    back = through(checkpoint)
    assert back["ema"].ema is back["model"]
    assert back["model"].task is classes.Task.DETECT
    assert back["model"].mode is classes.DetectionModel.Mode.TRAIN
    assert back["model"].config == model.config
    assert back["model"].model[1] is back["model"].model[3]
    ours, theirs = back["model"].state_dict(), model.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    x = torch.rand(1, 1, 4, 4)
    with torch.no_grad():
        assert torch.equal(back["model"](x), model(x))


def test_what_was_changed_in_between_is_saved(torch, through, classes):
    def change(data):
        model = data["model"]
        model.state["names"][1] = "truck"
        model.model[0].state["_parameters"]["bias"][:] = 0
        model.state["config"].state["depth"] = 1.0
        model.state["task"] = ptio.Opaque("gone", "Task", ("detect",))
        del data["optimizer"]

    model = classes.DetectionModel()
    back = through({"model": model, "optimizer": torch.optim.SGD(model.parameters())}, change)
    assert list(back) == ["model"]
    assert back["model"].names[1] == "truck"
    assert back["model"].model[0].bias.tolist() == [0, 0, 0]
    assert back["model"].config.depth == 1
    assert back["model"].task is classes.Task.DETECT


def test_tied_weights_stay_tied(through, classes):
    back = through(classes.Tied())
    assert back.head.weight.data_ptr() == back.embedding.weight.data_ptr()


def test_parameters_come_back_as_tensors(torch, through, classes):
    back = through(classes.Tied())
    assert type(back.head.weight) is torch.Tensor


def test_a_writer_takes_them_too(torch, torch_load, classes, tmp_path):
    with ptio.Writer(tmp_path / "x.pt") as writer:
        weight = writer.write(np.ones(3, "f4"))
        writer.root = ptio.Opaque("gone", "Config", (), state={"depth": weight})
    with gone.importable(classes):
        assert torch_load(tmp_path / "x.pt").depth.tolist() == [1, 1, 1]


# --- objects made by the user -------------------------------------------------------------------


def test_objects_that_the_user_makes(torch_load):
    Opaque = ptio.Opaque
    obj = [
        Opaque("fractions", "Fraction", (1, 3)),
        Opaque("collections", "OrderedDict", (), mapping={"a": 1}),
        Opaque("collections", "deque", (), items=[1, 2]),
        Opaque("types", "SimpleNamespace", (), state={"a": 1}),
        Opaque("builtins", "dict.fromkeys", ("ab",)),
        Opaque("builtins", "len"),
    ]
    fraction, ordered, queue, space, keys, function = torch_load(io.BytesIO(saved_bytes(obj)))
    assert (str(fraction), ordered, queue) == ("1/3", {"a": 1}, collections.deque([1, 2]))
    assert (space, keys, function) == (types.SimpleNamespace(a=1), {"a": None, "b": None}, len)


BAD = {
    "arguments": ptio.Opaque("m", "C", [1]),
    "keywords": ptio.Opaque("m", "C", (), [1]),
    "items": ptio.Opaque("m", "C", (), items=(1,)),
    "pairs": ptio.Opaque("m", "C", (), mapping=[(1, 2)]),
    "keywords alone": ptio.Opaque("m", "C", None, {"a": 1}),
    "no module": ptio.Opaque("", "C", ()),
    "no name": ptio.Opaque("m", ""),
    "module is None": ptio.Opaque(None, "C"),
    "line end in a name": ptio.Opaque("m", "C\nos\nsystem"),
    "line end in a module": ptio.Opaque("m\nC", "x"),
    "NUL in a name": ptio.Opaque("m", "C\0"),
    "surrogate in a name": ptio.Opaque("m", "C\ud800"),
    "empty part of a name": ptio.Opaque("m", "C..D"),
}


@pytest.mark.parametrize("defect", BAD)
def test_objects_that_no_pickle_can_say(defect, tmp_path):
    with pytest.raises(
        ValueError, match=r"an invalid Opaque .* cannot be saved at 'a/0'"
    ) as caught:
        ptio.save({"a": [BAD[defect]]}, tmp_path / "x.pt")
    assert str(caught.value).isprintable()
    assert not list(tmp_path.iterdir())


def test_what_is_in_an_object_has_a_path_in_errors(tmp_path):
    inner = ptio.Opaque("m", "C", (), state={"w": [object()]})
    with pytest.raises(TypeError, match="type object cannot be saved at 'net/state/w/0'"):
        ptio.save({"net": inner}, tmp_path / "x.pt")


def test_what_is_read_is_what_was_written():
    """Opaque parts survive a round trip without anybody's classes."""
    made = (
        asm.global_("m", "C")
        + asm.tuple_of(asm.number(1))
        + asm.dict_of(asm.text("k"), asm.text("v"))
    )
    program = made + asm.op("NEWOBJ_EX") + asm.list_of(asm.tensor()) + asm.op("BUILD")
    data = checkpoints.archive(asm.program(program, protocol=4), {"0": bytes(range(16))})
    first = ptio.load(io.BytesIO(data), unknown="inert")
    again = ptio.load(io.BytesIO(saved_bytes(first)), unknown="inert")
    for value in (first, again):
        assert (value.module, value.name, value.args, value.kwargs) == ("m", "C", (1,), {"k": "v"})
        assert value.state[0].tobytes() == bytes(range(16))


# --- the standard library -----------------------------------------------------------------------

UTC, EAST = datetime.timezone.utc, datetime.timezone(datetime.timedelta(hours=2), "east")
VALUES = {
    "frozenset": frozenset([1, "a", (2,)]),
    "defaultdict": collections.defaultdict(list, {"a": [1]}),
    "defaultdict of ordered dicts": collections.defaultdict(collections.OrderedDict),
    "defaultdict of nothing": collections.defaultdict(None, {1: 2}),
    "deque": collections.deque([1, 2]),
    "bounded deque": collections.deque([1], 3),
    "range": range(1, 10, 2),
    "slice": slice(None, 5),
    "date": datetime.date(2024, 2, 29),
    "datetime": datetime.datetime(2024, 1, 1, 12, 30, 1, 5),
    "datetime, fold and zone": datetime.datetime(2024, 1, 1, fold=1, tzinfo=EAST),
    "time": datetime.time(1, 2, 3, fold=1, tzinfo=UTC),
    "timedelta": datetime.timedelta(-1, 5, 7),
    "timezone": [UTC, EAST],
    "path": pathlib.PurePosixPath("/a/b"),
    "Windows path": pathlib.PureWindowsPath("C:\\a"),
    "namespaces": [argparse.Namespace(lr=0.1), types.SimpleNamespace(a=[1])],
}


@pytest.mark.parametrize("kind", VALUES)
def test_values_that_ptio_loads_can_be_saved(torch_load, kind):
    obj = {"x": VALUES[kind], "again": VALUES[kind]}
    data = saved_bytes(obj)
    assert_same(ptio.load(io.BytesIO(data)), obj)
    theirs = torch_load(io.BytesIO(data))
    assert theirs == obj
    assert theirs["x"] is theirs["again"]
    assert repr(theirs) == repr(obj)


def test_a_path_of_this_system(torch_load, tmp_path):
    data = saved_bytes({"path": tmp_path})
    assert torch_load(io.BytesIO(data))["path"] == tmp_path
    assert str(ptio.load(io.BytesIO(data))["path"]) == str(tmp_path)
