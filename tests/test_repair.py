# SPDX-License-Identifier: Apache-2.0
"""ptio.repair: every intact tensor of a damaged file is saved as it was, the lost ones are named."""

import collections
import io
import json
import os
import struct
import time
import zipfile

import numpy as np
import ptio
import pytest
from support import zip_files

FINE, FINDING, UNREADABLE, USAGE = 0, 1, 2, 4


def values(torch, obj, path=()):
    """{name: tensor} of an object, as ptio names them."""
    if isinstance(obj, torch.Tensor):
        return {"/".join(map(str, path)): obj}
    items = ()
    if isinstance(obj, dict):
        items = obj.items()
    elif isinstance(obj, (list, tuple)):
        items = enumerate(obj)
    found = {}
    for key, value in items:
        found |= values(torch, value, (*path, key))
    return found


def training(torch):
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}


def shared(torch):
    base = torch.arange(12.0)
    half = torch.tensor([1.5, -2.0], dtype=torch.bfloat16)
    return {
        "views": [base[:6], base.view(3, 4).t(), base[::5]],
        "parameter": torch.nn.Parameter(torch.ones(2, 3)),
        "half": half,
        "tuple": (half, torch.zeros(0), "text", None),
        "grad": torch.zeros(3, requires_grad=True),
    }


def ordered(torch):
    names = ("a", "b", "c")
    state = collections.OrderedDict((name, torch.full((5,), i)) for i, name in enumerate(names))
    return [state, torch.ones(4, dtype=torch.float64), {"deep": {"er": torch.eye(2)}}]


OBJECTS = (training, shared, ordered)


def members(data):
    """{name below the top folder: (offset of the payload, its end, end of the member)}"""
    found = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for info in archive.infolist():
            name, extra = struct.unpack_from("<HH", data, info.header_offset + 26)
            begin = info.header_offset + 30 + name + extra
            end = begin + info.compress_size
            after = end + (16 if info.flag_bits & 8 else 0)
            found[info.filename.partition("/")[2]] = begin, end, after
    return found


def payload(data, name):
    begin, end, _ = members(data)[name]
    return begin, end


def storages(path):
    """{name of a tensor: its member below the top folder}"""
    from ptio._checkpoint import open_checkpoint
    from ptio._names import joined

    with open_checkpoint(path) as checkpoint:
        return {joined(t.path): t.record.partition("/")[2] for t in checkpoint.tensors()}


class Repairs:
    """Repairs variants of one file, and compares what torch reads with what was saved in it."""

    def __init__(self, torch, obj, path, folder):
        torch.save(obj, path)
        self.torch = torch
        self.path = path
        self.data = path.read_bytes()
        self.tensors = values(torch, obj)
        self.storages = storages(path)
        assert self.storages.keys() == self.tensors.keys()
        self.damaged, self.out = folder / "damaged.pt", folder / "repaired.pt"
        self._checked = None

    def repair(self, data, **options):
        self.damaged.write_bytes(data)
        self.out.unlink(missing_ok=True)
        return ptio.repair(self.damaged, self.out, **options)

    def check(self, report, lost=()):
        """The tensors in the members `lost` are lost, all others saved as they were."""
        gone = [name for name, member in self.storages.items() if member in lost]
        assert [t.name for t in report.lost] == gone
        assert set(report.saved) == self.tensors.keys() - set(gone)
        assert report.ok == (not gone)
        if self._checked != self.out.read_bytes():
            self._check_file(report)
            self._checked = self.out.read_bytes()
        return report

    def _check_file(self, report):
        assert ptio.verify(self.out).ok
        read = values(self.torch, self.torch.load(self.out, weights_only=True))
        assert read.keys() == set(report.saved)
        for name, tensor in read.items():
            before = self.tensors[name]
            assert type(tensor) is type(before)
            assert tensor.dtype == before.dtype
            assert tensor.stride() == before.stride()
            assert tensor.requires_grad == before.requires_grad
            assert self.torch.equal(tensor, before)
        for one in read:
            for other in read:
                shares = self.storages[one] == self.storages[other] and read[one].numel()
                same = read[one].untyped_storage()._cdata == read[other].untyped_storage()._cdata
                assert same == bool(shares) or one == other

    def check_nothing(self, data, error=ptio.FormatError, match="nothing|data.pkl"):
        with pytest.raises(error, match=match):
            self.repair(data)
        assert not self.out.exists()


