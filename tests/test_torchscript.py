# SPDX-License-Identifier: Apache-2.0
"""TorchScript archives as data: values are torch.jit.load's, and no code of them is looked at."""

import io
import sys
import zipfile

import numpy as np
import ptio
import pytest
from support.compare import assert_same
from support.zip_files import Entry, write

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture
def program(torch, tmp_path):
    """(file, module) of one with every kind of attribute that C++ writes in its own way."""
    from support.script_models import Attributes

    module = torch.jit.script(Attributes())
    path = tmp_path / "program.pt"
    torch.jit.save(module, path)
    return path, module


def _at(obj, name):
    for step in name.split("."):
        obj = obj.state[step]
    return obj


def test_tensors_are_those_of_the_module(torch, program):
    path, _ = program
    theirs = torch.jit.load(path).state_dict()
    ours = ptio.load(path)["data"]
    assert isinstance(ours, ptio.Opaque)
    assert ours.module == "__torch__.support.script_models"
    for name, tensor in theirs.items():
        assert_same(_at(ours, name), tensor)


def test_attributes_are_plain_values(program):
    state = ptio.load(program[0])["data"].state
    assert state["ints"] == [1, 2, 3]
    assert state["floats"] == [1.5]
    assert state["flags"] == [True, False]
    assert state["names"] == {"a": 1}
    assert state["nested"] == [[1], [2, 3]]
    assert state["pair"] == (1, "x")
    assert state["nothing"] is None
    assert state["empty"] == []
    assert state["number"] == 1 + 2j
    assert state["device"] == "cpu"
    assert state["color"].name == "Color"
    assert state["color"].args == (2,)
    assert np.array_equal(state["tensors"][0], [1, 1])
    assert np.array_equal(state["named"]["z"], [0, 0])


def test_paths_go_through_attributes(program):
    with ptio.open(program[0]) as f:
        assert f.format == "torchscript"
        assert "data/fc/weight" in f
        assert f.info(("data", "fc", "bias")).shape == (3,)
        whole = f["data/fc/weight"]
        assert np.array_equal(f.get_slice("data/fc/weight")[1:, ::2], whole[1:, ::2])
        file, offset = f.file_offset("data/fc/weight")
        data = program[0].read_bytes()[offset : offset + whole.nbytes]
        assert file is None
        assert data == whole.tobytes()


def test_constants_of_the_code(torch, tmp_path):
    path = tmp_path / "traced.pt"

    numbers = torch.tensor([1.0, 2.0, 3.0])

    def add(x):
        return x + numbers

    torch.jit.trace(add, torch.ones(3)).save(str(path))
    assert_same(ptio.load(path)["constants"], (numbers,))
    assert ptio.open(path).keys() == {"constants/0"}


def test_mobile_archives(torch, program, tmp_path):
    path = tmp_path / "mobile.ptl"
    program[1]._save_for_lite_interpreter(str(path))
    weight = ptio.load(path)["data"].state["fc"].state["weight"]
    assert_same(weight, program[1].fc.weight.detach())


def test_quantized_and_sparse_tensors(torch, tmp_path):
    from support.script_models import Kinds

    path = tmp_path / "kinds.pt"
    torch.jit.save(torch.jit.script(Kinds()), path)
    theirs = torch.jit.load(path)
    state = ptio.load(path)["data"].state
    for name in ("coo", "csr"):
        assert np.array_equal(state[name].to_dense(), getattr(theirs, name).to_dense())
    assert np.array_equal(state["channels"].int_repr, theirs.channels.int_repr())
    assert np.array_equal(state["conjugate"], theirs.conjugate.resolve_conj())
    assert_same(state["brain"], theirs.brain)
    assert str(state["float8"].dtype) == "float8_e4m3fn"
    assert state["uint16"].dtype == np.uint16
    assert isinstance(state["half_complex"], ptio.RawTensor)
    with ptio.open(path, "torch") as f:
        for name in ("coo", "csr", "brain", "float8", "uint16"):
            ours, expected = f[f"data/{name}"], getattr(theirs, name)
            assert ours.layout == expected.layout
            assert ours.dtype == expected.dtype
            assert torch.equal(ours.to_dense().float(), expected.to_dense().float())


