# SPDX-License-Identifier: Apache-2.0
"""Files of torch 0.1: tar archives. Made without torch, and compared with torch where it reads
them, which it does with weights_only=False only."""

import contextlib
import io
import os
import pickle
import tarfile
import warnings

import numpy as np
import ptio
import pytest
from support import checkpoints, legacy_files, sources, tar_files
from support.checkpoints import tensor

THOROUGH = os.environ.get("PTIO_SWEEP", "0") not in ("", "0")
BOTH = (True, False)
FORMATS = {
    "PAX": tarfile.PAX_FORMAT,  # with an extended header for each time that is no whole number
    "ustar": tarfile.USTAR_FORMAT,
    "GNU": tarfile.GNU_FORMAT,
}
JUNK = b"something else " * 9


def load(data, **options):
    return ptio.load(io.BytesIO(data), **options)


def _objects():
    root = checkpoints.Storage("float32", np.arange(8, dtype="<f4").tobytes())
    weight = tensor("float64", [1.5, 2.5, 3.5])
    return {
        "weight": weight,
        "again": weight,
        "tail": checkpoints.view(weight, (2,), (1,), 1),
        "turned": checkpoints.Tensor(legacy_files.View(root, 2, 4), (2, 2), (1, 2)),
        "bytes": tensor("uint8", bytes(range(100)), (10, 10)),
        "storage": root,
        "epoch": 3,
        "names": ["a", ("b", None)],
    }


@pytest.mark.parametrize("archive", FORMATS)
@pytest.mark.parametrize("protocol", range(3))
def test_every_protocol_and_kind_of_archive(protocol, archive):
    ours = load(tar_files.save(_objects(), protocol, format=FORMATS[archive]))
    assert ours["weight"].tolist() == [1.5, 2.5, 3.5]
    assert ours["again"] is ours["weight"]
    ours["weight"][2] = 9
    assert ours["tail"].tolist() == [2.5, 9]
    assert ours["turned"].tolist() == [[2, 4], [3, 5]]
    ours["storage"][2] = 20
    assert ours["turned"].tolist() == [[20, 4], [3, 5]]
    assert ours["bytes"].tobytes() == bytes(range(100))
    assert (ours["epoch"], ours["names"]) == (3, ["a", ("b", None)])


@pytest.mark.parametrize(
    "order", [("pickle", "tensors", "storages"), ("storages", "tensors", "pickle")]
)
def test_members_in_any_order(order):
    assert load(tar_files.save(_objects(), order=("sys_info", *order)))["epoch"] == 3


@pytest.mark.parametrize("mmap", BOTH)
def test_data_is_aligned_wherever_it_lies(write, mmap):
    path = write(
        tar_files.save([tensor("uint8", b"abc"), tensor("float64", [1, 2]), tensor("int64", [3])])
    )
    for array in ptio.load(path, mmap=mmap):
        assert array.flags.aligned
        array[0] = 1


@pytest.mark.parametrize("name", sources.ALL)
def test_every_source(write, name):
    with sources.ALL[name](write(tar_files.save(_objects()))) as f:
        assert ptio.load(f)["tail"].tolist() == [2.5, 3.5]


def test_several_in_one_stream():
    data = tar_files.save({"a": 1}) + legacy_files.save([2]) + tar_files.save([3])
    f = io.BytesIO(JUNK + data + JUNK)
    f.seek(len(JUNK))
    assert [ptio.load(f) for _ in range(3)] == [{"a": 1}, [2], [3]]
    assert f.read() == JUNK


def test_verify_and_ls(write, capsys):
    from ptio.cli import main

    path = write(tar_files.save(_objects()))
    report = ptio.verify(path)
    assert report.ok
    assert (report.format, report.members, report.bytes) == ("tar", 3, 24 + 32 + 100)
    assert main(["ls", str(path)]) == 0
    assert "weight" in capsys.readouterr().out


def test_classes_are_named_not_imported():
    data = tar_files.save({"x": checkpoints.Global("my.module", "Thing")})
    with pytest.raises(ptio.ForbiddenError) as caught:
        load(data)
    assert caught.value.globals == ("my.module.Thing",)
    assert load(data, unknown="inert")["x"].name == "Thing"


def test_other_tar_archives_are_no_checkpoints(write):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("notes.txt"))
    with pytest.raises(ptio.UnsupportedError, match="a tar archive"):
        ptio.load(write(file.getvalue()))
    with pytest.raises(ptio.FormatError, match="without a member 'storages'"):
        ptio.load(write(tar_files.save([1], order=("sys_info", "pickle"))))


# --- torch ----------------------------------------------------------------------------------------


@pytest.fixture
def pt(torch):
    import ptio.torch

    return ptio.torch


@pytest.fixture
def both(torch, pt):
    """What ptio.torch.load and torch.load make of a file."""

    def run(path, **options):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = torch.load(path, weights_only=False, **options)
        return pt.load(path, weights_only=False, **options), theirs

    return run


