# SPDX-License-Identifier: Apache-2.0
"""ptio.convert: between torch's format and safetensors, into shards; what becomes of sharing."""

import errno
import json
import os
import shutil
from collections import OrderedDict

import numpy as np
import ptio
import pytest
from ptio import _new_checkpoint, _safetensors_file
from support import checkpoints, children

safetensors = pytest.importorskip("safetensors")


@pytest.fixture
def files(torch):
    from support import checkpoint_files

    return checkpoint_files


@pytest.fixture
def saved(torch, tmp_path):
    """Saves an object with torch.save; returns where."""

    def save(obj, name="source.pt"):
        torch.save(obj, tmp_path / name)
        return tmp_path / name

    return save


@pytest.fixture
def read_safetensors(torch):
    from safetensors.torch import load_file

    return load_file


def metadata_of(path):
    with safetensors.safe_open(path, "np") as file:
        return file.metadata()


# --- to safetensors -----------------------------------------------------------------------------


def test_every_dtype_reaches_safetensors(torch, files, saved, read_safetensors, tmp_path):
    names = (
        *("float64", "float32", "float16", "bfloat16", "complex64", "bool"),
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float8_e4m3fn", "float8_e5m2"),
    )
    state = {
        name: (torch.arange(24).reshape(2, 3, 4) % 7).to(getattr(torch, name)) for name in names
    }
    report = ptio.convert(saved(state), tmp_path / "x.safetensors")
    result = read_safetensors(tmp_path / "x.safetensors")
    assert sorted(result) == sorted(state)
    for name, tensor in state.items():
        files.same(result[name], tensor)
    assert report.tensors == len(names)
    assert report.nbytes == sum(tensor.nbytes for tensor in state.values())
    assert report.left_out == report.aliases == []


def test_layouts_become_contiguous(torch, files, saved, read_safetensors, tmp_path):
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
    ptio.convert(saved(state), tmp_path / "x.safetensors")
    result = read_safetensors(tmp_path / "x.safetensors")
    for name, tensor in state.items():
        files.same(result[name], tensor.detach().contiguous())


