# SPDX-License-Identifier: Apache-2.0
"""ptio.inspect and `ptio inspect`: what a file is and what is wrong with it, for any file."""

import io
import json
import os
import zipfile

import numpy as np
import ptio
import pytest
from support import checkpoints, zip_files

FINE, UNREADABLE = 0, 2


@pytest.fixture
def data():
    """A small checkpoint with a view, a shared storage and an unknown class."""
    weight = checkpoints.tensor("float32", range(6), (2, 3))
    obj = {"w": weight, "tied": weight, "row": checkpoints.view(weight, (2,), (1,), 1)}
    obj |= {"b": checkpoints.tensor("bfloat16", [1, 2]), "net": checkpoints.Global("my", "Net")}
    return checkpoints.save(obj)


def inspect(data):
    return ptio.inspect(io.BytesIO(data))


def test_a_sound_checkpoint(write, data):
    path = write(data, "sound.pt")
    found = ptio.inspect(path)
    assert found.ok
    assert found.problems == ()
    assert (found.path, found.format, found.size) == (str(path), "zip", len(data))
    assert "PyTorch checkpoint" in found.description
    writer = found.writer
    assert (writer.program, writer.torch, writer.stem) == ("torch.save", "2.7 or newer", "archive")
    assert (writer.protocol, writer.byteorder, writer.alignment) == (2, "little", 64)
    assert writer.version == "3"
    tensors = found.tensors
    assert (tensors.count, tensors.storages, tensors.storage_bytes) == (4, 2, 28)
    assert tensors.dtypes == {"float32": 3, "bfloat16": 1}
    assert (tensors.shared, tensors.unused_bytes) == (3, 0)


def test_members_are_where_zipfile_finds_them(data):
    found = {member.name: member for member in inspect(data).members}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert [info.filename for info in archive.infolist()] == list(found)
        for info in archive.infolist():
            member = found[info.filename]
            content = archive.read(info)
            assert data[member.offset : member.offset + member.size] == content
            assert (member.size, member.stored_size) == (info.file_size, info.compress_size)
            assert (member.crc32, member.compressed) == (info.CRC, False)


def test_globals_have_a_verdict_and_the_byte_where_they_stand(data):
    found = {use.name: use for use in inspect(data).globals}
    assert found["my.Net"].verdict == "unknown"
    assert found["torch._utils._rebuild_tensor_v2"].verdict == "allowed"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        pickled = archive.read("archive/data.pkl")
    assert pickled[found["my.Net"].offset :].startswith(b"cmy\nNet\n")
    assert found["my.Net"].count == 1


def test_what_a_saved_view_drags_along():
    whole = checkpoints.tensor("float32", range(100))
    found = inspect(checkpoints.save({"row": checkpoints.view(whole, (10,), (1,))}))
    assert found.tensors.unused_bytes == 360
    assert "360 B that no tensor shows" in str(found)


def test_members_that_nobody_needs():
    pickled, storages = checkpoints.dumps({"w": checkpoints.tensor("int8", b"1")})
    entries = checkpoints.entries(pickled, {**storages, "99": b"left over"})
    entries.append(zip_files.Entry(b"archive/notes.txt", b"hello"))
    found = inspect(zip_files.write(entries))
    assert found.ok
    assert found.unreferenced == ("archive/data/99", "archive/notes.txt")


@pytest.mark.parametrize(
    ("options", "version"),
    [
        ({}, "2.7 or newer"),
        ({"records": False}, "2.0 to 2.6"),
        ({"records": False, "byteorder": None}, "1.6 to 1.13"),
    ],
)
def test_the_version_of_torch_shows_in_the_members(options, version):
    assert inspect(checkpoints.save([1], **options)).writer.torch == version


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_the_protocol_of_the_pickle(protocol):
    assert inspect(checkpoints.save([1], protocol=protocol)).writer.protocol == protocol


@pytest.mark.parametrize("tool", zip_files.REZIPPERS)
def test_an_archive_that_was_zipped_again_is_known(tmp_path, write, tool):
    path = write(checkpoints.save({"w": checkpoints.tensor("float32", range(1000))}))
    target = zip_files.REZIPPERS[tool](path, tmp_path)
    found = ptio.inspect(target)
    assert found.ok
    assert found.writer.program == "a zip tool, after torch.save"
    assert all(member.offset is not None for member in found.members)


def test_a_member_without_a_checksum():
    pickled, storages = checkpoints.dumps({"w": checkpoints.tensor("int8", b"12345678")})
    entries = checkpoints.entries(pickled, storages)
    (entry,) = (e for e in entries if e.name == b"archive/data/0")
    entry.central["crc"] = 0
    entry.descriptor = b"PK\7\x08" + bytes(4) + (8).to_bytes(4, "little") * 2
    found = inspect(zip_files.write(entries))
    assert found.ok
    assert {m.name: m.crc32 for m in found.members}["archive/data/0"] is None
    assert "1 without a checksum" in str(found)