def test_values_of_torch(torch, program):
    theirs = torch.jit.load(program[0]).state_dict()
    with ptio.open(program[0], framework="torch") as f:
        for name, tensor in theirs.items():
            assert torch.equal(f["data/" + name.replace(".", "/")], tensor)
        assert torch.equal(_at(f.load()["data"], "fc.weight"), theirs["fc.weight"])


@pytest.mark.parametrize("reader", [io.BytesIO, None])
def test_file_objects(program, reader):
    with open(program[0], "rb") as file:
        f = file if reader is None else reader(file.read())
        assert ptio.load(f).keys() == {"data", "constants"}


def test_no_module_is_imported(program):
    before = set(sys.modules)
    assert ptio.load(program[0], unknown="error")["data"].name == "Attributes"
    assert set(sys.modules) - before <= {m for m in sys.modules if m.startswith("ptio")}


def test_verify(program):
    report = ptio.verify(program[0])
    assert report.ok
    assert report.format == "torchscript"
    assert report.tensors == len(ptio.open(program[0]))
    assert report.members == len(zipfile.ZipFile(program[0]).namelist())


def test_verify_names_the_tensors_of_a_bad_member(program, tmp_path):
    with ptio.open(program[0]) as f:
        offset = f.file_offset("data/fc/weight")[1]
    data = bytearray(program[0].read_bytes())
    data[offset] ^= 1
    path = tmp_path / "flipped.pt"
    path.write_bytes(data)
    (problem,) = ptio.verify(path).problems
    assert problem.kind == "ChecksumError"
    assert "data/fc/weight" in problem.tensors
    with pytest.raises(ptio.ChecksumError):
        ptio.load(path, mmap=False)


def _archive(**pickles):
    members = {"constants.pkl": b"\x80\x02).", **pickles, "version": b"3\n"}
    return write([Entry(b"m/" + name.encode(), data) for name, data in members.items()])


@pytest.mark.parametrize("member", ["data.pkl", "constants.pkl"])
def test_other_globals_are_refused(tmp_path, member):
    path = tmp_path / "evil.pt"
    pickles = {"data.pkl": b"\x80\x02}.", member: b"\x80\x02cos\nsystem\nX\x02\0\0\0id\x85R."}
    path.write_bytes(_archive(**pickles))
    with pytest.raises(ptio.ForbiddenError, match=r"os\.system") as caught:
        ptio.load(path)
    assert caught.value.globals == ("os.system",)
    value = ptio.load(path, unknown="inert")[member.removesuffix(".pkl")]
    assert (value.module, value.name, value.args) == ("os", "system", ("id",))


def test_a_storage_larger_than_its_member(tmp_path):
    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\1\0\0\x000X\3\0\0\0cpuK\x64tQ."
    members = {"data.pkl": b"\x80\x02" + storage, "data/0": bytes(16)}
    path = tmp_path / "evil.pt"
    path.write_bytes(_archive(**members))
    with pytest.raises(ptio.BoundsError, match="declares 400 bytes, the record has 16"):
        ptio.load(path)


def test_storages_of_the_two_pickles_are_apart(tmp_path):
    storage = b"\x80\x02(X\x07\0\0\0storagectorch\nByteStorage\nX\1\0\0\x000X\3\0\0\0cpuK\2tQ."
    members = {"data.pkl": storage, "constants.pkl": storage, "data/0": b"ab", "constants/0": b"cd"}
    path = tmp_path / "two.pt"
    path.write_bytes(_archive(**members))
    loaded = ptio.load(path)
    assert loaded["data"].tobytes() == b"ab"
    assert loaded["constants"].tobytes() == b"cd"


def test_the_drop_in_keeps_torchs_words(torch, program):
    import ptio.torch

    with pytest.raises(RuntimeError, match="Cannot use ``weights_only=True`` with TorchScript"):
        ptio.torch.load(program[0])
    module = ptio.torch.load(program[0], weights_only=False)
    assert isinstance(module, torch.jit.ScriptModule)
