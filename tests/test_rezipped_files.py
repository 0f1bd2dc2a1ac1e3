# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that common tools unpacked and zipped again."""

import zipfile

import numpy as np
import ptio
import pytest
from support import checkpoints, zip_files
from support.compare import assert_same

OBJ = {
    "w": checkpoints.tensor("float32", np.arange(5000)),
    "zeros": checkpoints.tensor("int64", np.zeros(3000)),
    "empty": checkpoints.tensor("float64", []),
    "odd": checkpoints.tensor("int8", [1, 2, 3]),
    "epoch": 3,
}


@pytest.fixture
def original(save):
    return save(OBJ, stem="checkpoint")


@pytest.mark.parametrize("tool", zip_files.REZIPPERS)
def test_files_that_tools_zipped_again_load(original, tmp_path, tool):
    path = zip_files.REZIPPERS[tool](original, tmp_path)
    for mmap in (True, False, "auto"):
        assert_same(ptio.load(path, mmap=mmap), OBJ)
    report = ptio.verify(path)
    assert report.ok, report


@pytest.mark.parametrize("level", [1, 6, 9])
def test_deflated_members_beside_stored_ones(write, level):
    pickled, storages = checkpoints.dumps(OBJ)
    entries = checkpoints.entries(pickled, storages)
    packed = [
        zip_files.deflated(entry.name, entry.data, level) if i % 2 == 0 and entry.data else entry
        for i, entry in enumerate(entries)
    ]
    path = write(zip_files.write(packed))
    for mmap in (True, False):
        assert_same(ptio.load(path, mmap=mmap), OBJ)


def test_a_flipped_byte_in_a_deflated_member_is_noticed_even_when_mapped(write):
    pickled, storages = checkpoints.dumps(OBJ)
    entries = checkpoints.entries(pickled, storages)
    packed = [
        zip_files.deflated(entry.name, entry.data) if b"/data/0" in entry.name else entry
        for entry in entries
    ]
    where = next(entry for entry in packed if entry.stored is not None)
    middle = len(where.stored) // 2
    changed = where.stored[:middle] + bytes([where.stored[middle] ^ 1]) + where.stored[middle + 1 :]
    where.stored = changed
    with pytest.raises(ptio.FormatError) as caught:
        ptio.load(write(zip_files.write(packed)), mmap=True)
    assert caught.value.record == "archive/data/0"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods_of_compression_are_named(original, tmp_path, method):
    path = zip_files.by_zipfile(method=method)(original, tmp_path)
    with pytest.raises(ptio.UnsupportedError, match=str(method)) as caught:
        ptio.load(path)
    assert "zip" in caught.value.hint


def test_directory_entries_and_comments_are_no_members(write):
    entries = checkpoints.entries(*checkpoints.dumps(OBJ))
    for folder in (b"archive/", b"archive/data/"):
        entries.insert(0, zip_files.Entry(folder, b"", local_extra=b""))
    entries[3].comment = b"a comment of a member"
    path = write(zip_files.write(entries, comment=b"a comment of the archive"))
    assert_same(ptio.load(path), OBJ)


@pytest.mark.parametrize("reverse", [False, True])
def test_members_in_any_order_and_with_extra_fields(write, reverse):
    entries = checkpoints.entries(*checkpoints.dumps(OBJ))
    entries = entries[::-1] if reverse else entries[5:] + entries[:5]
    for entry in entries:
        entry.central_extra = b"UT\5\0\3\0\0\0\0"
        entry.local_extra = b"UT\5\0\3\0\0\0\0" + b"ux\3\0\1\0\0"
    assert_same(ptio.load(write(zip_files.write(entries))), OBJ)


def test_extra_members_that_no_tensor_refers_to_are_ignored(write):
    entries = checkpoints.entries(*checkpoints.dumps(OBJ))
    entries.append(zip_files.Entry(b"archive/notes.txt", b"hello"))
    entries.append(zip_files.Entry(b"archive/data/99", bytes(100)))
    assert_same(ptio.load(write(zip_files.write(entries))), OBJ)


def test_keys_need_not_be_numbers(write):
    from support import pickle_asm as asm

    stream = asm.program(asm.tensor(asm.storage(key="w.b-1_Z")))
    path = write(checkpoints.archive(stream, {"w.b-1_Z": bytes(range(16))}))
    assert ptio.load(path).tobytes() == bytes(range(16))


def test_the_writer_of_the_tests_agrees_with_python(original):
    with zipfile.ZipFile(original) as archive:
        assert archive.testzip() is None
        assert archive.namelist()[0] == "checkpoint/data.pkl"
