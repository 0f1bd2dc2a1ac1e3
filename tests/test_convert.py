# SPDX-License-Identifier: Apache-2.0
"""ptio.convert to safetensors: what is written, and what becomes of shared memory."""

import json
import os

import numpy as np
import ptio
import pytest
from support import checkpoints

safetensors = pytest.importorskip("safetensors")


@pytest.fixture
def files(torch):
    from support import checkpoint_files

    return checkpoint_files


@pytest.fixture
def read_safetensors(torch):
    from safetensors.torch import load_file

    return load_file


def metadata_of(path):
    with safetensors.safe_open(path, "np") as file:
        return file.metadata()


# --- to safetensors -----------------------------------------------------------------------------


def test_every_dtype_reaches_safetensors(torch, files, torch_save, read_safetensors, tmp_path):
    names = (
        *("float64", "float32", "float16", "bfloat16", "complex64", "bool"),
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float8_e4m3fn", "float8_e5m2"),
    )
    state = {
        name: (torch.arange(24).reshape(2, 3, 4) % 7).to(getattr(torch, name)) for name in names
    }
    report = ptio.convert(torch_save(state), tmp_path / "x.safetensors")
    result = read_safetensors(tmp_path / "x.safetensors")
    assert sorted(result) == sorted(state)
    for name, tensor in state.items():
        files.same(result[name], tensor)
    assert report.tensors == len(names)
    assert report.nbytes == sum(tensor.nbytes for tensor in state.values())
    assert report.left_out == report.aliases == []


def test_layouts_become_contiguous(torch, files, torch_save, read_safetensors, tmp_path):
    base = torch.arange(210.0)
    state = {
        "transposed": torch.randn(5, 7).t(),
        "channels last": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "expanded": torch.randn(3, 1).expand(3, 4),
        "with gaps": base.view(21, 10)[::2, 1:4],
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 3),
        "conjugate": torch.randn(4, dtype=torch.complex64).conj(),
        "negative": torch.randn(4, dtype=torch.complex64).conj().imag,
        "parameter": torch.nn.Parameter(torch.randn(3)),
    }
    ptio.convert(torch_save(state), tmp_path / "x.safetensors")
    result = read_safetensors(tmp_path / "x.safetensors")
    for name, tensor in state.items():
        files.same(result[name], tensor.detach().contiguous())


