# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint holds beyond plain Python objects and NumPy arrays, as plain data.

The C extension makes these objects; what they say about bytes has been proven by then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ptio._nested import NestedTensor
from ptio._quantized import QuantizedTensor
from ptio._sparse import SparseTensor

__all__ = ["NestedTensor", "Opaque", "QuantizedTensor", "RawTensor", "SparseTensor", "TorchDtype"]

_REPR_DEPTH = 3
_REPR_NODES = 30
_REPR_TEXT = 40


class Opaque:
    """An object of a class, or the result of a function, that is not allowed: its data alone.

    Nothing of it was imported or called. Compared and hashed by identity.

    Attributes:
        module, name: of the class or function, e.g. "models.yolo" and "Model".
        args: positional arguments it was called with; None for a class or function that was
            only named.
        kwargs: keyword arguments, or None.
        state: what its __setstate__ would have got, usually the instance's __dict__; or None.
        items: list of what was appended or added to it, or None.
        mapping: dict of what was set by key, or None.
    """

    __slots__ = ("args", "items", "kwargs", "mapping", "module", "name", "state")

    args: tuple[Any, ...] | None
    kwargs: dict[Any, Any] | None
    state: Any
    items: list[Any] | None
    mapping: dict[Any, Any] | None

    def __init__(
        self,
        module: str,
        name: str,
        args: tuple[Any, ...] | None = None,
        kwargs: dict[Any, Any] | None = None,
        state: Any = None,
        items: list[Any] | None = None,
        mapping: dict[Any, Any] | None = None,
    ) -> None:
        self.module = module
        self.name = name
        self.args = args
        self.kwargs = kwargs
        self.state = state
        self.items = items
        self.mapping = mapping

    def __repr__(self) -> str:
        """At most a few hundred characters, whatever the object holds or refers to."""
        return _Brief().text(self, _REPR_DEPTH)


class _Brief:
    """Writes values in short: to a depth, and up to a number of nodes in all."""

    def __init__(self) -> None:
        self.nodes_left = _REPR_NODES

    def text(self, value: Any, depth: int) -> str:
        self.nodes_left -= 1
        if isinstance(value, Opaque):
            return self._opaque(value, depth)
        if isinstance(value, dict):
            return self._dict(value, depth)
        if isinstance(value, (list, tuple, set, frozenset)):
            left, right = ("(", ")") if isinstance(value, tuple) else ("[", "]")
            return self._group(left, right, value, depth, self.text)
        if isinstance(value, np.ndarray):
            return f"array({value.dtype}, {value.shape})"
        if isinstance(value, (str, bytes)):
            return self._cut(repr(value[: _REPR_TEXT + 1]))
        if value is None or isinstance(value, (bool, int, float, complex)):
            return self._number(value)
        return f"<{type(value).__name__}>"

    def _opaque(self, value: Opaque, depth: int) -> str:
        parts = [self._cut(f"{value.module}.{value.name}")]
        if depth > 0:
            for attribute in ("args", "kwargs", "state", "items", "mapping"):
                part = getattr(value, attribute)
                if part is not None:
                    parts.append(f"{attribute}={self.text(part, depth - 1)}")
        return f"<Opaque {' '.join(parts)}>"

    def _dict(self, value: dict[Any, Any], depth: int) -> str:
        def pair(key: Any, depth: int) -> str:
            return f"{self.text(key, depth)}: {self.text(value[key], depth)}"

        return self._group("{", "}", value, depth, pair)

    def _group(self, left: str, right: str, values: Any, depth: int, write: Any) -> str:
        parts = []
        for value in values:
            if depth <= 0 or self.nodes_left <= 0:
                parts.append("...")
                break
            parts.append(write(value, depth - 1))
        return f"{left}{', '.join(parts)}{right}"

    def _number(self, value: Any) -> str:
        if isinstance(value, int) and value.bit_length() > 128:
            return f"<int of {value.bit_length()} bits>"
        return repr(value)

    def _cut(self, text: str) -> str:
        return text if len(text) <= _REPR_TEXT else text[: _REPR_TEXT - 3] + "..."


@dataclass(frozen=True)
class TorchDtype:
    """A dtype of torch that NumPy has no equal of, e.g. torch.complex32.

    Attributes:
        name: torch's name without "torch.".
    """

    name: str

    def __repr__(self) -> str:
        return f"torch.{self.name}"


@dataclass(eq=False)
class RawTensor:
    """A tensor that NumPy cannot express (complex32, bits*, packed sub-byte), or without data.

    Attributes:
        dtype: a `TorchDtype`, or a numpy.dtype.
        shape: as in torch.
        stride: in elements, as in torch.
        data: one-dimensional uint8 array that begins at the tensor's first element; None for a
            tensor on torch's "meta" device, which has no data.
    """

    dtype: TorchDtype | np.dtype[Any]
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    data: np.ndarray[Any, Any] | None

    def __repr__(self) -> str:
        data = "no data" if self.data is None else f"{self.data.nbytes} bytes"
        return f"RawTensor({self.dtype}, shape={self.shape}, stride={self.stride}, {data})"
