# SPDX-License-Identifier: Apache-2.0
"""torch.export archives: weights and constants, compared with torch.export.load's."""

import io
import json
import zipfile

import numpy as np
import ptio
import pytest
from support import checkpoints
from support.compare import assert_same
from support.zip_files import Entry, write

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def exported(torch, tmp_path_factory):
    """(file, the program that torch.export.load gives)"""

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(3, 3)
            self.low = torch.nn.Linear(3, 3).bfloat16()
            self.tied = self.fc.weight
            self.register_buffer("steps", torch.arange(4))
            self.register_buffer("turned", torch.randn(3, 2).t())
            self.register_buffer("loose", torch.arange(3.0), persistent=False)
            self.plain = torch.ones(2)

        def forward(self, x):
            y = self.low(x.bfloat16()).float() + self.loose + torch.tensor([1.0, 2.0, 3.0])
            return self.fc(x) + y + self.plain.sum() + self.tied.sum() + self.turned.sum()

    path = tmp_path_factory.mktemp("exported") / "program.pt2"
    torch.export.save(torch.export.export(Model(), (torch.randn(3),)), path)
    return path, torch.export.load(path)


def test_weights_and_constants(exported):
    path, program = exported
    loaded = ptio.load(path)
    assert loaded.keys() == {"weights", "constants"}
    assert_same(loaded["weights"], {k: v.detach() for k, v in program.state_dict.items()})
    assert_same(loaded["constants"], dict(program.constants))
    assert np.shares_memory(loaded["weights"]["tied"], loaded["weights"]["fc.weight"])


def test_the_handle(torch, exported):
    path, program = exported
    with ptio.open(path, "torch") as f:
        assert f.format == "pt2"
        for name, tensor in program.state_dict.items():
            assert torch.equal(f[f"weights/{name}"], tensor)
        weight = f.load()["weights"]["fc.weight"]
        assert isinstance(weight, torch.nn.Parameter)
        assert weight.requires_grad
    with ptio.open(path, mmap=False) as f:
        part = f.get_slice("weights/turned")[1, ::2]
        assert np.array_equal(part, program.state_dict["turned"][1, ::2])
        assert f.info("weights/low.bias").dtype == "bfloat16"


def test_verify(exported, tmp_path):
    path, _ = exported
    report = ptio.verify(path)
    assert report.ok
    assert report.format == "pt2"
    assert report.members == len(zipfile.ZipFile(path).namelist())
    with ptio.open(path) as f:
        offset = f.file_offset("weights/steps")[1]
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    bad = tmp_path / "bad.pt2"
    bad.write_bytes(data)
    (problem,) = ptio.verify(bad).problems
    assert problem.tensors == ("weights/steps",)


def _saved(obj):
    file = io.BytesIO()
    ptio.save(obj, file)
    return file.getvalue()


def _archive(path, **members):
    members = {"archive_format": b"pt2", **members}
    path.write_bytes(write([Entry(b"m/" + n.encode(), data) for n, data in members.items()]))
    return path


def _config(**entries):
    return json.dumps({"config": entries}).encode()


def _entry(file="weight_0", dtype=7, sizes=(2, 2), strides=(2, 1), offset=0, **more):
    def numbers(values):
        return [{"as_int": value} for value in values]

    meta = {
        "dtype": dtype,
        "sizes": numbers(sizes),
        "strides": numbers(strides),
        "storage_offset": {"as_int": offset},
        "layout": 7,
        "requires_grad": False,
    }
    return {
        "path_name": file,
        "is_param": False,
        "use_pickle": False,
        "tensor_meta": meta,
        **more,
    }


WEIGHTS = "data/weights/model_weights_config.json"


def test_one_archive_of_all_weights(tmp_path):
    weights = {"fc.weight": np.arange(6.0).reshape(2, 3), "fc.bias": np.zeros(2)}
    members = {
        "data/weights/model.pt": _saved(weights),
        "data/constants/model.pt": _saved({"c": np.ones(1)}),
    }
    path = _archive(tmp_path / "old.pt2", **members)
    loaded = ptio.load(path)
    assert_same(loaded["weights"], weights)
    assert loaded["constants"]["c"] == 1
    with ptio.open(path) as f:
        _, offset = f.file_offset("weights/fc.weight")
    assert np.array_equal(np.frombuffer(path.read_bytes(), "f8", 6, offset), np.arange(6.0))
    assert ptio.verify(path).ok


