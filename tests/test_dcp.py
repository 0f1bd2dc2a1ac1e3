# SPDX-License-Identifier: Apache-2.0
"""Directories of torch.distributed.checkpoint, compared with dcp_to_torch_save; and directories
whose metadata lies."""

import pickle
import sys

import numpy as np
import ptio
import pytest
from support.compare import assert_same

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
def quiet(torch):
    """torch is there, and its warnings are not."""
    pytest.importorskip("torch.distributed.checkpoint")


@pytest.fixture
def theirs(torch, tmp_path):
    """What dcp_to_torch_save makes of a directory."""
    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

    def convert(directory):
        target = tmp_path / "converted.pt"
        dcp_to_torch_save(directory, target)
        return torch.load(target, weights_only=False)

    return convert


@pytest.fixture
def saved(torch, tmp_path):
    """(directory, state dict) of a single process"""
    import torch.distributed.checkpoint as dcp

    state = {
        "model": {"w": torch.randn(4, 3), "b": torch.arange(5), "h": torch.randn(3).bfloat16()},
        "optimizer": {
            "state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.randn(2)}},
            "param_groups": [{"lr": 0.1, "params": [0, 1]}],
        },
        "epoch": 3,
        "name": "run",
        "list": [torch.ones(2), {"x": torch.zeros(1)}],
    }
    dcp.save(state, checkpoint_id=tmp_path / "dcp", no_dist=True)
    return tmp_path / "dcp", state


@pytest.fixture
def make(torch, tmp_path):
    from support.dcp_files import Directory

    return lambda: Directory(tmp_path / "made")