def test_the_file_is_aligned_and_without_gaps(torch, torch_save, tmp_path):
    state = {"b": torch.tensor([True]), "d": torch.ones(3).double(), "h": torch.ones(3).half()}
    ptio.convert(torch_save(state), tmp_path / "x.safetensors")
    data = (tmp_path / "x.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    assert size % 8 == 0
    assert [name for name in header if name != "__metadata__"] == ["b", "d", "h"]
    places = sorted(header[name]["data_offsets"] for name in state)
    assert places == [[0, 24], [24, 30], [30, 31]]
    assert len(data) == 8 + size + 31


def test_the_state_dict_of_a_training_checkpoint_is_found(
    files, torch_save, read_safetensors, tmp_path
):
    source = files.training_state()
    report = ptio.convert(torch_save(source), tmp_path / "x.safetensors")
    result = read_safetensors(tmp_path / "x.safetensors")
    assert sorted(result) == sorted(set(source["model"]) - {"2.weight"})
    for name, tensor in result.items():
        files.same(tensor, source["model"][name])
    assert report.aliases == ["2.weight"]
    assert all(name.startswith("optimizer/state/") for name in report.left_out)
    assert len(report.left_out) == 3 * len(source["optimizer"]["state"])


def test_several_state_dicts_are_a_choice(torch, torch_save, read_safetensors, tmp_path):
    path = torch_save({"model": {"w": torch.zeros(2)}, "ema": {"w": torch.ones(2)}})
    with pytest.raises(ValueError) as caught:
        ptio.convert(path, tmp_path / "x.safetensors")
    assert "select='model'" in str(caught.value)
    assert "select='ema'" in str(caught.value)
    assert os.listdir(tmp_path) == ["model.pt"]
    report = ptio.convert(path, tmp_path / "x.safetensors", select="ema")
    assert read_safetensors(tmp_path / "x.safetensors")["w"].tolist() == [1, 1]
    assert report.left_out == ["model/w"]


def test_flatten_takes_all_tensors(torch, torch_save, read_safetensors, tmp_path):
    path = torch_save({"model": {"w.x": torch.zeros(2)}, "list": [torch.ones(1), 5]})
    report = ptio.convert(path, tmp_path / "x.safetensors", flatten=True)
    result = read_safetensors(tmp_path / "x.safetensors")
    assert sorted(result) == ["list.0", "model.w.x"]
    assert report.left_out == []
    with pytest.raises(ValueError, match="choose one"):
        ptio.convert(path, tmp_path / "y.safetensors", flatten=True, select="model")
    path = torch_save({"a": {"b.c": torch.ones(1)}, "a.b": {"c": torch.ones(1)}})
    with pytest.raises(ValueError, match=r"two tensors have the name 'a\.b\.c'"):
        ptio.convert(path, tmp_path / "y.safetensors", flatten=True)


def test_prefixes_are_left_out(torch, torch_save, read_safetensors, tmp_path):
    path = torch_save({"module._orig_mod.w": torch.zeros(2), "module.b": torch.ones(2)})
    target = tmp_path / "x.safetensors"
    ptio.convert(path, target, strip_prefix=("module.", "_orig_mod."))
    assert sorted(read_safetensors(target)) == ["b", "w"]


def test_a_model_that_was_saved_whole(torch, files, torch_save, read_safetensors, tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    ptio.convert(torch_save(model), tmp_path / "x.safetensors")
    result = read_safetensors(tmp_path / "x.safetensors")
    assert sorted(result) == sorted(model.state_dict())
    for name, tensor in model.state_dict().items():
        files.same(result[name], tensor)


def test_dtypes_that_safetensors_lacks_are_named(torch, torch_save, tmp_path):
    state = {
        "fine": torch.ones(1),
        "wide": torch.ones(1, dtype=torch.complex128),
        "quantized": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        "sparse": torch.eye(3).double().to_sparse(),
    }
    with pytest.raises(ValueError) as caught:
        ptio.convert(torch_save(state), tmp_path / "x.safetensors")
    for name in ("wide (complex128)", "quantized (quantized qint8)", "sparse (sparse float64)"):
        assert name in str(caught.value)
    assert "fine" not in str(caught.value)
    assert os.listdir(tmp_path) == ["model.pt"]


@pytest.mark.parametrize("name", ["__metadata__", "lone \ud800"])
def test_names_that_safetensors_lacks(save, tmp_path, name):
    path = save({name: checkpoints.tensor("int8", b"1"), "b": checkpoints.tensor("int8", b"1")})
    with pytest.raises(ValueError, match="cannot have the name"):
        ptio.convert(path, tmp_path / "x.safetensors")


def test_there_has_to_be_a_tensor(save, tmp_path):
    with pytest.raises(ValueError, match="no state dict"):
        ptio.convert(save({"epoch": 3}), tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="it is a tensor"):
        ptio.convert(save(checkpoints.tensor("int8", b"1")), tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="no tensors"):
        ptio.convert(save({"epoch": 3}), tmp_path / "x.safetensors", flatten=True)


def test_metadata(torch, torch_save, tmp_path):
    path = torch_save({"w": torch.ones(1)})
    ptio.convert(path, tmp_path / "x.safetensors", metadata={"author": "me", "ünï": "\n"})
    assert metadata_of(tmp_path / "x.safetensors") == {
        "format": "pt",
        "author": "me",
        "ünï": "\n",
    }
    with pytest.raises(TypeError, match="texts"):
        ptio.convert(path, tmp_path / "y.safetensors", metadata={"epoch": 3})
    with pytest.raises(ValueError, match="only safetensors"):
        ptio.convert(path, tmp_path / "y.pt", metadata={"author": "me"})


def test_elements_beyond_all_storages_are_refused(torch, torch_save, tmp_path):
    """A file of a few hundred bytes must not fill the disk."""
    path = torch_save({"w": torch.ones(1).expand(2**20, 2**20)})
    with pytest.raises(ptio.LimitError, match="though the file holds only 4 B"):
        ptio.convert(path, tmp_path / "x.safetensors")
    ptio.convert(path, tmp_path / "x.pt")
    assert torch.load(tmp_path / "x.pt")["w"].stride() == (0, 0)


# --- sharing ------------------------------------------------------------------------------------


def test_shared_memory_is_written_once(torch, files, torch_save, read_safetensors, tmp_path):
    state = files.sharing_state()
    report = ptio.convert(torch_save(state), tmp_path / "x.safetensors")
    result = read_safetensors(tmp_path / "x.safetensors")
    assert sorted(result) == ["alone", "embedding", "fused"]
    assert report.aliases == ["head", "query", "key", "part of query"]
    assert report.nbytes == (24 + 48 + 3) * 4
    metadata = metadata_of(tmp_path / "x.safetensors")
    assert metadata["head"] == "embedding"
    assert "query" not in metadata
    assert json.loads(metadata["ptio.aliases"])["key"] == {
        "of": "fused",
        "offset": 16,
        "shape": [4, 4],
        "stride": [1, 4],
    }
    assert json.loads(metadata["ptio.aliases"])["part of query"]["of"] == "fused"


def test_tied_weights_are_what_load_model_of_safetensors_expects(torch, torch_save, tmp_path):
    from safetensors.torch import load_model

    def tied():
        model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
        model[1].weight = model[0].weight
        return model

    source, target = tied(), tied()
    ptio.convert(torch_save(source.state_dict()), tmp_path / "x.safetensors")
    assert load_model(target, tmp_path / "x.safetensors") == (set(), [])
    assert torch.equal(target[1].weight, source[1].weight)


def test_views_in_no_other_are_written_each(torch, files, torch_save, read_safetensors, tmp_path):
    base = torch.arange(30.0)
    state = {"left": base[:20], "right": base[10:], "columns": base.view(5, 6)[:, :2]}
    report = ptio.convert(torch_save(state), tmp_path / "x.safetensors")
    result = read_safetensors(tmp_path / "x.safetensors")
    assert report.aliases == []
    for name, tensor in state.items():
        files.same(result[name], tensor)


def test_a_tensor_and_its_conjugate_are_two(torch, files, torch_save, read_safetensors, tmp_path):
    value = torch.randn(4, dtype=torch.complex64)
    path = torch_save({"a": value, "b": value.conj()})
    assert ptio.convert(path, tmp_path / "x.safetensors").aliases == []
    result = read_safetensors(tmp_path / "x.safetensors")
    files.same(result["a"], value)
    files.same(result["b"], value.conj())
    for verb in (ptio.slim, ptio.convert):
        verb(path, tmp_path / f"{verb.__name__}.pt")
        result = torch.load(tmp_path / f"{verb.__name__}.pt")
        files.same(result["a"], value)
        files.same(result["b"], value.conj())


@pytest.mark.parametrize("shards", [None, 150])
def test_converting_back_restores_sharing(torch, files, torch_save, monkeypatch, tmp_path, shards):

    state = files.sharing_state()
    target = tmp_path / "x.safetensors"
    ptio.convert(torch_save(state), target)
    if shards is None:
        ptio.convert(target, tmp_path / "back.pt")
        result = torch.load(tmp_path / "back.pt")
    else:
        report = ptio.convert(target, tmp_path / "back", to="pt", max_shard_size=shards)
        result = {}
        for name in report.files[:-1]:
            result.update(torch.load(name))
    assert sorted(result) == sorted(state)
    for name, tensor in state.items():
        files.same(result[name], tensor)
        assert result[name].stride() == tensor.stride()
    names = list(state)
    assert files.storages(result[n] for n in names) == files.storages(state[n] for n in names)


def test_an_object_in_two_places_that_is_a_view(torch, files, torch_save, monkeypatch, tmp_path):

    base = torch.arange(9.0)
    part = base[2:3].expand(4)
    empty = torch.empty(3, 0)
    state = {"first": part, "second": part, "base": base, "none": empty, "nothing": empty}
    target = tmp_path / "x.safetensors"
    assert ptio.convert(torch_save(state), target).aliases == ["first", "second", "nothing"]
    ptio.convert(target, tmp_path / "back.pt")
    result = torch.load(tmp_path / "back.pt")
    for name, tensor in state.items():
        files.same(result[name], tensor)


def test_safetensors_to_safetensors_keeps_metadata_and_aliases(
    files, torch_save, monkeypatch, tmp_path
):

    state = files.sharing_state()
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    ptio.convert(torch_save(state), one, metadata={"author": "me"})
    report = ptio.convert(one, two)
    assert sorted(report.aliases) == ["head", "key", "part of query", "query"]
    first, second = metadata_of(one), metadata_of(two)
    assert json.loads(first.pop("ptio.aliases")) == json.loads(second.pop("ptio.aliases"))
    assert first == second


def test_aliases_of_save_model_are_restored(torch, monkeypatch, tmp_path):
    from safetensors.torch import save_model

    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    model[1].weight = model[0].weight
    save_model(model, str(tmp_path / "x.safetensors"))
    ptio.convert(tmp_path / "x.safetensors", tmp_path / "x.pt")
    state = torch.load(tmp_path / "x.pt")
    assert sorted(state) == sorted(model.state_dict())
    assert state["0.weight"].data_ptr() == state["1.weight"].data_ptr()


def _alias(**changes):
    return {"of": "w", "offset": 0, "shape": [2, 3], "stride": [3, 1], **changes}


@pytest.mark.parametrize(
    "told",
    [
        "no JSON",
        "[1]",
        "[" * 100_000,
        {"a": 1},
        {"a": {}},
        {"a": _alias(of="nobody")},
        {"a": _alias(of=["w"])},
        {"w": _alias()},
        {"a": _alias(offset=1)},
        {"a": _alias(offset=-1)},
        {"a": _alias(offset=0.0)},
        {"a": _alias(offset=True)},
        {"a": _alias(shape=[2**62, 2**62], stride=[0, 0])},
        {"a": _alias(shape=[3, 3])},
        {"a": _alias(stride=[3, 2])},
        {"a": _alias(stride=[-3, 1])},
        {"a": _alias(stride=[1])},
        {"a": _alias(shape=5)},
        {"a": _alias(shape=[1] * 65, stride=[1] * 65)},
    ],
)
def test_impossible_aliases_are_refused(monkeypatch, tmp_path, told):
    from safetensors.numpy import save_file

    text = told if isinstance(told, str) else json.dumps(told)
    path = tmp_path / "x.safetensors"
    save_file({"w": np.ones((2, 3), "f4")}, path, metadata={"ptio.aliases": text})
    with pytest.raises(ptio.FormatError, match=r"ptio\.aliases"):
        ptio.convert(path, tmp_path / "x.pt")
    assert os.listdir(tmp_path) == ["x.safetensors"]
