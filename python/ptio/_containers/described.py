# SPDX-License-Identifier: Apache-2.0
"""Tensors that something else than a pickle describes: we write the pickle.

So the one core proves their bounds, reads them, and cuts slices, as for files of torch.save.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from ptio._containers.base import Options
from ptio._containers.pickled import Pickled
from ptio._core import Source
from ptio._errors import Error


@dataclass(frozen=True)
class Described:
    """A tensor by its metadata.

    Attributes:
        storage: name of the member, or number of the part, that is its storage.
        storage_nbytes: of it.
        dtype: torch's name.
        parameter: torch.nn.Parameter, rather than a plain tensor.
    """

    name: str
    storage: str | int
    storage_nbytes: int
    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int = 0
    requires_grad: bool = False
    parameter: bool = False


class FromDescription(Pickled):
    """Reads described tensors as a dict by their names; see `Pickled`.

    Args:
        folder: of the members that are storages; None where `parts` lists them.
        parts: (name, offset, size) of what is stored where in the file.
    """

    def __init__(
        self,
        source: Source,
        options: Options,
        tensors: Iterable[Described],
        *,
        path: str | None,
        format: str,
        folder: str = "",
        parts: list[tuple[str, int, int]] | None = None,
    ) -> None:
        pickle = pickle_of(tensors)
        members = (pickle, folder, "") if parts is None else (pickle, parts)
        try:
            super().__init__(source, options, path=path, members=members)
        except Error as e:
            e.offset = None  # in a pickle that nobody has
            raise
        self.format = format


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a contiguous tensor."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step = min(step * max(size, 1), 2**63 - 1)
    return tuple(reversed(strides))


_EMPTY_HOOKS = b"ccollections\nOrderedDict\n)R"


def pickle_of(tensors: Iterable[Described]) -> bytes:
    """{name: tensor}"""
    items = [_text(t.name) + _tensor(t) for t in tensors]
    return b"\x80\x02}(" + b"".join(items) + b"u."


def _tensor(t: Described) -> bytes:
    flag = b"\x88" if t.requires_grad else b"\x89"
    value = (
        b"ctorch._utils\n_rebuild_tensor_v3\n("
        + _storage(t)
        + _int(t.offset)
        + _ints(t.shape)
        + _ints(t.stride)
        + (b"\x89" if t.parameter else flag)
        + _EMPTY_HOOKS
        + f"ctorch\n{t.dtype}\ntR".encode()
    )
    if not t.parameter:
        return value
    return b"ctorch._utils\n_rebuild_parameter\n(" + value + flag + _EMPTY_HOOKS + b"tR"


def _storage(t: Described) -> bytes:
    key = _int(t.storage) if isinstance(t.storage, int) else _text(t.storage)
    kind = b"ctorch.storage\nUntypedStorage\n"
    return b"(" + _text("storage") + kind + key + _text("cpu") + _int(t.storage_nbytes) + b"tQ"


def _text(text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def _int(number: int) -> bytes:
    data = number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def _ints(numbers: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(_int, numbers)) + b"t"
