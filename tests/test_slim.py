# SPDX-License-Identifier: Apache-2.0
"""ptio.slim: what goes, what stays as it was, and casts."""

import argparse
import collections
import functools
import os

import ml_dtypes
import numpy as np
import ptio
import pytest
from support import checkpoints, children


@pytest.fixture
def files(torch):
    from support import checkpoint_files

    return checkpoint_files


@pytest.fixture
def state(files):
    return files.training_state()


@pytest.fixture
def slimmed(torch, torch_save, torch_load, tmp_path):
    """Slims an object; returns (report, what torch loads)."""

    def slim(obj, **options):
        path = torch_save(obj)
        report = ptio.slim(path, tmp_path / "slim.pt", **options)
        result = torch_load(tmp_path / "slim.pt")
        (tmp_path / "slim.pt").unlink()
        return report, result

    return slim


def assert_same_state(files, ours, theirs):
    assert list(ours) == list(theirs)
    for name, tensor in theirs.items():
        files.same(ours[name], tensor)
    assert files.storages(ours.values()) == files.storages(theirs.values())


# --- what goes ----------------------------------------------------------------------------------


def test_nothing_goes_unasked(files, state, slimmed):
    report, result = slimmed(state)
    assert list(result) == list(state)
    assert_same_state(files, result["model"], state["model"])
    assert result["optimizer"].keys() == state["optimizer"].keys()
    assert (report.dropped, report.cast, report.dropped_tensors) == ([], [], 0)
    assert not report.changes
    assert report.nbytes == report.nbytes_before


def test_drop(files, state, slimmed):
    report, result = slimmed(state, drop=["optim*", "sched*"])
    assert list(result) == ["model", "epoch", "name"]
    assert_same_state(files, result["model"], state["model"])
    assert report.dropped == ["optimizer", "scheduler"]
    moments = state["optimizer"]["state"].values()
    assert report.dropped_tensors == sum(len(each) for each in moments)
    saved = sum(tensor.nbytes for each in moments for tensor in each.values())
    assert report.nbytes_before - report.nbytes == saved
    assert report.unmatched == []


def test_drop_single_tensors(state, slimmed):
    report, result = slimmed(state, drop=["optimizer/state/*/exp_avg_sq", "*.running_*", "nope"])
    assert "1.running_mean" not in result["model"]
    assert "1.weight" in result["model"]
    assert all(set(each) == {"step", "exp_avg"} for each in result["optimizer"]["state"].values())
    assert report.unmatched == ["nope"]
    assert "optimizer/state/0/exp_avg_sq" in report.dropped


def test_drop_members_of_lists(torch, slimmed):
    _, result = slimmed({"list": [torch.zeros(1), 1, torch.ones(1), 3]}, drop=["list/[02]"])
    assert result == {"list": [1, 3]}


def test_tuples_lose_no_member(torch, torch_save, tmp_path):
    path = torch_save({"pair": (torch.zeros(1), {"a": 1, "b": 2})})
    with pytest.raises(ValueError, match="pair/0 is a member of a tuple"):
        ptio.slim(path, tmp_path / "x.pt", drop="pair/0")
    ptio.slim(path, tmp_path / "x.pt", drop="pair/1/a")
    assert torch.load(tmp_path / "x.pt")["pair"][1] == {"b": 2}


def test_what_is_in_two_places_is_one(torch, slimmed):
    shared = {"w": torch.ones(3), "b": torch.zeros(3)}
    report, result = slimmed({"model": shared, "ema": shared}, drop="ema")
    assert list(result) == ["model"]
    assert list(result["model"]) == ["w", "b"]
    assert report.dropped_tensors == 0
    _, result = slimmed({"model": shared, "ema": shared}, drop="*/b")
    assert result["ema"] is result["model"]
    assert list(result["model"]) == ["w"]


def test_a_cycle_is_walked_once(torch, slimmed):
    root = {"w": torch.ones(3), "drop": 1}
    root["self"] = root
    _, result = slimmed(root, drop="drop")
    assert list(result) == ["w", "self"]
    assert result["self"] is result


def test_keep(files, state, slimmed):
    report, result = slimmed(state, keep=["model", "epoch", "optimizer/state/0/exp_avg"])
    assert list(result) == ["model", "optimizer", "epoch"]
    assert_same_state(files, result["model"], state["model"])
    assert list(result["optimizer"]["state"]) == [0]
    assert list(result["optimizer"]["state"][0]) == ["exp_avg"]
    assert list(result["optimizer"]) == ["state"]
    assert "name" in report.dropped
    _, result = slimmed(state, keep="model", drop="*.bias")
    assert list(result) == ["model"]
    assert not any(name.endswith("bias") for name in result["model"])


def test_the_versions_of_modules_stay(state, slimmed):
    _, result = slimmed(state, keep="model/*.weight")
    assert result["model"]._metadata == state["model"]._metadata
    assert all(name.endswith("weight") for name in result["model"])