def test_the_file_is_aligned_and_without_gaps(torch, saved, tmp_path):
    state = {"b": torch.tensor([True]), "d": torch.ones(3).double(), "h": torch.ones(3).half()}
    ptio.convert(saved(state), tmp_path / "x.safetensors")
    data = (tmp_path / "x.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    assert size % 8 == 0
    assert [name for name in header if name != "__metadata__"] == ["b", "d", "h"]
    places = sorted(header[name]["data_offsets"] for name in state)
    assert places == [[0, 24], [24, 30], [30, 31]]
    assert len(data) == 8 + size + 31


def test_the_state_dict_of_a_training_checkpoint_is_found(files, saved, read_safetensors, tmp_path):
    source = files.training_state()
    report = ptio.convert(saved(source), tmp_path / "x.safetensors")
    result = read_safetensors(tmp_path / "x.safetensors")
    assert sorted(result) == sorted(set(source["model"]) - {"2.weight"})
    for name, tensor in result.items():
        files.same(tensor, source["model"][name])
    assert report.aliases == ["2.weight"]
    assert all(name.startswith("optimizer/state/") for name in report.left_out)
    assert len(report.left_out) == 3 * len(source["optimizer"]["state"])


def test_several_state_dicts_are_a_choice(torch, saved, read_safetensors, tmp_path):
    path = saved({"model": {"w": torch.zeros(2)}, "ema": {"w": torch.ones(2)}})
    with pytest.raises(ValueError) as caught:
        ptio.convert(path, tmp_path / "x.safetensors")
    assert "select='model'" in str(caught.value)
    assert "select='ema'" in str(caught.value)
    assert os.listdir(tmp_path) == ["source.pt"]
    report = ptio.convert(path, tmp_path / "x.safetensors", select="ema")
    assert read_safetensors(tmp_path / "x.safetensors")["w"].tolist() == [1, 1]
    assert report.left_out == ["model/w"]


def test_flatten_takes_all_tensors(torch, saved, read_safetensors, tmp_path):
    path = saved({"model": {"w.x": torch.zeros(2)}, "list": [torch.ones(1), 5]})
    report = ptio.convert(path, tmp_path / "x.safetensors", flatten=True)
    result = read_safetensors(tmp_path / "x.safetensors")
    assert sorted(result) == ["list.0", "model.w.x"]
    assert report.left_out == []
    with pytest.raises(ValueError, match="choose one"):
        ptio.convert(path, tmp_path / "y.safetensors", flatten=True, select="model")
    path = saved({"a": {"b.c": torch.ones(1)}, "a.b": {"c": torch.ones(1)}})
    with pytest.raises(ValueError, match=r"two tensors have the name 'a\.b\.c'"):
        ptio.convert(path, tmp_path / "y.safetensors", flatten=True)


def test_prefixes_are_left_out(torch, saved, read_safetensors, tmp_path):
    path = saved({"module._orig_mod.w": torch.zeros(2), "module.b": torch.ones(2)})
    target = tmp_path / "x.safetensors"
    ptio.convert(path, target, strip_prefix=("module.", "_orig_mod."))
    assert sorted(read_safetensors(target)) == ["b", "w"]


def test_a_model_that_was_saved_whole(torch, files, saved, read_safetensors, tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    ptio.convert(saved(model), tmp_path / "x.safetensors")
    result = read_safetensors(tmp_path / "x.safetensors")
    assert sorted(result) == sorted(model.state_dict())
    for name, tensor in model.state_dict().items():
        files.same(result[name], tensor)


def test_dtypes_that_safetensors_lacks_are_named(torch, saved, tmp_path):
    state = {
        "fine": torch.ones(1),
        "wide": torch.ones(1, dtype=torch.complex128),
        "quantized": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        "sparse": torch.eye(3).double().to_sparse(),
    }
    with pytest.raises(ValueError) as caught:
        ptio.convert(saved(state), tmp_path / "x.safetensors")
    for name in ("wide (complex128)", "quantized (quantized qint8)", "sparse (sparse float64)"):
        assert name in str(caught.value)
    assert "fine" not in str(caught.value)
    assert os.listdir(tmp_path) == ["source.pt"]


@pytest.mark.parametrize("name", ["__metadata__", "lone \ud800"])
def test_names_that_safetensors_lacks(save, tmp_path, name):
    path = save({name: checkpoints.tensor("int8", b"1"), "b": checkpoints.tensor("int8", b"1")})
    with pytest.raises(ValueError, match="cannot have the name"):
        ptio.convert(path, tmp_path / "x.safetensors")


def test_there_has_to_be_a_tensor(save, tmp_path):
    with pytest.raises(ValueError, match="no state dict"):
        ptio.convert(save({"epoch": 3}), tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="no tensors"):
        ptio.convert(save({"epoch": 3}), tmp_path / "x.safetensors", flatten=True)


def test_metadata(torch, saved, tmp_path):
    path = saved({"w": torch.ones(1)})
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


def test_elements_beyond_all_storages_are_refused(torch, saved, tmp_path):
    """A file of a few hundred bytes must not fill the disk."""
    path = saved({"w": torch.ones(1).expand(2**20, 2**20)})
    with pytest.raises(ptio.LimitError, match="though the file holds only 4 B"):
        ptio.convert(path, tmp_path / "x.safetensors")
    ptio.convert(path, tmp_path / "x.pt")
    assert torch.load(tmp_path / "x.pt")["w"].stride() == (0, 0)


# --- sharing ------------------------------------------------------------------------------------


def sharing_state(torch):
    embedding, fused = torch.randn(6, 4), torch.randn(12, 4)
    return {
        "embedding": embedding,
        "fused": fused,
        "head": embedding.detach(),
        "query": fused[:4],
        "key": fused[4:8].t(),
        "part of query": fused[:4][1:3],
        "alone": torch.randn(3),
    }


def test_shared_memory_is_written_once(torch, files, saved, read_safetensors, tmp_path):
    state = sharing_state(torch)
    report = ptio.convert(saved(state), tmp_path / "x.safetensors")
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


def test_tied_weights_are_what_load_model_of_safetensors_expects(torch, saved, tmp_path):
    from safetensors.torch import load_model

    def tied():
        model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
        model[1].weight = model[0].weight
        return model

    source, target = tied(), tied()
    ptio.convert(saved(source.state_dict()), tmp_path / "x.safetensors")
    assert load_model(target, tmp_path / "x.safetensors") == (set(), [])
    assert torch.equal(target[1].weight, source[1].weight)


def test_views_that_no_tensor_covers_are_written_each(
    torch, files, saved, read_safetensors, tmp_path
):
    base = torch.arange(30.0)
    state = {"left": base[:20], "right": base[10:], "columns": base.view(5, 6)[:, :2]}
    report = ptio.convert(saved(state), tmp_path / "x.safetensors")
    result = read_safetensors(tmp_path / "x.safetensors")
    assert report.aliases == []
    for name, tensor in state.items():
        files.same(result[name], tensor)


def test_a_tensor_and_its_conjugate_are_two(torch, files, saved, read_safetensors, tmp_path):
    value = torch.randn(4, dtype=torch.complex64)
    path = saved({"a": value, "b": value.conj()})
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
def test_converting_back_restores_sharing(torch, files, saved, monkeypatch, tmp_path, shards):
    from support.safetensors_container import used_for

    state = sharing_state(torch)
    target = tmp_path / "x.safetensors"
    ptio.convert(saved(state), target)
    with used_for(monkeypatch, target):
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


def test_safetensors_to_safetensors_keeps_metadata_and_aliases(torch, saved, monkeypatch, tmp_path):
    from support.safetensors_container import used_for

    state = sharing_state(torch)
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    ptio.convert(saved(state), one, metadata={"author": "me"})
    with used_for(monkeypatch, one):
        report = ptio.convert(one, two)
    assert sorted(report.aliases) == ["head", "key", "part of query", "query"]
    first, second = metadata_of(one), metadata_of(two)
    assert json.loads(first.pop("ptio.aliases")) == json.loads(second.pop("ptio.aliases"))
    assert first == second


def test_aliases_of_save_model_are_restored(torch, monkeypatch, tmp_path):
    from safetensors.torch import save_model
    from support.safetensors_container import used_for

    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    model[1].weight = model[0].weight
    save_model(model, str(tmp_path / "x.safetensors"))
    with used_for(monkeypatch, tmp_path / "x.safetensors"):
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
    from support.safetensors_container import used_for

    text = told if isinstance(told, str) else json.dumps(told)
    path = tmp_path / "x.safetensors"
    save_file({"w": np.ones((2, 3), "f4")}, path, metadata={"ptio.aliases": text})
    with used_for(monkeypatch, path), pytest.raises(ptio.FormatError, match="ptio.aliases"):
        ptio.convert(path, tmp_path / "x.pt")
    assert os.listdir(tmp_path) == ["x.safetensors"]


# --- to torch's format --------------------------------------------------------------------------


def test_the_whole_object_is_written(torch, files, torch_load, saved, tmp_path):
    base = torch.arange(100.0)
    source = {
        **files.training_state(),
        "ordered": OrderedDict(b=torch.ones(2), a=[1, (2.5, None)]),
        "views": [base[10:20], base[:50].view(5, 10).t()],
        "expanded": torch.ones(1).expand(5),
        "grad": torch.ones(2, requires_grad=True),
        "numpy": np.arange(6, dtype=">i2").reshape(2, 3).T,
        "numpy scalar": np.float64(2.5),
        "random state": np.random.RandomState(1).get_state(),
        "sparse": torch.eye(3).to_sparse(),
        "quantized": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        "meta": torch.zeros(3, device="meta"),
        "module": torch.nn.Linear(2, 3),
        "half complex": torch.ones(3, dtype=torch.complex64).to(torch.complex32),
        "float8": torch.ones(3).to(torch.float8_e4m3fn),
        "float8 grad": torch.ones(3).to(torch.float8_e5m2).requires_grad_(),
        "typed storage": torch.FloatStorage([1, 2]),
    }
    source["again"] = source["views"][0]
    report = ptio.convert(saved(source), tmp_path / "x.pt")
    result = torch_load(tmp_path / "x.pt")
    assert list(result) == list(source)
    for name in ("epoch", "name", "scheduler"):
        assert result[name] == source[name]
    assert type(result["ordered"]) is OrderedDict
    assert result["ordered"]["a"] == source["ordered"]["a"]
    assert result["model"]._metadata == source["model"]._metadata
    for name, tensor in source["model"].items():
        files.same(result["model"][name], tensor)
    assert files.storages(result["model"].values()) == files.storages(source["model"].values())
    for ours, theirs in zip(result["views"], source["views"], strict=True):
        files.same(ours, theirs)
        assert (ours.stride(), ours.storage_offset()) == (theirs.stride(), theirs.storage_offset())
        assert ours.untyped_storage().nbytes() == 400
    assert result["again"] is result["views"][0]
    assert result["expanded"].stride() == (0,)
    for name in ("grad", "float8 grad"):
        assert result[name].requires_grad
        files.same(result[name], source[name])
    assert type(result["numpy"]) is np.ndarray
    assert result["numpy"].dtype == source["numpy"].dtype
    assert result["numpy"].tolist() == source["numpy"].tolist()
    assert type(result["numpy scalar"]) is np.float64
    np.random.RandomState().set_state(result["random state"])
    assert torch.equal(result["sparse"].to_dense(), torch.eye(3))
    assert torch.equal(result["quantized"].dequantize(), source["quantized"].dequantize())
    assert result["meta"].device.type == "meta"
    assert isinstance(result["module"].weight, torch.nn.Parameter)
    files.same(result["module"].weight, source["module"].weight)
    assert result["half complex"].tolist() == source["half complex"].tolist()
    files.same(result["float8"], source["float8"])
    assert result["typed storage"].tolist() == [1, 2]
    assert report.tensors == len(ptio.open(saved(source), unknown="inert")) - 1


def test_a_compressed_file_keeps_its_sharing(torch, files, saved, rezip, tmp_path):
    state = sharing_state(torch)
    path = rezip(saved(state))
    ptio.convert(path, tmp_path / "x.pt")
    result = torch.load(tmp_path / "x.pt")
    for name, tensor in state.items():
        files.same(result[name], tensor)
    assert files.storages(result.values()) == files.storages(state.values())


@pytest.fixture
def rezip(tmp_path):
    """Compresses the members of an archive."""
    import zipfile

    def rewrite(path):
        target = tmp_path / "compressed.pt"
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
            for info in old.infolist():
                new.writestr(info.filename, old.read(info), zipfile.ZIP_DEFLATED)
        return target

    return rewrite


def test_select_for_torch_writes_the_state_dict_alone(torch, files, saved, tmp_path):
    source = files.training_state()
    report = ptio.convert(saved(source), tmp_path / "x.pt", select="model")
    result = torch.load(tmp_path / "x.pt", weights_only=True)
    assert list(result) == list(source["model"])
    assert report.left_out


def test_damaged_bytes_are_found(torch, saved, tmp_path):
    for numel in (5, 3 << 20):  # one piece, and several
        path = saved({"w": torch.arange(float(numel))})
        data = bytearray(path.read_bytes())
        data[data.index(np.arange(5, dtype="f4").tobytes()) + 4] ^= 1
        path.write_bytes(data)
        for name in ("x.pt", "x.safetensors"):
            with pytest.raises(ptio.ChecksumError) as caught:
                ptio.convert(path, tmp_path / name)
            assert caught.value.record.endswith("/data/0")
            assert caught.value.path == str(path)
            assert not (tmp_path / name).exists()
        ptio.convert(path, tmp_path / "x.safetensors", verify=False)
        (tmp_path / "x.safetensors").unlink()


# --- shards -------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["safetensors", "pt"])
def test_shards(torch, files, saved, read_safetensors, tmp_path, to):
    state = {f"layer.{i}": torch.randn(10, i + 1) for i in range(8)}
    state["tied"] = state["layer.3"].detach()
    report = ptio.convert(saved(state), tmp_path / "model", to=to, max_shard_size=600)
    index = json.loads(open(report.files[-1]).read())
    read = read_safetensors if to == "safetensors" else torch.load
    shards = {os.path.basename(name): read(name) for name in report.files[:-1]}
    count = len(shards)
    stem, suffix = ("model", "safetensors") if to == "safetensors" else ("pytorch_model", "bin")
    assert list(shards) == [f"{stem}-{i + 1:05}-of-{count:05}.{suffix}" for i in range(count)]
    assert sorted(os.listdir(tmp_path / "model")) == sorted(map(os.path.basename, report.files))
    assert index["metadata"]["total_size"] == report.nbytes == 36 * 40
    for name, file in index["weight_map"].items():
        files.same(shards[file][name], state[name])
    wanted = set(state) - ({"tied"} if to == "safetensors" else set())
    assert set(index["weight_map"]) == wanted
    for shard in shards.values():
        own = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in shard.values()}
        assert sum(own.values()) <= 600
    assert report.aliases == ["tied"]


def test_what_fits_into_one_shard_has_no_index(torch, saved, tmp_path):
    report = ptio.convert(saved({"w": torch.ones(3)}), tmp_path / "model", max_shard_size="5GB")
    assert os.listdir(tmp_path / "model") == ["model.safetensors"]
    assert report.files == [str(tmp_path / "model" / "model.safetensors")]


def test_a_tensor_larger_than_a_shard_is_alone(torch, saved, tmp_path):
    state = {"a": torch.ones(3), "big": torch.ones(1000), "b": torch.ones(3)}
    report = ptio.convert(saved(state), tmp_path / "model", max_shard_size=100)
    weight_map = json.loads(open(report.files[-1]).read())["weight_map"]
    assert len(set(weight_map.values())) == 3


@pytest.mark.parametrize(
    ("text", "size"),
    [("5GB", 5 * 10**9), ("5gib", 5 << 30), ("1.5 MB", 1_500_000), (7, 7), ("70", 70)],
)
def test_sizes_of_shards(text, size):
    assert _new_checkpoint.shard_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "0", "-1GB", "5XB", "1e400", "nan", "5 G B", -1])
