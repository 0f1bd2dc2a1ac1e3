# SPDX-License-Identifier: Apache-2.0
"""What fuzz_glue does with one input.

The last byte of an input says what is done with the bytes before it, so a file and one more byte
is an input. Allowed are the exceptions of ptio's tree and MemoryError.
"""

import collections
import contextlib
import gc
import importlib.machinery
import importlib.util
import io
import os
import pathlib
import sys

try:
    import fuzz_glue  # inside the fuzzer
except ImportError:
    fuzz_glue = None

_ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


class _LinkedIn:
    """Finds the ptio._core that the fuzzer is linked with."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "ptio._core":
            return None
        builtin = importlib.machinery.BuiltinImporter
        return importlib.machinery.ModuleSpec(name, builtin, origin="built-in")


if fuzz_glue is not None:
    sys.path.insert(0, str(_ROOT / "python"))
    sys.meta_path.insert(0, _LinkedIn)

import numpy as np  # noqa: E402
import ptio  # noqa: E402
from ptio import _core  # noqa: E402
from ptio._checkpoint import open_salvage  # noqa: E402

if fuzz_glue is not None and "built-in" not in repr(_core):
    raise ImportError(f"{_core!r} is not the one that the fuzzer is linked with")

# Bits of the last byte.
MAPPED, INERT, VERIFY = 1, 2, 4
LOAD, LOAD_BYTES, OPEN, CHECK, SCAN, SALVAGE, SAVE, LISTS = range(8)  # times 8
_LIMITS = ptio.Limits(object_bytes=4 << 20, inflated_bytes=1 << 20)  # a fuzzer has no time for more
_COLLECT_EVERY = 1000
_NODES = 20_000  # objects of one result that are looked at
_BYTES = 1 << 16  # of one array that are read
_runs = 0
gc.disable()  # it runs between inputs, where what it takes is no input's


def one(data):
    global _runs
    _runs += 1
    if _runs % _COLLECT_EVERY == 0:
        gc.collect()
    how, data = (data[-1], data[:-1]) if data else (0, data)
    options = {
        "unknown": "inert" if how & INERT else "error",
        "verify": bool(how & VERIFY),
        "limits": _LIMITS,
        "threads": 1,
    }
    work = _WORK[how >> 3 & 7]
    try:
        if how & MAPPED:
            with _file(data) as path:
                work(path, {**options, "mmap": True})
        else:
            work(io.BytesIO(data), options)
    except (ptio.Error, MemoryError):
        pass


class _file:
    """A path whose file lies in memory: mapping it costs no disk."""

    def __init__(self, data):
        self._fd = os.memfd_create("input")
        os.write(self._fd, data)

    def __enter__(self):
        return f"/proc/self/fd/{self._fd}"

    def __exit__(self, *_):
        os.close(self._fd)


# --- what can be done with a file ----------------------------------------------------------


def _load(f, options):
    look(ptio.load(f, **options))


def _load_bytes(f, options):
    look(ptio.load(f, encoding="bytes", **options))


def _open(f, options):
    with ptio.open(f, **options) as checkpoint:
        for name in list(checkpoint)[:20]:
            info = checkpoint.info(name)
            value = checkpoint[name]
            look(value)
            if isinstance(value, np.ndarray) and value.size and info.kind == "tensor":
                look(checkpoint.get_slice(name)[..., None])
        look(checkpoint.load())


def _check(f, options):
    str(ptio.verify(f, limits=_LIMITS, threads=1, second_opinion=True))


def _scan(f, options):
    str(ptio.scan(f, limits=_LIMITS))


def _salvage(f, options):
    any_crc = options["verify"]
    with open_salvage(f, limits=_LIMITS, any_crc=any_crc, threads=1, progress=None) as found:
        look([found.tensors(), found.damaged(), found.directory])
        for number, _ in enumerate(found.records()[:20]):
            _bytes_of(found.payload(number))
        found.cut()
        look([found.pickle, found.lost])


def _save(f, options):
    """What was loaded can be saved, or there is no such thing in a file; and loaded again."""
    loaded = ptio.load(f, **options)
    if look(loaded) >= _NODES:
        return
    out = io.BytesIO()
    try:
        ptio.save(loaded, out, threads=1)
    except (TypeError, ValueError):
        return
    out.seek(0)
    with contextlib.suppress(ptio.LimitError):
        look(ptio.load(out, unknown="inert", verify=True, limits=_LIMITS))


def _lists(f, options):
    from ptio._checkpoint import open_checkpoint

    mmap = options.get("mmap", "auto")
    with open_checkpoint(f, mmap=mmap, limits=_LIMITS, lenient=True) as checkpoint:
        (
            checkpoint.globals((), 100, 100),
            checkpoint.records(),
            checkpoint.locate(),
            checkpoint.gaps(),
        )
        if checkpoint.error is not None:
            return
        infos = [*checkpoint.tensors(True), *checkpoint.tensors(False)]
        checkpoint.leaves(100)
        checkpoint.build_tree({info.node: info for info in infos})
        for record in checkpoint.records()[: 20 if checkpoint.format == "zip" else 0]:
            below = record.name.partition("/")[2]
            if checkpoint.member(below) is not None and record.size <= _BYTES:
                checkpoint.read_member(below, _BYTES)
        for info in infos[:20]:
            if info.record is not None:
                checkpoint.place(info.node)


_WORK = [_load, _load_bytes, _open, _check, _scan, _salvage, _save, _lists]


# --- looking at what came out of it --------------------------------------------------------


def look(root):
    """Touches all of an object; returns how many parts it has."""
    todo, seen, storages = [root], set(), {}
    while todo and len(seen) < _NODES:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, np.ndarray):
            _array(value, storages)
        elif isinstance(value, dict):
            todo += value
            todo += value.values()
            todo += getattr(value, "__dict__", {}).values()
        elif isinstance(value, (list, tuple, set, frozenset, collections.deque)):
            todo += value
        elif isinstance(value, _PARTS):
            todo += [getattr(value, name) for name in value.__slots__ if hasattr(value, name)]
            todo += getattr(value, "__dict__", {}).values()
        else:
            repr(value), hash(value) if type(value).__hash__ else None
    return len(seen)


_PARTS = (
    ptio.Opaque,
    ptio.RawTensor,
    ptio.QuantizedTensor,
    ptio.SparseTensor,
    ptio.NestedTensor,
)
for _part in _PARTS:
    if not hasattr(_part, "__slots__"):
        _part.__slots__ = ()


def _array(array, storages):
    low = high = array.__array_interface__["data"][0]
    if array.size == 0:
        return
    for size, stride in zip(array.shape, array.strides, strict=True):
        step = (size - 1) * stride
        low, high = low + min(step, 0), high + max(step, 0)
    high += array.itemsize
    base = array.base
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, _core.Storage):
        begin, end = _extent(base, storages)
        if not begin <= low <= high <= end:
            raise AssertionError(f"an array at {low:#x}-{high:#x} of {begin:#x}-{end:#x}")
    if fuzz_glue is not None:
        fuzz_glue.check(low, high - low)
    if array.nbytes <= _BYTES:
        array.tobytes()


def _extent(storage, storages):
    if id(storage) not in storages:
        flat = _bytes_of(storage)
        begin = flat.__array_interface__["data"][0]
        storages[id(storage)] = (begin, begin + flat.nbytes, flat)
    return storages[id(storage)][:2]


def _bytes_of(storage):
    flat = np.from_dlpack(storage)
    if flat.nbytes != storage.nbytes:
        raise AssertionError(f"{flat.nbytes} bytes of a storage of {storage.nbytes}")
    return flat
