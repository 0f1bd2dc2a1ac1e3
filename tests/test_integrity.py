# SPDX-License-Identifier: Apache-2.0
"""Checksums: when they are checked, what a bad one says, and ptio.verify."""

import io
import itertools
import json
import zipfile
import zlib

import numpy as np
import ptio
import pytest
from support import checkpoints, zip_files

NAMES = ["model/fc.weight", "model/view", "optimizer/0/exp_avg", "big"]


def _object():
    weight = checkpoints.tensor("float32", np.arange(100))
    return {
        "model": {"fc.weight": weight, "view": checkpoints.view(weight, (2,), (1,), 5)},
        "optimizer": [{"exp_avg": checkpoints.tensor("float64", np.arange(50))}],
        "big": checkpoints.tensor("uint8", bytes(range(256)) * 4096),
    }


def flip(data, member, at=0):
    """The archive with one bit of a member's payload changed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        info = archive.getinfo(member)
    head = data[info.header_offset : info.header_offset + 30]
    names = int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
    changed = bytearray(data)
    changed[info.header_offset + 30 + names + at] ^= 0x10
    return bytes(changed)


@pytest.fixture
def flipped(write):
    def make(member, at=0):
        return write(flip(checkpoints.save(_object()), f"archive/{member}", at))

    return make


# (mmap, verify) -> whether the tensors' checksums are looked at
CHECKED = {
    (mmap, verify): verify if verify is not None else mmap is False
    for mmap, verify in itertools.product((True, False), (True, False, None))
}


@pytest.mark.parametrize(("mmap", "verify"), CHECKED)
@pytest.mark.parametrize("record", ["data/0", "data/1", "data/2"])
def test_a_flipped_byte_of_a_tensor(flipped, record, mmap, verify):
    path = flipped(record, at=7)
    if not CHECKED[mmap, verify]:
        assert list(ptio.load(path, mmap=mmap, verify=verify)) == list(_object())
        return
    with pytest.raises(ptio.ChecksumError) as caught:
        ptio.load(path, mmap=mmap, verify=verify)
    assert caught.value.record == f"archive/{record}"
    assert caught.value.path == str(path)
    assert record in str(caught.value)


@pytest.mark.parametrize("at", [0, 1000, (1 << 20) - 1])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_part_of_a_large_record_is_checked(flipped, at, threads):
    path = flipped("data/2", at)
    with pytest.raises(ptio.ChecksumError):
        ptio.load(path, mmap=False, threads=threads)
    with pytest.raises(ptio.ChecksumError):
        ptio.load(path, mmap=True, verify=True, threads=threads)
    assert not ptio.verify(path, threads=threads).ok


@pytest.mark.parametrize("reader", [open, lambda path, _: io.BytesIO(path.read_bytes())])
def test_file_objects_are_checked_while_they_are_read(flipped, reader):
    path = flipped("data/1")
    with reader(path, "rb") as file, pytest.raises(ptio.ChecksumError):
        ptio.load(file, verify=True)


@pytest.mark.parametrize(("mmap", "verify"), CHECKED)
@pytest.mark.parametrize("member", ["data.pkl", "byteorder", "version"])
def test_small_members_are_always_checked(flipped, member, mmap, verify):
    with pytest.raises(ptio.Error) as caught:
        ptio.load(flipped(member), mmap=mmap, verify=verify)
    assert caught.value.record == f"archive/{member}"


def test_the_pickle_is_checked_before_it_is_parsed(flipped):
    with pytest.raises(ptio.ChecksumError):
        ptio.load(flipped("data.pkl", at=30))


def test_the_environment_sets_the_default(flipped, monkeypatch):
    path = flipped("data/0")
    monkeypatch.setenv("PTIO_VERIFY", "1")
    with pytest.raises(ptio.ChecksumError):
        ptio.load(path, mmap=True)
    ptio.load(path, mmap=True, verify=False)
    monkeypatch.setenv("PTIO_VERIFY", "0")
    ptio.load(path, mmap=False)
    with pytest.raises(ptio.ChecksumError):
        ptio.load(path, mmap=False, verify=True)
    monkeypatch.setenv("PTIO_VERIFY", "yes")
    with pytest.raises(ValueError, match="PTIO_VERIFY"):
        ptio.load(path)


def test_the_report_of_a_sound_file(save):
    report = ptio.verify(save(_object()))
    assert report.ok
    assert report.format == "zip"
    assert report.problems == ()
    assert report.tensors == 4
    assert report.members == len(checkpoints.entries(b"", dict.fromkeys("012", b"")))
    assert "ok" in str(report)


@pytest.mark.parametrize(
    ("record", "tensors"), [("data/0", NAMES[:2]), ("data/1", NAMES[2:3]), ("data/2", NAMES[3:])]
)
def test_the_report_names_the_tensors_that_a_bad_member_holds(flipped, record, tensors):
    report = ptio.verify(flipped(record))
    assert not report.ok
    (problem,) = report.problems
    assert problem.kind == "ChecksumError"
    assert problem.member == f"archive/{record}"
    assert sorted(problem.tensors) == sorted(tensors)
    assert problem.message
    for name in tensors:
        assert name in str(report)


def test_all_bad_members_are_reported(write):
    data = checkpoints.save(_object())
    for key in "012":
        data = flip(data, f"archive/data/{key}", at=3)
    report = ptio.verify(write(data))
    assert [problem.member for problem in report.problems] == [f"archive/data/{k}" for k in "012"]


def test_a_bad_member_that_no_tensor_uses_is_reported(flipped):
    report = ptio.verify(flipped(".data/serialization_id"))
    (problem,) = report.problems
    assert problem.member == "archive/.data/serialization_id"
    assert problem.tensors == ()


def test_the_report_is_json(flipped):
    told = json.loads(json.dumps(ptio.verify(flipped("data/0")).to_dict()))
    assert told["ok"] is False
    assert told["problems"][0]["member"] == "archive/data/0"
    fields = {"kind", "message", "member", "offset", "tensors", "file"}
    assert set(told["problems"][0]) == fields


def test_unknown_classes_are_no_problem_for_verify(save):
    path = save({"w": checkpoints.tensor("int8", b"1"), "net": checkpoints.Global("models", "Net")})
    report = ptio.verify(path)
    assert report.ok
    assert report.tensors == 1


@pytest.mark.parametrize("damage", ["truncated", "not a checkpoint", "bad pickle"])
def test_a_file_that_cannot_be_read_is_a_report_too(write, damage):
    data = checkpoints.save(_object())
    if damage == "truncated":
        data = data[: len(data) // 2]
    elif damage == "not a checkpoint":
        data = b"version https://git-lfs.github.com/spec/v1\n"
    else:
        data = checkpoints.archive(b"\x80\x02]")
    report = ptio.verify(write(data))
    assert not report.ok
    assert len(report.problems) == 1


def test_a_missing_file_is_an_os_error_for_verify_too(tmp_path):
    with pytest.raises(FileNotFoundError):
        ptio.verify(tmp_path / "missing.pt")


def test_members_without_a_checksum_are_noted(write):
    entries = checkpoints.entries(*checkpoints.dumps(_object()))
    for entry in entries:
        entry.central = {"crc": 0}
        size = len(entry.data).to_bytes(4, "little")
        entry.descriptor = b"PK\7\x08" + bytes(4) + size * 2 if entry.data else b""
    path = write(zip_files.write(entries))
    report = ptio.verify(path)
    assert report.ok
    assert {note.kind for note in report.notes} == {"CRC_NOT_COMPUTED"}
    ptio.load(path, mmap=False, verify=True)


def test_a_record_whose_checksum_is_really_zero(write):
    """Four bytes behind any data can bring its CRC32 to 0."""
    data = b"data" + _bytes_that_zero_the_crc(b"data")
    assert zlib.crc32(data) == 0
    path = write(checkpoints.save({"w": checkpoints.tensor("uint8", data)}))
    assert ptio.load(path, mmap=False)["w"].tobytes() == data
    assert ptio.verify(path).ok


def _bytes_that_zero_the_crc(head):
    """The four bytes that make crc32(head + bytes) zero."""
    table = [zlib.crc32(bytes([i])) ^ zlib.crc32(b"\0") for i in range(256)]
    by_top = {value >> 24: (i, value) for i, value in enumerate(table)}
    register, indices = 0xFFFFFFFF, []
    for _ in range(4):
        index, value = by_top[register >> 24]
        indices.append(index)
        register = ((register ^ value) << 8) & 0xFFFFFFFF
    state, out = zlib.crc32(head) ^ 0xFFFFFFFF, []
    for index in reversed(indices):
        byte = (state ^ index) & 0xFF
        out.append(byte)
        state = (state >> 8) ^ table[index]
    return bytes(out)
