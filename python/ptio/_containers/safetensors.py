# SPDX-License-Identifier: Apache-2.0
"""safetensors files: a table of contents in JSON, and the tensors behind it.

  u64 length of the table | {"name": {"dtype", "shape", "data_offsets"}, "__metadata__"} | bytes

We read the table, with all the checks of the format: tensors fill the bytes without holes and
without overlaps. The library itself is not needed, so that file objects, threads, maps and limits
work as for other files.
"""

from __future__ import annotations

import math
from typing import Any

from ptio._containers.base import Options
from ptio._containers.described import Described, FromDescription, row_major
from ptio._containers.json import parse_json, require, require_sizes
from ptio._core import Source
from ptio._errors import AmbiguousError, BoundsError, FormatError, LimitError, UnsupportedError
from ptio._limits import Limits
from ptio._text import printable
from ptio._types.dtypes import from_safetensors, item_bytes

_LENGTH = 8
_LARGEST_TABLE = 100_000_000  # the format's own limit


class Safetensors(FromDescription):
    """A safetensors file; takes the source over."""

    def __init__(self, source: Source, options: Options, path: str | None) -> None:
        try:
            tensors, parts, self._about = _read_table(source, options.limits or Limits())
        except BaseException:
            source.close()
            raise
        super().__init__(source, options, tensors, path=path, format="safetensors", parts=parts)

    def metadata(self) -> dict[str, str] | None:
        return self._about


def _read_table(
    source: Source, limits: Limits
) -> tuple[list[Described], list[tuple[str, int, int]], dict[str, str]]:
    length = int.from_bytes(source.read(0, _LENGTH), "little")
    if length > min(_LARGEST_TABLE, limits.pickle_bytes):
        raise LimitError(f"the header has {length} bytes", kind="LIMIT")
    if length > source.size - _LENGTH:
        raise FormatError(f"the header has {length} bytes, more than the file", kind="SAFETENSORS")
    table = parse_json(source.read(_LENGTH, length), "the header")
    about = require(table.pop("__metadata__", {}), dict, "__metadata__")
    for value in about.values():
        require(value, str, "a value of __metadata__")
    if len(table) > limits.objects:
        raise LimitError(f"{len(table)} tensors (limit objects)", kind="LIMIT")
    data = _LENGTH + length
    rows = sorted((_row(name, entry) for name, entry in table.items()), key=lambda row: row[1:3])
    end = 0
    for name, begin, stop, _, _ in rows:
        if begin != end:
            raise AmbiguousError(
                f"the tensor begins at byte {begin} of the data, the one before it ends at {end}",
                record=name,
                kind="SAFETENSORS",
            )
        end = stop
    if end != source.size - data:
        text = f"the tensors have {end} bytes, the file has {source.size - data} for them"
        raise BoundsError(text, kind="SAFETENSORS", hint="copy or download the file again")
    numbers = {name: number for number, (name, *_) in enumerate(rows)}
    sizes = {name: (stop - begin, dtype, shape) for name, begin, stop, dtype, shape in rows}
    tensors = []
    for name in table:  # in the order of the file
        nbytes, dtype, shape = sizes[name]
        tensors.append(Described(name, numbers[name], nbytes, dtype, shape, row_major(shape)))
    shown = [(printable(name, 512), data + b, e - b) for name, b, e, _, _ in rows]
    return tensors, shown, about


def _row(name: str, entry: Any) -> tuple[str, int, int, str, tuple[int, ...]]:
    """(name, begin, end, dtype, shape) of a tensor."""
    try:
        require(entry, dict, "the entry")
        kind = require(entry.get("dtype"), str, "the dtype")
        dtype = from_safetensors(kind)
        shape = require_sizes(entry.get("shape"), "the shape")
        offsets = require_sizes(entry.get("data_offsets"), "data_offsets")
        if len(offsets) != 2 or offsets[0] > offsets[1]:
            raise FormatError(f"data_offsets are {list(offsets)}", kind="SAFETENSORS")
        if dtype == kind:
            text = f"tensors of type {printable(kind)} are not read"
            raise UnsupportedError(text, kind="SAFETENSORS")
        if dtype == "float4_e2m1fn_x2":  # two elements in a byte, which torch counts as one
            if not shape or shape[-1] % 2:
                raise FormatError(f"an F4 tensor of shape {list(shape)}", kind="SAFETENSORS")
            shape = (*shape[:-1], shape[-1] // 2)
        nbytes = math.prod(shape) * item_bytes(dtype)
        if nbytes != offsets[1] - offsets[0]:
            raise BoundsError(
                f"a tensor of {nbytes} bytes lies in {offsets[1] - offsets[0]}", kind="SAFETENSORS"
            )
    except FormatError as e:
        e.record = name
        raise
    except UnsupportedError as e:
        e.record = name
        raise
    return name, *offsets, dtype, shape
