# SPDX-License-Identifier: Apache-2.0
"""One handle in many threads: reads of every kind, closing among them, and callbacks that come
back."""

import io
import random
import threading

import numpy as np
import ptio
import pytest
from support import checkpoints, sources

COUNT = 40


def content(i):
    return np.arange(i, i + 1000 * (1 + i % 3), dtype=np.float32)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    base = checkpoints.tensor("float32", np.arange(100_000, dtype=np.float32))
    obj = {f"t{i}": checkpoints.tensor("float32", content(i)) for i in range(COUNT)}
    obj["base"] = base
    obj["view"] = checkpoints.view(base, (10, 10), (1, 100), 7)
    path = tmp_path_factory.mktemp("threads") / "many.pt"
    path.write_bytes(checkpoints.save(obj))
    return path


class OnePosition(sources.DuckFile):
    """Notices when two threads are in it at once."""

    def __init__(self, data):
        super().__init__(data)
        self.inside = threading.Lock()
        self.clashes = 0

    def seek(self, offset, whence=0):
        if whence == 0 and not self.inside.acquire(blocking=False):
            self.clashes += 1
        return super().seek(offset, whence)

    def read(self, size=-1):
        data = super().read(size)
        if self.inside.locked():
            self.inside.release()
        return data


def read_one(ckpt, rng):
    i = rng.randrange(COUNT)
    name, expected = f"t{i}", content(i)
    what = rng.randrange(6)
    if what == 0:
        np.testing.assert_array_equal(ckpt[name], expected)
    elif what == 1:
        np.testing.assert_array_equal(ckpt.get_slice(name)[10:500:3], expected[10:500:3])
    elif what == 2:
        out = np.empty_like(expected)
        ckpt.read_into(name, out)
        np.testing.assert_array_equal(out, expected)
    elif what == 3:
        assert ckpt["view"][3, 4] == 7 + 3 + 400
        ckpt.prefetch([name, "view"])
    elif what == 4:
        assert ckpt.info(name).shape == expected.shape
        ckpt.file_offset(name)
    elif rng.randrange(10) == 0:
        np.testing.assert_array_equal(ckpt.load()[name], expected)


def storm(ckpt, *, close_after=None, threads=8, rounds=60):
    """The failures of threads that read at once; some other one may close the handle meanwhile."""
    failures, closed, begun = [], threading.Event(), threading.Barrier(threads + 1)

    def work(seed):
        rng = random.Random(seed)
        begun.wait()
        try:
            for _ in range(rounds):
                read_one(ckpt, rng)
        except ValueError as e:
            if not (closed.is_set() and "closed" in str(e)):
                failures.append(e)
        except BaseException as e:
            failures.append(e)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(threads)]
    for worker in workers:
        worker.start()
    begun.wait()
    if close_after is not None:
        threading.Event().wait(close_after)
        closed.set()
        ckpt.close()
    for worker in workers:
        worker.join(120)
        assert not worker.is_alive(), "threads wait for each other"
    return failures


WAYS = {
    "mapped": lambda path: ptio.open(path, mmap=True),
    "read": lambda path: ptio.open(path, mmap=False),
    "checked": lambda path: ptio.open(path, verify=True),
    "BytesIO": lambda path: ptio.open(io.BytesIO(path.read_bytes())),
    "file object": lambda path: ptio.open(OnePosition(path.read_bytes())),
}


@pytest.mark.parametrize("way", WAYS)
def test_many_threads_may_read_at_once(path, way):
    with WAYS[way](path) as ckpt:
        assert storm(ckpt) == []


@pytest.mark.parametrize("way", WAYS)
def test_a_handle_may_be_closed_while_it_is_read(path, way):
    for delay in (0, 0.001, 0.01, 0.05):
        ckpt = WAYS[way](path)
        assert storm(ckpt, close_after=delay, rounds=1000 if delay else 50) == []
        with pytest.raises(ValueError, match="closed"):
            ckpt["t0"]


def test_a_file_object_is_asked_by_one_thread_at_a_time(path):
    file = OnePosition(path.read_bytes())
    with ptio.open(file) as ckpt:
        file.clashes = 0
        assert storm(ckpt) == []
        assert file.clashes == 0


def test_a_callback_cannot_come_back_to_the_read_it_belongs_to(path):
    seen = []

    def progress(done, total):
        if not seen:
            with pytest.raises(RuntimeError, match="this thread is reading the checkpoint already"):
                ckpt["t0"]
        seen.append(done)

    with ptio.open(path, mmap=False, progress=progress) as ckpt:
        assert len(ckpt.load()) == COUNT + 2
        assert seen
        np.testing.assert_array_equal(ckpt["t0"], content(0))


def test_a_file_object_that_reads_the_handle_is_an_error_not_a_wait(path):
    class Loop(sources.DuckFile):
        ckpt = None

        def read(self, size=-1):
            if self.ckpt is not None:
                self.ckpt.get_slice("t1")[0]
            return super().read(size)

    file = Loop(path.read_bytes())
    with ptio.open(file) as ckpt:
        file.ckpt = ckpt
        with pytest.raises(RuntimeError, match="reading the checkpoint already"):
            ckpt.get_slice("t0")[0]
        file.ckpt = None
        assert ckpt.get_slice("t0")[5] == 5


def test_what_a_file_object_raises_comes_out(path):
    class Broken(sources.DuckFile):
        broken = False

        def read(self, size=-1):
            if self.broken:
                raise ConnectionError("the network is gone")
            return super().read(size)

    file = Broken(path.read_bytes())
    with ptio.open(file) as ckpt:
        file.broken = True
        for read in (lambda: ckpt["t0"], lambda: ckpt.get_slice("t0")[0], ckpt.load):
            with pytest.raises(ConnectionError, match="the network is gone"):
                read()
        file.broken = False
        np.testing.assert_array_equal(ckpt["t0"], content(0))
