# SPDX-License-Identifier: Apache-2.0
"""ptio.Opaque reads like the object whose class is missing: attributes, items, repr, copies."""

import copy
import io
import pickle
import time

import numpy as np
import ptio
import pytest
from support import checkpoints, gone
from support import pickle_asm as asm


@pytest.fixture(scope="module")
def classes(torch):
    return gone.load()


@pytest.fixture
def inert(torch, classes):
    """What becomes of an object when its class is gone."""

    def read(obj, **options):
        data = gone.saved(obj, torch, classes, **options)
        return ptio.load(io.BytesIO(data), unknown="inert")

    return read


def Object(**state):
    return ptio.Opaque("models", "Net", (), state=state)


# --- attributes -----------------------------------------------------------------------------------


def test_attributes_of_an_object():
    opaque = Object(lr=0.1, name="its own", state="too", _private=2)
    assert opaque.lr == 0.1
    assert opaque._private == 2
    assert opaque.name == "Net"
    assert opaque.state["name"] == "its own"
    assert getattr(opaque, "missing", 5) == 5


def test_attributes_of_a_module_are_found_as_torch_finds_them(torch, classes, inert):
    model = classes.DetectionModel()
    ours = inert(model)
    assert ours.yaml == model.yaml
    assert ours.names == {0: "person", 1: "car"}
    np.testing.assert_array_equal(ours.model[0].weight, model.model[0].weight.detach().numpy())
    np.testing.assert_array_equal(ours.model[4].anchors, model.model[4].anchors.numpy())
    assert ours.model[4].unused is None
    assert ours.model[4].training is True
    assert ours.config.depth == 0.33


def test_attributes_in_slots(classes, inert):
    made = classes.SlotsAndDict()
    made.left, made.right, made.extra = 1, 2, 3
    ours = inert(made)
    assert (ours.left, ours.right, ours.extra) == (1, 2, 3)
    assert {"left", "right", "extra"} <= {*dir(ours)}


def test_keys_are_the_last_attributes(classes, inert):
    ours = inert(classes.Attributes(lr=0.1, config=classes.Config()))
    assert ours.lr == 0.1
    assert ours.config.depth == 0.33


def test_enum_members_and_classes_in_classes(classes, inert):
    for protocol in (2, 4):
        ours = inert(classes.DetectionModel(), pickle_protocol=protocol)
        assert ours.task.args == ("detect",)
        assert repr(ours.task) == "<Opaque gone.Task('detect')>"
        assert (ours.mode.module, ours.mode.name) == ("gone", "DetectionModel.Mode")
        assert ours.mode.args == (1,)


def test_containers_of_omegaconf(torch):
    config = ptio.load(io.BytesIO(gone.omegaconf(torch)), unknown="inert")
    assert (config.lr, config["lr"]) == (0.1, 0.1)
    assert config.model.name == "DictConfig"
    assert config.model["name"] == "x"
    assert list(config) == ["lr", "layers", "model"]
    assert "lr" in config
    assert list(config.layers) == [1, 2]
    assert config.layers[0:1] == [1]
    assert config.layers[-1] == 2
    assert (len(config.layers), 2 in config.layers, 3 in config.layers) == (2, True, False)


def test_a_missing_attribute_is_named_with_what_is_near(classes, inert):
    ours = inert(classes.DetectionModel())
    with pytest.raises(AttributeError) as caught:
        _ = ours.model[0].wieght
    assert str(caught.value) == (
        "torch.nn.modules.conv.Conv2d has no attribute 'wieght'; did you mean 'weight'?"
    )
    with pytest.raises(AttributeError, match=r"^gone\.DetectionModel has no attribute 'zzz'$"):
        _ = ours.zzz
    evil = ptio.Opaque("m\x1b[31m", "C\n", (), state={"colour\u202e": 1})
    with pytest.raises(AttributeError) as caught:
        _ = evil.colour
    assert str(caught.value).isprintable()


