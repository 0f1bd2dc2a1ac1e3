# SPDX-License-Identifier: Apache-2.0
"""ptio.torch.load in threads and child processes, and the memory that it takes and gives back."""

import concurrent.futures
import multiprocessing
import os
import threading

import pytest
from support import children

MIB = 1 << 20
THREADS = 8

with_proc = pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")


@pytest.fixture
def load(torch):
    import ptio.torch

    return ptio.torch.load


# --- threads --------------------------------------------------------------------------------------


def at_once(work):
    """Runs work(i) on all threads, released together, several times each."""
    barrier = threading.Barrier(THREADS)

    def run(i):
        barrier.wait()
        return [work(i) for _ in range(4)]

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        return [result for results in pool.map(run, range(THREADS)) for result in results]


@pytest.mark.parametrize("weights_only", [True, False])
@pytest.mark.parametrize("mmap", [True, False])
def test_many_loads_at_once(torch, load, torch_save, weights_only, mmap):
    from support import torch_corpus
    from support.torch_compare import assert_same_objects

    kinds = ("Adam", "parameters", "sparse", "plain")
    paths = [torch_save(torch_corpus.KINDS[kind](), f"{kind}.pt") for kind in kinds]
    options = {"weights_only": weights_only, "mmap": mmap}
    expected = [torch.load(path, **options) for path in paths]

    def work(i):
        which = i % len(paths)
        assert_same_objects(load(paths[which], **options), expected[which])
        return True

    assert all(at_once(work))


class Allowed:
    """Allowed in half of the calls."""

    def __init__(self, value):
        self.value = value


def test_what_one_call_allows_no_other_does(torch, load, torch_save):
    path = torch_save([Allowed(3), torch.ones(100)])

    def work(i):
        if i % 2:
            return load(path, allow=[Allowed])[0].value == 3
        with pytest.raises(Exception, match="Allowed was not an allowed global by default"):
            load(path)
        return True

    assert all(at_once(work))
    assert Allowed not in torch.serialization.get_safe_globals()


def test_each_thread_has_its_own_map_location(torch, load, torch_save):
    path = torch_save([torch.ones(100), torch.zeros(3)])

    def work(i):
        device = ("cpu", "meta", None)[i % 3]
        return load(path, device)[0].device.type == (device or "cpu")

    assert all(at_once(work))
    assert getattr(torch.serialization._serialization_tls, "map_location", None) is None


# --- processes ------------------------------------------------------------------------------------


def _sum_and_fill(tensors):
    """In the child: what it received, and a change that the parent must see."""
    total = sum(float(tensor.double().sum()) for tensor in tensors)
    tensors[0].fill_(1)
    return total


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensors_travel_to_a_child_in_shared_memory(torch, load, torch_save, method, mmap):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    import torch.multiprocessing

    tensors = load(
        torch_save([torch.arange(1000.0), torch.ones(7, dtype=torch.bfloat16)]), mmap=mmap
    )
    context = torch.multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        assert pool.submit(_sum_and_fill, tensors).result() == 499_507
    assert tensors[0].sum() == 1000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_loads_and_tensors_work_after_a_fork(torch, load, torch_save):
    path = torch_save([torch.arange(100_000), torch.ones(3)])
    before = load(path, threads=4, mmap=True)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            before[1].fill_(7)
            again = load(path, threads=4)
            status = 0 if int(again[0][77]) == 77 and float(again[1][0]) == 1 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert before[1].tolist() == [1, 1, 1]


# --- memory ---------------------------------------------------------------------------------------

CHILD = """
import json, sys
import torch
import ptio.torch as pt
def kib(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field + ":"))
path, small, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
pt.load(small, **options)
before = kib("VmHWM"), kib("RssAnon")
tensors = pt.load(path, **options)
told = {"peak": kib("VmHWM") - before[0], "anonymous": [kib("RssAnon") - before[1]]}
while tensors:
    del tensors[-1]
    told["anonymous"].append(kib("RssAnon") - before[1])
print(json.dumps(told))
"""


def measure(path, small, **options):
    import json

    told = children.run(CHILD, path, small, json.dumps(options))
    return told["peak"] * 1024, [value * 1024 for value in told["anonymous"]]


@pytest.fixture(scope="module")
def files(torch, tmp_path_factory):
    """Files with 64 MiB each, in 16 tensors and in 16384, and a small one to warm up with."""
    folder = tmp_path_factory.mktemp("memory")
    torch.save([torch.zeros(4 * MIB, dtype=torch.uint8) for _ in range(16)], folder / "large.pt")
    torch.save([torch.zeros(4096, dtype=torch.uint8) for _ in range(16384)], folder / "many.pt")
    torch.save([torch.zeros(10)], folder / "small.pt")
    return folder


@with_proc
@children.unless_sanitized
@pytest.mark.parametrize("weights_only", [True, False])
def test_memory_comes_back_tensor_by_tensor(files, weights_only):
    path, small = files / "large.pt", files / "small.pt"
    peak, anonymous = measure(path, small, weights_only=weights_only)
    assert peak < 66 * MIB + 4 * MIB
    for dropped, used in enumerate(anonymous):
        assert abs(used - (16 - dropped) * 4 * MIB) < 4 * MIB, f"after {dropped} tensors"


@with_proc
@children.unless_sanitized
def test_small_tensors_keep_no_more_than_their_slab(files):
    """Storages share blocks of at most 1 MiB: each goes with the last of its tensors."""
    peak, anonymous = measure(files / "many.pt", files / "small.pt")
    assert peak < 64 * MIB + 32 * MIB  # half of it are the tensors as objects
    for dropped, used in list(enumerate(anonymous))[::1024]:
        assert used < (16384 - dropped) * 4096 + 16 * MIB, f"after {dropped} tensors"


@with_proc
def test_a_mapped_load_takes_no_memory_for_the_tensors(files):
    peak, anonymous = measure(files / "large.pt", files / "small.pt", mmap=True)
    assert peak < 4 * MIB
    assert max(anonymous) < 4 * MIB