def test_other_containers(torch, slimmed):
    obj = {
        "deque": collections.deque([torch.ones(1), torch.zeros(1), 3]),
        "options": argparse.Namespace(lr=0.1, table={"w": torch.ones(2), "n": 1}),
        "default": collections.defaultdict(list, a=[torch.ones(3)]),
        "set": {1, 2},
        "deep": functools.reduce(lambda inner, _: [inner], range(300), torch.ones(1)),
    }
    _, result = slimmed(obj, drop=["deque/0", "options/table/w", "default/a", "set"], dtype="fp16")
    assert [float(value) for value in result["deque"]] == [0, 3]
    assert result["options"] == argparse.Namespace(lr=0.1, table={"n": 1})
    assert result["default"] == {}
    assert "set" not in result
    inner = functools.reduce(lambda outer, _: outer[0], range(300), result["deep"])
    assert inner.dtype == torch.float16


def test_weights_only(torch, files, state, slimmed):
    report, result = slimmed(state, weights_only=True)
    assert list(result) == ["model"]
    assert_same_state(files, result["model"], state["model"])
    assert report.dropped == ["optimizer", "epoch", "name", "scheduler"]
    model = torch.nn.Linear(2, 3)
    _, result = slimmed(model, weights_only=True)
    assert_same_state(files, result, model.state_dict())


def test_weights_only_needs_one_state_dict(torch, torch_save, tmp_path):
    path = torch_save({"a": {"w": torch.ones(1)}, "b": {"w": torch.ones(1)}})
    with pytest.raises(ValueError, match=r"select='a'.*slim has `keep` for that"):
        ptio.slim(path, tmp_path / "x.pt", weights_only=True)


def test_objects_of_unknown_classes_stay(torch, files, slimmed):
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())
    report, result = slimmed({"model": model, "extra": torch.ones(5)}, drop="extra", dtype="bf16")
    assert isinstance(result["model"], torch.nn.Sequential)
    for name, parameter in result["model"].named_parameters():
        files.same(parameter, model.get_parameter(name).bfloat16())
    assert report.dropped == ["extra"]


def test_a_dry_run_writes_nothing(state, torch_save, tmp_path):
    path = torch_save(state)
    planned = ptio.slim(path, None, drop="optimizer", dtype="bf16", dry_run=True)
    assert os.listdir(tmp_path) == ["model.pt"]
    done = ptio.slim(path, tmp_path / "x.pt", drop="optimizer", dtype="bf16")
    assert {**planned.to_dict(), "dst": ""} == {**done.to_dict(), "dst": ""}


def test_patterns_are_text(save, tmp_path):
    with pytest.raises(TypeError, match="patterns"):
        ptio.slim(save({"a": 1}), tmp_path / "x.pt", drop=[5])


# --- storages -----------------------------------------------------------------------------------


def test_views_no_longer_drag_storages_along(torch, files, slimmed):
    big = torch.arange(10_000.0)
    obj = {
        "row": big.view(100, 100)[3],
        "column": big.view(100, 100)[:, 3],
        "tied": [big[50:60], big[50:60], big[55:58]],
        "transposed": big[:6].view(2, 3).t(),
        "expanded": big[:1].expand(1000),
        "spread": big[::2000],
    }
    report, result = slimmed(obj)
    assert report.nbytes == (100 + 100 + 10 + 6 + 5) * 4
    assert report.nbytes_before == 40_000
    assert report.changes
    for name in ("row", "column", "transposed", "expanded", "spread"):
        files.same(result[name], obj[name])
        assert result[name].untyped_storage().nbytes() <= 400
    assert result["expanded"].stride() == (0,)
    assert result["transposed"].stride() == (1, 3)
    assert files.storages(result["tied"]) == [0, 0, 0]
    for ours, theirs in zip(result["tied"], obj["tied"], strict=True):
        files.same(ours, theirs)
    report, result = slimmed(obj, compact=False)
    assert result["row"].untyped_storage().nbytes() == 40_000
    assert report.nbytes == report.nbytes_before


# --- casts --------------------------------------------------------------------------------------

_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "fp64": "float64"}


def samples(torch, dtype):
    """All of a 16-bit type; of larger ones ties, neighbours of ties, subnormal and huge numbers."""
    if dtype.itemsize == 2:
        return torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype)
    bits = torch.arange(2**16, dtype=torch.int32) << 16
    low = torch.tensor(
        [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFF, 0x1000, 0x1001, 0x3000], dtype=torch.int32
    )
    return (bits[:, None] | low).flatten().view(torch.float32).to(dtype)


