# SPDX-License-Identifier: Apache-2.0
"""ptio.open: whole tensors from every kind of file, what is read for them, and what becomes of the
file and the handle."""

import copy
import gc
import io
import math
import os
import pickle
import time
import warnings

import numpy as np
import ptio
import pytest
from support import checkpoints, children, leaks, open_files, sources, zip_files
from support.compare import assert_same
from support.open_files import NAMES, WEIGHT

T = checkpoints.tensor


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "nested.pt"
    path.write_bytes(checkpoints.save(open_files.nested()))
    return path


def save(tmp_path, obj, **options):
    path = tmp_path / "file.pt"
    path.write_bytes(checkpoints.save(obj, **options))
    return path


class Counting(sources.DuckFile):
    """Counts the bytes that are read from it."""

    def __init__(self, data):
        super().__init__(data)
        self.size = len(data)
        self.count = 0

    def read(self, size=-1):
        data = super().read(size)
        self.count += len(data)
        return data


# --- tensors, from everything that is a file


@pytest.mark.parametrize("mmap", ["auto", False, True])
@pytest.mark.parametrize("source", sources.ALL)
def test_tensors_are_those_of_load(path, source, mmap):
    if mmap is True and source in sources.READ_ONLY:
        with (
            sources.ALL[source](path) as f,
            pytest.raises(ValueError, match="mmap=True needs a file"),
        ):
            ptio.open(f, mmap=True)
        return
    expected = ptio.load(path)
    flat = {
        "model/weight": expected["model"]["weight"],
        "model/bias": expected["model"]["bias"],
        "optimizer/state/0/exp_avg": expected["optimizer"]["state"][0]["exp_avg"],
        "views/0": expected["views"][0],
        "views/1": expected["views"][1],
    }
    with sources.ALL[source](path) as f, ptio.open(f, mmap=mmap) as ckpt:
        for name, array in flat.items():
            found = ckpt[name]
            assert found.dtype == array.dtype
            assert found.strides == array.strides
            assert found.flags.writeable
            np.testing.assert_array_equal(found, array)
            np.testing.assert_array_equal(ckpt.get_slice(name)[1:], array[1:])
        assert_same(ckpt.load(), open_files.nested())
        assert bytes(ckpt["half"].data) == bytes(range(8))
        assert list(ckpt.get_tensors()) == ckpt.offset_keys()


def test_mapped_arrays_may_be_written_to_and_keep_it(path):
    before = path.read_bytes()
    with ptio.open(path) as ckpt:
        array = ckpt["model/weight"]
        array[0, 0] = 99
        ckpt.release(["model/weight", "views/0"])
        ckpt.prefetch(ckpt)
        assert array[0, 0] == 99
        assert ckpt["model/weight"][0, 0] == 99  # a map of the file has one memory
    assert array[0, 0] == 99
    assert path.read_bytes() == before
    with ptio.open(path) as ckpt:
        assert ckpt["model/weight"][0, 0] == 0


def test_release_keeps_what_was_written_to_large_arrays(tmp_path):
    path = save(tmp_path, {"w": T("uint8", bytes(3 << 20)), "v": T("uint8", bytes(1 << 20))})
    with ptio.open(path, mmap=True) as ckpt:
        array = ckpt["w"]
        array[::1000] = 7
        for _ in range(3):
            ckpt.release(["w", "v"])
            ckpt.prefetch(["w", "v"])
        assert (array[::1000] == 7).all()
        assert array.sum() == 7 * len(array[::1000])


def test_hints_are_taken_from_any_source(path):
    for mmap in ("auto", False):
        with ptio.open(path, mmap=mmap) as ckpt:
            ckpt.prefetch(NAMES)
            ckpt.release(NAMES)
    with ptio.open(io.BytesIO(path.read_bytes())) as ckpt:
        ckpt.prefetch(NAMES)
        ckpt.release(NAMES)
        assert ckpt["model/weight"][2, 3] == 11


# --- what is read