@pytest.fixture
def repairs(torch, tmp_path):
    def make(build=ordered):
        folder = tmp_path / "repairs"
        folder.mkdir()
        return Repairs(torch, build(torch), tmp_path / "model.pt", folder)

    return make


# --- truncated files -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("build", OBJECTS, ids=lambda build: build.__name__)
def test_every_truncation_saves_what_is_before_it(repairs, build):
    file = repairs(build)
    ends = {name: after for name, (_, _, after) in members(file.data).items()}
    with_data = {member for member in file.storages.values() if member in ends}
    for size in range(len(file.data)):
        lost = {member for member in with_data if ends[member] > size}
        if lost == with_data:
            file.check_nothing(
                file.data[:size], ptio.UnsupportedError if size < 4 else ptio.FormatError, ""
            )
            continue
        report = file.check(file.repair(file.data[:size]), lost)
        assert report.problems[0].kind == "TruncatedError"


@pytest.mark.parametrize("build", OBJECTS, ids=lambda build: build.__name__)
def test_where_only_the_directory_is_lost_the_file_is_the_old_one_again(repairs, build):
    file = repairs(build)
    directory = file.data.index(b"PK\1\2")
    for damaged in (
        file.data,
        file.data[:directory],
        file.data[: directory + 70],
        file.data[:-1],
        file.data[:directory] + bytes(len(file.data) - directory),
        b"some bytes before it" + file.data,
        file.data + b"and behind it",
    ):
        file.check(file.repair(damaged))
        assert file.out.read_bytes() == file.data


def test_an_object_without_tensors(torch, repairs):
    file = repairs(lambda torch: {"lr": 0.1, "steps": [1, 2, 3]})
    report = file.repair(file.data[:-30])
    assert report.ok
    assert torch.load(file.out, weights_only=True) == {"lr": 0.1, "steps": [1, 2, 3]}


def test_the_tensor_itself(torch, repairs):
    file = repairs(lambda torch: torch.arange(3))
    assert file.repair(file.data[:-30]).saved == ("(the object itself)",)
    assert torch.load(file.out, weights_only=True).tolist() == [0, 1, 2]
    file.check_nothing(file.data[: payload(file.data, "data/0")[0] + 8])


# --- damaged files ---------------------------------------------------------------------------


@pytest.mark.slow
def test_no_damaged_byte_costs_more_than_its_own_member(repairs):
    file = repairs()
    places = members(file.data)
    for at in range(len(file.data)):
        damaged = bytearray(file.data)
        damaged[at] ^= 0x04
        holder = next((n for n, (begin, end, _) in places.items() if begin <= at < end), None)
        if holder == "data.pkl":
            file.check_nothing(damaged, ptio.ChecksumError, "CRC-32")
            continue
        report = file.repair(damaged)
        if holder in file.storages.values():
            file.check(report, {holder})
            assert [p.member for p in report.problems] == [f"model/{holder}"]
            assert report.problems[0].tensors == tuple(t.name for t in report.lost)
        elif report.lost:  # the name of the member: in the directory there is another one
            (lost,) = {file.storages[t.name] for t in report.lost}
            name = f"model/{lost}".encode()
            assert 0 <= at - file.data.rindex(name, 0, places[lost][0]) < len(name)
            file.check(report, {lost})
        else:
            file.check(report)


