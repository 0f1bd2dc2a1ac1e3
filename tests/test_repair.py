# SPDX-License-Identifier: Apache-2.0
"""ptio.repair: intact tensors of a damaged file are saved as they were, lost ones are named."""

import collections
import io
import os
import struct
import zipfile

import ptio
import pytest
from support import zip_files
from support.repairing import Repairs, members, payload


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
        if at < 4:  # what the file begins with shows that its directory is the right one
            file.check_nothing(damaged, ptio.TruncatedError, "there is no data.pkl")
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
    _, end = payload(file.data, "data/0")
    damaged = bytearray(file.data)
    damaged[end - 1] ^= 0x80
    report = file.check(file.repair(damaged), {"data/0"})
    assert [t.name for t in report.lost] == ["views/0", "views/1", "views/2"]
    assert "CRC-32" in report.lost[0].reason
    assert ptio.load(file.out)["views"] == [None] * 3


def test_lost_tensors_go_from_dicts_and_leave_none_in_lists_and_tuples(torch, repairs):
    def build(torch):
        lost = {
            "l": [torch.ones(1), 1],
            "t": (torch.zeros(1), 2),
            "d": {"x": torch.ones(2), "y": 3},
        }
        return {**lost, "z": torch.ones(3)}

    file = repairs(build)
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
    _, end = payload(data, "data/1")
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


def test_a_name_that_differs_in_case_from_an_added_one(repairs):
    file = repairs()
    at = file.data.index(b"serialization_id")
    damaged = bytearray(file.data[: file.data.index(b"PK\1\2")])
    damaged[at] ^= 0x20
    file.check(file.repair(damaged))