def test_opening_reads_no_tensor(tmp_path):
    data = checkpoints.save({f"t{i}": T("uint8", bytes(1 << 20)) for i in range(8)})
    file = Counting(data)
    with ptio.open(file) as ckpt:
        assert len(ckpt.infos()) == 8
        ckpt.tree()
        assert file.count < 1 << 17
        file.count = 0
        ckpt["t3"]
        assert 1 << 20 <= file.count < (1 << 20) + (1 << 16)


def test_rows_read_little_but_themselves():
    rows, columns = 5000, 1000
    data = checkpoints.save({"w": T("uint8", bytes(rows * columns), (rows, columns))})
    file = Counting(data)
    with ptio.open(file) as ckpt:
        part = ckpt.get_slice("w")
        for index, size in [
            (17, columns),
            (slice(100, 200), 100 * columns),
            (slice(4000, None), 1000 * columns),
            ((slice(10, 20), slice(3, 900)), 10 * 897),
            (slice(0, 5000, 500), 10 * columns),
            ((slice(None, None, 100), 5), 50),
        ]:
            file.count = 0
            assert part[index].nbytes == size
            assert file.count <= size + (64 << 10)


def test_a_view_of_a_large_storage_reads_only_its_span():
    base = T("float32", np.arange(1 << 20))
    views = {
        "part": checkpoints.view(base, (10, 10), (10, 1), 5000),
        "across": checkpoints.view(base, (10, 10), (1, 10), 5000),
        "apart": checkpoints.view(base, (3,), (1000,), 9),
        "wide": checkpoints.view(base, (1000, 2), (0, 1), 9),
        "nothing": checkpoints.view(base, (0, 5), (5, 1), 9),
    }
    data = checkpoints.save({"base": base, **views})
    expected = ptio.load(io.BytesIO(data))
    file = Counting(data)
    with ptio.open(file) as ckpt:
        for name in views:
            file.count = 0
            array = ckpt[name]
            assert file.count < 80 << 10
            assert array.strides == expected[name].strides
            assert array.flags.writeable
            np.testing.assert_array_equal(array, expected[name])
    with ptio.open(Counting(data), verify=True) as ckpt:  # a checksum is over all of it
        np.testing.assert_array_equal(ckpt["part"], expected["part"])


@pytest.mark.skipif(not hasattr(os, "SEEK_DATA"), reason="needs sparse files")
def test_the_size_of_a_file_does_not_matter_for_opening(tmp_path):
    def make(name, size):
        path = tmp_path / name
        obj = {f"t{i}": T("uint8", b"") for i in range(100)}
        pickled, _ = checkpoints.dumps(obj)
        entries = checkpoints.entries(pickled, {str(i): b"" for i in range(100)})
        path.write_bytes(zip_files.write(entries))
        return path

    # The same directory, 1 GiB of nothing before it: as a file object at an offset.
    small = make("small.pt", 0).read_bytes()
    large = tmp_path / "large.pt"
    with open(large, "wb") as file:
        file.truncate(1 << 30)
        file.seek(1 << 30)
        file.write(small)

    def cost(path, at):
        best = math.inf
        for _ in range(20):
            with open(path, "rb") as file:
                file.seek(at)
                begin = time.process_time()
                with ptio.open(file) as ckpt:
                    assert len(ckpt) == 100
                best = min(best, time.process_time() - begin)
        return best

    assert cost(large, 1 << 30) < 3 * cost(tmp_path / "small.pt", 0) + 0.001


# --- checksums