def test_weights_that_are_archives(tmp_path):
    members = {
        WEIGHTS: _config(a=_entry("weight_0", use_pickle=True), b=_entry("weight_1")),
        "data/weights/weight_0": _saved(np.arange(3)),
        "data/weights/weight_1": np.arange(4, dtype="f4").tobytes(),
    }
    path = _archive(tmp_path / "mixed.pt2", **members)
    loaded = ptio.load(path)["weights"]
    assert np.array_equal(loaded["a"], [0, 1, 2])
    assert np.array_equal(loaded["b"], [[0, 1], [2, 3]])
    assert ptio.open(path).keys() == {"weights/a", "weights/b"}
    assert ptio.verify(path).ok


def test_several_models_and_compiled_ones(tmp_path):
    whole = np.arange(12, dtype="f4")
    views = {"w": ["weight_0", [2, 3], [3, 1], 6], "v": ["weight_0", [12], [1], 0]}
    members = {
        "data/aotinductor/fast/weights_config.json": json.dumps(views).encode(),
        "data/weights/weight_0": _saved(whole),
        "data/weights/plain.pt": _saved({"x": np.ones(1)}),
    }
    path = _archive(tmp_path / "two.pt2", **members)
    loaded = ptio.load(path)
    assert loaded.keys() == {"fast", "plain"}
    assert np.array_equal(loaded["fast"]["weights"]["w"], whole[6:].reshape(2, 3))
    assert np.array_equal(loaded["fast"]["weights"]["v"], whole)
    assert np.array_equal(loaded["plain"]["weights"]["x"], [1])


@pytest.mark.parametrize(
    ("entry", "error", "words"),
    [
        (_entry(sizes=(9, 9), strides=(9, 1)), ptio.BoundsError, "80"),
        (_entry(offset=1), ptio.BoundsError, None),
        (_entry(offset=-1), ptio.FormatError, "the offset holds -1"),
        (_entry(strides=(2**62, 2**62)), ptio.BoundsError, None),
        (_entry(strides=(1,)), ptio.Error, None),
        (_entry(sizes=(2.0, 2)), ptio.FormatError, "float"),
        (_entry(sizes=(True, 2)), ptio.FormatError, "bool"),
        (_entry(dtype=99), ptio.UnsupportedError, "dtype 99"),
        (_entry("weight_1"), ptio.FormatError, "no member data/weights/weight_1"),
        (_entry("../weight_0"), ptio.FormatError, "no member"),
        (_entry(tensor_meta=None), ptio.FormatError, "tensor_meta is a NoneType"),
        ([], ptio.FormatError, "an entry is a list"),
    ],
)
def test_hostile_configs(tmp_path, entry, error, words):
    members = {WEIGHTS: _config(w=entry), "data/weights/weight_0": bytes(16)}
    path = _archive(tmp_path / "evil.pt2", **members)
    with pytest.raises(error, match=words) as caught:
        ptio.load(path)
    assert caught.value.path == str(path)
    assert not ptio.verify(path).ok


@pytest.mark.parametrize(
    "config", [b"", b"[]", b"{", b'{"config": 3}', b'{"config": {}, "config": {}}', b"[" * 100_000]
)
def test_broken_configs(tmp_path, config):
    path = _archive(tmp_path / "evil.pt2", **{WEIGHTS: config})
    with pytest.raises(ptio.FormatError):
        ptio.load(path)


@pytest.mark.parametrize(
    ("views", "words"),
    [
        ({"w": ["weight_0", [2], [1]]}, "an entry has not 4 items"),
        ({"w": ["weight_9", [2], [1], 0]}, "no member data/weights/weight_9"),
        ({"w": ["weight_1", [2], [1], 0]}, "no single tensor"),
    ],
)
def test_broken_configs_of_compiled_models(tmp_path, views, words):
    members = {
        "data/aotinductor/fast/weights_config.json": json.dumps(views).encode(),
        "data/weights/weight_0": _saved(np.ones(2)),
        "data/weights/weight_1": _saved({"a": np.ones(2), "b": np.ones(2)}),
    }
    with pytest.raises(ptio.FormatError, match=words):
        ptio.load(_archive(tmp_path / "evil.pt2", **members))


def test_pickled_weights_follow_the_rules(tmp_path):
    evil = checkpoints.archive(b"\x80\x02cos\nsystem\nX\x02\0\0\0id\x85R.", {})
    members = {WEIGHTS: _config(a=_entry(use_pickle=True)), "data/weights/weight_0": evil}
    path = _archive(tmp_path / "evil.pt2", **members)
    with pytest.raises(ptio.ForbiddenError, match=r"os\.system"):
        ptio.load(path)
    assert ptio.load(path, unknown="inert")["weights"]["a"].args == ("id",)


def test_an_archive_without_weights(tmp_path):
    with pytest.raises(ptio.UnsupportedError, match="no weights"):
        ptio.load(_archive(tmp_path / "none.pt2", **{"models/model.json": b"{}"}))
