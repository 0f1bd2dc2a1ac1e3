# SPDX-License-Identifier: Apache-2.0
"""What is done while allocations fail: every way into the C extension, as directly as possible.

Each operation is a function without arguments whose result can be told apart from a wrong one by
support.outline. It leaves nothing behind that a failure could make last.
"""

import functools
import io
import os
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import ptio
from ptio import _core
from ptio._checkpoint import for_core
from support import checkpoints, small_files
from support import pickle_asm as asm

LIMITS = for_core(None)
READ = {"verify": True, "private": False, "threads": 1, "progress": None}
_COMPOSITES = ("sparse", "quantized", "nested")  # classes of ptio prove what is in them
_IN_PYTHON = [f"build {name}" for name in ("safetensors", *_COMPOSITES)]
_SAVED = ("plain", "containers", "library")  # NumPy itself dies in its __array_interface__
# Not all versions of CPython and NumPy do where their own Python code finds no memory.
_PYTHON_SURVIVES = sys.version_info < (3, 12) and np.lib.NumpyVersion(np.__version__) >= "2.0.0"
_OPEN = {
    "limits": LIMITS,
    "inert": True,
    "allow": (),
    "encoding": "utf-8",
    "path": "a.pt",
    "judge": None,
    "order": 0,
    "for_torch": False,
    "members": None,
    "lenient": False,
}


@dataclass
class Operation:
    name: str
    work: Any
    refused: bool = False  # it ends with an error of ptio
    in_python: bool = False  # Python's and NumPy's code runs between C and C
    any_error: bool = False  # ... and code that reports anything


_SALVAGE = {"limits": LIMITS, "any_crc": False, "threads": 1, "progress": None, "path": "a.pt"}
_WRITE = {"alignment": 64, "crc": True, "threads": 1, "progress": None, "path": "a.pt"}
_ARRAY = np.arange(3.0)
_ADDRESS = _ARRAY.ctypes.data
_PLAIN = {"a": [1, 2**70, 1.5, "text", "\udc80"], "b": (b"bytes", bytearray(b"x")), "c": {1, (2,)}}


def _ignore(done, total):
    pass


def opened(data, **options):
    return _core.Checkpoint(_core.Source.from_bytes(data, 0), **{**_OPEN, **options})


def built(data, node=None, read=READ, **options):
    return opened(data, **options).build(node, **read)


def all_operations(folder):
    files = small_files.all_files()
    found = [
        Operation(f"build {name}", functools.partial(built, data)) for name, data in files.items()
    ]
    found = [operation for operation in found if operation.name not in _IN_PYTHON]
    for group in (_ways_to_open, _methods, _other_types, _sources, _writing):
        found += [Operation(*item) for item in group(files, folder).items()]
    found += [Operation(*item, refused=True) for item in _refusals(files).items()]
    if _PYTHON_SURVIVES:
        found += [Operation(*item, in_python=True) for item in _python(files, folder).items()]
    return found


def _ways_to_open(files, folder):
    def judge(module, name, ours):
        return (_core.OURS, None) if ours else (_core.AS_DATA, None)

    storages = [("0", 64, 16)]
    pickled = asm.program(asm.tensor(asm.storage(key=asm.number(0))))
    odd = files["odd"]
    return {
        "judge": lambda: built(files["opaque"], judge=judge),
        "allow": lambda: built(files["opaque"], inert=False, allow=("models.Net",)),
        "allow a group": lambda: built(files["plain"], inert=False, allow=("omegaconf", "a.b")),
        "members": lambda: built(bytes(80), members=(pickled, storages)),
        "members of an archive": lambda: built(files["tensors"], members=("data.pkl", "data/", "")),
        "encoding": lambda: built(files["plain"], encoding="latin-1"),
        "bytes": lambda: built(files["plain"], encoding="bytes"),
        "lenient": lambda: str(opened(b"<html>", lenient=True).error),
        "progress": lambda: built(odd, read={**READ, "progress": _ignore}),
        "private": lambda: built(odd, read={**READ, "private": True, "verify": None}),
        "parts": lambda: [built(odd, i.node) for i in opened(odd).tensors(True)],
    }