def test_every_tensor_of_a_damaged_storage_is_lost(repairs):
    file = repairs(shared)
    begin, end = payload(file.data, "data/0")
    damaged = bytearray(file.data)
    damaged[end - 1] ^= 0x80
    report = file.check(file.repair(damaged), {"data/0"})
    assert [t.name for t in report.lost] == ["views/0", "views/1", "views/2"]
    assert "CRC-32" in report.lost[0].reason
    assert ptio.load(file.out)["views"] == [None] * 3


def test_lost_tensors_go_from_dicts_and_leave_none_in_lists_and_tuples(torch, repairs):
    file = repairs(lambda torch: {"l": [torch.ones(1), 1], "t": (torch.zeros(1), 2),
                                  "d": {"x": torch.ones(2), "y": 3}, "z": torch.ones(3)})  # fmt: skip
    damaged = bytearray(file.data)
    for number in range(3):
        damaged[payload(file.data, f"data/{number}")[0]] ^= 1
    file.check(file.repair(damaged), {"data/0", "data/1", "data/2"})
    read = torch.load(file.out, weights_only=True)
    assert {**read, "z": 0} == {"l": [None, 1], "t": (None, 2), "d": {"y": 3}, "z": 0}


def test_a_wrong_checksum_is_kept_when_asked_for(torch, repairs):
    file = repairs()
    begin, _ = payload(file.data, "data/1")
    damaged = bytearray(file.data)
    damaged[begin] ^= 1
    report = file.repair(damaged, recompute_crc=True)
    assert report.ok
    assert set(report.saved) == file.tensors.keys()
    assert "saved as it is" in report.problems[0].message
    assert ptio.verify(file.out).ok
    read = file.out.read_bytes()
    assert read[slice(*payload(read, "data/1"))] == damaged[slice(*payload(damaged, "data/1"))]


def test_a_wrong_checksum_of_the_pickle_is_kept_when_asked_for(repairs):
    file = repairs()
    damaged = bytearray(file.data)
    begin, end = payload(file.data, "data.pkl")
    at = file.data.index(b"deep", begin, end)
    damaged[at] = ord("D")
    assert "2/Deep/er" in file.repair(damaged, recompute_crc=True).saved


def test_garbage_between_members(repairs):
    file = repairs()
    begin, end = payload(file.data, "data/1")
    header = file.data.rindex(b"PK\3\4", 0, begin)
    garbage = b"PK\3\4 is nothing here, nor is PK\7\10" * 3
    file.check(file.repair(file.data[:header] + garbage + file.data[header:]))
    file.check(file.repair(file.data[:begin] + garbage + file.data[begin:]), {"data/1"})
    file.check(file.repair(file.data[:header] + garbage + file.data[end:]), {"data/1"})
    zeros = file.data[:header] + bytes(end - header) + file.data[end:]
    file.check(file.repair(zeros), {"data/1"})


def test_a_storage_that_is_a_checkpoint(torch, repairs):
    """What is inside of a tensor is no part of the archive, also when its end is missing."""
    inner = io.BytesIO()
    torch.save([torch.ones(4), torch.zeros(4), torch.ones(2)], inner)
    raw = torch.frombuffer(bytearray(inner.getvalue()), dtype=torch.uint8)
    outer = io.BytesIO()
    torch.save({"first": torch.full((4,), 7.0), "raw": raw, "last": torch.full((4,), 9.0)}, outer)
    data = outer.getvalue()  # of the same top folder, "archive"
    begin, end = payload(data, "data/1")
    out = io.BytesIO()
    report = ptio.repair(io.BytesIO(data[:-100]), out)
    assert report.saved == ("first", "raw", "last")
    out = io.BytesIO()
    report = ptio.repair(io.BytesIO(data[: end - 10]), out)
    assert report.saved == ("first",)
    assert [t.name for t in report.lost] == ["raw", "last"]
    out.seek(0)
    assert torch.load(out, weights_only=True)["first"].tolist() == [7.0] * 4


