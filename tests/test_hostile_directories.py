# SPDX-License-Identifier: Apache-2.0
"""Directories whose files together ask for more than one file may: distributed checkpoints and
shards of many greedy archives, one archive for many tensors, lists full of holes."""

import json
import os
import time

import numpy as np
import ptio
import pytest
from support import checkpoints
from support import pickle_asm as asm
from support.zip_files import deflated, write

FREE = 64 << 20


@pytest.fixture
def made(torch, tmp_path):
    pytest.importorskip("torch.distributed.checkpoint")
    from support.dcp_files import Directory

    return Directory(tmp_path / "made")


def greedy(obj=b"%b"):
    """Alone within what a file of a quarter of a megabyte may need."""
    sets = asm.op("MARK") + asm.op("EMPTY_SET") * 250_000 + asm.op("TUPLE")
    return checkpoints.archive(asm.program(obj % sets, protocol=4))


def put_objects(made, archives):
    """Objects o0, o1, ... of ready archives, one behind the other in one file."""
    made.object("o0", 0)
    (info,) = made.infos("o0")
    index, entry = next(iter(made.metadata.storage_data)), made.metadata.state_dict_metadata["o0"]
    data = bytearray()
    for i, archive in enumerate(archives):
        made.metadata.state_dict_metadata[f"o{i}"] = entry
        place = type(info)(info.relative_path, len(data), len(archive))
        made.metadata.storage_data[type(index)(f"o{i}")] = place
        data += archive
    made.files[info.relative_path] = data
    return made.write()


def refused(directory, error, match):
    start = time.process_time()
    with pytest.raises(error, match=match):
        ptio.load(directory)
    assert time.process_time() - start < 5
    assert not ptio.verify(directory).ok


def test_objects_share_what_they_may_need(made):
    archive = greedy()
    assert len(ptio.load(put_objects(made, [archive]))["o0"]) == 250_000
    directory = put_objects(made, [archive] * 8)
    refused(directory, ptio.LimitError, "object_bytes")
    loaded = ptio.load(directory, limits=ptio.Limits(object_bytes=FREE))
    assert [len(value) for value in loaded.values()] == [250_000] * 8


def test_a_large_object_among_many_small_ones_may_be_as_large_as_alone(made):
    small = checkpoints.save({"lr": 0.1})
    loaded = ptio.load(put_objects(made, [greedy(), *[small] * 20]))
    assert len(loaded["o0"]) == 250_000
    assert loaded["o20"] == {"lr": 0.1}


def test_shards_share_what_they_may_need(tmp_path):
    data = greedy(asm.op("EMPTY_DICT") + asm.text("k") + b"%b" + asm.op("SETITEM"))
    for i in range(1, 9):
        (tmp_path / f"model-{i:05d}-of-00008.bin").write_bytes(data)
    refused(tmp_path, ptio.LimitError, "object_bytes")
    assert len(ptio.load(tmp_path / "model-00001-of-00008.bin")["k"]) == 250_000


def test_compressed_shards_share_what_they_may_need(tmp_path):
    size = 40 << 20
    tensor = asm.tensor(asm.storage("ByteStorage", numel=size), size=(size,))
    packed = deflated(b"archive/data/0", bytes(size))
    for i in range(1, 5):
        pickled = asm.program(asm.dict_of(asm.text(f"w{i}"), tensor))
        entries = [*checkpoints.entries(pickled), packed]
        (tmp_path / f"model-{i:05d}-of-00004.bin").write_bytes(write(entries))
    assert ptio.load(tmp_path / "model-00001-of-00004.bin")["w1"].shape == (size,)
    refused(tmp_path, ptio.LimitError, "inflated_bytes")


@pytest.mark.parametrize("kind", ["chunks", "objects", "overlap"])
def test_one_archive_in_many_places(torch, made, kind):
    """Without this a megabyte would become as many as its metadata lists."""
    if kind == "objects":
        directory = put_objects(made, [checkpoints.save(list(range(1000)))] * 2)
        first, second = made.infos("o0") + made.infos("o1")
        object.__setattr__(second, "offset", first.offset)
    else:
        made.tensor("w", torch.ones(4, 1000), [((i, 0), (1, 1000), 0) for i in range(4)])
        first, second = made.infos("w")[:2]
        begin = first.offset if kind == "chunks" else second.offset - 1
        object.__setattr__(second, "offset", begin)
    directory = made.write()
    refused(directory, ptio.AmbiguousError, "overlap at byte")


