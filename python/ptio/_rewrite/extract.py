# SPDX-License-Identifier: Apache-2.0
"""Tensors out of a checkpoint into NumPy's .npy and .npz files, one tensor at a time.

Names of files are made here: a tensor's own name never becomes a path.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import quote

import numpy as np

from ptio._errors import LimitError, UnsupportedError
from ptio._inspect.outline import label
from ptio._inspect.values import Expanded, check_size, pieces
from ptio._open import Checkpoint, TensorInfo
from ptio._save.destination import open_destination
from ptio._text import size
from ptio._types import QuantizedTensor, SparseTensor

_LONGEST = 180  # of a file's name; file systems take 255 bytes
_ALWAYS_WRITTEN = 64 << 20
_EXPANSION = 4


@dataclass(frozen=True)
class Extracted:
    """One tensor that was written.

    Attributes:
        name: of the tensor.
        file: that it is in; for .npz the name of the array in it.
        dtype: that the file has.
        stored_dtype: torch's name for what the checkpoint has.
        shape: of both.
    """

    name: str
    file: str
    dtype: str
    stored_dtype: str
    shape: tuple[int, ...]


class NoArray(ValueError):
    """The tensor cannot be written as one array."""


def file_names(infos: Sequence[TensorInfo]) -> list[str]:
    """A name for each tensor: unique also where capitals do not count, without '/', never empty
    and never beginning with a dot."""
    names: list[str] = []
    taken: set[str] = set()
    last: dict[str, int] = {}  # number of the last of many names that begin alike
    for info in infos:
        text = label(info)[:_LONGEST]
        name = quote(text, safe="/", errors="surrogatepass").replace("/", ".") or "tensor"
        name = f"%2E{name[1:]}" if name.startswith(".") else name
        base = name = name[:_LONGEST]
        while name.lower() in taken:
            number = last[base.lower()] = last.get(base.lower(), 1) + 1
            name = f"{base}~{number}"
        taken.add(name.lower())
        names.append(name)
    return names


def to_folder(
    checkpoint: Checkpoint, infos: Sequence[TensorInfo], folder: str, *, bits: bool, force: bool
) -> Iterator[Extracted | tuple[TensorInfo, NoArray]]:
    """Writes a file NAME.npy for each tensor, and yields what was written.

    Raises:
        FileExistsError: one of the files is there, and not `force`; nothing has been written.
    """
    files = [os.path.join(folder, f"{name}.npy") for name in file_names(infos)]
    if not force:
        for file in files:
            refuse_old(file)
    os.makedirs(folder, exist_ok=True)
    for info, file in zip(infos, files, strict=True):
        try:
            array, dtype = _array(checkpoint, info, bits)
        except NoArray as e:
            yield info, e
            continue
        yield to_file(array, dtype, info, file)
        checkpoint.release([info.name])


def to_npy(checkpoint: Checkpoint, info: TensorInfo, file: str, *, bits: bool) -> Extracted:
    """Writes one tensor to one file."""
    array, dtype = _array(checkpoint, info, bits)
    return to_file(array, dtype, info, file)


def to_file(array: Any, dtype: np.dtype[Any], info: TensorInfo, file: str) -> Extracted:
    with open_destination(file) as destination, open(destination.fd, "wb", closefd=False) as out:
        _write(out, array, dtype)
        out.flush()
        if destination.seekable:
            destination.finish(out.tell())
    return _extracted(info, file, dtype)


def to_npz(
    checkpoint: Checkpoint, infos: Sequence[TensorInfo], file: str, *, bits: bool
) -> Iterator[Extracted | tuple[TensorInfo, NoArray]]:
    """Writes all tensors into one file, and yields what was written."""
    with open_destination(file) as destination, open(destination.fd, "wb", closefd=False) as out:
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            for info, name in zip(infos, file_names(infos), strict=True):
                try:
                    array, dtype = _array(checkpoint, info, bits)
                except NoArray as e:
                    yield info, e
                    continue
                # A date of its own: the same tensors are the same bytes.
                entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
                with archive.open(entry, "w", force_zip64=True) as member:
                    _write(member, array, dtype)
                yield _extracted(info, name, dtype)
                checkpoint.release([info.name])
        out.flush()
        if destination.seekable:
            destination.finish(out.tell())


def refuse_old(file: str) -> None:
    if os.path.lexists(file):
        raise FileExistsError(17, "File exists (--force replaces it)", file)


def _extracted(info: TensorInfo, file: str, dtype: np.dtype[Any]) -> Extracted:
    return Extracted(label(info), file, dtype.name, info.dtype, info.shape)


def _array(checkpoint: Checkpoint, info: TensorInfo, bits: bool) -> tuple[Any, np.dtype[Any]]:
    """The tensor as an array, and the dtype to write it with."""
    try:
        check_size(info)
    except Expanded as e:
        raise NoArray(str(e)) from None
    if info.nbytes > max(_ALWAYS_WRITTEN, _EXPANSION * info.storage_nbytes) and info.storage:
        raise NoArray(
            f"it would take {size(info.nbytes)}, and its storage has {size(info.storage_nbytes)}"
        )
    value = checkpoint.get_tensor(info.name)
    try:
        if isinstance(value, QuantizedTensor):
            value = value.dequantize()
        elif isinstance(value, SparseTensor):
            value = value.to_dense()
    except (ValueError, LimitError, UnsupportedError) as e:
        raise NoArray(str(e.args[0])) from None
    if not isinstance(value, (np.ndarray, np.generic)):
        kind = "tensor" if info.kind == "tensor" else f"{info.kind} tensor"
        raise NoArray(f"a {kind} of {info.dtype} is no array of NumPy")
    array = np.asarray(value)
    return array, _dtype_in_file(array.dtype, bits)


def _dtype_in_file(dtype: np.dtype[Any], bits: bool) -> np.dtype[Any]:
    """NumPy's files know NumPy's own types only: bfloat16 and float8 become float32, which
    holds each of their numbers exactly, or unsigned integers with the same bits."""
    if dtype.isbuiltin == 1:
        return dtype
    return np.dtype(f"u{dtype.itemsize}") if bits else np.dtype(np.float32)


def _write(out: IO[bytes], array: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> None:
    header = {"descr": dtype.str, "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(out, header)
    as_bits = dtype.kind == "u" and array.dtype.isbuiltin != 1
    for piece in pieces(array):
        piece = piece.view(dtype) if as_bits else piece.astype(dtype, copy=False)
        out.write(np.ascontiguousarray(piece).data.cast("B"))
