# SPDX-License-Identifier: Apache-2.0
"""Models in shards, with and without an index, and indexes that name what they must not."""

import json
import os

import numpy as np
import ptio
import pytest

A, B = "model-00001-of-00002", "model-00002-of-00002"
WEIGHTS = {
    "one.w": np.arange(6, dtype="f4").reshape(2, 3),
    "one.b": np.zeros(2),
    "two.w": np.arange(4, dtype="i8"),
}


def _save(path, names, kind):
    tensors = {name: WEIGHTS[name] for name in names}
    if kind == "bin":
        ptio.save(tensors, path)
    else:
        pytest.importorskip("safetensors.numpy").save_file(tensors, path)


def _index(directory, weight_map, name="model.safetensors.index.json", **more):
    text = json.dumps({"metadata": {"total_size": 72}, "weight_map": weight_map, **more})
    (directory / name).write_text(text)
    return directory / name


@pytest.fixture(params=["safetensors", "bin"])
def sharded(request, tmp_path):
    """(directory, index, names of the shards)"""
    kind = request.param
    _save(tmp_path / f"{A}.{kind}", ["one.w", "one.b"], kind)
    _save(tmp_path / f"{B}.{kind}", ["two.w"], kind)
    weight_map = {"one.b": f"{A}.{kind}", "two.w": f"{B}.{kind}", "one.w": f"{A}.{kind}"}
    name = "model.safetensors.index.json" if kind == "safetensors" else None
    return tmp_path, _index(tmp_path, weight_map, name or "pytorch_model.bin.index.json")


def _same(loaded):
    assert loaded.keys() == WEIGHTS.keys()
    for name, array in WEIGHTS.items():
        assert loaded[name].dtype == array.dtype
        assert np.array_equal(loaded[name], array)


@pytest.mark.parametrize("by", ["directory", "index"])
def test_one_flat_mapping(sharded, by):
    directory, index = sharded
    loaded = ptio.load(directory if by == "directory" else index)
    _same(loaded)
    assert list(loaded) == ["one.b", "two.w", "one.w"]


def test_without_an_index(sharded):
    directory, index = sharded
    index.unlink()
    _same(ptio.load(directory))


def test_the_handle(sharded):
    directory, _ = sharded
    with ptio.open(directory) as f:
        assert f.format == "sharded"
        assert f.metadata() == {"total_size": "72"}
        _same(f)
        assert np.array_equal(f.get_slice("one.w")[1, ::2], [3, 5])
        file, offset = f.file_offset("two.w")
        with open(file, "rb") as raw:
            raw.seek(offset)
            assert raw.read(32) == WEIGHTS["two.w"].tobytes()
        assert f.tree()["two.w"].shape == (4,)
    with pytest.raises(ValueError, match="closed"):
        f["one.w"]


def test_values_of_torch(torch, sharded):
    with ptio.open(sharded[0], framework="torch") as f:
        assert torch.equal(f["two.w"], torch.arange(4))
        assert torch.equal(f.load()["one.w"], torch.from_numpy(WEIGHTS["one.w"]))


def test_verify_goes_on_behind_a_bad_shard(sharded):
    directory, index = sharded
    assert ptio.verify(directory).ok
    shard = next(directory.glob(f"{A}.*"))
    shard.write_bytes(shard.read_bytes()[:-20])
    report = ptio.verify(index)
    assert [problem.file for problem in report.problems] == [shard.name]
    assert report.tensors == 1
    assert shard.name in str(report)


def test_progress_covers_all_shards(sharded):
    ticks = []
    ptio.load(sharded[0], mmap=False, progress=lambda done, total: ticks.append((done, total)))
    assert ticks == sorted(ticks)
    assert ticks[-1][0] == ticks[-1][1] == sum(array.nbytes for array in WEIGHTS.values())


def test_what_the_index_does_not_list_is_left_out(tmp_path):
    _save(tmp_path / "all.bin", WEIGHTS, "bin")
    index = _index(tmp_path, {"two.w": "all.bin"})
    assert ptio.load(index).keys() == {"two.w"}
    assert ptio.open(index).keys() == {"two.w"}


def test_a_listed_tensor_that_is_not_there(sharded):
    directory, index = sharded
    shard = next(directory.glob(f"{B}.*")).name
    _index(directory, {"two.w": shard, "three.w": shard}, index.name)
    with pytest.raises(ptio.FormatError, match=r"the index says that the tensor 'three\.w'") as e:
        ptio.load(index)
    assert e.value.path.endswith(shard)
    assert "three.w" in str(ptio.verify(index))


def test_a_missing_shard(sharded):
    directory, index = sharded
    name = next(directory.glob(f"{B}.*")).name
    (directory / name).unlink()
    for path in (directory, index):
        with pytest.raises(ptio.FormatError, match=f"'{name}' is missing"):
            ptio.load(path)
    index.unlink()
    with pytest.raises(ptio.FormatError, match=f"'{name}' is missing"):
        ptio.load(directory)


def test_the_same_name_in_two_shards_without_an_index(tmp_path):
    for name in (A, B):
        _save(tmp_path / f"{name}.bin", ["one.w"], "bin")
    with pytest.raises(ptio.AmbiguousError, match="two shards"):
        ptio.load(tmp_path)


