# SPDX-License-Identifier: Apache-2.0
"""Arrays over the memory map of a file, and arrays of private memory."""

import gc
import os
import weakref

import numpy as np
import ptio
import pytest
from support import checkpoints

BIG = np.arange(1 << 16, dtype=np.float32)


@pytest.fixture
def path(save):
    big = checkpoints.tensor("float32", BIG)
    obj = {
        "big": big,
        "view": checkpoints.view(big, (100,), (1,), 1000),
        "other": checkpoints.tensor("int64", list(range(1000))),
    }
    return save(obj)


def mapped_files():
    with open("/proc/self/maps") as maps:
        return [line.split(maxsplit=5)[-1].strip() for line in maps]


linux = pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="reads /proc/self/maps")


@linux
@pytest.mark.parametrize(("mode", "expected"), [(True, True), ("auto", True), (False, False)])
def test_only_a_mapped_load_keeps_the_file_mapped(path, mode, expected):
    obj = ptio.load(path, mmap=mode)
    assert (str(path) in mapped_files()) == expected
    del obj


@linux
def test_the_mapping_goes_with_the_last_array(path):
    view = ptio.load(path)["view"]
    gc.collect()
    assert str(path) in mapped_files()
    del view
    assert str(path) not in mapped_files()


@linux
def test_no_descriptor_stays_open(path):
    before = os.listdir("/proc/self/fd")
    obj = ptio.load(path)
    assert len(os.listdir("/proc/self/fd")) == len(before)
    del obj


@pytest.mark.parametrize("mode", [True, False, "auto"])
def test_writing_to_an_array_never_changes_the_file(path, mode):
    before = path.read_bytes()
    obj = ptio.load(path, mmap=mode)
    obj["big"][:] = -1
    obj["other"] += 5
    assert (obj["view"] == -1).all()
    assert path.read_bytes() == before
    again = ptio.load(path, mmap=mode)
    np.testing.assert_array_equal(again["big"], BIG)
    assert obj["other"][1] == 6


@pytest.mark.parametrize("mode", [True, False])
def test_arrays_outlive_the_file(path, mode):
    obj = ptio.load(path, mmap=mode)
    path.unlink()
    gc.collect()
    np.testing.assert_array_equal(obj["big"], BIG)


def test_arrays_outlive_the_file_object(path):
    with open(path, "rb") as file:
        obj = ptio.load(file, mmap=True)
    np.testing.assert_array_equal(obj["big"], BIG)


def test_a_copying_load_is_immune_to_changes_of_the_file(path):
    obj = ptio.load(path, mmap=False)
    path.write_bytes(bytes(path.stat().st_size))
    np.testing.assert_array_equal(obj["big"], BIG)


def test_a_file_that_is_cut_while_it_is_read_is_an_error(save):
    part = np.zeros(1 << 18, np.float32)
    path = save([checkpoints.tensor("float32", part) for _ in range(8)])

    def cut(done, total):
        if done < total:
            os.truncate(path, 1 << 20)

    with pytest.raises(ptio.FormatError) as caught:
        ptio.load(path, mmap=False, threads=1, progress=cut)
    assert caught.value.path == str(path)


def test_bytes_io_is_not_changed_through_the_arrays(path):
    import io

    data = path.read_bytes()
    obj = ptio.load(io.BytesIO(data))
    obj["big"][:] = 0
    assert data == path.read_bytes()


@pytest.mark.parametrize("mode", [True, False])
def test_arrays_of_one_storage_share_their_base(path, mode):
    obj = ptio.load(path, mmap=mode)
    assert obj["view"].base is obj["big"].base
    assert obj["other"].base is not obj["big"].base
    assert obj["view"].base is not None


@pytest.mark.parametrize("mode", [True, False])
def test_a_storage_dies_with_its_last_array(path, mode):
    obj = ptio.load(path, mmap=mode)
    array = weakref.ref(obj["view"])
    del obj["view"]
    assert array() is None, "something else than the result holds the array"


def test_arrays_are_no_subclass_and_do_not_own_their_data(path):
    big = ptio.load(path)["big"]
    assert type(big) is np.ndarray
    assert not big.flags.owndata
    assert big.flags.writeable
    assert big.flags.aligned


@pytest.mark.parametrize("mode", [True, False])
def test_unaligned_storages_are_read_correctly(write, mode):
    """Payloads at odd offsets: the array gets aligned memory of its own."""
    tensor = checkpoints.tensor("float64", [1.5, 2.5])
    obj = [tensor, checkpoints.view(tensor, (1,), (1,), 1)]
    pickled, storages = checkpoints.dumps(obj)
    for pad in range(8):
        entries = checkpoints.entries(pickled, storages)
        for entry in entries:
            entry.local_extra = b"FB" + pad.to_bytes(2, "little") + bytes(pad)
        ours = ptio.load(write(checkpoints.zip_files.write(entries)), mmap=mode)
        assert ours[0].flags.aligned
        assert ours[0].tolist() == [1.5, 2.5]
        assert np.shares_memory(ours[0], ours[1])


def test_a_load_that_fails_leaves_no_mapping(path):
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(b"_rebuild_tensor_v2")] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ptio.Error):
        ptio.load(path)
    if os.path.exists("/proc/self/maps"):
        assert str(path) not in mapped_files()


def test_mapping_many_files_does_not_use_up_descriptors(path):
    obj = [ptio.load(path) for _ in range(200)]
    assert len(obj) == 200
