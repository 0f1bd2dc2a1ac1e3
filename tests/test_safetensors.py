# SPDX-License-Identifier: Apache-2.0
"""safetensors files, compared with the safetensors package; and files that break its rules."""

import io
import json
import struct

import numpy as np
import ptio
import pytest
from support import sources
from support.compare import assert_same

safetensors = pytest.importorskip("safetensors")


@pytest.fixture
def model(torch, tmp_path):
    """(file, its tensors)"""
    import safetensors.torch

    tensors = {
        "fc.weight": torch.randn(4, 3),
        "fc.bias": torch.arange(5),
        "brain": torch.randn(3, 3).bfloat16(),
        "float8": torch.randn(8).to(torch.float8_e4m3fn),
        "float8_e5m2": torch.randn(8).to(torch.float8_e5m2),
        "half": torch.randn(2, 2).half(),
        "flags": torch.tensor([True, False]),
        "number": torch.tensor(2.5, dtype=torch.float64),
        "empty": torch.zeros(0, 3),
        "complex": torch.randn(2, dtype=torch.complex64),
        "uint16": torch.arange(3).to(torch.uint16),
    }
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})
    return path, tensors


def test_values_are_those_that_were_saved(model):
    path, tensors = model
    loaded = ptio.load(path)
    assert_same({name: loaded[name] for name in tensors}, tensors)
    assert list(loaded) == list(json.loads(_header(path)))[1:]


def _header(path):
    data = path.read_bytes()
    return data[8 : 8 + int.from_bytes(data[:8], "little")]


@pytest.mark.parametrize("mmap", ["auto", True, False])
def test_the_handle(torch, model, mmap):
    path, tensors = model
    with ptio.open(path, mmap=mmap) as f:
        assert f.format == "safetensors"
        assert f.metadata() == {"format": "pt"}
        assert f.keys() == tensors.keys()
        assert np.array_equal(f.get_slice("fc.weight")[1:3, ::2], tensors["fc.weight"][1:3, ::2])
        assert f.get_slice("brain").get_dtype() == "BF16"
        _, offset = f.file_offset("fc.bias")
        assert path.read_bytes()[offset : offset + 40] == tensors["fc.bias"].numpy().tobytes()
        out = np.empty((4, 3), np.float32)
        f.read_into("fc.weight", out)
        assert np.array_equal(out, tensors["fc.weight"])


def test_values_of_torch(torch, model):
    path, tensors = model
    with ptio.open(path, framework="torch") as f:
        for name, tensor in tensors.items():
            assert f[name].dtype == tensor.dtype
            assert torch.equal(f[name].to(torch.complex128), tensor.to(torch.complex128))
        part = f.get_slice("fc.weight")[2]
        assert torch.equal(part, tensors["fc.weight"][2])


@pytest.mark.parametrize("reader", sources.ALL)
def test_by_content_whatever_the_name(model, tmp_path, reader):
    path = model[0].rename(tmp_path / "model.bin")
    with sources.ALL[reader](path) as f:
        assert ptio.load(f).keys() == model[1].keys()


def test_a_slice_reads_little(model):
    class Counting(io.BytesIO):
        read_bytes = 0

        def readinto(self, out):
            n = super().readinto(out)
            Counting.read_bytes += n
            return n

    table = {"w": {"dtype": "F32", "shape": [1000, 1000], "data_offsets": [0, 4_000_000]}}
    file = Counting(_file(table, bytes(4_000_000)))
    with ptio.open(file) as f:
        part = f.get_slice("w")[10:12]
    assert part.shape == (2, 1000)
    assert Counting.read_bytes < 100_000


def test_verify(model):
    report = ptio.verify(model[0])
    assert report.ok
    assert report.format == "safetensors"
    assert report.tensors == len(model[1])
    assert {note.kind for note in report.notes} == {"CRC_NOT_COMPUTED"}