def test_no_memory_is_made_for_chunks_that_their_archives_cannot_hold(torch, made):
    made.tensor("w", torch.ones(2, 4), [((i, 0), (1, 4), i) for i in range(2)])
    for i in range(2):
        object.__setattr__(made.chunk("w", i), "sizes", torch.Size((1, 1 << 50)))
    object.__setattr__(made.metadata.state_dict_metadata["w"], "size", torch.Size((2, 1 << 50)))
    refused(made.write(), ptio.BoundsError, "a chunk of 4503599627370496 bytes in an archive of")


def test_lists_full_of_holes(made):
    """Each way makes lists that are as long as there are objects, a thousand deep."""
    put_objects(made, [checkpoints.save(1)] * 300)
    made.metadata.planner_data = {f"o{i}": (f"o{i}", *[299] * 900) for i in range(300)}
    refused(made.write(), ptio.LimitError, "nested object")


def test_directories_that_name_code(made, tmp_path):
    code = asm.program(asm.call(asm.global_("os", "system"), asm.text("echo hostile")))
    directory = put_objects(made, [checkpoints.archive(code)])
    refused_by_name(directory)
    legacy = tmp_path / "shards"
    legacy.mkdir()
    (legacy / "bare.bin").write_bytes(code)
    index = {"weight_map": {"a": "bare.bin"}}
    (legacy / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    refused_by_name(legacy)


def refused_by_name(directory):
    with pytest.raises(ptio.ForbiddenError, match=r"os\.system"):
        ptio.load(directory)
    assert ptio.scan(directory).forbidden


BYTES = {
    "empty": lambda data: b"",
    "one byte": lambda data: data[:1],
    "half": lambda data: data[: len(data) // 2],
    "cut": lambda data: data[:-1],
    "zeros": lambda data: bytes(len(data)),
    "shifted": lambda data: b"\0" + data,
    "twice": lambda data: data[len(data) // 2 :] + data[: len(data) // 2],
}


@pytest.mark.parametrize("change", BYTES)
def test_a_file_of_the_directory_that_is_not_what_the_metadata_says(torch, made, change):
    made.tensor("w", torch.ones(4, 2), [((i, 0), (2, 2), i // 2) for i in (0, 2)])
    directory = made.object("o", 3).write()
    for name in ("__0_0.distcp", ".metadata"):
        data = (directory / name).read_bytes()
        (directory / name).write_bytes(BYTES[change](data))
        with pytest.raises(ptio.Error):
            ptio.load(directory, mmap=False)
        assert not ptio.verify(directory).ok
        (directory / name).write_bytes(data)
    assert np.array_equal(ptio.load(directory)["w"], np.ones((4, 2)))


@pytest.mark.parametrize("kind", ["folder", "pipe", "missing", "device"])
def test_a_file_of_the_directory_that_is_no_file(torch, made, kind):
    directory = made.tensor("w", torch.ones(2)).write()
    for name in ("__0_0.distcp", ".metadata"):
        path = directory / name
        data = path.read_bytes()
        path.unlink()
        if kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "device":
            path.symlink_to("/dev/zero")
        with pytest.raises(ptio.Error):
            ptio.load(directory)
        assert not ptio.verify(directory).ok
        path.rmdir() if kind == "folder" else path.unlink(missing_ok=True)
        path.write_bytes(data)


INDEXES = {
    "deep": b'{"weight_map": ' + b"[" * 100_000,
    "not UTF-8": b'{"weight_map": {"\xff": "x.bin"}}',
    "a mark before": b"\xef\xbb\xbf" + b'{"weight_map": {}}',
    "twice": b'{"weight_map": {"a": "x.bin"}, "weight_map": {"a": "y.bin"}}',
    "a name twice": b'{"weight_map": {"a": "x.bin", "a": "y.bin"}}',
    "NaN": b'{"weight_map": {"a": NaN}}',
    "a number": b'{"weight_map": {"a": 1}}',
    "digits": b'{"metadata": {"n": ' + b"9" * 1_000_000 + b'}, "weight_map": {"a": "x.bin"}}',
    "list": b'{"weight_map": ["x.bin"]}',
    "a long name": b'{"weight_map": {"a": "' + b"x" * 1_000_000 + b'"}}',
    "something behind": b'{"weight_map": {}} {}',
    "nothing": b"",
    "zeros": bytes(1000),
}


@pytest.mark.parametrize("name", INDEXES)
def test_indexes_that_are_none(tmp_path, name):
    (tmp_path / "pytorch_model.bin.index.json").write_bytes(INDEXES[name])
    ptio.save({"a": 1}, tmp_path / "x.bin")
    ptio.save({"a": 2}, tmp_path / "y.bin")
    start = time.process_time()
    with pytest.raises(ptio.Error) as caught:
        ptio.load(tmp_path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1024 + len(str(tmp_path))
    assert time.process_time() - start < 3