def test_a_directory_with_a_single_file(tmp_path):
    _save(tmp_path / "pytorch_model.bin", WEIGHTS, "bin")
    _same(ptio.load(tmp_path))


@pytest.mark.parametrize(
    "name",
    [
        "../secret.bin",
        "x/../../secret.bin",
        "/etc/passwd",
        "",
        ".",
        "..",
        "a//b.bin",
        "a\\b.bin",
        "a\0.bin",
        "c:/x.bin",
    ],
)
def test_names_that_lead_out_of_the_directory(tmp_path, name):
    _save(tmp_path / "secret.bin", WEIGHTS, "bin")
    directory = tmp_path / "model"
    directory.mkdir()
    index = _index(directory, {"one.w": name})
    with pytest.raises(ptio.ForbiddenError):
        ptio.load(index)
    assert not ptio.verify(index).ok


def test_links_out_of_the_directory(tmp_path):
    _save(tmp_path / "secret.bin", WEIGHTS, "bin")
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "shard.bin").symlink_to("../secret.bin")
    (directory / "folder").symlink_to("..")
    for name in ("shard.bin", "folder/secret.bin"):
        with pytest.raises(ptio.ForbiddenError, match="symbolic link out of the directory"):
            ptio.load(_index(directory, {"one.w": name}))


def test_links_inside_the_directory_and_to_it(tmp_path):
    directory = tmp_path / "model"
    directory.mkdir()
    _save(directory / "real.bin", WEIGHTS, "bin")
    (directory / "shard.bin").symlink_to("real.bin")
    _index(directory, dict.fromkeys(WEIGHTS, "shard.bin"))
    (tmp_path / "link").symlink_to("model")
    _same(ptio.load(tmp_path / "link"))


def test_the_cache_of_huggingface_hub(tmp_path):
    """snapshots/<revision>/<name> are links into blobs/ beside it."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    _save(blobs / "1", WEIGHTS, "bin")
    _index(blobs, dict.fromkeys(WEIGHTS, "shard.bin"), "2")
    (snapshot / "shard.bin").symlink_to("../../blobs/1")
    (snapshot / "model.safetensors.index.json").symlink_to("../../blobs/2")
    _same(ptio.load(snapshot))
    _same(ptio.load(snapshot / "model.safetensors.index.json"))
    (tmp_path / "secret.bin").write_bytes((blobs / "1").read_bytes())
    (snapshot / "shard.bin").unlink()
    (snapshot / "shard.bin").symlink_to("../../secret.bin")
    with pytest.raises(ptio.ForbiddenError):
        ptio.load(snapshot)


def test_shards_that_are_no_files(tmp_path):
    (tmp_path / "folder.bin").mkdir()
    with pytest.raises(ptio.Error):
        ptio.load(_index(tmp_path, {"a": "folder.bin"}))
    os.mkfifo(tmp_path / "pipe.bin")
    with pytest.raises(ptio.UnsupportedError):
        ptio.load(_index(tmp_path, {"a": "pipe.bin"}))


def test_an_index_that_names_itself(tmp_path):
    index = _index(tmp_path, {"a": "model.safetensors.index.json"})
    with pytest.raises(ptio.UnsupportedError, match="JSON"):
        ptio.load(index)


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"weight_map": 3}', '{"weight_map": {"a": 3}}', '{"a": 1, "a": 2}']
)
def test_broken_indexes(tmp_path, text):
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(ptio.FormatError):
        ptio.load(tmp_path)


def test_shards_follow_the_rules(tmp_path):
    from support import checkpoints

    evil = checkpoints.archive(b"\x80\x02}X\1\0\0\0acos\nsystem\nX\x02\0\0\0id\x85Rs.", {})
    (tmp_path / "evil.bin").write_bytes(evil)
    index = _index(tmp_path, {"a": "evil.bin"})
    with pytest.raises(ptio.ForbiddenError, match=r"os\.system"):
        ptio.load(index)


def test_a_shard_that_is_no_mapping(tmp_path):
    ptio.save([1], tmp_path / "model-00001-of-00001.bin")
    with pytest.raises(ptio.FormatError, match="a shard holds a list, not a dict"):
        ptio.load(tmp_path)


def test_an_index_larger_than_the_limit(sharded):
    with pytest.raises(ptio.LimitError, match="the index has"):
        ptio.load(sharded[1], limits=ptio.Limits(pickle_bytes=20))


def test_shards_of_two_models_in_a_directory(tmp_path):
    for stem in ("one", "two"):
        ptio.save({"a": 1}, tmp_path / f"{stem}-00001-of-00001.bin")
    with pytest.raises(ptio.UnsupportedError, match="shards of 2 models: open one by its index"):
        ptio.load(tmp_path)


def test_a_name_that_no_file_system_has(tmp_path):
    with pytest.raises(ptio.FormatError, match="surrogates"):
        ptio.load(_index(tmp_path, {"a": "\ud800.bin"}))


def test_a_directory_without_a_checkpoint(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ptio.UnsupportedError, match="directory without a checkpoint"):
        ptio.load(tmp_path)
