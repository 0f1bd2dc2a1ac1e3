# SPDX-License-Identifier: Apache-2.0
"""ptio.repair and `ptio repair`: arguments, reports, errors, exit statuses, time."""

import io
import json
import os
import struct
import time
import zipfile

import numpy as np
import ptio
import pytest
from support import children, zip_files
from support.repairing import Repairs, payload

FINE, FINDING, UNREADABLE, USAGE = 0, 1, 2, 4


def shared(torch):
    base = torch.arange(12.0)
    return {"views": [base[:6], base.view(3, 4).t(), base[::5]], "other": torch.ones(2, 3)}


@pytest.fixture
def repairs(torch, tmp_path):
    folder = tmp_path / "repairs"
    folder.mkdir()
    return Repairs(torch, shared(torch), tmp_path / "model.pt", folder)


def test_what_is_no_checkpoint(write, tmp_path):
    out = tmp_path / "out.pt"
    for data in (b"", b"<!DOCTYPE html><html>", bytes(5000), b"PK\5\6" + bytes(18)):
        with pytest.raises(ptio.Error):
            ptio.repair(write(data), out)
    assert not out.exists()


def test_the_damaged_file_is_never_overwritten(repairs, tmp_path):
    file = repairs
    link = tmp_path / "link.pt"
    link.symlink_to(file.path)
    for out in (file.path, link, str(file.path)):
        with pytest.raises(ValueError, match="another name"):
            ptio.repair(file.path, out)
    assert file.path.read_bytes() == file.data


def test_files_that_are_read_rather_than_mapped(repairs, torch):
    file = repairs
    begin, _ = payload(file.data, "data/1")
    damaged = file.data[:begin] + b"x" + file.data[begin + 1 : -40]
    for source in (io.BytesIO(damaged), io.BufferedReader(io.BytesIO(damaged))):
        out = io.BytesIO()
        report = ptio.repair(source, out)
        assert [file.storages[t.name] for t in report.lost] == ["data/1"]
        mapped = file.repair(damaged)
        assert mapped.saved == report.saved
        assert out.getvalue() == file.out.read_bytes()
    assert report.path is None


def test_progress_and_limits(repairs):
    file = repairs
    seen = []
    file.repair(file.data, progress=lambda done, total: seen.append((done, total)))
    assert seen
    assert seen[-1][0] == seen[-1][1]
    with pytest.raises(ptio.LimitError):
        file.repair(file.data, limits=ptio.Limits(objects=2))


def test_compressed_members_beyond_the_limit_are_not_called_lost(tmp_path, write):
    zeros = bytes(4000)
    path = tmp_path / "model.pt"
    ptio.save({"a": np.zeros(4000, np.uint8)}, path)
    with zipfile.ZipFile(path) as archive:
        pickle = archive.read("model/data.pkl")
    entries = [zip_files.Entry(b"m/data.pkl", pickle), zip_files.deflated(b"m/data/0", zeros)]
    data = zip_files.write(entries)
    assert ptio.repair(write(data), tmp_path / "out.pt").ok
    with pytest.raises(ptio.LimitError, match="inflated_bytes"):
        ptio.repair(write(data), tmp_path / "out.pt", limits=ptio.Limits(inflated_bytes=100))


def test_the_report(repairs):
    file = repairs
    damaged = bytearray(file.data[:-10])
    damaged[payload(file.data, "data/0")[0]] ^= 1
    report = file.repair(damaged)
    text = str(report)
    assert "3 lost" in text.splitlines()[0]
    assert "lost: views/1: member model/data/0: CRC-32" in text
    told = json.loads(json.dumps(report.to_dict()))
    assert told["ok"] is False
    assert told["lost"][0] == {"name": "views/0", "reason": report.lost[0].reason}
    assert told["saved"] == list(report.saved)
    assert [p["kind"] for p in told["problems"]] == ["TruncatedError", "ChecksumError"]


def test_members_without_a_checksum_are_told(torch, tmp_path):
    options = torch.serialization
    if not hasattr(options, "set_crc32_options"):
        pytest.skip("this torch always computes checksums")
    options.set_crc32_options(False)
    try:
        file = Repairs(torch, shared(torch), tmp_path / "without.pt", tmp_path)
    finally:
        options.set_crc32_options(True)
    report = file.check(file.repair(file.data[:-30]))
    assert report.problems[-1].kind == "CRC_NOT_COMPUTED"
    assert "saved unchecked" in report.problems[-1].message


# --- files made to take time ---------------------------------------------------------------------


