# SPDX-License-Identifier: Apache-2.0
"""What ptio.torch.load(weights_only=True) lets a file name, and how it refuses the rest."""

import argparse
import collections
import datetime
import decimal
import fractions
import functools
import os
import pathlib
import pickle
import re
import types
import uuid

import numpy as np
import ptio
import pytest
from support import checkpoints
from support import pickle_asm as asm

NOT_ALLOWED = r"GLOBAL (\S+) was not an allowed global by default"


@pytest.fixture
def load(torch):
    import ptio.torch

    return ptio.torch.load


@pytest.fixture
def serialization(torch):
    """torch.serialization, whose registry is as before after the test."""
    before = torch.serialization.get_safe_globals()
    yield torch.serialization
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(before)


class Mine:
    def __init__(self, value=1):
        self.value = value

    def __eq__(self, other):
        return type(other) is Mine and self.value == other.value

    __hash__ = None


def call_me(value):
    return [value]


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.made_by = function, arguments

    def __reduce__(self):
        return self.made_by


# --- what is allowed ------------------------------------------------------------------------------


def test_what_is_registered_with_torch_is_allowed(load, torch_save, serialization):
    path = torch_save([Mine(3), Calls(call_me, 4)])
    serialization.add_safe_globals([Mine, call_me])
    assert load(path) == [Mine(3), [4]]
    serialization.clear_safe_globals()
    with pytest.raises(pickle.UnpicklingError):
        load(path)


def test_what_is_registered_for_a_block_is_allowed_in_it(load, torch_save, serialization):
    path = torch_save(Mine(3))
    with serialization.safe_globals([Mine]):
        assert load(path).value == 3
    with pytest.raises(pickle.UnpicklingError):
        load(path)


def test_a_class_may_be_registered_under_another_name(load, write, serialization):
    made = asm.call(asm.global_("long.gone", "Class"), asm.number(5))
    path = write(checkpoints.archive(asm.program(made)))
    with serialization.safe_globals([(Mine, "long.gone.Class")]):
        assert load(path) == Mine(5)
    assert load(path, allow=[(Mine, "long.gone.Class")]) == Mine(5)
    with serialization.safe_globals([Mine]), pytest.raises(ptio.ForbiddenError):
        load(path)


@pytest.mark.parametrize("wrong", [(Mine,), (Mine, "a.b", 3), (Mine, 3)])
def test_wrong_entries_are_errors_as_in_torch(torch, load, torch_save, serialization, wrong):
    from support.torch_compare import assert_same_error

    path = torch_save(Mine())
    with serialization.safe_globals([wrong]):
        assert_same_error(lambda: load(path), lambda: torch.load(path))
    with pytest.raises((TypeError, ValueError), match=re.escape("tuple")):
        load(path, allow=[wrong])


def test_allow_is_for_one_call(load, torch_save, serialization):
    path = torch_save([Mine(3), Calls(call_me, 4)])
    before = serialization.get_safe_globals()
    assert load(path, allow=[Mine, call_me]) == [Mine(3), [4]]
    assert load(path, allow=(entry for entry in (Mine, call_me))) == [Mine(3), [4]]
    assert serialization.get_safe_globals() == before
    with pytest.raises(pickle.UnpicklingError):
        load(path)


def test_a_name_in_allow_is_data_and_never_imported(load, torch_save):
    opaque = load(torch_save(Mine(3)), allow=[f"{__name__}.Mine"])
    assert type(opaque) is ptio.Opaque
    assert (opaque.module, opaque.name, opaque.state) == (__name__, "Mine", {"value": 3})


def test_numpy_is_a_group(torch, load, torch_save):
    from support.torch_compare import assert_same_objects

    obj = {
        "arrays": [np.arange(6.0).reshape(2, 3).T, np.zeros((0, 2), np.int8), np.array(3)],
        "scalars": [np.float32(0.5), np.int64(3), np.bool_(True), np.datetime64("2020-01-01")],
        "dtypes": [np.dtype("float32"), np.dtype([("a", "i4"), ("b", "f8")])],
        "objects": np.array([None, "x", [1, 2]], dtype=object),
        "tensor": torch.arange(3),
    }
    path = torch_save(obj)
    assert_same_objects(load(path, allow=["numpy"]), torch.load(path, weights_only=False))
    with pytest.raises(ptio.ForbiddenError):
        load(path)


def test_the_standard_library_is_a_group(torch, load, torch_save):
    from support.torch_compare import assert_same_objects

    obj = [
        collections.defaultdict(list, a=[1]),
        collections.deque([1, 2], maxlen=3),
        frozenset([1, 2]),
        range(3),
        slice(1, 2),
        datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc),
        datetime.timedelta(1, 2, 3),
        argparse.Namespace(lr=0.1),
        types.SimpleNamespace(a=1),
    ]
    path = torch_save(obj)
    ours = load(path, allow=["stdlib"])
    assert_same_objects(ours, torch.load(path, weights_only=False))
    assert load(torch_save(pathlib.Path("a/b")), allow=["stdlib"]) == pathlib.PurePath("a/b")


def test_numpy_as_torch_lets_it_be_registered(torch, load, torch_save, serialization):
    """What users of torch write to read arrays."""
    from support.torch_compare import assert_same_objects

    path = torch_save([np.arange(4.0), np.float64(2)])
    names = serialization.get_unsafe_globals_in_checkpoint(path)
    numpy = [np.ndarray, np.dtype, np.dtypes.Float64DType]
    numpy += [np._core.multiarray._reconstruct, np._core.multiarray.scalar]
    assert names
    with serialization.safe_globals(numpy):
        assert_same_objects(load(path), torch.load(path))