def damaged(path, name="model/weight"):
    with ptio.open(path) as ckpt:
        _, offset = ckpt.file_offset(name)
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("mmap", "verify", "notices"),
    [
        ("auto", None, False),
        ("auto", True, True),
        ("auto", False, False),
        (False, None, True),
        (False, True, True),
        (False, False, False),
    ],
)
def test_whole_tensors_are_checked_as_load_checks_them(path, mmap, verify, notices):
    damaged(path)
    with ptio.open(path, mmap=mmap, verify=verify) as ckpt:
        assert ckpt.get_slice("model/weight")[1, 1] == 5  # parts have no checksum
        ckpt["model/bias"]
        reads = [lambda: ckpt["model/weight"], lambda: ckpt["model/weight"], ckpt.load]
        reads += [lambda: ckpt.read_into("model/weight", np.empty((3, 4), np.float32))] * (not mmap)
        for read in reads:
            if notices:
                with pytest.raises(ptio.ChecksumError, match=r"nested.pt.*data/0"):
                    read()
            else:
                read()


def test_mapped_bytes_are_checked_once(tmp_path):
    path = save(tmp_path, {"w": T("uint8", bytes(8 << 20))})
    with ptio.open(path, verify=True) as ckpt:
        ckpt["w"]
        begin = time.process_time()
        for _ in range(200):
            ckpt["w"]
        assert time.process_time() - begin < 0.1  # checking again would take a second


# --- closing


def test_after_closing_nothing_can_be_read_but_arrays_stay(path):
    for mmap in ("auto", False):
        ckpt = ptio.open(path, mmap=mmap)
        array, part = ckpt["model/weight"], ckpt.get_slice("model/weight")
        row = part[1]
        ckpt.close()
        ckpt.close()
        np.testing.assert_array_equal(array, WEIGHT)
        np.testing.assert_array_equal(row, WEIGHT[1])
        reads = [
            lambda c=ckpt: c["model/weight"],
            lambda s=part: s[0],
            lambda c=ckpt: c.read_into("model/weight", np.empty((3, 4), np.float32)),
            ckpt.load,
            lambda c=ckpt: c.file_offset("model/weight"),
            lambda c=ckpt: c.prefetch(NAMES),
        ]
        for read in reads:
            with pytest.raises(ValueError, match="closed"):
                read()
        assert list(ckpt) == NAMES
        assert ckpt.info("half").nbytes == 8


def test_a_handle_that_is_dropped_closes_its_file(path):
    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    before = descriptors()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(10):
            ptio.open(path)
        gc.collect()
    assert descriptors() == before


def test_a_file_that_cannot_be_opened_stays_closed(tmp_path):
    bad = tmp_path / "bad.pt"
    bad.write_bytes(b"nothing of the kind")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(ptio.UnsupportedError, match=r"bad\.pt"):
            ptio.open(bad)
    with pytest.raises(FileNotFoundError):
        ptio.open(tmp_path / "none.pt")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_object_stays_open(path):
    with open(path, "rb") as file:
        with ptio.open(file) as ckpt:
            ckpt["half"]
        assert not file.closed


# --- the file changes meanwhile


@pytest.mark.parametrize("mmap", [True, False])
def test_a_file_that_is_replaced_is_read_as_it_was(path, mmap):
    with ptio.open(path, mmap=mmap) as ckpt:
        other = path.with_name("other.pt")
        other.write_bytes(checkpoints.save({"x": T("int8", [1])}))
        os.replace(other, path)
        np.testing.assert_array_equal(ckpt["model/weight"], WEIGHT)
        np.testing.assert_array_equal(ckpt.get_slice("model/weight")[2], WEIGHT[2])


@pytest.mark.parametrize("mmap", [True, False])
def test_a_file_that_shrinks_is_an_error(path, mmap):
    with ptio.open(path, mmap=mmap) as ckpt:
        os.truncate(path, 100)
        with pytest.raises((ptio.FormatError, OSError), match="when it was opened"):
            ckpt["model/weight"]
        with pytest.raises((ptio.FormatError, OSError), match="when it was opened"):
            ckpt.get_slice("model/weight")[0]


@pytest.mark.parametrize("mmap", [True, False])
def test_a_file_that_grows_is_read_as_it_was(path, mmap):
    with ptio.open(path, mmap=mmap) as ckpt:
        with open(path, "ab") as file:
            file.write(checkpoints.save({"x": T("int8", [1])}))
        np.testing.assert_array_equal(ckpt["model/weight"], WEIGHT)
        np.testing.assert_array_equal(ckpt.get_slice("model/weight")[2], WEIGHT[2])
    with pytest.raises(ptio.AmbiguousError):
        ptio.load(path)


