# SPDX-License-Identifier: Apache-2.0
"""The committed files of older versions of torch, against what torch said was in them."""

import collections
import json
import pathlib

import numpy as np
import ptio
import pytest
from support import checkpoints, tensors

DATA = pathlib.Path(__file__).parent / "data"
FILES = sorted(path.stem for path in DATA.glob("*.pt"))
TYPES = {
    "dict": dict,
    "OrderedDict": collections.OrderedDict,
    "Counter": collections.Counter,
    "list": list,
    "tuple": tuple,
}


def expected(name):
    return json.loads((DATA / f"{name}.json").read_text())["object"]


def check(ours, told, path="obj"):
    if "tensor" in told:
        facts = tensors.of_array(ours)
        assert facts.dtype == told["tensor"], path
        assert facts.shape == tuple(told["shape"]), path
        assert facts.stride == tuple(told["stride"]), path
        assert facts.data.hex() == told["data"], path
    elif "dict" in told:
        assert type(ours) is TYPES[told["dict"]], path
        assert len(ours) == len(told["items"]), path
        for (key, value), (told_key, told_value) in zip(ours.items(), told["items"], strict=True):
            check(key, told_key, path)
            check(value, told_value, f"{path}[{key!r}]")
    elif "sequence" in told:
        assert type(ours) is TYPES[told["sequence"]], path
        assert len(ours) == len(told["items"]), path
        for index, (value, told_value) in enumerate(zip(ours, told["items"], strict=True)):
            check(value, told_value, f"{path}[{index}]")
    else:
        assert type(ours) is type(told["value"]), path
        assert ours == told["value"], path


def test_the_files_are_there():
    assert len(FILES) >= 4
    assert all(path.stat().st_size < 4096 for path in DATA.glob("*.pt"))


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("name", FILES)
def test_files_of_old_versions_hold_what_torch_said(name, mmap):
    check(ptio.load(DATA / f"{name}.pt", mmap=mmap), expected(name))


@pytest.mark.parametrize("name", FILES)
def test_files_of_old_versions_are_sound(name):
    assert ptio.verify(DATA / f"{name}.pt").ok


@pytest.mark.parametrize("mmap", [True, False])
def test_views_of_an_old_file_share_memory(mmap):
    ours = ptio.load(DATA / "torch-1.13.1-views.pt", mmap=mmap)
    for name in ("transposed", "offset", "expanded"):
        assert np.shares_memory(ours[name], ours["base"])
    again = ptio.load(DATA / "torch-1.13.1-parameters.pt", mmap=mmap)
    assert again["weight"] is again["again"]


def test_every_dtype_of_that_time_is_there():
    ours = ptio.load(DATA / "torch-1.13.1-dtypes.pt")
    assert set(ours) == set(checkpoints.LEGACY)