# --- other archives, other objects -------------------------------------------------------------


@pytest.mark.parametrize("way", ["zip -0", "zip -9", "zipfile stream", "zipfile zip64"])
def test_archives_of_other_tools(repairs, tmp_path, way):
    file = repairs()
    ways = {
        "zipfile stream": zip_files.by_zipfile(stream=True, method=zipfile.ZIP_DEFLATED),
        "zipfile zip64": zip_files.by_zipfile(force_zip64=True),
    }
    rezip = ways.get(way) or zip_files.REZIPPERS[way]
    folder = tmp_path / "rezipped"
    folder.mkdir()
    with open(rezip(file.path, folder), "rb") as rezipped:
        data = rezipped.read()
    directory = data.index(b"PK\1\2")
    file.check(file.repair(data[: directory + 3]))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        last = max(archive.infolist(), key=lambda info: info.header_offset)
    cut = data[: last.header_offset + 35]
    lost = last.filename.partition("/")[2]
    file.check(file.repair(cut), {lost} & set(file.storages.values()))


def test_sizes_of_64_bits_in_small_members(torch, repairs):
    """The form that torch gives members from 4 GiB on."""
    file = repairs()
    entries = []
    for name, (begin, end, _) in members(file.data).items():
        data = file.data[begin:end]
        form = struct.pack("<IQQ", zip_files.zlib.crc32(data), len(data), len(data))
        extra = struct.pack("<HHQQ", 1, 16, 0, 0) if data else b""
        local = {"csize": 0xFFFFFFFF, "usize": 0xFFFFFFFF} if data else {}
        entries.append(
            zip_files.Entry(
                b"model/" + name.encode(),
                data,
                local=local,
                local_extra=extra,
                descriptor=b"PK\7\x08" + form if data else b"",
            )
        )
    data = zip_files.write(entries)
    file.check(file.repair(data[: data.index(b"PK\1\2")]))
    last = next(name for name in reversed(members(data)) if name in file.storages.values())
    file.check(file.repair(data[: members(data)[last][1]]), {last})


def test_tensors_without_data(torch, repairs):
    meta = torch.empty(2**32 + 8, dtype=torch.uint8, device="meta")
    buffer = io.BytesIO()
    torch.save({"a": torch.ones(2), "meta": meta, "b": torch.ones(3)}, buffer)
    data = buffer.getvalue()
    out = io.BytesIO()
    report = ptio.repair(io.BytesIO(data[: payload(data, "data/1")[0]]), out)
    assert report.saved == ("a", "meta")
    out.seek(0)
    assert torch.load(out, weights_only=True)["meta"].shape == (2**32 + 8,)


def test_objects_of_unknown_classes_stay_what_they_are(torch, torch_load):
    obj = {"net": torch.nn.Linear(2, 2), "when": os.stat_result(range(10)), "x": torch.ones(2)}
    buffer = io.BytesIO()
    torch.save(obj, buffer)
    damaged = bytearray(buffer.getvalue())
    damaged[payload(damaged, "data/1")[0]] ^= 1
    out = io.BytesIO()
    report = ptio.repair(io.BytesIO(damaged), out)
    assert [t.name for t in report.lost] == ["net/_parameters/bias"]
    out.seek(0)
    read = torch_load(out)
    assert type(read["net"]) is torch.nn.Linear
    assert read["when"] == obj["when"]
    assert list(dict(read["net"].named_parameters())) == ["weight"]
    assert torch.equal(read["net"].weight, obj["net"].weight)


