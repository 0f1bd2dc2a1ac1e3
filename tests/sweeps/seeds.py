# SPDX-License-Identifier: Apache-2.0
"""Small sound files of every format and layout, made from nothing."""

import argparse
import datetime
import functools
import io
import json
import pathlib
import pickle
import struct
import zipfile
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from attacks import containers
from attacks import tensors as wrong_tensors
from support import checkpoints, legacy_files, tar_files, zip_files
from support import pickle_asm as asm

from . import fields


@dataclass(frozen=True)
class Seed:
    """`data` is what is changed; `wrap` makes a file of it.

    `covered`: each byte lies under a checksum or is compared with another one, so a change never
    goes unnoticed. Elsewhere a changed number is a number like any other.
    """

    data: bytes
    covered: bool
    fields: Callable  # of data: [(offset, width)] of the numbers in it
    wrap: Callable = bytes
    options: dict = field(default_factory=dict)


TENSOR = checkpoints.tensor("float32", [1.0, 2.0, 3.0, 4.0])
TENSORS = {
    "w": TENSOR,
    "t": checkpoints.view(TENSOR, (2, 2), (1, 2)),
    "p": checkpoints.tensor("bfloat16", [1, 2], parameter=True),
    "u": checkpoints.tensor("uint16", [7]),
}
PLAIN = [None, True, 2**70, 1.5, "text", b"bytes", (1, 2), {3}, frozenset({4}), [[]]]
NUMPY = [np.arange(3), np.float32(1), np.dtype([("a", "<i4")])]
RARE = [
    *(OrderedDict(a=1), Counter("aab"), deque([1], 5), bytearray(b"x"), 1 + 2j),
    *(datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc), datetime.timedelta(1)),
    *(pathlib.PurePosixPath("a/b"), argparse.Namespace(lr=0.1), range(3), slice(1)),
]


def _archive(obj, protocol=2, **options):
    return checkpoints.save(obj, protocol=protocol, stem="a", **options)


def _repacked(**options):
    """By Python's zipfile, to a stream, with zip64 fields, or packed."""
    source = zipfile.ZipFile(io.BytesIO(_archive([TENSOR], records=False)))
    force, unseekable = options.pop("force_zip64", False), options.pop("stream", False)
    file = io.BytesIO()
    with zipfile.ZipFile(zip_files.WriteOnly(file) if unseekable else file, "w", **options) as new:
        if not unseekable:
            new.mkdir("a")
        for info in source.infolist():
            with new.open(zipfile.ZipInfo(info.filename), "w", force_zip64=force) as member:
                member.write(source.read(info))
    return file.getvalue()


def _deflated():
    entries = checkpoints.entries(*checkpoints.dumps(TENSORS))
    return zip_files.write([zip_files.deflated(e.name, e.data) for e in entries if e.data])


def _tar():
    """Without the padding behind its end."""
    data = tar_files.save([TENSOR])
    return data[: -(-len(data.rstrip(b"\0")) // 512) * 512 + 1024]


def _long(value):
    """A number in eight bytes, so that any can stand in its place."""
    return b"\x8a\x08" + struct.pack("<q", value)


def _longs(*values):
    return asm.tuple_of(*map(_long, values))


STORAGE = asm.storage(numel=_long(4))
WIDE_TENSOR = asm.program(
    asm.tensor(STORAGE, offset=_long(1), size=_longs(1, 2), stride=_longs(2, 1))
)


def _wide_quantized():
    stored = asm.storage("QInt8Storage", numel=_long(16))
    scale = asm.tuple_of(wrong_tensors.PER_TENSOR, asm.number(0.5), _long(3))
    parts = (_long(0), _longs(4, 4), _longs(4, 1), scale, asm.number(False), asm.ordered_dict())
    return asm.program(asm.call(wrong_tensors.QTENSOR, stored, *parts))


def _zip_seed(data, **more):
    return Seed(data, True, fields.of_zip, **more)


def _stream_seed(stream, storages):
    """A pickle that always has the right checksum."""
    wrap = functools.partial(_wrapped, storages)
    return Seed(stream, False, fields.of_pickle, wrap, {"unknown": "inert"})


def _wrapped(storages, stream):
    return checkpoints.archive(stream, storages, records=False)


def _safetensors():
    header = json.dumps({"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(range(16))


def seeds():
    """By name."""
    inert = {"unknown": "inert"}
    bare = Seed(b"", False, fields.of_pickle)
    root = TENSOR.storage
    view = checkpoints.Tensor(legacy_files.View(root, 1, 2), (2,), (1,))
    made = {
        "tensors": _zip_seed(_archive(TENSORS)),
        "old torch": _zip_seed(_archive(TENSORS, records=False, byteorder=None)),
        "big endian": _zip_seed(_archive(TENSORS, byteorder="big", records=False)),
        **{f"plain {n}": _zip_seed(_archive(PLAIN, n, records=False)) for n in (0, 2, 5)},
        "numpy": _zip_seed(_archive(NUMPY, records=False)),
        "rare": _zip_seed(_archive(RARE, records=False)),
        "deflated": _zip_seed(_deflated()),
        "stored again": _zip_seed(_repacked()),
        "descriptors": _zip_seed(_repacked(stream=True)),
        "zip64": _zip_seed(_repacked(force_zip64=True)),
        "zip64 descriptors": _zip_seed(_repacked(stream=True, force_zip64=True)),
        "packed stream": _zip_seed(_repacked(stream=True, compression=zipfile.ZIP_DEFLATED)),
        "quantized": _zip_seed(wrong_tensors.sound_quantized()),
        "sparse": _zip_seed(wrong_tensors.sound_sparse()),
        "nested": _zip_seed(wrong_tensors.sound_nested()),
        "opaque": _zip_seed(containers.opaque(), options=inert),
        "torchscript": _zip_seed(containers.torchscript()),
        "package": _zip_seed(containers.package()),
        "pt2": _zip_seed(containers.exported()),
        "legacy": Seed(legacy_files.save([TENSOR]), False, fields.of_legacy),
        "legacy views": Seed(legacy_files.save([view, TENSOR]), False, fields.of_legacy),
        "tar": Seed(_tar(), False, fields.of_tar),
        "safetensors": Seed(_safetensors(), False, lambda data: [(0, 8)]),
        "pickle of a tensor": _stream_seed(WIDE_TENSOR, {"0": bytes(range(16))}),
        "pickle of quantized": _stream_seed(_wide_quantized(), {"0": bytes(16)}),
        "pickle of tensors": _stream_seed(*checkpoints.dumps(TENSORS, 4)),
        "pickle of numpy": _stream_seed(*checkpoints.dumps(NUMPY, 5)),
        "pickle of rare": _stream_seed(*checkpoints.dumps(RARE, 2)),
    }
    for protocol in range(6):
        made[f"bare {protocol}"] = Seed(pickle.dumps(PLAIN, protocol), False, bare.fields)
    return made
