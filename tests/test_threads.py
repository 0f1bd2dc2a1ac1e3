# SPDX-License-Identifier: Apache-2.0
"""Several threads loading at once, and processes that fork."""

import concurrent.futures
import io
import os
import threading

import attacks
import numpy as np
import ptio
import pytest
from support import checkpoints
from support.compare import assert_same

THREADS = 8


def _object(seed):
    shared = ["list", seed]
    tensors = {
        f"t{i}": checkpoints.tensor("float32", np.arange(2000) + seed + i) for i in range(30)
    }
    return {**tensors, "shared": [shared, shared], "seed": 2**70 + seed}


@pytest.fixture
def files(save):
    return [(save(obj, f"{i}.pt"), obj) for i, obj in enumerate(map(_object, range(4)))]


def at_once(work):
    """Runs work(i) on all threads, released together; returns the results."""
    barrier = threading.Barrier(THREADS)

    def run(i):
        barrier.wait()
        return [work(i) for _ in range(5)]

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        return [result for results in pool.map(run, range(THREADS)) for result in results]


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("threads", [None, 2])
def test_many_loads_at_once(files, mmap, threads):
    def work(i):
        path, expected = files[i % len(files)]
        assert_same(ptio.load(path, mmap=mmap, verify=True, threads=threads), expected)
        return True

    assert all(at_once(work))


def test_many_loads_of_one_buffer_at_once(files):
    path, expected = files[0]
    data = path.read_bytes()
    at_once(lambda i: assert_same(ptio.load(io.BytesIO(data)), expected))


def test_good_and_bad_files_at_once(files, write):
    bad = write(b"<html>", "bad.pt")

    def work(i):
        if i % 2:
            with pytest.raises(ptio.UnsupportedError) as caught:
                ptio.load(bad)
            return caught.value.path == str(bad)
        return len(ptio.load(files[0][0])) == len(files[0][1])

    assert all(at_once(work))


def test_hostile_files_among_good_ones(files, write):
    """Every way to read, on all threads, while others are at the same files."""
    hostile = [a for a in attacks.load_all() if a.number in ("1", "4", "6", "11", "22", "28", "42")]
    bad = [
        write(data, f"{name}.pt")
        for attack in hostile
        for name, data in attack.files()
        if len(data) < 1 << 14
    ]
    good, expected = files[0]

    def outcome(read, path):
        try:
            return repr(read(path))
        except ptio.Error as error:
            return f"{type(error).__name__}: {error}"

    def load(path):
        return type(ptio.load(path)).__name__

    def look(path):
        with ptio.open(path) as ckpt:
            return [ckpt[name].shape for name in ckpt if hasattr(ckpt[name], "shape")]

    def verify(path):
        return ptio.verify(path).problems

    alone = {(read, path): outcome(read, path) for read in (load, look, verify) for path in bad}

    def work(i):
        for number, (read, path) in enumerate(alone):
            assert outcome(read, path) == alone[read, path]
            if number % 40 == i:
                assert_same(ptio.load(good, mmap=bool(i % 2)), expected)
        return True

    barrier = threading.Barrier(THREADS)

    def run(i):
        barrier.wait()
        return work(i)

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        assert all(pool.map(run, range(THREADS)))
    assert len(bad) > 50


def test_limits_and_allowed_names_of_one_call_do_not_leak_into_another(write):
    path = write(checkpoints.save([checkpoints.Global("models", "Net"), [[1]]]))

    def work(i):
        if i % 2:
            return type(ptio.load(path, allow=["models.Net"])[0]) is ptio.Opaque
        with pytest.raises(ptio.ForbiddenError):
            ptio.load(path)
        return True

    assert all(at_once(work))


def test_one_file_object_may_be_loaded_again_and_again(files):
    path, expected = files[0]
    with open(path, "rb") as file:
        for _ in range(3):
            file.seek(0)
            assert_same(ptio.load(file), expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_arrays_and_loads_work_after_a_fork(files):
    path, expected = files[0]
    before = ptio.load(path, threads=4)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            before["t0"][:] = 7
            assert_same(ptio.load(path, mmap=False, threads=4), expected)
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert before["t0"][1] == 1, "the child wrote into pages of its own"
