# SPDX-License-Identifier: Apache-2.0
"""load_model does what load_state_dict does with a file, or leaves the model as it was."""

import dataclasses
import io
import os

import ptio
import pytest
from support import checkpoints, children


@pytest.fixture
def models(torch):
    from support import models

    return models


@pytest.fixture
def pt(torch):
    import ptio.torch

    return ptio.torch


# --- what differs -------------------------------------------------------------------------------


def test_a_size_mismatch_is_torchs_error_and_leaves_the_model(torch, models, torch_save):
    state = models.net().state_dict()
    state["head.weight"] = torch.ones(3, 8)
    path = torch_save(state)
    assert "size mismatch for head.weight" in str(models.load_both(models.net(), path))
    assert "size mismatch for head.weight" in str(
        models.load_both(models.net(), path, strict=False)
    )
    assert "size mismatch for head.weight" in str(models.load_both(models.net(), path, assign=True))


def test_missing_and_unexpected_keys_are_torchs_error_and_leave_the_model(models, torch_save):
    state = models.net().state_dict()
    state["tail.weight"] = state.pop("head.weight")
    message = str(models.load_both(models.net(), torch_save(state)))
    assert 'Missing key(s) in state_dict: "head.weight"' in message
    assert 'Unexpected key(s) in state_dict: "tail.weight"' in message


def test_strict_false_returns_what_differs(models, torch_save):
    state = models.net().state_dict()
    state["tail.weight"] = state.pop("head.weight")
    result = models.load_both(models.net(), torch_save(state), strict=False)
    assert result.missing_keys == ["head.weight"]
    assert result.unexpected_keys == ["tail.weight"]


def test_values_that_are_no_tensors_are_torchs_error(torch, models, torch_save):
    state = {"weight": torch.ones(2, 2), "bias": 5, "epoch": 3}
    assert "expected torch.Tensor" in str(
        models.load_both(torch.nn.Linear(2, 2), torch_save(state))
    )


def test_a_wrong_checksum_leaves_the_model(pt, models, torch_save):
    path = torch_save(models.net().state_dict())
    data = bytearray(path.read_bytes())
    data[data.index(b"data/3") + 200] ^= 1
    path.write_bytes(data)
    model = models.net()
    for f in (path, io.BytesIO(data)):
        with models.unchanged(model), pytest.raises(ptio.ChecksumError):
            pt.load_model(model, f)
    pt.load_model(models.net(), path, verify=False)


def test_the_environment_switches_the_checksums_off(pt, models, torch_save, monkeypatch):
    path = torch_save(models.net().state_dict())
    data = bytearray(path.read_bytes())
    data[data.index(b"data/3") + 200] ^= 1
    path.write_bytes(data)
    monkeypatch.setenv("PTIO_VERIFY", "0")
    pt.load_model(models.net(), path)
    with pytest.raises(ptio.ChecksumError):
        pt.load_model(models.net(), path, verify=True)


def test_a_broken_file_leaves_the_model(pt, models, torch_save):
    path = torch_save(models.net().state_dict())
    path.write_bytes(path.read_bytes()[:-500])
    model = models.net()
    with models.unchanged(model), pytest.raises(ptio.Error):
        pt.load_model(model, path)


def test_the_model_must_be_a_module(torch, pt, torch_save):
    path = torch_save({"weight": torch.ones(2)})
    for model in ({}, torch.nn.Linear, None):
        with pytest.raises(TypeError, match=r"torch\.nn\.Module"):
            pt.load_model(model, path)


# --- assign, meta, map_location -----------------------------------------------------------------


def test_assign_makes_the_tensors_of_the_file_the_parameters(torch, models, torch_save):
    state = {name: value.double() for name, value in models.net().state_dict().items()}
    model = models.net()
    model["head"].weight.requires_grad_(False)
    models.load_both(model, torch_save(state), assign=True)
    assert model["head"].weight.dtype == torch.float64
    assert not model["head"].weight.requires_grad
    assert model["head"].bias.requires_grad


