# SPDX-License-Identifier: Apache-2.0
"""ptio.convert: where it writes to, shards, failures, memory."""

import errno
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import ptio
import pytest
from ptio._rewrite import new_checkpoint, safetensors_file
from support import children
from support.sources import DuckFile

pytest.importorskip("safetensors")


@pytest.fixture
def files(torch):
    from support import checkpoint_files

    return checkpoint_files


@pytest.fixture
def read_safetensors(torch):
    from safetensors.torch import load_file

    return load_file


# --- shards -------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["safetensors", "pt"])
def test_shards(torch, files, torch_save, read_safetensors, tmp_path, to):
    state = {f"layer.{i}": torch.randn(10, i + 1) for i in range(8)}
    state["tied"] = state["layer.3"].detach()
    report = ptio.convert(torch_save(state), tmp_path / "shards", to=to, max_shard_size=600)
    index = json.loads(Path(report.files[-1]).read_text())
    read = read_safetensors if to == "safetensors" else torch.load
    shards = {os.path.basename(name): read(name) for name in report.files[:-1]}
    count = len(shards)
    stem, suffix = ("model", "safetensors") if to == "safetensors" else ("pytorch_model", "bin")
    assert list(shards) == [f"{stem}-{i + 1:05}-of-{count:05}.{suffix}" for i in range(count)]
    assert sorted(os.listdir(tmp_path / "shards")) == sorted(map(os.path.basename, report.files))
    assert index["metadata"]["total_size"] == report.nbytes == 36 * 40
    for name, file in index["weight_map"].items():
        files.same(shards[file][name], state[name])
    wanted = set(state) - ({"tied"} if to == "safetensors" else set())
    assert set(index["weight_map"]) == wanted
    for shard in shards.values():
        own = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in shard.values()}
        assert sum(own.values()) <= 600
    assert report.aliases == ["tied"]


def test_what_fits_into_one_shard_has_no_index(torch, torch_save, tmp_path):
    report = ptio.convert(
        torch_save({"w": torch.ones(3)}), tmp_path / "shards", max_shard_size="5GB"
    )
    assert os.listdir(tmp_path / "shards") == ["model.safetensors"]
    assert report.files == [str(tmp_path / "shards" / "model.safetensors")]


def test_a_tensor_larger_than_a_shard_is_alone(torch, torch_save, tmp_path):
    state = {"a": torch.ones(3), "big": torch.ones(1000), "b": torch.ones(3)}
    report = ptio.convert(torch_save(state), tmp_path / "shards", max_shard_size=100)
    weight_map = json.loads(Path(report.files[-1]).read_text())["weight_map"]
    assert len(set(weight_map.values())) == 3


@pytest.mark.parametrize(
    ("text", "size"),
    [("5GB", 5 * 10**9), ("5gib", 5 << 30), ("1.5 MB", 1_500_000), (7, 7), ("70", 70)],
)
def test_sizes_of_shards(text, size):
    assert new_checkpoint.shard_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "0", "-1GB", "5XB", "1e400", "nan", "5 G B", -1])
def test_sizes_that_are_none(save, tmp_path, text):
    with pytest.raises(ValueError, match="size of shards"):
        ptio.convert(save({"w": 1}), tmp_path / "shards", max_shard_size=text)


def test_directories_with_a_model_are_not_overwritten(torch, torch_save, tmp_path):
    path = torch_save({"w": torch.ones(3)})
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "config.json").write_text("{}")
    ptio.convert(path, tmp_path / "shards", max_shard_size=100)
    with pytest.raises(FileExistsError, match=r"model\.safetensors"):
        ptio.convert(path, tmp_path / "shards", max_shard_size=100)
    ptio.convert(path, tmp_path / "shards", max_shard_size=100, overwrite=True)
    assert sorted(os.listdir(tmp_path / "shards")) == ["config.json", "model.safetensors"]


