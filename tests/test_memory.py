# SPDX-License-Identifier: Apache-2.0
"""Memory: what a load may take at its peak, and that nothing is left behind."""

import os
import sys

import numpy as np
import ptio
import pytest
from support import checkpoints, children
from support.leaks import flat

MIB = 1 << 20
PAYLOAD = 64 * MIB

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")

CHILD = """
import json, sys
import numpy, ml_dtypes, ptio
def kib(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field + ":"))
path, mode, reader, small = sys.argv[1:]
ptio.load(small, mmap=mode == "map")
before = kib("VmHWM"), kib("RssAnon")
if reader == "path":
    obj = ptio.load(path, mmap=mode == "map")
else:
    obj = ptio.load(open(path, "rb"))
after = kib("VmHWM"), kib("RssAnon")
print(json.dumps({"peak": after[0] - before[0], "anonymous": after[1] - before[1]}))
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A file with 64 MiB in 16 tensors, and a small one to warm up with."""
    folder = tmp_path_factory.mktemp("memory")
    part = np.zeros(PAYLOAD // 16, np.uint8).tobytes()
    obj = {str(i): checkpoints.tensor("uint8", part) for i in range(16)}
    (folder / "big.pt").write_bytes(checkpoints.save(obj))
    (folder / "small.pt").write_bytes(checkpoints.save({"w": checkpoints.tensor("int8", b"1")}))
    return folder / "big.pt", folder / "small.pt"


def measure(files, mode, reader="path"):
    big, small = files
    result = children.run(CHILD, big, mode, reader, small)
    return {name: value * 1024 for name, value in result.items()}


def test_a_mapped_load_takes_no_memory_for_the_tensors(files):
    used = measure(files, "map")
    assert used["peak"] < 4 * MIB
    assert used["anonymous"] < 4 * MIB


@pytest.mark.parametrize("reader", ["path", "file object"])
def test_a_copying_load_takes_the_tensors_once(files, reader):
    used = measure(files, "copy", reader)
    assert used["peak"] < 1.03 * PAYLOAD + 4 * MIB
    assert used["anonymous"] > 0.9 * PAYLOAD


def _objects():
    tensor = checkpoints.tensor("float32", list(range(5000)))
    shared = ["list", {"key": 2**70}]
    return {
        "w": tensor,
        "v": checkpoints.view(tensor, (10,), (1,), 3),
        "raw": checkpoints.tensor("complex32", bytes(64)),
        "p": checkpoints.tensor("bfloat16", [1, 2], parameter=True, requires_grad=True),
        "shared": [shared, shared, (shared,), {1, 2}, b"bytes" * 100],
    }


@children.unless_sanitized
@pytest.mark.parametrize("mmap", [True, False])
def test_repeated_loads_leave_nothing_behind(save, mmap):
    path = save(_objects())
    flat(lambda: ptio.load(path, mmap=mmap, verify=True))


@children.unless_sanitized
def test_repeated_verifies_leave_nothing_behind(save):
    path = save(_objects())
    flat(lambda: ptio.verify(path))


def _failing(data, **options):
    import io

    def work():
        with pytest.raises(ptio.Error):
            ptio.load(io.BytesIO(data), **options)

    return work


@children.unless_sanitized
@pytest.mark.parametrize("damage", ["truncated", "checksum", "bounds", "forbidden", "limit"])
def test_repeated_failures_leave_nothing_behind(damage):
    good = checkpoints.save(_objects())
    options = {}
    if damage == "truncated":
        data = good[: len(good) // 2]
    elif damage == "checksum":
        data = good.replace(np.float32(77).tobytes(), b"\xff\xff\xff\xff", 1)
        options["verify"] = True
    elif damage == "bounds":
        tensor = checkpoints.tensor("float32", [1.0])
        data = checkpoints.save([_objects(), checkpoints.view(tensor, (2,), (1,))])
    elif damage == "forbidden":
        data = checkpoints.save([_objects(), checkpoints.Global("os", "system")])
    else:
        data = good
        options["limits"] = ptio.Limits(objects=20)
    flat(_failing(data, **options))


@children.unless_sanitized
def test_repeated_inert_loads_leave_nothing_behind(save):
    class_ = checkpoints.Global("models", "Net")
    path = save([_objects(), class_, {"again": class_}])
    flat(lambda: ptio.load(path, unknown="inert"))


def test_reference_counts_of_singletons_stay(save):
    path = save([None, True, (), "", b"", 1, 0, frozenset(), [None] * 50, {None: None}])
    work = [None, True, False, (), "", b"", 1, dict, list, np.dtype("float32")]
    ptio.load(path)
    before = [sys.getrefcount(value) for value in work]
    for _ in range(100):
        ptio.load(path)
    after = [sys.getrefcount(value) for value in work]
    assert all(abs(b - a) < 50 for a, b in zip(before, after, strict=True)), (before, after)
