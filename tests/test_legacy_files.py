# SPDX-License-Identifier: Apache-2.0
"""ptio.load of files from before torch 1.6, made without torch."""

import contextlib
import io
import os
import pickle
import struct
import time

import numpy as np
import ptio
import pytest
from support import checkpoints, legacy_files, sources
from support import pickle_asm as asm
from support.checkpoints import tensor

THOROUGH = os.environ.get("PTIO_SWEEP", "0") not in ("", "0")
BOTH = (True, False)
JUNK = b"something else " * 9


def load(data, **options):
    return ptio.load(io.BytesIO(data), **options)


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol(protocol):
    obj = {"w": tensor("float32", [1, 2, 3]), "n": [1, 2.5, "text", None, (True,)], 3: b"\xff"}
    ours = load(legacy_files.save(obj, protocol))
    assert ours["w"].tolist() == [1, 2, 3]
    assert ours["n"] == obj["n"]
    assert ours[3] == b"\xff"


@pytest.mark.parametrize("mmap", BOTH)
@pytest.mark.parametrize("dtype", checkpoints.ITEMSIZE)
def test_every_dtype_is_as_in_a_zip(write, dtype, mmap):
    if not dtype.startswith("q"):
        obj = [tensor(dtype, bytes(range(1, 49)) if dtype != "bool" else bytes(24))]
        old, new = write(legacy_files.save(obj), "old.pt"), write(checkpoints.save(obj), "new.pt")
        assert _facts(ptio.load(old, mmap=mmap)[0]) == _facts(ptio.load(new, mmap=mmap)[0])


def _facts(value):
    data = value.data if isinstance(value, ptio.RawTensor) else value
    return str(value.dtype), value.shape, value.strides if data is value else None, data.tobytes()


@pytest.mark.parametrize("name", sources.ALL)
def test_every_source(write, name):
    obj = [tensor("float64", np.arange(5.0)), tensor("uint8", bytes(range(200)))]
    with sources.ALL[name](write(legacy_files.save(obj))) as f:
        first, second = ptio.load(f)
    assert first.tolist() == [0, 1, 2, 3, 4]
    assert second.tobytes() == bytes(range(200))


@pytest.mark.parametrize("mmap", BOTH)
def test_data_is_aligned_wherever_it_lies(write, mmap):
    """Nothing in such a file is aligned: numbers become private copies where they must."""
    for shift in range(9):
        obj = ["x" * shift, tensor("float64", np.arange(4.0)), tensor("complex128", [1 + 2j])]
        _, floats, complexes = ptio.load(write(legacy_files.save(obj)), mmap=mmap)
        assert floats.flags.aligned
        assert complexes.flags.aligned
        assert (floats.tolist(), complexes.tolist()) == ([0, 1, 2, 3], [1 + 2j])
        floats[0] = 7


def test_large_storages():
    values = np.arange(1 << 20, dtype="<i8")
    obj = [tensor("int64", values), tensor("uint8", bytes(3)), tensor("int64", values[::-1].copy())]
    first, small, last = load(legacy_files.save(obj))
    assert np.array_equal(first, values)
    assert np.array_equal(last, values[::-1])
    assert small.tolist() == [0, 0, 0]


def test_tensors_of_one_storage_share_memory():
    base = tensor("int32", [1, 2, 3, 4])
    parts = {"base": base, "turned": checkpoints.view(base, (2, 2), (1, 2)), "again": base}
    ours = load(legacy_files.save(parts))
    ours["base"][1] = 9
    assert ours["turned"].tolist() == [[1, 3], [9, 4]]
    assert ours["again"] is ours["base"]


def test_empty_storages():
    empty = tensor("float32", [])
    ours = load(legacy_files.save([empty, checkpoints.view(empty, (0, 3), (3, 1)), empty.storage]))
    assert [part.shape for part in ours] == [(0,), (0, 3), (0,)]


@pytest.mark.parametrize("mmap", BOTH)
def test_views_of_storages_share_the_memory_of_their_root(write, mmap):
    root = checkpoints.Storage("int16", np.arange(8, dtype="<i2").tobytes())
    middle, end = legacy_files.View(root, 2, 4), legacy_files.View(root, 8, 0)
    obj = {
        "part": checkpoints.Tensor(middle, (2, 2), (2, 1)),
        "whole": checkpoints.Tensor(root, (8,), (1,)),
        "again": checkpoints.Tensor(middle, (2,), (1,), 2),
        "end": checkpoints.Tensor(end, (0,), (1,)),
        "storage": middle,
    }
    ours = ptio.load(write(legacy_files.save(obj)), mmap=mmap)
    assert ours["part"].tolist() == [[2, 3], [4, 5]]
    ours["whole"][5] = 50
    assert ours["part"].tolist() == [[2, 3], [4, 50]]
    assert ours["again"].tolist() == [4, 50]
    assert ours["storage"].tolist() == [2, 3, 4, 50]
    assert ours["end"].shape == (0,)