@pytest.mark.parametrize("short", _DTYPES)
@pytest.mark.parametrize("source", _DTYPES.values())
def test_casts_are_those_of_torch(torch, slimmed, source, short):
    target = getattr(torch, _DTYPES[short])
    tensor = samples(torch, getattr(torch, source))
    report, result = slimmed({"w": tensor}, dtype=short)
    expected = tensor.to(target)
    assert result["w"].dtype == target
    wanted, nan = expected.double(), expected.isnan()
    assert torch.equal(result["w"].double()[~nan], wanted[~nan])
    assert torch.equal(result["w"].isnan(), nan)
    lost = int((expected.isinf() & tensor.isfinite()).sum())
    assert report.overflows == ({"w": lost} if lost else {})
    assert report.cast == ([] if source == _DTYPES[short] else ["w"])


def test_casts_keep_sharing_and_strides(torch, files, slimmed):
    base = torch.arange(100.0)
    obj = {"all": base, "part": base[10:30].view(4, 5).t(), "double": torch.ones(3).double()}
    for compact in (True, False):
        _, result = slimmed(obj, dtype=torch.bfloat16, compact=compact)
        for name, tensor in obj.items():
            files.same(result[name], tensor.bfloat16())
            assert result[name].stride() == tensor.stride()
        assert files.storages(result.values()) == [0, 0, 1]


def test_what_is_no_float_is_not_cast(torch, files, state, slimmed):
    obj = {
        "int": torch.arange(3),
        "bool": torch.tensor([True]),
        "complex": torch.ones(2, dtype=torch.complex64),
        "float8": torch.ones(2).to(torch.float8_e4m3fn),
        "storage": torch.FloatStorage([1, 2]),
        **state,
    }
    report, result = slimmed(obj, dtype="bf16")
    for name in ("int", "bool", "complex", "float8"):
        files.same(result[name], obj[name])
    assert result["storage"].dtype == torch.float32
    moments = result["optimizer"]["state"][0]
    assert moments["step"].dtype == torch.float32  # in bfloat16 it would stop at 256
    assert moments["exp_avg"].dtype == torch.bfloat16
    assert "optimizer/state/0/exp_avg" in report.cast
    assert "optimizer/state/0/step" not in report.cast


@pytest.mark.parametrize(
    "dtype",
    ["bf16", "bfloat16", "torch.bfloat16", ml_dtypes.bfloat16, np.dtype(ml_dtypes.bfloat16)],
)
def test_names_of_dtypes(save, tmp_path, dtype):
    path = save({"w": checkpoints.tensor("float32", [1, 2])})
    ptio.slim(path, tmp_path / "x.pt", dtype=dtype)
    assert ptio.load(tmp_path / "x.pt")["w"].dtype == ml_dtypes.bfloat16


@pytest.mark.parametrize("dtype", ["int8", "f4", "", 5, np.int32])
def test_dtypes_that_are_none(save, tmp_path, dtype):
    with pytest.raises(ValueError, match="dtype must be one of"):
        ptio.slim(save({"w": 1}), tmp_path / "x.pt", dtype=dtype)


def test_to_safetensors(torch, files, torch_save, state, tmp_path):
    load_file = pytest.importorskip("safetensors.torch").load_file
    ptio.slim(torch_save(state), tmp_path / "x.safetensors", dtype="bf16", drop="*running*")
    result = load_file(tmp_path / "x.safetensors")
    assert "1.running_mean" not in result
    files.same(result["0.weight"], state["model"]["0.weight"].bfloat16())


def test_metadata_is_kept_and_stale_aliases_are_not(torch, torch_save, monkeypatch, tmp_path):
    safetensors = pytest.importorskip("safetensors")

    weight = torch.ones(3)
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    path = torch_save({"a": weight, "b": weight.detach(), "c": torch.ones(2)})
    ptio.convert(path, one, metadata={"author": "me"})
    ptio.slim(one, two, drop="b")
    with safetensors.safe_open(two, "np") as file:
        assert file.metadata() == {"author": "me", "format": "pt"}
        assert sorted(file.keys()) == ["a", "c"]


# --- memory -------------------------------------------------------------------------------------

MIB = 1 << 20
CHILD = """
import json, sys
import numpy as np, ml_dtypes, ptio
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
source, target = sys.argv[1:]
ptio.save({"a": np.ones(9), "drop": np.ones((3, 4), "f4").T}, source + ".small.pt")
ptio.slim(source + ".small.pt", target, dtype="bf16")
before = peak()
ptio.slim(source, target, dtype="bf16", drop="optimizer", overwrite=True)
print(json.dumps((peak() - before) * 1024))
"""


@children.unless_sanitized
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
def test_memory_is_that_of_the_largest_tensor(tmp_path):
    """256 MiB in 8 tensors of 32 MiB, and as much that goes."""
    state = {str(i): np.full((2048, 4096), i, "f4") for i in range(8)}
    ptio.save({"model": state, "optimizer": list(state.values())[:4]}, tmp_path / "source.pt")
    del state
    taken = children.run(CHILD, tmp_path / "source.pt", tmp_path / "x.pt")
    assert taken <= (32 + 32) * MIB