def _methods(files, folder):
    data, found = files["tensors"], {}
    handle = opened(data)
    nodes = [info.node for info in handle.tensors(False)]
    out = np.empty((2, 3), np.float32)

    def gather():
        handle.gather(nodes[0], 0, (12, 4), out.view("V4"), True, 1)
        return out.tolist()

    found = {
        "locate": lambda: handle.locate(),
        "gaps": lambda: handle.gaps(),
        "member": lambda: handle.member("data/0"),
        "read_member": lambda: handle.read_member("version", 99),
        "place": lambda: [handle.place(node) for node in nodes],
        "advise": lambda: [handle.advise(node, True) for node in nodes],
        "gather": gather,
        "attributes": lambda: [handle.format, handle.end, handle.pickle, handle.byteorder],
    }
    for name in ("tensors", "sparse", "plain", "containers", "legacy", "opaque"):
        found |= _listings(name, opened(files[name]))
    return found | {"second opinion": lambda: handle.second_opinion()}


def _listings(name, handle):
    return {
        f"records of {name}": lambda: handle.records(),
        f"tensors of {name}": lambda: [handle.tensors(True), handle.tensors(False)],
        f"globals of {name}": lambda: handle.globals((), 100, 100),
        f"leaves of {name}": lambda: handle.leaves(100),
        f"tree of {name}": lambda: handle.build_tree({i.node: 1 for i in handle.tensors(True)}),
        f"check of {name}": lambda: handle.check(threads=1, progress=_ignore),
    }


def _other_types(files, folder):
    data = files["tensors"]

    def archive():
        new = _core.Archive(_core.Source.from_bytes(data, 0), limits=LIMITS, order=0, path="a.pt")
        sizes = [(key, storage.nbytes) for key, storage in new.storages(**READ).items()]
        return [new.pickle, new.swap, new.offset("0"), sizes]

    storage = built(files["odd"])[3]
    broken = bytearray(data)
    broken[broken.index(np.arange(1, 7, dtype=np.float32).tobytes())] ^= 1
    broken = bytes(broken)
    return {
        "Archive": archive,
        "Salvage": functools.partial(_salvaged, data[:-30]),
        "Salvage of lost storages": functools.partial(_salvaged, broken),
        "sniff": lambda: _core.sniff(_core.Source.from_bytes(data, 0)),
        "versions": lambda: _core.versions(),
        "dtypes": lambda: _core.dtypes(),
        "Storage": lambda: np.from_dlpack(storage.base).tolist(),
        "findings": lambda: opened(broken).check(threads=1, progress=None),
    }


def _salvaged(data):
    source = _core.Source.from_bytes(data, 0)
    found = _core.Salvage(source, **_SALVAGE)
    told = [found.records(), found.tensors(), found.damaged(), found.directory, found.lost]
    found.cut()
    number, sizes = len(told[0]), []
    for i in range(number):
        sizes.append(found.payload(i).nbytes)
    return [told, found.pickle, found.mapped, sizes]


class _Reader:
    """The least that a file object has; it allocates nothing itself."""

    def __init__(self, data):
        self._data, self._at = memoryview(data), 0

    def seek(self, to):
        self._at = to

    def readinto(self, target):
        part = self._data[self._at : self._at + len(target)]
        target[: len(part)] = part
        return len(part)


class _OldReader(_Reader):
    readinto = None

    def read(self, size):
        return bytes(self._data[self._at : self._at + size])


del _OldReader.readinto


def _sources(files, folder):
    data = files["odd"]
    path = os.path.join(folder, "source.pt")
    with open(path, "wb") as file:
        file.write(data)
    name, fd = os.fsencode(path), os.open(path, os.O_RDONLY)

    def from_source(source):
        return _core.Checkpoint(source, **_OPEN).build(None, **READ)

    def part():
        whole = _core.Source.from_file(_Reader(bytes(10) + data), 10, len(data))
        return [whole.part(4, 9).read(1, 5), whole.size, whole.mapped]

    return {
        "from_path": lambda: from_source(_core.Source.from_path(name, "auto")),
        "from_path, never mapped": lambda: from_source(_core.Source.from_path(name, "never")),
        "from_fd": lambda: from_source(_core.Source.from_fd(fd, 0, "never")),
        "from_file": lambda: from_source(_core.Source.from_file(_Reader(data), 0, len(data))),
        "from_file, read()": lambda: from_source(
            _core.Source.from_file(_OldReader(data), 0, len(data))
        ),
        "part": part,
    }