NO_CHECKPOINTS = {
    "an HTML page": b"<!DOCTYPE html><html>",
    "a git-lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "an empty file": b"",
    "a file of zeros": bytes(5000),
    "a gzip file": b"\x1f\x8b\x08" + bytes(20),
    "a file of no known kind": bytes(range(256)) * 8,
    "a NumPy .npy file": b"\x93NUMPY\x01\x00" + bytes(100),
}


@pytest.mark.parametrize("what", NO_CHECKPOINTS)
def test_what_is_no_checkpoint_is_called_by_its_name(what):
    found = inspect(NO_CHECKPOINTS[what])
    assert not found.ok
    assert (found.description, found.format) == (what, "other")
    assert found.size == len(NO_CHECKPOINTS[what])
    assert found.problems[0].kind == "UnsupportedError"
    assert what in str(found)


def test_a_folder_says_what_it_is(tmp_path):
    found = ptio.inspect(tmp_path)
    assert not found.ok
    assert found.description == "a directory"


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        ptio.inspect(tmp_path / "missing.pt")


def test_every_truncation_is_a_result(data):
    for size in range(len(data)):
        found = inspect(data[:size])
        assert not found.ok, size
        assert found.problems, size
        assert json.loads(json.dumps(found.to_dict()))["ok"] is False
    assert inspect(data).ok


def test_every_damaged_byte_is_a_result(data):
    damaged = bytearray(data)
    for at in range(len(data)):
        for change in (1, 0x80):
            damaged[at] ^= change
            found = inspect(bytes(damaged))
            damaged[at] ^= change
            assert found.size == len(data)
            assert found.ok == (not found.problems)
            str(found)


def test_a_file_that_is_cut_off_names_repair(write, data):
    path = write(data[: len(data) // 2], "cut.pt")
    found = ptio.inspect(path)
    assert found.problems[0].kind == "TruncatedError"
    assert any(f"ptio repair {path}" in hint for hint in found.hints)


def test_a_damaged_pickle_still_shows_members_and_globals():
    pickled, storages = checkpoints.dumps({"w": checkpoints.tensor("int8", b"1")})
    found = inspect(checkpoints.archive(pickled[:-10], storages))
    assert not found.ok
    assert found.problems[0].kind == "PickleFormatError"
    assert "archive/data/0" in [member.name for member in found.members]
    assert any(use.name == "torch._utils._rebuild_tensor_v2" for use in found.globals)


def test_file_objects_are_read_from_where_they_stand(data):
    file = io.BytesIO(b"before" + data)
    file.seek(6)
    found = ptio.inspect(file)
    assert found.ok
    assert found.writer.alignment == 64
    page = io.BytesIO(b"before<html>")
    page.seek(6)
    assert ptio.inspect(page).description == "an HTML page"


def test_limits_are_a_problem_of_the_report(data):
    found = ptio.inspect(io.BytesIO(data), limits=ptio.Limits(objects=1))
    assert found.problems[0].kind == "LimitError"


def test_it_is_frozen(data):
    with pytest.raises(AttributeError):
        inspect(data).size = 1


# --- the command


def test_the_command(ptio_command, write, data):
    path = write(data)
    status, out, err = ptio_command("inspect", path)
    assert (status, err) == (FINE, "")
    assert out == f"{ptio.inspect(path)}\n"
    status, out, _ = ptio_command("inspect", "--all", path)
    assert status == FINE
    assert "archive/data/0" in out
    assert "my.Net" in out


def test_the_command_on_several_files(ptio_command, write, data):
    good, bad = write(data, "good.pt"), write(b"<html>", "bad.pt")
    status, out, _ = ptio_command("inspect", "--json", good, bad)
    assert status == UNREADABLE
    told = [json.loads(line) for line in out.splitlines()]
    assert [one["ok"] for one in told] == [True, False]
    assert told[0]["tensors"]["count"] == 4
    assert told[0]["members"][0]["name"] == "archive/data.pkl"
    assert told[1]["description"] == "an HTML page"


def test_a_file_that_cannot_be_opened(ptio_command, tmp_path):
    status, out, err = ptio_command("inspect", "--json", tmp_path / "missing.pt")
    assert status == UNREADABLE
    assert json.loads(out)["error"]["kind"] == "FileNotFoundError"
    assert "missing.pt" in err


def test_names_cannot_forge_lines(ptio_command, write):
    evil = "\x1b[2J\nok: fine"
    entries = checkpoints.entries(*checkpoints.dumps([np.float64(1).item()]), stem=evil)
    path = write(zip_files.write(entries), "evil.pt")
    status, out, _ = ptio_command("inspect", "--all", path)
    assert status == FINE
    assert all(line.isprintable() for line in out.splitlines())
    assert not any(line.startswith("ok") for line in out.splitlines())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_what_is_no_regular_file(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    found = ptio.inspect(path)
    assert not found.ok
