# SPDX-License-Identifier: Apache-2.0
"""ptio.convert to torch's format: the whole object, as it was."""

import zipfile
from collections import OrderedDict

import numpy as np
import ptio
import pytest


@pytest.fixture
def files(torch):
    from support import checkpoint_files

    return checkpoint_files


def test_the_whole_object_is_written(torch, files, torch_load, torch_save, tmp_path):
    base = torch.arange(100.0)
    source = {
        **files.training_state(),
        "ordered": OrderedDict(b=torch.ones(2), a=[1, (2.5, None)]),
        "views": [base[10:20], base[:50].view(5, 10).t()],
        "expanded": torch.ones(1).expand(5),
        "grad": torch.ones(2, requires_grad=True),
        "numpy": np.arange(6, dtype="i2").reshape(2, 3).T,
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
    report = ptio.convert(torch_save(source), tmp_path / "x.pt")
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
    assert report.tensors == len(ptio.open(torch_save(source), unknown="inert")) - 1


def test_a_compressed_file_keeps_its_sharing(torch, files, torch_save, rezip, tmp_path):
    state = files.sharing_state()
    path = rezip(torch_save(state))
    ptio.convert(path, tmp_path / "x.pt")
    result = torch.load(tmp_path / "x.pt")
    for name, tensor in state.items():
        files.same(result[name], tensor)
    assert files.storages(result.values()) == files.storages(state.values())


@pytest.fixture
def rezip(tmp_path):
    """Compresses the members of an archive."""

    def rewrite(path):
        target = tmp_path / "compressed.pt"
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
            for info in old.infolist():
                new.writestr(info.filename, old.read(info), zipfile.ZIP_DEFLATED)
        return target

    return rewrite


def test_select_for_torch_writes_the_state_dict_alone(torch, files, torch_save, tmp_path):
    source = files.training_state()
    report = ptio.convert(torch_save(source), tmp_path / "x.pt", select="model")
    result = torch.load(tmp_path / "x.pt", weights_only=True)
    assert list(result) == list(source["model"])
    assert report.left_out


def test_damaged_bytes_are_found(torch, torch_save, tmp_path):
    for numel in (5, 3 << 20):  # one piece, and several
        path = torch_save({"w": torch.arange(float(numel))})
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


class TwoFiles:
    """Two files as one mapping, each with a storage "0" of its own."""

    format = "two files"

    def __init__(self, *containers):
        self._homes = [(part, row) for part in containers for row in part.tensors()]
        self._containers = containers

    def tensors(self):
        return [row._replace(node=i) for i, (_, row) in enumerate(self._homes)]

    def home_of(self, info):
        return self._homes[info.node]

    def tree(self, infos):
        return {row.path[0]: infos[i] for i, (_, row) in enumerate(self._homes)}

    def metadata(self):
        return None

    def close(self):
        for part in self._containers:
            part.close()


@pytest.mark.parametrize("name", ["x.pt", "x.safetensors"])
def test_storages_of_two_files_are_not_mistaken(
    torch, files, torch_save, monkeypatch, tmp_path, name
):
    from ptio._rewrite import convert

    one = {"a": torch.arange(6.0), "b": torch.arange(6.0, 9.0)}
    tied = torch.arange(10.0, 16.0)
    two = {"c": tied, "d": tied.detach(), "e": tied[:3]}
    paths = [torch_save(one, "one.pt"), torch_save(two, "two.pt")]
    theirs = convert.open_container
    monkeypatch.setattr(
        convert, "open_container", lambda f, options: TwoFiles(*(theirs(p, options) for p in f))
    )
    report = ptio.convert(paths, tmp_path / name)
    assert report.nbytes == (6 + 3 + 6) * 4
    if name == "x.pt":
        result = torch.load(tmp_path / name)
        for key, tensor in {**one, **two}.items():
            files.same(result[key], tensor)
        assert files.storages(result.values()) == [0, 1, 2, 2, 2]
    else:
        assert report.aliases == ["d", "e"]