def test_shards_need_a_directory(torch, torch_save, tmp_path):
    path = torch_save({"w": torch.ones(3)})
    (tmp_path / "shards").write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        ptio.convert(path, tmp_path / "shards", max_shard_size=100)
    with pytest.raises(NotADirectoryError):
        ptio.convert(path, tmp_path / "shards", max_shard_size=100, overwrite=True)
    with pytest.raises(FileNotFoundError):
        ptio.convert(path, tmp_path / "nowhere" / "shards", max_shard_size=100)
    assert (tmp_path / "shards").read_bytes() == b"precious"


def test_file_objects_as_sources(torch, torch_save, tmp_path):
    data = torch_save({"w": torch.ones(3).double()}).read_bytes()
    for file in (io.BytesIO(data), DuckFile(data)):
        ptio.convert(file, tmp_path / "x.pt", overwrite=True)
        assert torch.load(tmp_path / "x.pt")["w"].tolist() == [1, 1, 1]


# --- where it goes ------------------------------------------------------------------------------


def test_nothing_is_overwritten_unasked(torch, torch_save, tmp_path):
    path = torch_save({"w": torch.ones(3)})
    target = tmp_path / "x.pt"
    target.write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        ptio.convert(path, target)
    assert target.read_bytes() == b"precious"
    ptio.convert(path, target, overwrite=True)
    assert torch.load(target)["w"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("link", ["", "symlink", "hard link", "other way to it"])
def test_the_source_is_never_the_target(torch, torch_save, tmp_path, link):
    path = torch_save({"w": torch.ones(3)})
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


def test_the_name_says_the_format(torch, torch_save, tmp_path):
    path = torch_save({"w": torch.ones(3)})
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
def test_a_full_disk_leaves_nothing(torch, files, torch_save, monkeypatch, tmp_path, kind):
    path = torch_save({f"{i}": torch.ones(1000) for i in range(9)})
    monkeypatch.setattr(safetensors_file, "_write", files.FullDisk(20_000).write)
    target = tmp_path / ("x.safetensors" if kind == "file" else "shards")
    with pytest.raises(OSError) as caught:
        ptio.convert(path, target, max_shard_size=None if kind == "file" else 9000)
    assert caught.value.errno == errno.ENOSPC
    assert os.fspath(caught.value.filename).startswith(str(target))
    assert os.listdir(tmp_path) == ["model.pt"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("to", ["pt", "safetensors"])
def test_a_device_that_is_full(torch, torch_save, to):
    with pytest.raises(OSError) as caught:
        ptio.convert(torch_save({"w": torch.ones(1 << 20)}), "/dev/full", to=to, overwrite=True)
    assert caught.value.errno == errno.ENOSPC
    if to == "safetensors":
        assert os.fspath(caught.value.filename) == "/dev/full"


@pytest.mark.parametrize("name", ["x.pt", "x.safetensors", "shards"])
def test_an_interruption_leaves_nothing(torch, torch_save, tmp_path, name):
    path = torch_save({f"{i}": torch.ones(1000) for i in range(9)})
    seen = []

    def stop(done, total):
        seen.append((done, total))
        if done > total // 2:
            raise KeyboardInterrupt

    size = 9000 if name == "shards" else None
    with pytest.raises(KeyboardInterrupt):
        ptio.convert(path, tmp_path / name, max_shard_size=size, progress=stop)
    assert len(seen) >= 1
    assert os.listdir(tmp_path) == ["model.pt"]


def test_progress_ends_with_the_total(torch, torch_save, tmp_path):
    path = torch_save({f"{i}": torch.ones(1000) for i in range(9)})
    for name, size in (("x.safetensors", None), ("x.pt", None), ("shards", 9000)):
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
@pytest.mark.parametrize("target", ["x.pt", "x.safetensors", "shards"])
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
    ptio.save(state, tmp_path / "model.pt")
    del state
    size = "100MB" if target == "shards" else ""
    taken = children.run(CHILD, tmp_path / "model.pt", tmp_path / target, size)
    assert taken <= (16 + 32) * MIB