def test_a_view_without_its_root():
    root = checkpoints.Storage("float32", np.arange(6, dtype="<f4").tobytes())
    part = checkpoints.Tensor(legacy_files.View(root, 1, 2), (2,), (1,))
    assert load(legacy_files.save([part]))[0].tolist() == [1, 2]


def test_files_of_python_2():
    """There all text is 8-bit: names, keys and locations, too."""

    def py2(text):
        return asm.op("SHORT_BINSTRING", text)

    storage = asm.tuple_of(
        *(py2(b"storage"), asm.global_("torch", "FloatStorage"), py2(b"94"), py2(b"cpu")),
        *(asm.number(4), asm.op("NONE")),
    )
    weight = asm.tensor(storage + asm.op("BINPERSID"))
    parts = legacy_files.parts_of(None)
    parts.obj = asm.program(asm.dict_of(py2(b"weight"), weight))
    parts.keys = asm.program(asm.list_of(py2(b"94")))
    parts.storages = [(4, struct.pack("<4f", 1, 2, 3, 4))]
    for encoding, key in (("utf-8", "weight"), ("bytes", b"weight")):
        assert load(parts.join(), encoding=encoding)[key].tolist() == [1, 2, 3, 4]


def test_classes_of_modules_with_their_source():
    """torch wrote these for whole models: a class, its file and its source."""
    module = asm.tuple_of(
        asm.text("module"), asm.global_("my.models", "Net"), asm.text("net.py"), asm.text("class")
    )
    parts = legacy_files.parts_of(None)
    parts.obj = asm.program(
        module + asm.op("BINPERSID") + asm.op("EMPTY_TUPLE") + asm.op("NEWOBJ"),
        asm.dict_of(asm.text("training"), asm.op("NEWTRUE")) + asm.op("BUILD"),
    )
    with pytest.raises(ptio.ForbiddenError) as caught:
        load(parts.join())
    assert caught.value.globals == ("my.models.Net",)
    ours = load(parts.join(), unknown="inert")
    assert (ours.module, ours.name) == ("my.models", "Net")
    assert load(parts.join(), allow=("my.models.Net",)).state == {"training": True}


# --- where a file ends ----------------------------------------------------------------------------


@pytest.mark.parametrize("opener", ["BytesIO", "file", "unbuffered", "duck", "readinto"])
def test_several_checkpoints_in_one_stream(write, opener):
    """Each load leaves the file right behind its object, a zip may be the last one."""
    objects = [{"w": tensor("int8", [1, 2, 3])}, [tensor("float64", [0.5])], "text"]
    data = JUNK + b"".join(map(legacy_files.save, objects)) + checkpoints.save([1, 2])
    open_it = {
        "BytesIO": lambda path: io.BytesIO(path.read_bytes()),
        "file": lambda path: path.open("rb"),
        "unbuffered": lambda path: path.open("rb", buffering=0),
        "duck": lambda path: sources.DuckFile(path.read_bytes()),
        "readinto": lambda path: sources.ReadInto(path.read_bytes()),
    }[opener]
    f = open_it(write(data))
    with contextlib.closing(f) if hasattr(f, "close") else contextlib.nullcontext():
        f.seek(len(JUNK))
        assert ptio.load(f)["w"].tolist() == [1, 2, 3]
        position = f.tell()
        assert ptio.load(f)[0].tolist() == [0.5]
        f.seek(position)
        assert ptio.verify(f).ok
        assert ptio.load(f) == "text"
        assert ptio.load(f) == [1, 2]


def test_other_bytes_may_follow_in_a_stream():
    f = io.BytesIO(legacy_files.save([tensor("int8", [1])]) + JUNK)
    ptio.load(f)
    assert f.read() == JUNK


def test_nothing_may_follow_in_a_file_of_its_own(write):
    path = write(legacy_files.save([tensor("int8", [1])]) + b"x")
    with pytest.raises(ptio.FormatError, match="1 bytes follow the last storage"):
        ptio.load(path)
    with open(path, "rb") as f:
        ptio.load(f)
        assert f.read() == b"x"


# --- listing, verifying, limits -------------------------------------------------------------------


def test_verify_counts_and_notes(write):
    obj = {"w": tensor("int32", [1, 2]), "b": tensor("float64", [1])}
    path = write(legacy_files.save(obj))
    report = ptio.verify(path)
    assert report.ok
    assert (report.format, report.members, report.tensors, report.bytes) == ("legacy", 2, 2, 16)
    assert {note.kind for note in report.notes} == {"CRC_NOT_COMPUTED"}
    report = ptio.verify(write(path.read_bytes()[:-1]))
    assert [problem.kind for problem in report.problems] == ["TruncatedError"]


