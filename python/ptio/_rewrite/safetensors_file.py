# SPDX-License-Identifier: Apache-2.0
"""Writes safetensors files, tensor by tensor. (The safetensors package takes all of them at once,
in memory and laid out, and writes into the file that is already there.)

    | 8 bytes: size of the header | header, JSON, padded with spaces | data |

The header has for each name {"dtype", "shape", "data_offsets": [begin, end]}, the offsets counted
from where the data begins, and under "__metadata__" texts by name. The data has no gaps.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from ptio._save.destination import Destination
from ptio._text import count, printable
from ptio._types.arrays import Array
from ptio._types.dtypes import item_bytes, safetensors_name

_ALIGNMENT = 8
_LARGEST_HEADER = 100_000_000  # what readers accept
_SHOWN = 5

Report = Callable[[int], Any]  # told of bytes as they have been written


class Part(NamedTuple):
    """A tensor to write."""

    dtype: str  # torch's name
    shape: tuple[int, ...]
    nbytes: int
    pieces: Callable[[], Iterator[Array]]


def require_writable(parts: Mapping[str, Part]) -> None:
    """Proves that the format has these names and dtypes.

    Raises:
        ValueError: names those that it lacks.
    """
    lacking = [name for name, part in parts.items() if safetensors_name(part.dtype) == part.dtype]
    if lacking:
        each = [f"{printable(n)} ({printable(parts[n].dtype)})" for n in lacking[:_SHOWN]]
        more = f" and {len(lacking) - _SHOWN:,} more" if len(lacking) > _SHOWN else ""
        raise ValueError(
            f"safetensors has no such dtype as {count(len(lacking), 'tensor')} here: "
            f"{', '.join(each)}{more}"
        )
    for name in parts:
        if name == "__metadata__" or any("\ud800" <= c <= "\udfff" for c in name):
            raise ValueError(f"a safetensors file cannot have the name {printable(name)!r}")


def write_safetensors(
    destination: Destination,
    parts: Mapping[str, Part],
    metadata: Mapping[str, str],
    report: Report = lambda done: None,
) -> None:
    """A whole file; what is in it has to be `require_writable`."""
    # Large elements first: each tensor is then aligned to the size of its elements.
    order = sorted(parts.values(), key=lambda part: -item_bytes(part.dtype))
    header = _header(parts, order, metadata)
    with io.FileIO(destination.fd, "wb", closefd=False) as file:
        with destination.naming_errors():
            _write(file, memoryview(header))
        for part in order:
            done = 0
            for piece in part.pieces():
                done += piece.nbytes
                with destination.naming_errors():
                    _write(file, piece.data.cast("B"))
                report(piece.nbytes)
            if done != part.nbytes:
                raise ValueError(f"a tensor has {done} bytes instead of {part.nbytes}")
    destination.finish(len(header) + sum(part.nbytes for part in order))


def _header(parts: Mapping[str, Part], order: list[Part], metadata: Mapping[str, str]) -> bytes:
    begins, end = {}, 0
    for part in order:
        begins[id(part)] = end
        end += part.nbytes
    table: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    for name, part in parts.items():
        begin = begins[id(part)]
        table[name] = {
            "dtype": safetensors_name(part.dtype),
            "shape": list(part.shape),
            "data_offsets": [begin, begin + part.nbytes],
        }
    text = json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    if len(text) > _LARGEST_HEADER:
        raise ValueError(
            f"the names of {count(len(parts), 'tensor')} take {len(text):,} bytes, more than "
            f"readers of safetensors accept"
        )
    return struct.pack("<Q", len(text)) + text


def _write(file: io.FileIO, data: memoryview) -> None:
    while data:
        data = data[file.write(data) or 0 :]