def test_assigned_tensors_do_not_depend_on_the_file(pt, models, torch_save):
    state = models.net().state_dict()
    path = torch_save(state)
    model = models.net()
    pt.load_model(model, path, assign=True)
    path.write_bytes(bytes(path.stat().st_size))
    models.assert_same_state(model, state)


def test_assign_to_a_model_on_meta(pt, models, torch_save):
    state = models.net().state_dict()
    model = models.net().to("meta")
    pt.load_model(model, torch_save(state), assign=True, map_location={"cuda:0": "cpu"})
    models.assert_same_state(model, state)


def test_a_model_on_meta_gets_memory(torch, pt, models, torch_save):
    state = models.net().state_dict()
    with torch.device("meta"):
        model = models.net()
    model["head"].weight.requires_grad_(False)
    pt.load_model(model, torch_save(state))
    models.assert_same_state(model, state)
    assert {tensor.device.type for tensor in models.tensors_of(model)} == {"cpu"}
    assert [p.requires_grad for p in model["head"].parameters()] == [False, True]


def test_a_model_partly_on_meta(pt, models, torch_save):
    state = models.net().state_dict()
    model = models.net()
    model["head"].to("meta")
    weight = model["encoder"][0].weight
    pt.load_model(model, torch_save(state))
    models.assert_same_state(model, state)
    assert model["encoder"][0].weight is weight


def test_ties_survive_the_meta_device(torch, pt, models, torch_save):
    saved = models.tied()
    with torch.device("meta"):
        model = models.tied()
    pt.load_model(model, torch_save(saved.state_dict()))
    assert model[1].weight is model[0].weight
    assert torch.equal(model[0].weight, saved[0].weight)


def test_what_the_file_lacks_stays_on_meta(torch, pt, models, torch_save):
    state = models.net().state_dict()
    del state["head.bias"]
    model = models.net().to("meta")
    assert pt.load_model(model, torch_save(state), strict=False).missing_keys == ["head.bias"]
    assert model["head"].bias.is_meta
    assert torch.equal(model["head"].weight, state["head.weight"])


def test_a_failed_load_leaves_a_model_on_meta(torch, pt, models, torch_save):
    state = models.net().state_dict()
    model = models.net().to("meta")
    path = torch_save({**state, "head.weight": torch.ones(1)})
    with models.unchanged(model), pytest.raises(RuntimeError, match="size mismatch"):
        pt.load_model(model, path)
    with models.unchanged(model), pytest.raises(TypeError, match="map_location must be a device"):
        pt.load_model(model, torch_save(state), map_location={"cuda": "cpu"})


def test_the_class_and_attributes_of_a_meta_parameter_stay(torch, pt, torch_save):
    class Sharded(torch.nn.Parameter):
        pass

    model = torch.nn.Linear(2, 2, device="meta")
    model.weight = Sharded(model.weight.data)
    pt.load_model(model, torch_save(torch.nn.Linear(2, 2).state_dict()))
    assert type(model.weight) is Sharded


def test_map_location_is_where_meta_parameters_go(torch, pt, models, torch_save):
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    state = models.net().state_dict()
    model = models.net().to("meta")
    pt.load_model(model, torch_save(state), map_location="cuda")
    assert {tensor.device.type for tensor in models.tensors_of(model)} == {"cuda"}
    models.assert_same_state(model.cpu(), state)


def test_parameters_on_a_device_stay_there(torch, pt, models, torch_save):
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    state = models.net().state_dict()
    model = models.net().cuda()
    before = [tensor.data_ptr() for tensor in models.tensors_of(model)]
    pt.load_model(model, torch_save(state))
    assert [tensor.data_ptr() for tensor in models.tensors_of(model)] == before
    models.assert_same_state(model.cpu(), state)


# --- sources ------------------------------------------------------------------------------------


def test_file_objects_are_read_from_their_position(pt, models, torch_save):
    state = models.net().state_dict()
    data = torch_save(state).read_bytes()
    file = io.BytesIO(b"before" + data)
    file.seek(6)
    model = models.net()
    pt.load_model(model, file)
    models.assert_same_state(model, state)


@pytest.mark.parametrize("as_name", [str, lambda path: path, lambda path: bytes(path)])
def test_names_of_files(pt, models, torch_save, as_name):
    state = models.net().state_dict()
    model = models.net()
    pt.load_model(model, as_name(torch_save(state)))
    models.assert_same_state(model, state)