def test_sparse_and_quantized_tensors_are_lost_with_any_part_of_them(torch):
    def build(torch):
        sparse = torch.tensor([[0.0, 2.0], [3.0, 0.0]]).to_sparse()
        quantized = torch.quantize_per_channel(
            torch.ones(2, 2), torch.tensor([0.1, 0.2]), torch.tensor([0, 0]), 0, torch.qint8
        )
        return {"sparse": sparse, "quantized": quantized, "plain": torch.ones(2)}

    buffer = io.BytesIO()
    torch.save(build(torch), buffer)
    data = buffer.getvalue()
    count = sum(name.startswith("data/") for name in members(data))
    for number in range(count):
        damaged = bytearray(data)
        damaged[payload(data, f"data/{number}")[0]] ^= 1
        out = io.BytesIO()
        report = ptio.repair(io.BytesIO(damaged), out)
        out.seek(0)
        read = torch.load(out, weights_only=True)
        assert len(read) == 2
        assert {name.partition("/")[0] for name in report.saved} == read.keys()
        assert all(t.name.partition("/")[0] not in read for t in report.lost)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_of_every_protocol(torch, repairs, torch_load, protocol):
    obj = {"a": torch.ones(2), "set": {1, 2}, "bytes": b"\0\xff", "frozen": frozenset("x"),
           "array": bytearray(b"z"), "b": torch.zeros(2)}  # fmt: skip
    buffer = io.BytesIO()
    torch.save(obj, buffer, pickle_protocol=protocol)
    damaged = bytearray(buffer.getvalue())
    damaged[payload(damaged, "data/0")[0]] ^= 1
    out = io.BytesIO()
    assert ptio.repair(io.BytesIO(damaged), out).saved == ("b",)
    out.seek(0)
    read = torch_load(out)
    assert torch.equal(read.pop("b"), obj["b"])
    assert read == {key: obj[key] for key in ("set", "bytes", "frozen", "array")}


def test_big_endian_files_stay_so(torch, repairs):
    file = repairs()
    entries = []
    for name, (begin, end, _) in members(file.data).items():
        data = b"big" if name == "byteorder" else file.data[begin:end]
        entries.append(zip_files.Entry(b"model/" + name.encode(), data))
    data = zip_files.write(entries)
    out = io.BytesIO()
    assert ptio.repair(io.BytesIO(data[:-50]), out).ok
    out = out.getvalue()
    assert out[slice(*payload(out, "byteorder"))] == b"big"
    stored, before = (x[slice(*payload(x, "data/0"))] for x in (out, data))
    assert stored == before


# --- arguments and errors -----------------------------------------------------------------------


def test_what_is_no_checkpoint(write, tmp_path):
    out = tmp_path / "out.pt"
    for data in (b"", b"<!DOCTYPE html><html>", bytes(5000), b"PK\5\6" + bytes(18)):
        with pytest.raises(ptio.Error):
            ptio.repair(write(data), out)
    assert not out.exists()


def test_the_damaged_file_is_never_overwritten(repairs, tmp_path):
    file = repairs()
    link = tmp_path / "link.pt"
    link.symlink_to(file.path)
    for out in (file.path, link, str(file.path)):
        with pytest.raises(ValueError, match="another name"):
            ptio.repair(file.path, out)
    assert file.path.read_bytes() == file.data


def test_files_that_are_read_rather_than_mapped(repairs, torch):
    file = repairs()
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
    file = repairs()
    seen = []
    file.repair(file.data, progress=lambda done, total: seen.append((done, total)))
    assert seen
    assert seen[-1][0] == seen[-1][1]
    with pytest.raises(ptio.LimitError):
        file.repair(file.data, limits=ptio.Limits(objects=2))


def test_the_report(repairs):
    file = repairs(shared)
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


def test_members_without_a_checksum_are_told(torch, repairs):
    options = torch.serialization
    if not hasattr(options, "set_crc32_options"):
        pytest.skip("this torch always computes checksums")
    options.set_crc32_options(False)
    try:
        file = repairs()
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


# --- the command -----------------------------------------------------------------------------------


@pytest.fixture
def ptio_command(capsys):
    """Runs the command in this process; returns (status, stdout, stderr)."""
    from ptio.cli import main

    def run(*arguments):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            status = stop.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


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
