# SPDX-License-Identifier: Apache-2.0
"""Archives of machines with the other byte order, and of torch before it wrote the byteorder."""

import numpy as np
import ptio
import pytest
from support import checkpoints, tensors

DATA = bytes(range(1, 17)) * 2


def swapped(name):
    """What a machine of the other order would have stored for the same values as DATA."""
    unit = checkpoints.ITEMSIZE[name] // (2 if name.startswith("complex") else 1)
    return b"".join(DATA[i : i + unit][::-1] for i in range(0, len(DATA), unit))


@pytest.mark.parametrize("mmap", [True, False])
def test_every_dtype_is_swapped(save, mmap):
    names = list(checkpoints.ITEMSIZE)
    big = {name: checkpoints.tensor(name, swapped(name)) for name in names}
    ours = ptio.load(save(big, byteorder="big"), mmap=mmap)
    for name in names:
        size = checkpoints.ITEMSIZE[name]
        raw = name in checkpoints.RAW
        facts = tensors.of_raw(ours[name], size) if raw else tensors.of_array(ours[name])
        assert facts.data == DATA, name
        assert facts.dtype == name


@pytest.mark.parametrize("mmap", [True, False])
def test_swapped_tensors_of_one_storage_share_memory_and_are_swapped_once(save, mmap):
    whole = checkpoints.tensor("int32", swapped("int32"))
    obj = [whole, checkpoints.view(whole, (2,), (1,), 1), checkpoints.view(whole, (2, 2), (1, 2))]
    ours = ptio.load(save(obj, byteorder="big"), mmap=mmap)
    np.testing.assert_array_equal(ours[0], np.frombuffer(DATA, np.int32))
    np.testing.assert_array_equal(ours[1], ours[0][1:3])
    assert np.shares_memory(ours[1], ours[0])
    assert np.shares_memory(ours[2], ours[0])


def test_the_record_says_nothing_about_arrays_inside_the_pickle(save):
    arrays = [np.array([1, 2], ">i4"), np.array([1, 2], "<i4")]
    ours = ptio.load(save(arrays, byteorder="big"))
    assert [array.tolist() for array in ours] == [[1, 2], [1, 2]]


@pytest.mark.parametrize("options", [{"byteorder": None}, {"byteorder": None, "records": False}])
def test_without_a_record_the_order_is_little(save, options):
    path = save({"w": checkpoints.tensor("int32", DATA)}, **options)
    np.testing.assert_array_equal(ptio.load(path)["w"], np.frombuffer(DATA, "<i4"))


@pytest.mark.parametrize("text", ["middle", "", "Little", "little\n", "big\0", "x" * 100])
def test_any_other_byte_order_is_refused(save, text):
    path = save({"w": checkpoints.tensor("int32", DATA)}, byteorder=text)
    with pytest.raises(ptio.FormatError) as caught:
        ptio.load(path)
    assert caught.value.record == "archive/byteorder"
