# SPDX-License-Identifier: Apache-2.0
"""What looks like an attack and is none: real writers make it, so it must go on loading."""

import collections
import io
import time

import numpy as np
import ptio
import pytest
from support import checkpoints, zip_files
from support import pickle_asm as asm

STORAGE = {"0": np.arange(4, dtype="<f4").tobytes()}


def load(*parts, protocol=2, **options):
    pickled = asm.program(*parts, protocol=protocol)
    data = checkpoints.archive(pickled, STORAGE, **options)
    assert ptio.verify(io.BytesIO(data)).ok
    assert ptio.scan(io.BytesIO(data)).ok
    return ptio.load(io.BytesIO(data), verify=True)


@pytest.mark.parametrize("protocol", [None, 0, 1])
def test_a_pickle_without_a_protocol(protocol):
    loaded = load(asm.dict_of(asm.text("w"), asm.tensor()), protocol=protocol)
    assert loaded["w"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("stem", ["a:1", "..", ".", "a\\b", "tab\there", "line\nbreak", " ", "é"])
def test_every_stem(stem):
    assert load(asm.tensor(), stem=stem).tolist() == [0, 1, 2, 3]


def test_hooks_and_metadata_that_are_none():
    assert load(asm.tensor(hooks=asm.op("NONE"))).tolist() == [0, 1, 2, 3]
    assert load(asm.tensor(extra=asm.op("NONE"))).tolist() == [0, 1, 2, 3]
    assert load(asm.tensor(hooks=asm.op("NONE"), extra=asm.op("NONE"))).tolist() == [0, 1, 2, 3]


def test_a_parameter_whose_attribute_refers_back_to_its_dict():
    rebuild = asm.global_("torch._utils", "_rebuild_parameter_with_state")
    owner = asm.dict_of(asm.text("owner"), asm.op("BINGET", 0))
    made = asm.call(rebuild, asm.tensor(), asm.number(True), asm.ordered_dict(), owner)
    loaded = load(asm.op("EMPTY_DICT"), asm.op("BINPUT", 0), asm.text("p"), made, asm.op("SETITEM"))
    assert loaded["p"].tolist() == [0, 1, 2, 3]


def test_dtypes_devices_and_sizes_as_keys():
    device = asm.call(asm.global_("torch", "device"), asm.text("cuda"), asm.number(1))
    size = asm.call(asm.global_("torch", "Size"), asm.ints(2, 3))
    pairs = asm.global_("torch", "float32"), asm.number(1), device, asm.number(2)
    loaded = load(asm.dict_of(*pairs, size, asm.number(3)))
    assert list(loaded.values()) == [1, 2, 3]
    assert loaded[2, 3] == 3


def test_an_unknown_object_with_items():
    made = asm.global_("models", "Stack") + asm.op("EMPTY_TUPLE") + asm.op("NEWOBJ")
    items = asm.op("MARK") + asm.number(1) + asm.tensor() + asm.op("APPENDS")
    data = checkpoints.archive(asm.program(made + items), STORAGE)
    loaded = ptio.load(io.BytesIO(data), unknown="inert")
    assert loaded.items[0] == 1
    assert loaded.items[1].tolist() == [0, 1, 2, 3]
    assert ptio.load(io.BytesIO(data), allow=["models.Stack"]).items[0] == 1


def test_extra_fields_and_folders_of_common_tools():
    """Timestamps and owners as Info-ZIP notes them, entries of folders, a comment."""
    stamp = b"UT\x09\0\x03" + bytes(8) + b"ux\x0b\0\x01\x04" + bytes(4) + b"\x04" + bytes(4)
    entries = checkpoints.entries(asm.program(asm.tensor()), STORAGE)
    for entry in entries:
        entry.local_extra, entry.central_extra = stamp, b"UT\x05\0\x03" + bytes(4)
    folders = [zip_files.Entry(name, b"") for name in (b"archive/", b"archive/data/")]
    data = zip_files.write([*folders, *entries], comment=b"packed on a Monday")
    assert ptio.load(io.BytesIO(data), verify=True).tolist() == [0, 1, 2, 3]
    assert ptio.verify(io.BytesIO(data)).ok


def test_keys_that_are_many_but_not_alike():
    keys = [*range(-50_000, 50_000), *(k / 7 for k in range(1, 1000)), *map(str, range(1000))]
    obj = {"steps": dict.fromkeys(keys), "pairs": {(i, str(i)): i for i in range(10_000)}}
    loaded = ptio.load(io.BytesIO(checkpoints.save(obj)))
    assert loaded == obj


def test_seeds_and_counters_beyond_64_bit():
    obj = [2**64, -(2**64), 2**200, collections.Counter({"a": 2**64}), {2**64 - 1: -(2**63)}]
    assert ptio.load(io.BytesIO(checkpoints.save(obj))) == obj


@pytest.mark.slow
def test_a_state_dict_of_a_million_tensors(tmp_path):
    count = 1_000_000
    path = tmp_path / "million.pt"
    ptio.save({f"layer.{i}.weight": np.full(2, i, np.float32) for i in range(count)}, path)
    start = time.process_time()
    loaded = ptio.load(path)
    assert len(loaded) == count
    assert loaded[f"layer.{count - 1}.weight"].tolist() == [count - 1] * 2
    assert ptio.verify(path).ok
    assert time.process_time() - start < 120
