# SPDX-License-Identifier: Apache-2.0
"""torch.package archives: every pickle in them, compared with PackageImporter's."""

import ptio
import pytest
from support.compare import assert_same
from support.zip_files import Entry, write

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture
def package(torch, tmp_path):
    """(file, what its pickle model/state.pkl holds)"""
    path = tmp_path / "models.pt"
    weight = torch.randn(4, 3)
    obj = {"w": weight, "row": weight[1], "n": torch.arange(3), "epoch": 3}
    with torch.package.PackageExporter(path) as exporter:
        exporter.extern("**")
        exporter.save_pickle("model", "state.pkl", obj)
        exporter.save_pickle("model.parts", "fc.pkl", torch.nn.Linear(2, 2))
        exporter.save_text("model", "notes.txt", "hello")
    return path, obj


def test_values_are_those_of_the_importer(torch, package):
    path, _ = package
    theirs = torch.package.PackageImporter(path).load_pickle("model", "state.pkl")
    ours = ptio.load(path, allow=("torch",))
    assert ours.keys() == {"model/state.pkl", "model/parts/fc.pkl"}
    assert_same(ours["model/state.pkl"], theirs)
    assert ours["model/parts/fc.pkl"].state["_parameters"]["weight"].shape == (2, 2)


def test_classes_of_the_package_are_not_imported(package):
    with pytest.raises(ptio.ForbiddenError, match=r"torch\.nn\.modules\.linear\.Linear"):
        ptio.load(package[0])
    module = ptio.load(package[0], unknown="inert")["model/parts/fc.pkl"]
    assert (module.module, module.name) == ("torch.nn.modules.linear", "Linear")


def test_the_handle(torch, package):
    path, obj = package
    with ptio.open(path, unknown="inert") as f:
        assert f.format == "package"
        name = "model/state.pkl/w"
        assert_same(f[name], obj["w"])
        assert_same(f.get_slice(name)[1:3], obj["w"][1:3])
        assert f.info(name).member == "models/.data/0.storage"
        assert f.info(name).storage == "0"
    with ptio.open(path, "torch", unknown="inert") as f:
        assert torch.equal(f["model/state.pkl/row"], obj["row"])


def test_scripted_modules_are_data(torch, tmp_path, monkeypatch):
    import torch.package.package_exporter as exporting
    from support.script_models import Attributes

    monkeypatch.setattr(exporting, "_gate_torchscript_serialization", False)
    path = tmp_path / "scripted.pt"
    scripted = torch.jit.script(Attributes())
    with torch.package.PackageExporter(path) as exporter:
        exporter.extern("**")
        exporter.save_pickle("model", "one.pkl", {"m": scripted, "t": torch.ones(2)})
    loaded = ptio.load(path)
    call = loaded["model/one.pkl"]["m"]
    assert call.name == "unpackage_script_module"
    assert call.args == ("0",)
    tree = loaded[".data/ts_code/0/data.pkl"]
    assert_same(tree.state["fc"].state["weight"], scripted.fc.weight.detach())
    assert ptio.verify(path).ok


def test_verify(package):
    report = ptio.verify(package[0])
    assert report.ok
    assert report.format == "package"
    assert report.tensors == 5
    data = bytearray(package[0].read_bytes())
    with ptio.open(package[0], unknown="inert") as f:
        data[f.file_offset("model/state.pkl/n")[1]] ^= 1
    package[0].write_bytes(data)
    (problem,) = ptio.verify(package[0]).problems
    assert problem.kind == "ChecksumError"
    assert problem.tensors == ("model/state.pkl/n",)


def _package(pickled, **members):
    members = {"x/a.pkl": pickled, ".data/extern_modules": b"", **members}
    return write([Entry(b"p/" + name.encode(), data) for name, data in members.items()])


def _storage(key, count=2):
    return b"(X\x07\0\0\0storagectorch\nByteStorage\n" + key + b"X\3\0\0\0cpuK%ctQ." % count


@pytest.mark.parametrize(
    ("pickled", "error", "words"),
    [
        (b"\x80\x03cos\nsystem\nX\x02\0\0\0id\x85R.", ptio.ForbiddenError, r"os\.system"),
        (
            b"\x80\x03(X\x0e\0\0\0reduce_packagecos\nsystem\nX\x02\0\0\0id\x85tQ.",
            ptio.ForbiddenError,
            r"os\.system",
        ),
        (b"\x80\x03" + _storage(b"K\1"), ptio.FormatError, r"no record \.data/1\.storage"),
        (b"\x80\x03" + _storage(b"K\0", 9), ptio.BoundsError, "declares 9 bytes"),
        (b"\x80\x03" + _storage(b"J\xff\xff\xff\xff"), ptio.PickleFormatError, "key is an int"),
        (b"\x80\x03" + _storage(b"X\4\0\0\0../0"), ptio.PickleFormatError, "has a character"),
        (b"\x80\x03" + _storage(b"\x88"), ptio.PickleFormatError, "key is a bool"),
    ],
)
def test_hostile_pickles(tmp_path, pickled, error, words):
    path = tmp_path / "evil.pt"
    path.write_bytes(_package(pickled, **{".data/0.storage": b"ab"}))
    with pytest.raises(error, match=words) as caught:
        ptio.load(path)
    assert caught.value.path == str(path)
    assert not ptio.verify(path).ok or error is ptio.ForbiddenError


def test_numbered_storages_are_for_packages_alone(tmp_path):
    path = tmp_path / "checkpoint.pt"
    members = {"data.pkl": b"\x80\x03" + _storage(b"K\0"), "data/0": b"ab"}
    path.write_bytes(write([Entry(b"p/" + name.encode(), d) for name, d in members.items()]))
    with pytest.raises(ptio.PickleFormatError, match="key is an int"):
        ptio.load(path)
