# SPDX-License-Identifier: Apache-2.0
"""A small good file of every kind that ptio reads, made without torch: {name: bytes}.

What is done many times over - allocations that fail one by one, leaks, seeds of a fuzzer - is done
with these.
"""

import argparse
import collections
import datetime
import io
import json
import pathlib
import struct
import types

import numpy as np
import ptio

from . import checkpoints, legacy_files, tar_files
from . import pickle_asm as asm
from .checkpoints import Global, tensor, view

ASK_FOR_INERT = ("opaque", "opaque-from-ptio")  # names of classes that are not there


def all_files():
    files = {name: checkpoints.save(obj) for name, obj in _objects().items()}
    files |= {name: _saved(obj) for name, obj in _objects_of_ptio().items()}
    tensors = _objects()["tensors"]
    files["protocol-4"] = checkpoints.save(_objects()["plain"], protocol=4)
    files["big-endian"] = checkpoints.save(tensors, byteorder="big")
    files["legacy"] = legacy_files.save(tensors)
    root = tensor("float32", [1, 2, 3, 4])
    part = checkpoints.Tensor(legacy_files.View(root.storage, 1, 2), (2,), (1,))
    files["legacy-view"] = legacy_files.save([root, part])
    files["tar"] = tar_files.save({"w": root})
    files["bare-pickle"] = checkpoints.dumps(_objects()["plain"])[0]
    files["safetensors"] = _safetensors()
    files["calls"] = checkpoints.archive(asm.program(_calls()), {})
    return files


def _objects():
    weight = tensor("float32", [[1, 2, 3], [4, 5, 6]])
    shared = ["shared"]
    loop = [1]
    loop.append(loop)
    return {
        "plain": {
            "a": 1,
            "b": [1.5, None, True, "text", b"bytes", 2**70, -1],
            "c": (1, (2, ())),
            "again": [shared, shared],
            "loop": loop,
            7: "seven",
            (1, "x"): None,
            1.5: 2 + 3j,
        },
        "tensors": {
            "w": weight,
            "row": view(weight, (3,), (1,), 3),
            "t": view(weight, (3, 2), (1, 3)),
        },
        "dtypes": [tensor(name, bytes(16)) for name in checkpoints.ITEMSIZE],
        "odd": [
            tensor("float32", [1.0], parameter=True, requires_grad=True),
            tensor("float32", b"", shape=(0, 3)),
            view(weight, (5, 2), (0, 1)),
            weight.storage,
            tensor("complex64", [1 + 2j], metadata={"conj": True}),
            tensor("float32", [3.0], shape=()),
        ],
        "containers": [
            collections.OrderedDict(a=1, b=[2]),
            collections.Counter("abca"),
            collections.defaultdict(list, {"k": [1]}),
            collections.deque([1, 2], 5),
            {1, "two", None},
            frozenset([3, (4, 5)]),
            bytearray(b"bytes"),
        ],
        "library": [
            datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc),
            datetime.timedelta(days=1),
            pathlib.PurePosixPath("a/b"),
            types.SimpleNamespace(x=1),
            argparse.Namespace(lr=0.1),
            range(1, 9, 2),
            slice(1, None, 2),
        ],
        "numpy": [
            np.arange(6.0).reshape(2, 3),
            np.float32(1.5),
            np.dtype("<i4"),
            np.dtype([("x", "<f8"), ("y", "<i2", (2,))]),
            np.array(["text"]),
            np.asfortranarray(np.ones((2, 2), ">i4")),
        ],
        "globals": [Global("torch", "float32"), Global("torch", "qint8")],
        "opaque": [Global("models", "Net"), _net(), _net()],
    }


class _Net:
    """Pickles as an object of a class that is not there."""

    def __reduce__(self):
        new = Global("models", "Net")
        return new, (1, "x"), {"weight": tensor("float32", [1.0])}, iter([1, 2]), iter([("k", 3)])


def _net():
    return _Net()


def _objects_of_ptio():
    """What is simplest to have written by ptio itself."""
    ints = np.arange(6, dtype=np.int8).reshape(2, 3)
    indices, values = np.array([[0, 2], [1, 3]]), np.array([1.5, 2.5])
    channels = np.array([0.1, 0.2]), np.array([0, 1])
    jagged = {"values": np.ones((5, 2), np.float32), "offsets": np.array([0, 2, 5])}
    return {
        "sparse": [
            ptio.SparseTensor("torch.sparse_coo", (3, 4), values, indices=indices),
            ptio.SparseTensor(
                "torch.sparse_csr",
                (2, 4),
                values,
                crow_indices=np.array([0, 1, 2]),
                col_indices=np.array([1, 3]),
            ),
        ],
        "quantized": [
            ptio.QuantizedTensor(ints, "qint8", "per_tensor_affine", 0.5, 1),
            ptio.QuantizedTensor(ints, "qint8", "per_channel_affine", *channels, 0),
        ],
        "nested": ptio.NestedTensor("torch.jagged", **jagged, ragged_dim=1),
        "opaque-from-ptio": ptio.Opaque("models", "Config", (1,), {"k": [2]}, {"state": 3}),
    }


def _saved(obj):
    file = io.BytesIO()
    ptio.save(obj, file)
    return file.getvalue()


def _safetensors():
    data = bytes(16)
    entry = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
    header = json.dumps({"__metadata__": {"format": "pt"}, "w": entry}).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + data


def _calls():
    """Calls that CPython's pickler writes for no object that is here."""
    device = asm.call(asm.global_("torch", "device"), asm.text("cuda"), asm.number(1))
    size = asm.call(asm.global_("torch", "Size"), asm.ints(2, 3))
    encode = asm.call(asm.global_("_codecs", "encode"), asm.text("\xff\0"), asm.text("latin1"))
    return asm.list_of(device, size, encode)
