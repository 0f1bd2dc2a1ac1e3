# SPDX-License-Identifier: Apache-2.0
"""compact=True: of storages that are larger than what is saved of them, only that part.

The object is pickled twice. The first time tells which bytes of each storage its tensors view; the
second time, the tensors of larger storages are written as views of that part alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

_Rewrite = Callable[[Any, tuple[Any, ...]], tuple[Any, ...]]

_WITH_STORAGE = (torch._utils._rebuild_tensor_v2, torch._utils._rebuild_tensor_v3)


class Spans:
    """The bytes of storages that are saved."""

    def __init__(self) -> None:
        self._spans: dict[int, _Span] = {}

    def note_whole(self, storage: torch.UntypedStorage) -> None:
        """A use of the storage that is no tensor: all of it is saved."""
        self._of(storage).add(0, storage.nbytes())

    def note_tensor(self, tensor: torch.Tensor, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """A tensor by the arguments of its __reduce_ex__; without their storage, for pickling."""
        storage, offset, shape, stride = arguments[:4]
        storage, item = _untyped(storage), tensor.element_size()
        span = self._of(storage)
        span.item = max(span.item, item)
        if 0 not in shape:
            last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
            span.add(offset * item, (last + 1) * item)
        return (None, *arguments[1:])

    def settle(self) -> bool:
        """Whether there is a storage of which not all is saved. Makes the parts."""
        settled = [span.settle() for span in self._spans.values()]
        return any(settled)

    def cut(self, tensor: torch.Tensor, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """The same arguments over the part of the storage that is saved."""
        storage, offset, shape = arguments[:3]
        span = self._spans.get(_untyped(storage)._cdata)
        if span is None or span.part is None:
            return arguments
        part: Any = span.part
        if isinstance(storage, torch.storage.TypedStorage):
            part = torch.storage.TypedStorage(
                wrap_storage=part, dtype=storage.dtype, _internal=True
            )
        offset = 0 if 0 in shape else offset - span.begin // tensor.element_size()
        return (part, offset, *arguments[2:])

    def _of(self, storage: torch.UntypedStorage) -> _Span:
        return self._spans.setdefault(storage._cdata, _Span(storage))


class _Span:
    """Of one storage: the bytes from `begin` to `end`. `item` is the largest size of an element."""

    def __init__(self, storage: torch.UntypedStorage) -> None:
        self.storage = storage
        self.begin, self.end, self.item = storage.nbytes(), 0, 1
        self.part: torch.UntypedStorage | None = None  # where it is not the whole

    def add(self, begin: int, end: int) -> None:
        self.begin, self.end = min(self.begin, begin), max(self.end, end)

    def settle(self) -> bool:
        if self.end <= self.begin:  # empty tensors only
            self.begin = self.end = 0
        self.begin -= self.begin % self.item  # so that offsets can be told in elements
        if self.end - self.begin < self.storage.nbytes():
            self.part = self.storage[self.begin : self.end]  # the same memory
        return self.part is not None


def reduced(tensor: torch.Tensor, protocol: int, rewrite: _Rewrite) -> Any:
    """What __reduce_ex__ gives, with the arguments that name a storage rewritten."""
    whole: Any = tensor.__reduce_ex__(protocol)
    if not isinstance(whole, tuple) or len(whole) < 2:
        return whole
    function, arguments = whole[:2]
    if function in _WITH_STORAGE:
        arguments = rewrite(tensor, arguments)
    elif function is torch._tensor._rebuild_from_type_v2 and arguments[0] in _WITH_STORAGE:
        inner, kind, inner_arguments, state = arguments
        arguments = (inner, kind, rewrite(tensor, inner_arguments), state)
    return (function, arguments, *whole[2:])


def _untyped(storage: Any) -> torch.UntypedStorage:
    if isinstance(storage, torch.storage.TypedStorage):
        return storage._untyped_storage
    return storage
