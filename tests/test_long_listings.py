# SPDX-License-Identifier: Apache-2.0
"""Small files whose tensors or values would make endless lists: long ways to them, long texts in
many places, many pickles in one archive."""

import io

import ptio
import pytest
from attacks import containers, exhaustion
from ptio._inspect.diff import diff
from support import checkpoints, children, zip_files
from support import pickle_asm as asm

STORAGE = {"0": bytes(16)}


def opened(data):
    return ptio.open(io.BytesIO(data))


@pytest.mark.parametrize("make", [exhaustion.deep_names, exhaustion.long_keys_in_many_places])
def test_too_many_long_names_are_a_limit_that_can_be_raised(make):
    for data in make():
        assert ptio.load(io.BytesIO(data)) is not None
        with opened(data) as checkpoint, pytest.raises(ptio.LimitError, match="object_bytes"):
            checkpoint.keys()[0]
        (problem,) = ptio.inspect(io.BytesIO(data)).problems
        assert problem.kind == "LimitError"
    few = checkpoints.save({"a" * 1000: [checkpoints.tensor("int8", b"1")] * 40})
    with pytest.raises(ptio.LimitError):
        list(ptio.open(io.BytesIO(few), limits=ptio.Limits(object_bytes=100_000)))
    assert len(ptio.open(io.BytesIO(few), limits=ptio.Limits(object_bytes=1 << 20))) == 40


def test_a_slice_of_an_empty_tensor_that_numpy_cannot_have_says_so():
    tensor = asm.tensor(size=(0, 2**62, 2**62), stride=(1, 1, 1))
    with opened(checkpoints.archive(asm.program(tensor), STORAGE)) as checkpoint:
        assert isinstance(checkpoint.get(""), ptio.RawTensor)
        with pytest.raises(TypeError, match="RawTensor"):
            checkpoint.get_slice("")[:1]


def test_a_long_tuple_as_a_key_is_a_word():
    pickled = asm.op("EMPTY_DICT") + asm.ints(*range(65)) + asm.tensor() + asm.op("SETITEM")
    with opened(checkpoints.archive(asm.program(pickled), STORAGE)) as checkpoint:
        assert [info.path for info in checkpoint.infos()] == [("<tuple of 65>",)]


@pytest.mark.slow
@children.unless_sanitized
def test_a_directory_of_a_million_entries_takes_what_it_may(tmp_path):
    path = tmp_path / "many.pt"
    path.write_bytes(exhaustion.many_entries(1_000_000))
    begun, peak, error = children.run(PEAK, path)
    assert error in ("FormatError", "LimitError")
    size = path.stat().st_size
    assert begun < 1 + size / 10_000_000
    assert peak * 1024 < (64 << 20) + 32 * size


PEAK = """
import json, sys, time, ptio
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
before, begin, error = peak(), time.process_time(), None
try:
    ptio.load(sys.argv[1], mmap=False)
except ptio.Error as e:
    error = type(e).__name__
print(json.dumps([time.process_time() - begin, peak() - before, error]))
"""


def _many(count, number):
    return checkpoints.save({"values": list(range(count - 1)) + [number]})


def test_diff_says_what_it_did_not_compare():
    with opened(_many(100_010, 1)) as one, opened(_many(100_010, 2)) as other:
        (change,) = diff(one, other).changes
    assert (change.kind, change.after) == ("unread", "not compared")
    with opened(_many(2000, 1)) as one, opened(_many(2000, 2)) as other:
        assert [change.kind for change in diff(one, other).changes] == ["value"]


def test_the_pickles_of_one_archive_share_what_they_may_need():
    sets = asm.program(asm.op("MARK") + asm.op("EMPTY_SET") * 20_000 + asm.op("TUPLE"), protocol=4)
    alone = containers.package(members={"p/0.pkl": sets})
    assert len(ptio.load(io.BytesIO(alone))["p/0.pkl"]) == 20_000
    many = containers.package(members={f"p/{i}.pkl": sets for i in range(40)})
    with pytest.raises(ptio.LimitError, match="object_bytes"):
        ptio.load(io.BytesIO(many))
    limits = ptio.Limits(object_bytes=1 << 30)
    assert len(ptio.load(io.BytesIO(many), limits=limits)) == 41


def test_a_member_whose_name_only_the_directory_has_is_not_hidden():
    for make, name in ((containers.package, b"m/p/w.pkl"), (containers.torchscript, b"m/data.pkl")):
        data = make()
        at = data.rindex(name)
        with pytest.raises(ptio.AmbiguousError):
            ptio.load(io.BytesIO(data[:at] + name[:-1] + b"x" + data[at + len(name) :]))
    packed = [zip_files.deflated(b"m/" + n.encode(), d) for n, d in containers.PACKAGE.items()]
    packed[3].local_name = b"m/p/w.pkx"
    with pytest.raises(ptio.AmbiguousError):
        ptio.load(io.BytesIO(zip_files.write(packed)))