def test_dir_lists_what_can_be_read():
    opaque = ptio.Opaque("m", "C", (), state={"a": 1, "no name": 2, 3: 4, "__dict__": 5, "b": 6})
    names = dir(opaque)
    assert {"a", "b", "args", "state", "module"} <= {*names}
    assert not {"no name", 3} & {*names}
    assert names == sorted(set(names))


@pytest.mark.parametrize(
    "name", ["__array__", "__deepcopy__", "__array_interface__", "__call__", "__wrapped__"]
)
def test_names_of_protocols_are_never_data(name):
    opaque = ptio.Opaque("m", "C", (), state={name: lambda *_: pytest.fail("called")})
    opaque.mapping = {name: 1}
    with pytest.raises((AttributeError, TypeError)):
        getattr(opaque, name)()
    assert copy.deepcopy(Object(x=1)).x == 1


def test_probing_many_attributes_is_quick():
    opaque = Object(**{f"attribute_{i}": i for i in range(20_000)})
    start = time.process_time()
    for i in range(2000):
        assert not hasattr(opaque, f"_repr_html_{i}_")
    assert time.process_time() - start < 2
    start = time.process_time()
    assert not hasattr(opaque, "attribute_x" * 1000)
    assert time.process_time() - start < 2


# --- items ----------------------------------------------------------------------------------------


def test_items_of_lists_dicts_and_named_tuples(classes, inert):
    items, pairs = inert(classes.Items([1, 2, 3])), inert(classes.StateDict(a=1, b=2))
    assert (len(items), items[0], items[-1], items[1:], list(items)) == (3, 1, 3, [2, 3], [1, 2, 3])
    assert (2 in items, 5 in items) == (True, False)
    assert (len(pairs), pairs["a"], list(pairs), "b" in pairs) == (2, 1, ["a", "b"], True)
    with pytest.raises(KeyError):
        pairs["c"]
    with pytest.raises(IndexError):
        items[3]
    x, y = inert(classes.Point(1, "two"))
    assert (x, y) == (1, "two")


def test_items_of_a_sequential(torch, inert):
    nn = torch.nn
    ours = inert(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)))
    assert [module.name for module in ours] == ["Linear", "ReLU", "Linear"]
    assert (len(ours), ours[-1].out_features, len(ours[:2])) == (3, 1, 2)


def test_others_have_no_items(classes, inert):
    for opaque in (Object(a=1), inert(classes.Config), inert(classes.Tied())):
        for use in (len, list, lambda o: o[0], lambda o: 1 in o):
            with pytest.raises(TypeError, match="no items"):
                use(opaque)


def test_every_object_is_true(classes, inert):
    assert Object()
    assert inert(classes.Items())
    assert ptio.Opaque("m", "C", (), items=[])


# --- tools that look at it ------------------------------------------------------------------------


def test_copies_and_pickles_have_the_same_data(classes, inert):
    model = classes.DetectionModel()
    ours = inert({"a": model, "b": model})
    ours["a"].state["me"] = ours["a"]
    for copied in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert copied["a"] is copied["b"] is copied["a"].me
        assert copied["a"] is not ours["a"]
        np.testing.assert_array_equal(copied["a"].model[0].weight, ours["a"].model[0].weight)
    shallow = copy.copy(ours["a"])
    assert shallow is not ours["a"]
    assert shallow.state is ours["a"].state


def test_a_copy_is_saved_as_what_it_was(torch, classes, inert):
    ours, file = copy.deepcopy(inert(classes.Keywords(1, b=2))), io.BytesIO()
    ptio.save([ours, copy.deepcopy(inert(classes.Point(1, 2)))], file)
    with gone.importable(classes):
        keywords, point = torch.load(io.BytesIO(file.getvalue()), weights_only=False)
    assert keywords.given == (1, 2)
    assert point == classes.Point(1, 2)


def test_numpy_takes_it_as_an_object():
    array = np.asarray(Object(a=1))
    assert (array.dtype, array.shape) == (np.dtype(object), ())
    assert np.asarray(ptio.Opaque("m", "C", (), items=[1, 2])).tolist() == [1, 2]


