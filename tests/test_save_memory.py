# SPDX-License-Identifier: Apache-2.0
"""Memory that saving takes, beyond the object."""

import io
import os

import numpy as np
import ptio
import pytest
from support import children
from support.leaks import flat

MIB = 1 << 20

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")

# Prints how far the highest resident memory went beyond that before the save.
CHILD = """
import json, sys
import numpy as np, ml_dtypes, ptio
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
class Sink:
    def write(self, data):
        pass
path, to_file = sys.argv[1], sys.argv[2] == "file"
target = path if to_file else Sink()
small = {"a": np.ones(9), "b": np.ones((30, 7))[::-1], "c": np.ones((30, 7)).T}
ptio.save(small, target)
with ptio.Writer(target) as w:
    w["small"] = small["b"]
"""
PRINT = """
print(json.dumps((peak() - before) * 1024))
"""


def measure(tmp_path, code, target="file"):
    return children.run(CHILD + code + PRINT, tmp_path / "x.pt", target)


OBJECTS = {
    "plain": "np.ones((16, MIB))",
    "backwards": "np.ones((16, MIB))[::-1]",
    "backwards in one row": "np.ones((1, 16 * MIB))[:, ::-1]",
    "backwards in one column": "np.ones((16 * MIB, 1))[::-1]",
    "transposed and swapped": "np.ones((4096, 4096), '>f8').T",
    "columns": "np.ones((4 * MIB, 5))[:, 1:4]",
    "many of one": "(lambda x: [x[i, ::-1] for i in range(16)])(np.ones((16, MIB)))",
}


@children.unless_sanitized
@pytest.mark.parametrize("target", ["file", "stream"])
@pytest.mark.parametrize("name", OBJECTS)
def test_save_takes_little_more_than_the_object(tmp_path, name, target):
    code = f"MIB = 1 << 20\nobj = {OBJECTS[name]}\nbefore = peak()\nptio.save(obj, target)"
    assert measure(tmp_path, code, target) <= 16 * MIB


@children.unless_sanitized
@pytest.mark.parametrize("target", ["file", "stream"])
@pytest.mark.parametrize("way", ["writer", "deferred"])
@pytest.mark.parametrize("layout", ["", ".reshape(2048, -1)[::-1]"])
def test_writer_and_deferred_take_the_largest_array(tmp_path, way, target, layout):
    """1 GiB in arrays of 16 MiB, into a stream; 256 MiB into a file."""
    count = 64 if target == "stream" else 16
    make = f"np.full(2 << 20, i, 'f8'){layout}"
    if way == "writer":
        body = f"""
with ptio.Writer(target) as w:
    for i in range({count}):
        w[str(i)] = {make}
"""
    else:
        body = f"""
obj = [ptio.Deferred({make}.shape, "f8", lambda i=i: {make}) for i in range({count})]
ptio.save(obj, target)
"""
    code = f"i = 1\nbefore = peak()\n{body}"
    assert measure(tmp_path, code, target) <= 32 * MIB


@children.unless_sanitized
def test_repeated_saves_leave_nothing_behind(tmp_path):
    x = np.arange(5000, dtype="f4")
    obj = {
        "views": [x, x[10:20], x[::-1], x.astype(">f4")],
        "raw": ptio.RawTensor(ptio.TorchDtype("complex32"), (2,), (1,), x.view("u1")),
        "plain": [1, 2.5, "text", b"bytes", {1, 2}, {"key": 2**70}, np.float32(1)],
        "later": ptio.Deferred((3,), "f8", lambda: np.zeros(3)),
    }

    def work():
        ptio.save(obj, tmp_path / "x.pt")
        ptio.save(obj, io.BytesIO())
        with ptio.Writer(tmp_path / "y.pt") as w:
            w["x"] = x
            w.write(x)

    flat(work, rounds=400, settle=400)


@children.unless_sanitized
def test_repeated_failures_leave_nothing_behind(tmp_path):
    def fail():
        raise KeyError

    x = np.arange(5000, dtype="f4")

    def write(obj):
        with ptio.Writer(tmp_path / "x.pt") as w:
            for name, value in obj.items():
                w[name] = value

    def work():
        for bad in (object(), ptio.Deferred((3,), "f8", fail), np.array([None])):
            with pytest.raises((TypeError, KeyError)):
                ptio.save({"x": x, "view": x[1:], "bad": bad}, tmp_path / "x.pt")
            with pytest.raises((TypeError, KeyError)):
                write({"x": x, "bad": bad})

    flat(work, rounds=400, settle=400)
    assert not list(tmp_path.iterdir())