# --- copies


def test_a_handle_by_name_can_be_pickled_and_copied(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    with ptio.open(path.name, mmap=False, verify=False) as ckpt:
        monkeypatch.chdir("/")
        for other in (pickle.loads(pickle.dumps(ckpt)), copy.copy(ckpt), copy.deepcopy(ckpt)):
            ckpt.close()
            np.testing.assert_array_equal(other["model/weight"], WEIGHT)
            other.close()
    with (
        ptio.open(io.BytesIO(path.read_bytes())) as ckpt,
        pytest.raises(TypeError, match="by name"),
    ):
        pickle.dumps(ckpt)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_handle_works_on_both_sides_of_a_fork(path):
    for mmap in (True, False):
        with ptio.open(path, mmap=mmap) as ckpt:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                child = os.fork()
            if child == 0:
                try:
                    good = (ckpt["model/weight"] == WEIGHT).all()
                    good = good and (ckpt.get_slice("model/weight")[1] == WEIGHT[1]).all()
                    os._exit(0 if good else 1)
                finally:
                    os._exit(2)
            np.testing.assert_array_equal(ckpt["model/weight"], WEIGHT)
            assert os.waitpid(child, 0)[1] == 0


# --- arguments


def test_arguments_are_checked(path):
    for arguments, error, message in [
        ({"framework": "jax"}, ValueError, "'numpy' or 'torch', not 'jax'"),
        ({"device": "cuda"}, ValueError, "other devices need framework='torch'"),
        ({"unknown": "skip"}, ValueError, "'error' or 'inert'"),
        ({"mmap": "yes"}, ValueError, "mmap must be"),
        ({"encoding": "klingon"}, LookupError, "klingon"),
        ({"threads": -1}, ValueError, "threads"),
        ({"limits": 5}, TypeError, "ptio.Limits"),
        ({"allow": "numpy"}, TypeError, "several names"),
    ]:
        with pytest.raises(error, match=message):
            ptio.open(path, **arguments)


def test_unknown_classes_are_refused_or_data(tmp_path):
    obj = {"x": checkpoints.Global("some.module", "Thing"), "w": T("float32", [1])}
    path = save(tmp_path, obj)
    with pytest.raises(ptio.ForbiddenError, match=r"some\.module\.Thing"):
        ptio.open(path)
    with ptio.open(path, unknown="inert") as ckpt:
        assert ckpt["w"].tolist() == [1]
        assert type(ckpt.tree()["x"]) is ptio.Opaque
    with ptio.open(path, allow=["some.module.Thing"]) as ckpt:
        assert ckpt["w"].tolist() == [1]


def test_progress_is_that_of_load(path):
    seen = []
    with ptio.open(
        path, mmap=False, progress=lambda done, total: seen.append((done, total))
    ) as ckpt:
        ckpt["model/weight"]
        assert seen == []
        ckpt.load()
    assert seen[-1][0] == seen[-1][1] > 0


# --- growth


@children.unless_sanitized
def test_reading_again_and_again_leaves_nothing_behind(path):
    for mmap in (True, False):
        with ptio.open(path, mmap=mmap) as ckpt:
            out = np.empty((3, 4), np.float32)

            def work(ckpt=ckpt, out=out):
                for name in NAMES:
                    ckpt[name]
                    ckpt.info(name)
                ckpt.get_slice("views/0")[1:, ::2]
                ckpt.read_into("model/weight", out)
                ckpt.read_into("views/0", out.T)
                ckpt.tree()
                ckpt.prefetch(NAMES)
                with pytest.raises(KeyError):
                    ckpt["nothing"]

            leaks.flat(work, rounds=1500)

    def open_and_close():
        with ptio.open(path) as ckpt:
            ckpt["half"]
            list(ckpt)

    leaks.flat(open_and_close)