def test_equality_and_hash_are_identity():
    one, other = Object(a=1), Object(a=1)
    assert one != other
    assert len({one, other, one}) == 2


def test_attributes_cannot_be_set():
    with pytest.raises(AttributeError):
        Object(a=1).a = 2


# --- repr -----------------------------------------------------------------------------------------


def test_the_repr_shows_what_the_object_was(classes, inert):
    assert repr(inert(classes.Config)) == "<Opaque gone.Config>"
    assert (
        repr(inert(classes.Config(0.5, ["a"]))) == "<Opaque gone.Config() depth=0.5, names=['a']>"
    )
    assert repr(inert(classes.Point(1, "x"))) == "<Opaque gone.Point(1, 'x')>"
    ours = inert(classes.Keywords(1, b=2), pickle_protocol=4)
    assert repr(ours) == "<Opaque gone.Keywords(1, b=2) given=(1, 2)>"
    assert repr(inert(classes.Items([1, 2]))) == "<Opaque gone.Items() [1, 2]>"
    assert repr(inert(classes.StateDict(a=1))) == "<Opaque gone.StateDict() {'a': 1}>"
    assert repr(ptio.Opaque("m", "C", (), state=5)) == "<Opaque m.C() state=5>"


def test_the_repr_of_a_module_shows_its_weights(torch, inert):
    assert repr(inert(torch.nn.Linear(2, 3))) == (
        "<Opaque torch.nn.modules.linear.Linear() in_features=2, out_features=3, "
        "weight=array(float32, (3, 2)), bias=array(float32, (3,))>"
    )


def test_the_repr_is_one_printable_line():
    evil = ptio.Opaque("m\x1b[31m", "C\n", ("\x1b",), {"k\n": 1}, {"a\u202e": 1, 5: 2}, [], {})
    assert repr(evil).isprintable()


# --- hostile files --------------------------------------------------------------------------------


def load(*parts):
    data = checkpoints.archive(asm.program(*parts), {"0": bytes(16)})
    return ptio.load(io.BytesIO(data), unknown="inert")


def getattr_of(owner, name):
    return asm.call(asm.global_("__builtin__", "getattr"), owner, asm.text(name))


def test_a_class_in_a_class_in_a_class():
    made = load(getattr_of(getattr_of(asm.global_("m", "A"), "B"), "C"))
    assert (made.module, made.name, made.args) == ("m", "A.B.C", None)


def test_other_calls_of_getattr_stay_calls():
    instance = asm.call(asm.global_("m", "A"))
    three = asm.call(asm.global_("__builtin__", "getattr"), instance, asm.text("x"), asm.number(1))
    named = asm.global_("m", "A"), asm.text("x")
    default = asm.call(asm.global_("__builtin__", "getattr"), *named, asm.number(1))
    odd = getattr_of(asm.global_("m", "A"), "a b")
    for program in (three, default, odd, getattr_of(instance, "x"), getattr_of(asm.number(1), "x")):
        made = load(program)
        assert (made.module, made.name) == ("__builtin__", "getattr")
    made = load(getattr_of(asm.global_("m", "A"), "x" * 200))
    assert made.name == "getattr"


def test_long_paths_of_classes_cost_no_more_than_they_are_charged():
    program = asm.global_("m", "A")
    for _ in range(500):
        program = getattr_of(program, "x" * 100)
    made = load(program)
    assert len(made.name) < 200


@pytest.mark.parametrize("group", ["_parameters", "_buffers", "_modules", "_content"])
def test_state_of_the_wrong_types(group):
    for value in (None, 5, [1], "x", {1: 2}):
        groups = {"_parameters": {}, "_buffers": {}, "_modules": {}, group: value}
        opaque = ptio.Opaque("omegaconf.x", "C", (), state=groups)
        assert not hasattr(opaque, "missing")
        assert dir(opaque)
        assert repr(opaque)
    for state in (5, "x", (1,), (None, None), (None, 5), [{"a": 1}]):
        opaque = ptio.Opaque("m", "C", (), state=state)
        assert not hasattr(opaque, "a")
        assert repr(opaque)