def _grid(shape, rows, columns):
    """Chunks of a matrix, one for each rank."""
    height, width = -(-shape[0] // rows), -(-shape[1] // columns)
    chunks = []
    for top in range(0, shape[0], height):
        for left in range(0, shape[1], width):
            sizes = (min(height, shape[0] - top), min(width, shape[1] - left))
            chunks.append(((top, left), sizes, len(chunks)))
    return chunks


def test_one_process(saved, theirs):
    directory, _ = saved
    assert_same(ptio.load(directory), theirs(directory))


def test_names_are_flat(torch, saved):
    directory, state = saved
    with ptio.open(directory) as f:
        assert f.format == "dcp"
        assert "model.w" in f
        assert_same(f["model.w"], state["model"]["w"])
        assert np.array_equal(f.get_slice("model.w")[1:, 0], state["model"]["w"][1:, 0])
        assert f.info("optimizer.state.0.exp_avg").shape == (2,)
        tree = f.tree()
        assert tree["model"]["h"].dtype == "bfloat16"
        assert tree["epoch"] == 3
        file, offset = f.file_offset("model.b")
        with open(file, "rb") as raw:
            raw.seek(offset)
            assert raw.read(40) == state["model"]["b"].numpy().tobytes()


def test_several_ranks(torch, make, theirs):
    made = make()
    made.tensor("w", torch.randn(7, 5), _grid((7, 5), 3, 2))
    made.tensor("rows", torch.randn(6, 2).bfloat16(), _grid((6, 2), 4, 1))
    made.tensor("columns", torch.arange(24).reshape(4, 6), _grid((4, 6), 1, 5))
    made.tensor("cube", torch.randn(2, 2, 2), [((0, 0, i), (2, 2, 1), i) for i in range(2)])
    made.tensor("number", torch.tensor(2.5))
    made.tensor("none", torch.zeros(0, 3))
    made.object("step", {"n": 3}, rank=1)
    directory = made.write()
    assert_same(ptio.load(directory), theirs(directory))
    assert len(made.files) > 4


SLICES = [
    np.s_[2:6, 1::2],
    np.s_[::-1, 0],
    np.s_[..., 3],
    np.s_[6],
    np.s_[1:7:3],
    np.s_[None, 4, 2],
    np.s_[5:1:-2, -1],
    np.s_[0:0],
    np.s_[...],
    np.s_[-3:, -2:],
    np.s_[3, 4],
]


@pytest.mark.parametrize("index", SLICES, ids=str)
def test_slices_across_chunks(torch, make, index):
    tensor = torch.arange(35.0).reshape(7, 5)
    directory = make().tensor("w", tensor, _grid((7, 5), 3, 2)).write()
    with ptio.open(directory, mmap=False) as f:
        part, whole = f.get_slice("w")[index], tensor.numpy()[index]
        assert type(part) is type(whole)
        assert part.shape == whole.shape
        assert np.array_equal(part, whole)
        with pytest.raises(IndexError):
            f.get_slice("w")[7]
        with pytest.raises(IndexError):
            f.get_slice("w")[0, 0, 0]


def test_a_slice_reads_only_its_chunks(torch, make):
    made = make().tensor("w", torch.ones(4, 2), _grid((4, 2), 4, 1))
    directory = made.write()
    (directory / "__3_0.distcp").unlink()
    with ptio.open(directory) as f:
        assert f.get_slice("w")[:3].sum() == 6
        with pytest.raises(ptio.FormatError, match=r"'__3_0\.distcp' is missing"):
            f["w"]


def test_reading_into_memory(torch, make):
    tensor = torch.randn(7, 5)
    directory = make().tensor("w", tensor, _grid((7, 5), 2, 2)).write()
    with ptio.open(directory) as f:
        array = np.empty((7, 5), np.float32, order="F")
        f.read_into("w", array)
        assert np.array_equal(array, tensor)
        buffer = bytearray(140)
        f.read_into("w", buffer)
        assert bytes(buffer) == tensor.numpy().tobytes()
        target = torch.empty(5, 7).t()
        f.read_into("w", target)
        assert torch.equal(target, tensor)
        with pytest.raises(ValueError, match="shape"):
            f.read_into("w", np.empty((8, 5), np.float32))
        with pytest.raises(ValueError, match="shape"):
            f.read_into("w", torch.empty(8, 5))


def test_values_of_torch(torch, make):
    tensor = torch.randn(6, 4).bfloat16()
    made = make().tensor("w", tensor, _grid((6, 4), 2, 2)).tensor("one", tensor)
    directory = made.object("lr", 0.5).write()
    with ptio.open(directory, framework="torch") as f:
        assert torch.equal(f["w"], tensor)
        assert torch.equal(f["one"], tensor)
        assert torch.equal(f.get_slice("w")[2:5, 1], tensor[2:5, 1])
        loaded = f.load()
        assert torch.equal(loaded["w"], tensor)
        assert loaded["lr"] == 0.5


def test_verify_names_file_member_and_tensor(torch, make):
    made = make().tensor("w", torch.ones(4, 2), _grid((4, 2), 2, 1)).object("step", 3)
    directory = made.write()
    report = ptio.verify(directory)
    assert report.ok
    assert report.format == "dcp"
    assert report.tensors == 1
    file = directory / "__1_0.distcp"
    data = bytearray(file.read_bytes())
    data[data.index(b"\0\0\x80\x3f" * 4)] ^= 1
    file.write_bytes(data)
    (problem,) = ptio.verify(directory).problems
    assert problem.kind == "ChecksumError"
    assert problem.file == "__1_0.distcp"
    assert problem.member == "archive/data/0"
    assert problem.tensors == ("w",)
    with pytest.raises(ptio.ChecksumError):
        ptio.load(directory, mmap=False)


def test_progress(saved):
    ticks = []
    ptio.load(saved[0], progress=lambda done, total: ticks.append((done, total)))
    assert ticks == sorted(ticks)
    assert ticks[-1][0] == ticks[-1][1] > 0


def test_objects_follow_the_rules(make):
    class Setting:
        pass

    Setting.__qualname__ = "Setting"
    sys.modules[__name__].Setting = Setting
    try:
        directory = make().object("setting", Setting()).write()
    finally:
        del sys.modules[__name__].Setting
    with pytest.raises(ptio.ForbiddenError, match="Setting"):
        ptio.load(directory)
    loaded = ptio.load(directory, unknown="inert")
    assert loaded["setting"].name == "Setting"
    assert ptio.verify(directory).ok


# --- metadata that lies --------------------------------------------------------------------------


def _two(torch, make):
    return make().tensor("w", torch.ones(4, 2), _grid((4, 2), 2, 1))


class _System:
    def __reduce__(self):
        import os

        return os.system, ("id",)


@pytest.mark.parametrize("where", ["root", "planner_data", "relative_path"])
def test_metadata_that_names_code(torch, make, where):
    made = _two(torch, make)
    if where == "root":
        made.metadata = _System()
    elif where == "planner_data":
        made.metadata.planner_data = {"w": _System()}
    else:
        made.infos("w")[0].relative_path = _System()
    directory = made.write()
    with pytest.raises(ptio.ForbiddenError, match="system") as caught:
        ptio.load(directory)
    assert caught.value.path == str(directory / ".metadata")
    with pytest.raises(ptio.FormatError):
        ptio.load(directory, unknown="inert")
    assert not ptio.verify(directory).ok


@pytest.mark.parametrize(
    "name", ["../x.distcp", "/etc/passwd", "", "a\\b", "folder/../../x.distcp", "link.distcp"]
)
def test_files_outside_the_directory(torch, make, tmp_path, name):
    made = _two(torch, make)
    made.infos("w")[0].relative_path = name
    directory = made.write()
    (tmp_path / "x.distcp").write_bytes(made.files["__0_0.distcp"])
    (directory / "link.distcp").symlink_to("../x.distcp")
    with pytest.raises(ptio.ForbiddenError):
        ptio.load(directory)
    (problem,) = ptio.verify(directory).problems
    assert problem.kind == "ForbiddenError"


def _set(obj, **fields):
    for name, value in fields.items():
        object.__setattr__(obj, name, value)


LIES = {
    "offset": (lambda m: _set(m.infos("w")[0], offset=10**9), ptio.Error),
    "negative offset": (lambda m: _set(m.infos("w")[0], offset=-1), ptio.FormatError),
    "length": (lambda m: _set(m.infos("w")[0], length=10**12), ptio.Error),
    "short length": (lambda m: _set(m.infos("w")[0], length=100), ptio.Error),
    "length 0": (lambda m: _set(m.infos("w")[0], length=0), ptio.Error),
    "other archive": (lambda m: _set(m.infos("w")[0], relative_path="__2_0.distcp"), ptio.Error),
    "outside": (lambda m: _set(m.chunk("w"), offsets=(3, 0)), ptio.Error),
    "too large": (lambda m: _set(m.chunk("w"), sizes=(5, 2)), ptio.BoundsError),
    "overlap": (lambda m: _set(m.chunk("w"), sizes=(3, 2)), ptio.AmbiguousError),
    "gap": (lambda m: _set(m.chunk("w"), sizes=(1, 2)), ptio.FormatError),
    "dimensions": (lambda m: _set(m.chunk("w"), sizes=(2, 2, 1)), ptio.BoundsError),
    "float": (lambda m: _set(m.chunk("w"), sizes=(2.0, 2)), ptio.FormatError),
    "list": (lambda m: _set(m.chunk("w"), sizes=[2, 2]), ptio.FormatError),
    "shape": (
        lambda m: _set(m.metadata.state_dict_metadata["w"], size=(8, 2)),
        ptio.FormatError,
    ),
    "huge": (
        lambda m: _set(m.metadata.state_dict_metadata["w"], size=(2**62, 2)),
        ptio.FormatError,
    ),
    "dtype": (
        lambda m: _set(m.metadata.state_dict_metadata["w"].properties, dtype=_torch().int32),
        ptio.BoundsError,
    ),
    "no place": (lambda m: m.metadata.storage_data.clear(), ptio.FormatError),
    "no chunks": (
        lambda m: m.metadata.state_dict_metadata["w"].chunks.clear(),
        ptio.FormatError,
    ),
    "transformed": (
        lambda m: _set(m.infos("w")[0], transform_descriptors=["zstd"]),
        ptio.UnsupportedError,
    ),
    "planner": (lambda m: _set(m.metadata, planner_data={"w": ()}), ptio.LimitError),
    "planner position": (
        lambda m: _set(m.metadata, planner_data={"w": ("a", 5)}),
        ptio.FormatError,
    ),
    "planner root": (lambda m: _set(m.metadata, planner_data={"w": (0,)}), ptio.FormatError),
    "planner depth": (
        lambda m: _set(m.metadata, planner_data={"w": ("a",) * 2000}),
        ptio.LimitError,
    ),
    "no metadata": (lambda m: _set(m, metadata={"w": 1}), ptio.FormatError),
    "another class": (lambda m: _set(m, metadata=m.chunk("w")), ptio.FormatError),
}


def _torch():
    return sys.modules["torch"]


@pytest.mark.parametrize("name", LIES)
def test_metadata_that_does_not_fit(torch, make, name):
    change, error = LIES[name]
    made = _two(torch, make).object("o", 3, rank=2)
    change(made)
    directory = made.write()
    with pytest.raises(error) as caught:
        ptio.load(directory)
    assert caught.value.path.startswith(str(directory))
    assert not ptio.verify(directory).ok


def test_two_items_at_one_place(torch, make):
    made = _two(torch, make).object("o", 3)
    made.metadata.planner_data = {"w": ("a", "b"), "o": ("a",)}
    with pytest.raises(ptio.FormatError, match="contradict"):
        ptio.load(made.write())
    made.metadata.planner_data = {"w": ("a",), "o": ("a", "b")}
    with pytest.raises(ptio.FormatError, match="contradict"):
        ptio.load(made.write())


def test_chunks_that_overlap_and_leave_a_gap(torch, make):
    made = make().tensor("w", torch.ones(4, 4), _grid((4, 4), 2, 2))
    _set(made.chunk("w", 3), offsets=torch.Size((1, 2)))
    index = next(key for key in made.metadata.storage_data if key.offset == torch.Size((2, 2)))
    made.metadata.storage_data = {
        (type(key)(key.fqn, (1, 2)) if key is index else key): info
        for key, info in made.metadata.storage_data.items()
    }
    with pytest.raises(ptio.AmbiguousError, match="overlap"):
        ptio.load(made.write())


def test_comparing_chunks_has_a_limit(torch, make, monkeypatch):
    from ptio._containers import distributed_metadata

    made = make().tensor("w", torch.ones(4, 4), _grid((4, 4), 2, 2))
    monkeypatch.setattr(distributed_metadata, "_MOST_PAIRS", 0)
    with pytest.raises(ptio.LimitError, match="pairs of chunks"):
        ptio.load(made.write())


def test_two_places_for_one_chunk(torch, make):
    made = make().tensor("w", torch.ones(4, 2), _grid((4, 2), 2, 1))
    first, second = made.metadata.storage_data
    _set(second, offset=first.offset)
    with pytest.raises(ptio.AmbiguousError, match="there are two places for it"):
        ptio.load(made.write())


@pytest.mark.parametrize("dtype", [None, "float32", 1])
def test_a_tensor_without_a_dtype(torch, make, dtype):
    made = _two(torch, make)
    _set(made.metadata.state_dict_metadata["w"].properties, dtype=dtype)
    with pytest.raises(ptio.FormatError, match="name no dtype"):
        ptio.load(made.write())


def test_chunks_of_a_dtype_that_only_torch_has(torch, make):
    made = make().tensor("w", torch.ones(4, 2, dtype=torch.complex32), _grid((4, 2), 2, 1))
    with pytest.raises(ptio.UnsupportedError, match="NumPy has no dtype complex32"):
        ptio.load(made.write())


def test_an_archive_of_a_chunk_that_holds_more(torch, make):
    import io

    made = make().tensor("w", torch.ones(2, 4), _grid((2, 4), 2, 1))
    file = io.BytesIO()
    torch.save([torch.ones(1, 4)], file)
    made.files["__0_0.distcp"] = bytearray(file.getvalue())
    _set(made.infos("w")[0], length=len(file.getvalue()))
    with pytest.raises(ptio.FormatError, match="holds something else"):
        ptio.load(made.write())


def test_many_chunks_are_checked_in_time(torch, make):
    made = make().tensor("w", torch.ones(2000, 1), _grid((2000, 1), 2000, 1)[:1])
    made.files.clear()
    entry, info = made.metadata.state_dict_metadata["w"], made.infos("w")[0]
    made.metadata.storage_data.clear()
    entry.chunks.clear()
    from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, MetadataIndex

    for i in range(2000):
        entry.chunks.append(ChunkStorageMetadata(torch.Size((i, 0)), torch.Size((1, 1))))
        place = type(info)(info.relative_path, i * info.length, info.length)
        made.metadata.storage_data[MetadataIndex("w", (i, 0))] = place
    assert len(ptio.open(made.write())) == 1


def test_an_expanded_chunk(torch, make):
    """A few bytes that a chunk's strides repeat do not become gigabytes."""
    import io

    made = make()
    made.tensor("w", torch.ones(2, 4), _grid((2, 4), 2, 1))
    file = io.BytesIO()
    torch.save(torch.ones(1).expand(1, 4), file)
    made.files["__0_0.distcp"] = bytearray(file.getvalue())
    _set(made.infos("w")[0], length=len(file.getvalue()))
    with pytest.raises(ptio.BoundsError, match="a chunk of 16 bytes is stored as 4"):
        ptio.load(made.write())


def test_broken_metadata(torch, make):
    directory = _two(torch, make).write()
    path = directory / ".metadata"
    data = path.read_bytes()
    for broken in (b"", data[:-10], b"{}", pickle.dumps([1]), data + b"."):
        path.write_bytes(broken)
        with pytest.raises(ptio.Error):
            ptio.load(directory)