def hostile(kind):
    name = b"m/data.pkl"
    head = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 0, 8, 0, 0, 0, 0, 0, 0, len(name), 0) + name
    pickle = b"\x80\2}q\0."
    first = head + pickle + struct.pack("<4sIII", b"PK\7\x08", zip_files.zlib.crc32(pickle), 6, 6)
    other = b"m/data/0"
    storage = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 0, 8, 0, 0, 0, 0, 0, 0, len(other), 0) + other
    size = 16 << 20
    if kind == "headers":
        return first + storage * (size // len(storage))
    if kind == "pickles":
        return first + head * (size // len(head))
    if kind == "descriptors":
        return first + storage + b"PK\7\x08" * (size // 4)
    if kind == "ends":
        return first + (head + b"PK\5\6" * 8) * (size // (len(head) + 32))
    sized = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 0, 0, 0, 0, 0, 7, size, size, len(other), 0)
    return first + (sized + other) * (size // 38)


@pytest.mark.parametrize("kind", ["headers", "pickles", "descriptors", "ends", "sized"])
def test_time_grows_with_the_file_only(kind):
    data = hostile(kind)
    start = time.process_time()
    out = io.BytesIO()
    report = ptio.repair(io.BytesIO(data), out)
    assert time.process_time() - start < 8
    assert report.ok


# --- the command --------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.pt"
    ptio.save({"a": np.arange(3), "b": np.ones(2), "n": 1}, path)
    return path


def test_command_repairs(ptio_command, saved, tmp_path):
    data = saved.read_bytes()
    saved.write_bytes(data[:-30])
    out = tmp_path / "out.pt"
    status, text, err = ptio_command("repair", saved, out)
    assert (status, err) == (FINE, "")
    assert "2 tensors saved" in text
    assert ptio.load(out)["a"].tolist() == [0, 1, 2]


def test_command_lists_what_is_lost(ptio_command, saved, tmp_path):
    data = saved.read_bytes()
    saved.write_bytes(data[: payload(data, "data/1")[0]])
    status, text, _ = ptio_command("repair", saved, tmp_path / "out.pt")
    assert status == FINDING
    assert "lost: b:" in text
    status, text, _ = ptio_command("repair", "--json", "--force", saved, tmp_path / "out.pt")
    assert status == FINDING
    told = json.loads(text)
    assert [told["ok"], told["saved"], told["lost"][0]["name"]] == [False, ["a"], "b"]


def test_command_recomputes_checksums(ptio_command, saved, tmp_path):
    data = bytearray(saved.read_bytes())
    data[payload(data, "data/0")[0]] = 9
    saved.write_bytes(data)
    assert ptio_command("repair", "--recompute-crc", saved, tmp_path / "out.pt")[0] == FINE
    assert ptio.load(tmp_path / "out.pt", verify=True)["a"].tolist() == [9, 1, 2]


def test_command_where_nothing_can_be_saved(ptio_command, saved, tmp_path):
    out = tmp_path / "out.pt"
    saved.write_bytes(saved.read_bytes()[:90])
    status, text, err = ptio_command("repair", saved, out)
    assert (status, text) == (UNREADABLE, "")
    assert "data.pkl is not whole" in err
    assert not out.exists()
    assert ptio_command("repair", tmp_path / "missing.pt", out)[0] == UNREADABLE
    assert ptio_command("repair", saved, tmp_path / "missing" / "out.pt")[0] == UNREADABLE


def test_command_keeps_what_is_there(ptio_command, saved, tmp_path):
    out = tmp_path / "out.pt"
    out.write_bytes(b"precious")
    status, _, err = ptio_command("repair", saved, out)
    assert status == USAGE
    assert "--force" in err
    assert out.read_bytes() == b"precious"
    assert ptio_command("repair", "--force", saved, out)[0] == FINE
    assert ptio.verify(out).ok
    assert ptio_command("repair", "--force", saved, saved)[0] == USAGE
    assert ptio_command("repair", saved)[0] == USAGE


def test_errors_of_cut_files_name_the_command(saved):
    saved.write_bytes(saved.read_bytes()[:-30])
    with pytest.raises(ptio.TruncatedError, match="ptio repair"):
        ptio.load(saved)


# --- memory ---------------------------------------------------------------------------------

PEAK = """
import json, sys, ptio
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
small, damaged, out = sys.argv[1:]
limits = ptio.Limits(inflated_bytes=1 << 30)
with open(small, "rb") as file:
    ptio.repair(file, out)
before = peak()
with open(damaged, "rb") as file:  # read, as mapped pages count as memory of the process
    report = ptio.repair(file, out, limits=limits)
print(json.dumps([(peak() - before) * 1024, len(report.saved), len(report.lost)]))
"""


@children.unless_sanitized
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
@pytest.mark.parametrize("compressed", [False, True])
def test_one_tensor_at_a_time_is_in_memory(tmp_path, saved, compressed):
    damaged, mib = tmp_path / "damaged.pt", 1 << 20
    ptio.save({str(i): np.full(2 * mib, i, np.float64) for i in range(6)}, damaged)
    if compressed:
        again = zip_files.by_zipfile(stream=True, method=zipfile.ZIP_DEFLATED)(damaged, tmp_path)
        damaged.write_bytes(again.read_bytes()[:-300])
    else:
        with open(damaged, "r+b") as file:
            file.truncate(90 * mib)
    grown, kept, lost = children.run(PEAK, saved, damaged, tmp_path / "out.pt")
    assert (kept, lost) == ((6, 0) if compressed else (5, 1))
    assert grown <= (16 + 12) * mib