def test_a_file_of_the_legacy_format(models, torch_save):
    state = models.net().state_dict()
    models.load_both(models.net(), torch_save(state, _use_new_zipfile_serialization=False))


def test_a_safetensors_file(pt, models, tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    state = models.net().state_dict()
    safetensors.save_file(state, tmp_path / "model.safetensors")
    model = models.net()
    pt.load_model(model, tmp_path / "model.safetensors")
    models.assert_same_state(model, state)


def test_inside_the_context_of_the_meta_device(torch, pt, models, torch_save):
    state = models.net().state_dict()
    path = torch_save(state)
    with torch.device("meta"):
        model = models.net()
        pt.load_model(model, path)
    models.assert_same_state(model, state)


def test_a_file_of_another_device(torch, pt, save):
    weight = checkpoints.tensor("float32", [[1.0, 2.0]])
    weight = dataclasses.replace(
        weight, storage=dataclasses.replace(weight.storage, location="cuda:0")
    )
    model = torch.nn.Linear(2, 1, bias=False)
    pt.load_model(model, save({"weight": weight}))
    assert model.weight.tolist() == [[1, 2]]


def test_f_must_be_a_file(torch, pt):
    with pytest.raises(AttributeError, match="seekable"):
        pt.load_model(torch.nn.Linear(2, 1), 5)


def test_the_file_never_changes(torch, pt, models, torch_save):
    path = torch_save(models.net().state_dict())
    before = path.read_bytes()
    model = models.net()
    pt.load_model(model, path)
    with torch.no_grad():
        model["head"].weight.zero_()
    assert path.read_bytes() == before


def test_progress_is_reported(pt, models, torch_save):
    seen = []
    pt.load_model(
        models.net(),
        torch_save(models.net().state_dict()),
        progress=lambda *call: seen.append(call),
    )
    assert seen[-1][0] == seen[-1][1]


# --- memory ------------------------------------------------------------------------------------

MIB = 1 << 20
PAYLOAD = 64 * MIB

CHILD = """
import json, sys, threading, time
import torch, ptio.torch
def kib(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field + ":"))
def watch():
    while not done:
        peak[0] = max(peak[0], kib("RssAnon"))
        time.sleep(0.001)
big, small, reader, assign = sys.argv[1:]
def load(model, path):
    with open(path, "rb") as file:
        f = path if reader == "path" else file
        ptio.torch.load_model(model, f, assign=assign == "True")
model = torch.nn.ParameterList([torch.zeros(1 << 20) for _ in range(16)])
load(torch.nn.ParameterList([torch.zeros(1)]), small)
before, peak, done = (kib("RssAnon"), kib("VmHWM")), [0], False
watcher = threading.Thread(target=watch)
watcher.start()
load(model, big)
done = True
watcher.join()
print(json.dumps({"anonymous": peak[0] - before[0], "peak": kib("VmHWM") - before[1]}))
"""


@pytest.fixture
def measure(torch, torch_save):
    if not os.path.exists("/proc/self/status"):
        pytest.skip("needs /proc")
    state = {str(i): torch.ones(PAYLOAD // 16 // 4) for i in range(16)}
    big, small = (
        torch_save({"model": state}, "big.pt"),
        torch_save({"0": torch.ones(1)}, "small.pt"),
    )

    def run(reader, assign=False):
        result = children.run(CHILD, big, small, reader, assign)
        return {name: value * 1024 for name, value in result.items()}

    return run


@children.unless_sanitized
def test_a_load_takes_no_memory_beyond_the_model(measure):
    used = measure("path")
    assert used["anonymous"] < 4 * MIB
    assert used["peak"] < PAYLOAD + 4 * MIB  # the pages of the file, which the kernel may drop


@children.unless_sanitized
def test_a_file_object_and_assign_take_the_tensors_once(measure):
    for used in (measure("file object"), measure("path", assign=True)):
        assert used["peak"] < 1.03 * PAYLOAD + 4 * MIB
        assert used["anonymous"] > 0.9 * PAYLOAD