def test_ls(write, capsys):
    from ptio.cli import main

    path = write(legacy_files.save({"w": tensor("int32", [[1, 2]]), "epoch": 7}))
    assert main(["ls", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "w" in shown
    assert "int32" in shown


def test_limits():
    data = legacy_files.save([tensor("uint8", bytes(100)), "x" * 5000])
    with pytest.raises(ptio.LimitError, match="pickle_bytes"):
        load(data, limits=ptio.Limits(pickle_bytes=4000))
    with pytest.raises(ptio.LimitError, match="object_bytes"):
        load(data, limits=ptio.Limits(object_bytes=4000))
    assert load(data, limits=ptio.Limits(pickle_bytes=6000))[1] == "x" * 5000


class Counted(sources.DuckFile):
    """How much was read, in how many calls."""

    calls = total = 0

    def read(self, size=-1):
        data = super().read(size)
        self.calls += 1
        self.total += len(data)
        return data


def test_a_small_pickle_before_large_storages_reads_little_more_than_once():
    obj = [tensor("uint8", bytes(5 << 20)), tensor("uint8", bytes(100))]
    f = Counted(legacy_files.save(obj))
    ptio.load(f)
    assert f.total < (5 << 20) + 300_000
    assert f.calls < 30


def test_time_is_linear_in_the_pickle():
    def seconds(n):
        data = legacy_files.save([f"{i:06}" for i in range(n)])
        begin = time.process_time()
        load(data)
        return time.process_time() - begin

    seconds(1000)
    assert seconds(200_000) < 12 * max(seconds(50_000), 0.005)


# --- errors ---------------------------------------------------------------------------------------


def changed(**parts):
    made = legacy_files.parts_of([tensor("float32", [1, 2, 3, 4])])
    for name, value in parts.items():
        setattr(made, name, value)
    return made.join()


WRONG = {
    "protocol version": ({"version": pickle.dumps(1002, 2)}, "Invalid protocol version: 1002"),
    "system": ({"system": pickle.dumps([], 2)}, "no dict"),
    "keys are a dict": ({"keys": pickle.dumps({}, 2)}, "are no list"),
    "a key is a number": ({"keys": pickle.dumps([0], 2)}, "no text"),
    "no keys": ({"keys": pickle.dumps([], 2)}, "1 storages, the file lists the keys of 0"),
    "another key": ({"keys": pickle.dumps(["1"], 2)}, "storage key '1' not found"),
    "size": ({"storages": [(3, bytes(16))]}, "storage has wrong byte size: expected 16 got 3"),
    "negative size": ({"storages": [(-1, bytes(16))]}, "wrong byte size: expected 16 got -1"),
    "data is missing": ({"storages": [(4, bytes(15))]}, "16 bytes are needed"),
    "all data is missing": ({"storages": []}, "8 bytes are needed"),
    "not a pickle": ({"system": b"\xff"}, "no pickle opcode"),
    "the object is cut off": ({"obj": b"\x80\x02]", "keys": b"", "storages": []}, "the file ends"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_stands_in_the_message(write, name):
    parts, words = WRONG[name]
    with pytest.raises(ptio.Error, match=words) as caught:
        ptio.load(write(changed(**parts)))
    assert caught.value.hint
    assert caught.value.path
    assert not ptio.verify(write(changed(**parts))).ok


def test_a_forbidden_name_comes_before_a_broken_end():
    bad = asm.call(asm.global_("os", "system"), asm.text("x"))
    data = changed(obj=b"\x80\x02" + bad, keys=b"", storages=[])
    with pytest.raises(ptio.ForbiddenError, match=r"os\.system") as caught:
        load(data)
    assert caught.value.globals == ("os.system",)


# --- every byte -----------------------------------------------------------------------------------

_ROOT = checkpoints.Storage("float32", np.arange(1, 5, dtype="<f4").tobytes())
SMALL = legacy_files.save(
    {
        "w": checkpoints.Tensor(_ROOT, (2, 2), (1, 2)),
        "v": checkpoints.Tensor(legacy_files.View(_ROOT, 1, 2), (2,), (1,)),
        "u": tensor("uint8", b"abc"),
        "n": 3,
    }
)
VALUES = range(256) if THOROUGH else (0x00, 0x01, 0x2E, 0x4E, 0x51, 0x80, 0xFF)


def attempt(data, **options):
    begin = time.perf_counter()
    loaded = None
    with contextlib.suppress(ptio.Error):
        loaded = (load(data, **options),)
    assert time.perf_counter() - begin < (10 if "PTIO_SANITIZE" in os.environ else 1)
    return loaded


def test_every_truncation_is_an_error():
    for end in range(len(SMALL)):
        expected = ptio.TruncatedError if end >= 15 else ptio.Error
        with pytest.raises(expected):
            load(SMALL[:end])


def test_every_changed_byte_ends_in_an_object_or_an_error():
    accepted = 0
    for at in range(len(SMALL)):
        for value in VALUES:
            data = SMALL[:at] + bytes([value]) + SMALL[at + 1 :]
            for unknown in ("error", "inert"):
                accepted += attempt(data, unknown=unknown) is not None
    assert accepted > 19 * len(VALUES)