def _file(table, data=b"", *, length=None):
    header = table if isinstance(table, bytes) else json.dumps(table).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def _entry(begin=0, end=4, dtype="F32", shape=(1,)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


TWICE = b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
TWICE += b'"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
HOSTILE = {
    "hole": ({"a": _entry(0, 4), "b": _entry(5, 9)}, 9, ptio.AmbiguousError),
    "overlap": ({"a": _entry(0, 4), "b": _entry(2, 6)}, 6, ptio.AmbiguousError),
    "same bytes": ({"a": _entry(0, 4), "b": _entry(0, 4)}, 4, ptio.AmbiguousError),
    "first byte": ({"a": _entry(4, 8)}, 8, ptio.AmbiguousError),
    "rest": ({"a": _entry(0, 4)}, 5, ptio.BoundsError),
    "cut off": ({"a": _entry(0, 4)}, 3, ptio.BoundsError),
    "size": ({"a": _entry(0, 8)}, 8, ptio.BoundsError),
    "backwards": ({"a": _entry(4, 0)}, 4, ptio.FormatError),
    "negative": ({"a": _entry(-4, 0)}, 4, ptio.FormatError),
    "large": ({"a": _entry(0, 4, shape=[2**62, 2**62])}, 4, ptio.BoundsError),
    "overflow": ({"a": _entry(0, 4, shape=[2**63, 2])}, 4, ptio.FormatError),
    "dimensions": ({"a": _entry(0, 4, shape=[1] * 65)}, 4, ptio.LimitError),
    "bool": ({"a": _entry(0, 4, shape=[True])}, 4, ptio.FormatError),
    "float": ({"a": _entry(0, 4, shape=[1.0])}, 4, ptio.FormatError),
    "dtype": ({"a": _entry(0, 4, dtype="F6_E2M3")}, 4, ptio.UnsupportedError),
    "torch's dtype": ({"a": _entry(0, 4, dtype="float32")}, 4, ptio.UnsupportedError),
    "no dtype": ({"a": {"shape": [1], "data_offsets": [0, 4]}}, 4, ptio.FormatError),
    "list": ({"a": []}, 0, ptio.FormatError),
    "metadata": ({"__metadata__": {"a": 1}}, 0, ptio.FormatError),
    "twice": (TWICE, 1, ptio.AmbiguousError),
    "no JSON": (b"{nothing}", 0, ptio.FormatError),
    "deep": (b'{"a":' * 50_000, 0, ptio.FormatError),
    "number": (b'{"a":' + b"9" * 10_000 + b"}", 0, ptio.FormatError),
    "UTF-8": (b'{"\xff":1}', 0, ptio.FormatError),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(tmp_path, name):
    table, size, error = HOSTILE[name]
    path = tmp_path / "evil.safetensors"
    path.write_bytes(_file(table, bytes(size)))
    with pytest.raises(error) as caught:
        ptio.load(path)
    assert caught.value.path == str(path)
    assert not ptio.verify(path).ok


def test_names_of_every_kind(tmp_path):
    names = ["", "a/b", "\n\x1b[2J", "é", "x" * 10_000, "../../etc/passwd", "0", "\ud800"]
    table = {name: _entry(4 * i, 4 * i + 4) for i, name in enumerate(names)}
    path = tmp_path / "names.safetensors"
    path.write_bytes(_file(table, np.arange(len(names), dtype="f4").tobytes()))
    loaded = ptio.load(path)
    assert list(loaded) == names
    assert [float(array[0]) for array in loaded.values()] == list(range(len(names)))
    assert "\x1b" not in str(ptio.verify(path))


def test_four_bit_floats(torch, tmp_path):
    path = tmp_path / "f4.safetensors"
    path.write_bytes(_file({"w": _entry(0, 4, dtype="F4", shape=[2, 4])}, bytes(range(4))))
    with ptio.open(path, "torch") as f:
        assert f["w"].dtype == torch.float4_e2m1fn_x2
        assert f["w"].shape == (2, 2)
    assert isinstance(ptio.load(path)["w"], ptio.RawTensor)
    path.write_bytes(_file({"w": _entry(0, 3, dtype="F4", shape=[2, 3])}, bytes(3)))
    with pytest.raises(ptio.FormatError, match="F4"):
        ptio.load(path)


def test_limits(model):
    with pytest.raises(ptio.LimitError):
        ptio.load(model[0], limits=ptio.Limits(pickle_bytes=100))
    with pytest.raises(ptio.LimitError):
        ptio.load(model[0], limits=ptio.Limits(objects=3))
