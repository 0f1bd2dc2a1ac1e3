# SPDX-License-Identifier: Apache-2.0
"""What torch.save and ptio.torch.save write for the same object, to be compared byte for byte.
Imports torch: ask for its fixture."""

import io
import struct
import warnings
import zipfile
import zlib

import ptio.torch
import torch

_ID = "/.data/serialization_id"


def masked(data):
    """The file without what two files of torch differ in: the digits of its id, their CRC."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        last = archive.infolist()[-1]
        directory = archive.start_dir
    assert last.filename.endswith(_ID), last.filename
    bare = bytearray(data)
    name, extra = struct.unpack_from("<HH", data, last.header_offset + 26)
    digits = last.header_offset + 30 + name + extra
    assert data[digits : digits + 40].isdigit()
    crc = zlib.crc32(data[digits : digits + 40]) if last.CRC else 0
    central = data.rindex(last.filename.encode(), directory) - 46
    for at in (digits + 44, central + 16):  # behind the descriptor's signature
        assert struct.unpack_from("<I", data, at) == (crc,)
        bare[at : at + 4] = bytes(4)
    bare[digits : digits + 40] = bytes(40)
    return bytes(bare)


def assert_same_files(ours, theirs):
    """Both are bytes. Fails with the record that differs, and with where in the pickle."""
    ours, theirs = masked(ours), masked(theirs)
    if ours == theirs:
        return
    pair = [zipfile.ZipFile(io.BytesIO(data)) for data in (ours, theirs)]
    names = [archive.namelist() for archive in pair]
    assert names[0] == names[1]
    for name in names[1][:-1]:
        one, other = (_payload(archive, name) for archive in pair)
        at = next((i for i in range(len(other)) if one[: i + 1] != other[: i + 1]), 0)
        around = slice(max(at - 20, 0), at + 20)
        assert one == other, f"{name}, byte {at}: {one[around]!r} instead of {other[around]!r}"
    raise AssertionError("the records are the same, their headers are not")


def _payload(archive, name):
    info = archive.getinfo(name)
    archive.fp.seek(info.header_offset)
    header = archive.fp.read(30)
    archive.fp.seek(sum(struct.unpack_from("<HH", header, 26)), 1)
    return archive.fp.read(info.file_size)


def saved_by_torch(obj, path, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(obj, path, *arguments, **options)
    return path.read_bytes()


def saved_by_us(obj, path, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ptio.torch.save(obj, path, *arguments, **options)
    return path.read_bytes()


def assert_saved_the_same(obj, path, *arguments, **options):
    """Saves the object twice to the path, first by torch; returns the bytes of ours."""
    theirs = saved_by_torch(obj, path, *arguments, **options)
    path.unlink()
    ours = saved_by_us(obj, path, *arguments, **options)
    assert_same_files(ours, theirs)
    return ours


def outcome(save, obj, path):
    """The bytes that saving gives (save None: by us), or the exception in words."""
    try:
        saved = (saved_by_torch if save else saved_by_us)(obj, path)
    except Exception as error:
        return type(error), str(error)
    return masked(saved)