# --- what is refused ------------------------------------------------------------------------------

REFUSED = {
    "ndarray": lambda: np.arange(3),
    "numpy scalar": lambda: np.float32(1),
    "numpy dtype": lambda: np.dtype("int8"),
    "defaultdict": lambda: collections.defaultdict(list),
    "deque": lambda: collections.deque(),
    "frozenset": lambda: frozenset([1]),
    "range": lambda: range(3),
    "slice": lambda: slice(1, 2),
    "datetime": lambda: datetime.datetime(2020, 1, 1),
    "date": lambda: datetime.date(2020, 1, 1),
    "timedelta": lambda: datetime.timedelta(1),
    "path": lambda: pathlib.Path("x"),
    "pure path": lambda: pathlib.PurePosixPath("x"),
    "namespace": lambda: argparse.Namespace(a=1),
    "simple namespace": lambda: types.SimpleNamespace(a=1),
    "decimal": lambda: decimal.Decimal("1.5"),
    "fraction": lambda: fractions.Fraction(1, 2),
    "uuid": lambda: uuid.UUID(int=1),
    "partial": lambda: functools.partial(call_me, 1),
    "type": lambda: int,
    "function": lambda: call_me,
    "builtin": lambda: print,
    "class": lambda: Mine(),
    "eval": lambda: Calls(eval, "1"),
    "getattr": lambda: Calls(getattr, "x", "upper"),
    "module": lambda: __import__("torch").nn.Linear(2, 1),
    "generator": lambda: __import__("torch").Generator(),
    "relu": lambda: __import__("torch").nn.functional.relu,
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_torch_refuses_is_refused_by_the_same_name(torch, load, torch_save, kind):
    path = torch_save({"w": torch.ones(2), "other": REFUSED[kind]()})
    named = []
    for function in (torch.load, load):
        with pytest.raises(pickle.UnpicklingError, match="Weights only load failed") as caught:
            function(path)
        named.append(re.search(NOT_ALLOWED, str(caught.value)).group(1))
    assert named[0] == named[1]
    assert isinstance(caught.value, ptio.ForbiddenError)


def test_all_missing_names_come_in_one_error(torch, load, torch_save, serialization):
    path = torch_save({"a": Mine(), "b": decimal.Decimal(1), "c": [uuid.UUID(int=1), Mine()]})
    with pytest.raises(ptio.ForbiddenError) as caught:
        load(path)
    named = re.findall(NOT_ALLOWED, str(caught.value))
    assert named == [f"{__name__}.Mine", "decimal.Decimal", "uuid.UUID"]
    assert set(named) == set(serialization.get_unsafe_globals_in_checkpoint(path))
    assert set(named) == set(caught.value.globals)
    for name in named:
        assert f"torch.serialization.add_safe_globals([{name}])" in str(caught.value)


def test_a_file_that_names_very_many_classes_is_refused_like_any_other(load, write):
    """More names than the core has numbers for."""
    names = b"".join(b"cm\nn%d\n" % i for i in range(66_000))
    with pytest.raises(ptio.ForbiddenError) as caught:
        load(write(checkpoints.archive(b"\x80\x02](" + names + b"e.")))
    assert "names 66000 globals" in str(caught.value)
    assert len(caught.value.globals) == 10_000


BLOCKED = [os.system, os.getcwd, __import__("sys").exit]


@pytest.mark.parametrize("function", BLOCKED, ids=lambda function: function.__name__)
def test_os_and_sys_are_blocked_even_when_they_are_registered(
    torch, load, torch_save, serialization, function
):
    path = torch_save(function)
    for options in ({}, {"allow": [function]}, {"allow": [f"{function.__module__}.x"]}):
        with serialization.safe_globals([function, (function, f"os.{function.__name__}")]):
            with pytest.raises(
                pickle.UnpicklingError, match=r"whose module \S+ is blocked"
            ) as ours:
                load(path, **options)
            with pytest.raises(pickle.UnpicklingError) as theirs:
                torch.load(path)
    pattern = r"Trying to load unsupported GLOBAL \S+ whose module \S+ is blocked\."
    found = [re.search(pattern, str(caught.value)).group() for caught in (ours, theirs)]
    assert found[0] == found[1]


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_no_message_advises_to_switch_safety_off(load, torch_save, kind, protocol):
    with pytest.raises(ptio.ForbiddenError) as caught:
        load(torch_save([REFUSED[kind](), os.system], pickle_protocol=protocol))
    text = str(caught.value)
    assert "\033" not in text
    assert "weights_only=False" not in text
    assert "weights_only" not in text.replace("Weights only", "")
    assert len(text) < 2048


CONSTRUCTORS = [
    ("torch", "Tensor"),
    ("torch", "FloatTensor"),
    ("torch", "FloatStorage"),
    ("torch.storage", "UntypedStorage"),
    ("torch.storage", "TypedStorage"),
    ("torch.sparse", "FloatTensor"),
    ("torch.cuda", "FloatTensor"),
    ("torch", "ByteTensor"),
]


@pytest.mark.parametrize("name", CONSTRUCTORS, ids=".".join)
@pytest.mark.parametrize("how", ["REDUCE", "NEWOBJ"])
def test_constructors_of_tensors_and_storages_never_run(
    torch, load, write, serialization, name, how
):
    """Their memory would be what this process had in it before."""
    made = asm.global_(*name) + asm.ints(100) + asm.op(how)
    path = write(checkpoints.archive(asm.program(made)))
    classes = [torch.Tensor, torch.FloatTensor, torch.UntypedStorage, torch.FloatStorage]
    for options in ({}, {"allow": classes}):
        with serialization.safe_globals(classes), pytest.raises(ptio.Error):
            load(path, **options)