@pytest.mark.parametrize("archive", FORMATS)
@pytest.mark.parametrize("protocol", range(3))
def test_torch_reads_the_same(torch, write, both, protocol, archive):
    path = write(tar_files.save(_objects(), protocol, format=FORMATS[archive]))
    ours, theirs = both(path)
    assert list(ours) == list(theirs)
    for name in ("weight", "again", "tail", "turned", "bytes"):
        assert type(ours[name]) is torch.Tensor
        assert ours[name].dtype == theirs[name].dtype
        assert ours[name].stride() == theirs[name].stride()
        assert ours[name].storage_offset() == theirs[name].storage_offset()
        size = ours[name].untyped_storage().nbytes()
        assert size == theirs[name].untyped_storage().nbytes()
        assert torch.equal(ours[name], theirs[name])
    assert type(ours["storage"]) is type(theirs["storage"])
    for loaded in (ours, theirs):
        assert loaded["again"] is loaded["weight"]
        loaded["storage"][2] = 20
        assert loaded["turned"].tolist() == [[20, 4], [3, 5]]


@pytest.mark.parametrize("dtype", [name for name in checkpoints.LEGACY if name[0] not in "qc"])
def test_every_dtype(torch, write, both, dtype):
    data = bytes(range(1, 49)) if dtype != "bool" else bytes([0, 1] * 12)
    ours, theirs = both(write(tar_files.save([tensor(dtype, data)])))
    assert ours[0].dtype == theirs[0].dtype == getattr(torch, dtype)
    assert ours[0].view(torch.uint8).tolist() == theirs[0].view(torch.uint8).tolist()


def test_map_location(torch, write, both, pt):
    storage = checkpoints.Storage("float32", bytes(8), "cuda:0")
    path = write(tar_files.save([checkpoints.Tensor(storage, (2,), (1,))]))
    for where in ("cpu", {"cuda:0": "cpu"}, lambda storage, tag: storage):
        ours, theirs = both(path, map_location=where)
        assert torch.equal(ours[0], theirs[0])
    if not torch.cuda.is_available():
        for function in (torch.load, pt.load):
            with pytest.raises(RuntimeError, match=r"torch\.cuda\.is_available\(\) is False"):
                function(path, weights_only=False)


def test_weights_only_is_refused_in_torchs_words(torch, write, pt):
    path = write(tar_files.save([1]))
    for function in (torch.load, pt.load):
        with pytest.raises(RuntimeError, match=r"Cannot use ``weights_only=True`` with .* \.tar"):
            function(path)
    with pytest.raises(RuntimeError, match=r"legacy \.tar format") as caught:
        pt.load(io.BytesIO(path.read_bytes()))
    assert "`False`" not in str(caught.value)


def test_mmap_is_refused_in_torchs_words(torch, write, pt):
    path = write(tar_files.save([1]))
    for function in (torch.load, pt.load):
        with pytest.raises(RuntimeError, match="mmap can only be used with files saved with"):
            function(path, mmap=True, weights_only=False)


def test_what_needs_code_goes_to_torch(torch, write, both):
    path = write(tar_files.save({"x": [checkpoints.Global("collections", "UserDict")]}))
    ours, theirs = both(path)
    assert ours == theirs
    assert ours["x"][0].__name__ == "UserDict"


# --- what is wrong --------------------------------------------------------------------------------


def test_a_checksum_that_is_wrong(write):
    data = bytearray(tar_files.save([1]))
    data[110] ^= 1
    with pytest.raises(ptio.FormatError, match="checksum of the tar header"):
        ptio.load(write(bytes(data)))
    assert [p.kind for p in ptio.verify(write(bytes(data))).problems] == ["FormatError"]


SMALL = tar_files.save({"w": tensor("float32", [1, 2, 3, 4]), "n": 1}, format=tarfile.USTAR_FORMAT)
USED = len(SMALL.rstrip(b"\0"))


def test_every_truncation_is_an_error():
    for end in (*range(512), *range(512, USED, 1 if THOROUGH else 7)):
        expected = ptio.TruncatedError if end >= 512 else ptio.Error
        with pytest.raises(expected):
            load(SMALL[:end])


def test_every_changed_byte_ends_in_an_object_or_an_error():
    values = range(256) if THOROUGH else (0x00, 0x01, 0x2E, 0x51, 0xFF)
    accepted = 0
    for at in range(0, USED, 1 if THOROUGH else 3):
        if SMALL[at] == 0 and at % 16 and not THOROUGH:
            continue  # padding
        for value in values:
            data = SMALL[:at] + bytes([value]) + SMALL[at + 1 :]
            with contextlib.suppress(ptio.Error):
                load(data, unknown="inert")
                accepted += 1
    assert accepted > 0


def test_sys_info_is_not_read():
    """Nothing in it matters, so nothing in it can do harm."""
    data = tar_files.save([1], sys_info=pickle.dumps(os.getcwd, 2))
    assert load(data) == [1]