def test_sizes_that_are_none(save, tmp_path, text):
    with pytest.raises(ValueError, match="size of shards"):
        ptio.convert(save({"w": 1}), tmp_path / "model", max_shard_size=text)


def test_directories_with_a_model_are_not_overwritten(torch, saved, tmp_path):
    path = saved({"w": torch.ones(3)})
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    ptio.convert(path, tmp_path / "model", max_shard_size=100)
    with pytest.raises(FileExistsError, match=r"model\.safetensors"):
        ptio.convert(path, tmp_path / "model", max_shard_size=100)
    ptio.convert(path, tmp_path / "model", max_shard_size=100, overwrite=True)
    assert sorted(os.listdir(tmp_path / "model")) == ["config.json", "model.safetensors"]


# --- where it goes ------------------------------------------------------------------------------


def test_nothing_is_overwritten_unasked(torch, saved, tmp_path):
    path = saved({"w": torch.ones(3)})
    target = tmp_path / "x.pt"
    target.write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        ptio.convert(path, target)
    assert target.read_bytes() == b"precious"
    ptio.convert(path, target, overwrite=True)
    assert torch.load(target)["w"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("link", ["", "symlink", "hard link", "other way to it"])
def test_the_source_is_never_the_target(torch, saved, tmp_path, link):
    path = saved({"w": torch.ones(3)})
    target = tmp_path / "x.pt"
    if link == "symlink":
        target.symlink_to(path)
    elif link == "hard link":
        os.link(path, target)
    else:
        target = tmp_path / ".." / tmp_path.name / path.name if link else path
    before = path.read_bytes()
    with pytest.raises(shutil.SameFileError, match="is what is read"):
        ptio.convert(path, target, overwrite=True)
    assert path.read_bytes() == before


def test_the_name_says_the_format(torch, saved, tmp_path):
    path = saved({"w": torch.ones(3)})
    for name in ("x.pth", "x.bin", "x.ckpt", "x.PT"):
        assert ptio.convert(path, tmp_path / name).format == "pt"
    assert ptio.convert(path, os.fsencode(tmp_path / "y.safetensors")).format == "safetensors"
    assert ptio.convert(path, tmp_path / "noname", to="safetensors").format == "safetensors"
    with pytest.raises(ValueError, match="does not say"):
        ptio.convert(path, tmp_path / "x.onnx")
    with pytest.raises(ValueError, match="must be 'pt'"):
        ptio.convert(path, tmp_path / "x.onnx", to="onnx")
    with pytest.raises(TypeError, match="name of a file"):
        ptio.convert(path, 5)


@pytest.mark.parametrize("kind", ["file", "shards"])
def test_a_full_disk_leaves_nothing(torch, files, saved, monkeypatch, tmp_path, kind):
    path = saved({f"{i}": torch.ones(1000) for i in range(9)})
    monkeypatch.setattr(_safetensors_file, "_write", files.FullDisk(20_000).write)
    target = tmp_path / ("x.safetensors" if kind == "file" else "model")
    with pytest.raises(OSError) as caught:
        ptio.convert(path, target, max_shard_size=None if kind == "file" else 9000)
    assert caught.value.errno == errno.ENOSPC
    assert os.fspath(caught.value.filename).startswith(str(target))
    assert os.listdir(tmp_path) == ["source.pt"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("to", ["pt", "safetensors"])
def test_a_device_that_is_full(torch, saved, to):
    with pytest.raises(OSError) as caught:
        ptio.convert(saved({"w": torch.ones(1 << 20)}), "/dev/full", to=to, overwrite=True)
    assert caught.value.errno == errno.ENOSPC
    if to == "safetensors":
        assert os.fspath(caught.value.filename) == "/dev/full"


@pytest.mark.parametrize("name", ["x.pt", "x.safetensors", "model"])
def test_an_interruption_leaves_nothing(torch, saved, tmp_path, name):
    path = saved({f"{i}": torch.ones(1000) for i in range(9)})
    seen = []

    def stop(done, total):
        seen.append((done, total))
        if done > total // 2:
            raise KeyboardInterrupt

    size = 9000 if name == "model" else None
    with pytest.raises(KeyboardInterrupt):
        ptio.convert(path, tmp_path / name, max_shard_size=size, progress=stop)
    assert len(seen) >= 1
    assert os.listdir(tmp_path) == ["source.pt"]


def test_progress_ends_with_the_total(torch, saved, tmp_path):
    path = saved({f"{i}": torch.ones(1000) for i in range(9)})
    for name, size in (("x.safetensors", None), ("x.pt", None), ("model", 9000)):
        seen = []
        report = lambda done, total, seen=seen: seen.append((done, total))  # noqa: E731
        ptio.convert(path, tmp_path / name, max_shard_size=size, progress=report)
        assert seen[-1][0] == seen[-1][1] >= 36_000
        assert seen == sorted(seen)


# --- memory -------------------------------------------------------------------------------------

MIB = 1 << 20
CHILD = """
import json, sys
import numpy as np, ml_dtypes, ptio
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
source, target, size = sys.argv[1:]
small = source + ".small.pt"
ptio.save({"a": np.ones(9), "b": np.ones((3, 4)).T}, small)
ptio.convert(small, small + ".safetensors")
ptio.convert(small, small + "2.pt")
before = peak()
ptio.convert(source, target, max_shard_size=size or None)
print(json.dumps((peak() - before) * 1024))
"""


@children.unless_sanitized
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
@pytest.mark.parametrize("target", ["x.pt", "x.safetensors", "model"])
@pytest.mark.parametrize("layout", ["plain", "transposed", "one storage"])
def test_memory_is_that_of_the_largest_tensor(tmp_path, layout, target):
    """320 MiB in 20 tensors of 16 MiB."""
    make = {
        "plain": lambda i: np.full((4 * MIB,), i, "f4"),
        "transposed": lambda i: np.full((2048, 2048), i, "f4").T,
    }
    if layout == "one storage":
        whole = np.arange(80 * MIB, dtype="f4")
        state = {str(i): whole[i * 4 * MIB : (i + 1) * 4 * MIB] for i in range(20)}
        state["again"] = whole[MIB : 2 * MIB]  # so that they share it
    else:
        state = {str(i): make[layout](i) for i in range(20)}
    ptio.save(state, tmp_path / "source.pt")
    del state
    size = "100MB" if target == "model" else ""
    taken = children.run(CHILD, tmp_path / "source.pt", tmp_path / target, size)
    assert taken <= (16 + 32) * MIB
