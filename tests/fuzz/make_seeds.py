#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Inputs to begin fuzzing with: sound files of every kind, and the hostile ones of tests/attacks.

make_seeds.py FOLDER        FOLDER/TARGET/... ; with torch installed there are more
"""

import contextlib
import io
import struct
import sys
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import attacks
from support import checkpoints, legacy_files, small_files, tar_files, zip_files
from support.checkpoints import Tensor, tensor

LARGEST = 12000
FILES = ("file", "salvage", "zip_index")  # targets whose inputs are whole files


def objects():
    """Plain data and tensors of every dtype."""
    weight = tensor("float32", [[1, 2], [3, 4]], parameter=True)
    yield {"w": weight, "again": weight, "bias": tensor("float64", [1.5]), "epoch": 3, "loss": 0.25}
    yield [
        None,
        True,
        2**70,
        -(2**40),
        b"\xff\0",
        "text é",
        (1, (2, ())),
        {1, 2},
        frozenset({3}),
        1j,
    ]
    whole = tensor("int64", list(range(12)))
    yield {
        "a": whole,
        "b": checkpoints.view(whole, (2, 3), (1, 2), 1),
        "c": checkpoints.view(whole, (5, 2), (0, 1)),
    }
    for dtype in checkpoints.ITEMSIZE:
        yield Tensor(checkpoints.Storage(dtype, bytes(16)), (1,), (1,))
    cycle = []
    cycle.append({"self": cycle})
    yield cycle


def torch_files():
    """What torch.save writes of its rarer values."""
    try:
        import torch
    except ImportError:
        return
    from support import torch_corpus

    values = [torch_corpus.every_layout(dtype, 0) for dtype in torch_corpus.DTYPES]
    values += [
        torch.eye(3).to_sparse(),
        torch.eye(3).to_sparse_csr(),
        torch.nn.Linear(2, 2).state_dict(),
    ]
    values += [
        torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        torch.Size([1, 2]),
        torch.device("cpu"),
    ]
    values += [torch.quantize_per_tensor(torch.ones(3), 0.5, 1, torch.qint8), torch.nn.Linear(1, 1)]
    values.append(
        torch.quantize_per_channel(
            torch.ones(2, 2), torch.ones(2), torch.zeros(2).long(), 0, torch.qint8
        )
    )
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2)).backward()
    optimizer.step()
    values.append({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 1})
    for value in values:
        for options in ({}, {"pickle_protocol": 4}, {"_use_new_zipfile_serialization": False}):
            file = io.BytesIO()
            torch.save(value, file, **options)
            yield file.getvalue()


def files():
    """Whole files, sound or not."""
    for obj in objects():
        for protocol in (0, 2, 4):
            yield checkpoints.save(obj, protocol=protocol)
            yield legacy_files.save(obj, protocol)
        with contextlib.suppress(KeyError, TypeError, AttributeError):
            yield tar_files.save(obj)  # torch 0.1 did not have every dtype
    yield from torch_files()
    yield from small_files.all_files().values()
    for attack in attacks.load_all():
        for _, data in attack.files():
            yield data
    packed = zip_files.write(
        [zip_files.deflated(b"m/data.pkl", b"\x80\x02]."), zip_files.Entry(b"m/version", b"3\n")]
    )
    yield packed


def pickles_of(data):
    """The pickles in a file."""
    if data[:4] != b"PK\3\4":
        return [data]
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return [archive.read(name) for name in archive.namelist() if name.endswith(".pkl")]
    except (
        zipfile.BadZipFile,
        OSError,
        EOFError,
        ValueError,
        NotImplementedError,
        RuntimeError,
        UnicodeDecodeError,
    ):
        return []
    except Exception as error:  # zipfile meets hostile files here
        print(f"left out: {error!r}", file=sys.stderr)
        return []


def members_of_tar(data):
    """What the target takes instead of a tar archive."""
    parts = []
    for name in (b"sys_info", b"pickle", b"tensors", b"storages"):
        at = -512
        for at in range(0, len(data), 512):
            if data[at : at + 100].rstrip(b"\0") == name:
                size = int(data[at + 124 : at + 135], 8)
                parts.append(struct.pack("<H", size) + data[at + 512 : at + 512 + size])
                break
    return b"".join(parts)


def inputs():
    """(target, bytes)"""
    for number, data in enumerate(files()):
        if len(data) > LARGEST:
            continue
        zipped, tar = data[:4] == b"PK\3\4", data[257:262] == b"ustar"
        yield "file", data
        for way in (number % 64, (7 * number + 3) % 64):
            yield "glue", data + bytes([way])
        if zipped:
            yield "zip_index", data
            yield "salvage", data
        for pickled in pickles_of(data):
            yield "pickle", b"\x03" + pickled
            yield "pickle", b"\x10" + pickled
            for choice in (0, 1, 3, 6):
                yield "objects", bytes([choice]) + pickled
            yield "roundtrip", b"\0" + pickled
            yield "roundtrip", b"\1" + pickled
        if tar:
            yield "tar", b"\0" + data
            yield "tar", b"\1" + members_of_tar(data)
        elif not zipped:
            yield "legacy", b"\0" + data
            yield "legacy", b"\1" + data[15:]


def main():
    folder = Path(sys.argv[1])
    for number, (target, data) in enumerate(inputs()):
        (folder / target).mkdir(parents=True, exist_ok=True)
        (folder / target / f"seed-{number:05}").write_bytes(data)


if __name__ == "__main__":
    main()
