# SPDX-License-Identifier: Apache-2.0
"""unknown="inert": objects of unknown classes as ptio.Opaque, data that is never imported."""

import collections
import enum
import io

import numpy as np
import ptio
import pytest
from support import checkpoints
from support import pickle_asm as asm


def load(*parts, protocol=2, **options):
    data = checkpoints.archive(asm.program(*parts, protocol=protocol), {"0": bytes(range(16))})
    return ptio.load(io.BytesIO(data), unknown="inert", **options)


NET = asm.global_("models", "Net")
ARGUMENTS = asm.tuple_of(asm.number(1), asm.text("two"))


def parts_of(value):
    assert type(value) is ptio.Opaque
    return {name: getattr(value, name) for name in ("args", "kwargs", "state", "items", "mapping")}


NOTHING = {"args": None, "kwargs": None, "state": None, "items": None, "mapping": None}


@pytest.mark.parametrize("protocol", range(6))
def test_a_class_by_its_name_alone(protocol):
    value = load(NET, protocol=protocol)
    assert (value.module, value.name) == ("models", "Net")
    assert parts_of(value) == NOTHING


CALLS = {
    "REDUCE": NET + ARGUMENTS + asm.op("REDUCE"),
    "NEWOBJ": NET + ARGUMENTS + asm.op("NEWOBJ"),
    "INST": asm.op("MARK") + asm.number(1) + asm.text("two") + asm.op("INST", ("models", "Net")),
    "OBJ": asm.op("MARK") + NET + asm.number(1) + asm.text("two") + asm.op("OBJ"),
    "STACK_GLOBAL": asm.stack_global("models", "Net") + ARGUMENTS + asm.op("REDUCE"),
}


@pytest.mark.parametrize("opcode", CALLS)
def test_every_way_to_make_an_object(opcode):
    value = load(CALLS[opcode])
    assert (value.module, value.name) == ("models", "Net")
    assert parts_of(value) == {**NOTHING, "args": (1, "two")}


def test_keyword_arguments():
    keywords = asm.dict_of(asm.text("k"), asm.number(3))
    value = load(NET + ARGUMENTS + keywords + asm.op("NEWOBJ_EX"))
    assert parts_of(value) == {**NOTHING, "args": (1, "two"), "kwargs": {"k": 3}}


def test_state_items_and_mapping():
    made = NET + asm.op("EMPTY_TUPLE") + asm.op("NEWOBJ")
    made += asm.op("MARK") + asm.number(1) + asm.number(2) + asm.op("APPENDS")
    made += asm.number(3) + asm.op("APPEND")
    made += asm.text("k") + asm.number(4) + asm.op("SETITEM")
    made += asm.dict_of(asm.text("attribute"), asm.tensor()) + asm.op("BUILD")
    value = load(made)
    assert value.items == [1, 2, 3]
    assert value.mapping == {"k": 4}
    assert value.state["attribute"].shape == (4,)


def test_the_last_state_wins_or_both_are_kept():
    made = NET + asm.op("EMPTY_TUPLE") + asm.op("NEWOBJ")
    for number in (1, 2):
        made += asm.number(number) + asm.op("BUILD")
    value = load(made)
    assert value.state in (2, (1, 2), [1, 2])


def test_dotted_names_and_calls_of_results_are_data_too():
    value = load(asm.stack_global("models", "Net.Inner.make") + ARGUMENTS + asm.op("REDUCE"))
    assert (value.module, value.name) == ("models", "Net.Inner.make")
    chained = load(CALLS["REDUCE"] + asm.op("EMPTY_TUPLE") + asm.op("REDUCE"))
    assert type(chained) is ptio.Opaque


def test_an_object_reached_twice_is_one_and_two_are_two():
    made = NET + asm.op("EMPTY_TUPLE") + asm.op("NEWOBJ")
    memoized = made + asm.op("BINPUT", 0)
    first, again, other = load(asm.list_of(memoized, asm.op("BINGET", 0), made))
    assert first is again
    assert first is not other
    assert first != other
    assert len({first, again, other}) == 2


def test_an_object_that_contains_itself():
    made = NET + asm.op("EMPTY_TUPLE") + asm.op("NEWOBJ") + asm.op("BINPUT", 0)
    state = asm.dict_of(asm.text("me"), asm.op("BINGET", 0))
    value = load(made + state + asm.op("BUILD"))
    assert value.state["me"] is value
    assert len(repr(value)) < 1000