class _Sink:
    """Takes what is written; what it needs is there already."""

    def __init__(self):
        self.size = 0

    def write(self, data):
        self.size += len(data)
        return len(data)


def _writing(files, folder):
    fd = os.memfd_create("saved")
    return {
        "ArchiveWriter to write()": _write_to_sink,
        "ArchiveWriter to a file": functools.partial(_write_to_file, fd),
        "collect": _collected,
    }


def _produce():
    return (_ARRAY,)


def _written(target):
    writer = _core.ArchiveWriter(target, b"archive", **_WRITE)
    writer.add("data.pkl", b"\x80\x02N.")
    writer.add("data/0", _ARRAY)
    writer.write()
    writer.add_memory("data/1", _ADDRESS, 24, _ARRAY)
    writer.add_deferred("data/2", 24, _produce)
    writer.write()
    writer.add("id", writer.id())
    writer.write()
    writer.finish()
    return writer.size


def _write_to_sink():
    sink = _Sink()
    return [_written(sink), sink.size]


def _write_to_file(fd):
    os.ftruncate(fd, 0)
    os.lseek(fd, 0, os.SEEK_SET)
    return [_written(fd), os.fstat(fd).st_size]


_DESCRIBED_ARRAY = (5, 0, ("torch", "FloatStorage"), 3, 0, (3,), (1,), None)
_DESCRIBED_RANGE = (1, ("builtins", "range"), (1, 9))


def _describe(value, address):
    return _DESCRIBED_RANGE if address is None else _DESCRIBED_ARRAY


def _collected():
    """Plain data, and arrays as if somebody had described them."""
    return _core.collect([_PLAIN, _ARRAY, range(1, 9), _ARRAY], _describe).tobytes()


def _saved(obj):
    sink = io.BytesIO()
    ptio.save(obj, sink, threads=1)
    return len(sink.getvalue())


def _python(files, folder):
    """Through the public functions, where Python's own code fails too."""
    data, path = files["tensors"], os.path.join(folder, "python.pt")
    with open(path, "wb") as file:
        file.write(data)

    def handle(f):
        with ptio.open(f, verify=False) as checkpoint:
            part = checkpoint.get_slice("w")[1:, ::2]
            return [
                list(checkpoint),
                checkpoint["row"],
                part,
                checkpoint.info("t"),
                checkpoint.load(),
            ]

    objects = {name: built(files[name]) for name in _SAVED}
    return {
        **{f"build {name}": functools.partial(built, files[name]) for name in _COMPOSITES},
        **{f"save {name}": functools.partial(_saved, obj) for name, obj in objects.items()},
        "ptio.load": lambda: ptio.load(path),
        "ptio.load of BytesIO": lambda: ptio.load(io.BytesIO(data)),
        "ptio.load of safetensors": lambda: ptio.load(io.BytesIO(files["safetensors"])),
        "ptio.open": lambda: handle(path),
        "ptio.open of BytesIO": lambda: handle(io.BytesIO(data)),
        "ptio.verify": lambda: ptio.verify(path).ok,
        "ptio.scan": lambda: ptio.scan(path).ok,
    }


def _refusals(files):
    forbidden = asm.program(asm.list_of(asm.global_("os", "system"), asm.global_("posix", "x")))
    outside = asm.program(asm.tensor(offset=9))
    storage = {"0": bytes(16)}
    broken = {
        "forbidden": checkpoints.archive(forbidden, {}),
        "bounds": checkpoints.archive(outside, storage),
        "truncated": files["tensors"][:-40],
        "not a checkpoint": b"<html></html>" * 9,
        "bad pickle": checkpoints.archive(b"\x80\x02(l", {}),
    }
    return {
        f"refuse {name}": functools.partial(built, data, inert=False)
        for name, data in broken.items()
    }