def test_objects_as_dict_keys_and_set_members():
    made = NET + asm.op("EMPTY_TUPLE") + asm.op("NEWOBJ")
    mapping = load(asm.dict_of(made, asm.number(1), NET, asm.number(2)))
    assert list(mapping.values()) == [1, 2]


def test_nothing_is_called(tmp_path):
    target = tmp_path / "touched"
    value = load(asm.call(asm.global_("pathlib", "Path.touch"), asm.text(str(target))))
    assert type(value) is ptio.Opaque
    value = load(asm.call(asm.global_("posix", "system"), asm.text(f"touch {target}")))
    assert value.args == (f"touch {target}",)
    assert not target.exists()


@pytest.mark.parametrize("name", ["EXT1", "EXT2", "EXT4"])
def test_the_extension_registry_stays_forbidden(name):
    with pytest.raises(ptio.ForbiddenError, match=name):
        load(asm.op(name, 1))


def test_known_values_stay_real_beside_unknown_ones():
    known = asm.call(
        asm.global_("collections", "Counter"), asm.dict_of(asm.text("a"), asm.op("INT", 2))
    )
    obj = load(asm.list_of(NET, known, asm.tensor()))
    assert obj[1] == collections.Counter(a=2)
    assert obj[2].tobytes() == bytes(range(16))


def test_tensor_constructors_are_data_and_make_no_tensor():
    made = asm.call(asm.global_("torch", "FloatTensor"), asm.number(1 << 40))
    assert type(load(made)) is ptio.Opaque


def test_the_repr_is_short_for_hostile_objects():
    wide = asm.call(NET, asm.list_of(*[asm.text("x" * 100)] * 1000))
    deep = NET + asm.op("EMPTY_TUPLE") + asm.op("NEWOBJ")
    for _ in range(300):
        deep = NET + asm.op("EMPTY_TUPLE") + asm.op("NEWOBJ") + deep + asm.op("BUILD")
    for value in (load(wide), load(deep)):
        assert len(repr(value)) < 3000


# --- what torch saves ----------------------------------------------------------------------------


class Color(enum.Enum):
    RED = 1


@pytest.fixture
def saved_module(torch, torch_save):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
            self.head = torch.nn.Linear(4, 3)
            self.head.weight.note = "attribute"
            self.names = ["a", "b"]
            self.color = Color.RED

    Net.__module__, Net.__qualname__ = __name__, "Net"
    globals()["Net"] = Net
    net = Net()
    path = torch_save(net)
    del globals()["Net"]
    return net, path


def weights(value, prefix=""):
    """Walks _parameters, _buffers and _modules of a tree of Opaque modules."""
    state = value.state
    own = {**state.get("_parameters", {}), **state.get("_buffers", {})}
    found = {prefix + name: array for name, array in own.items() if array is not None}
    for name, module in state.get("_modules", {}).items():
        found |= weights(module, f"{prefix}{name}.")
    return found


def test_a_whole_module_is_read_without_its_class(saved_module):
    net, path = saved_module
    with pytest.raises(ptio.ForbiddenError) as caught:
        ptio.load(path)
    assert f"{__name__}.Net" in caught.value.globals
    assert "torch.nn.modules.conv.Conv2d" in caught.value.globals
    assert len(set(caught.value.globals)) == len(caught.value.globals)
    ours = ptio.load(path, unknown="inert")
    assert (ours.module, ours.name) == (__name__, "Net")
    assert ours.state["names"] == ["a", "b"]
    found = weights(ours)
    expected = net.state_dict()
    assert sorted(found) == sorted(expected)
    for name, tensor in expected.items():
        np.testing.assert_array_equal(found[name], tensor.numpy())


def test_an_enum_is_its_name_and_value(saved_module):
    color = ptio.load(saved_module[1], unknown="inert").state["color"]
    assert color.name == "Color"
    assert color.args == (1,)


def test_a_time_in_a_zone_of_unknown_code_is_data():
    zone = asm.call(asm.global_("my.zones", "Zone"))
    state = asm.op("SHORT_BINBYTES", bytes([7, 228, 1, 1, 0, 0, 0, 0, 0, 0]))
    program = asm.program(asm.call(asm.global_("datetime", "datetime"), state, zone), protocol=3)
    data = checkpoints.archive(program)
    with pytest.raises(ptio.ForbiddenError, match=r"my\.zones\.Zone"):
        ptio.load(io.BytesIO(data))
    ours = ptio.load(io.BytesIO(data), unknown="inert")
    assert (ours.module, ours.name) == ("datetime", "datetime")
    assert ours.args[1].name == "Zone"
