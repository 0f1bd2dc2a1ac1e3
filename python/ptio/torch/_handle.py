# SPDX-License-Identifier: Apache-2.0
"""What `ptio.open(..., framework="torch")` needs of torch."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided

from ptio._core import Checkpoint, TensorInfo
from ptio.torch import _compat
from ptio.torch._load import _tls_map_location
from ptio.torch._ring import Ring
from ptio.torch._rules import DataRules, Rules

if TYPE_CHECKING:
    from ptio._containers.base import Options, Tick


Parse = Callable[..., Checkpoint]  # (judge, order=...)


class TorchSide:
    """Builds the values of one open checkpoint as torch's."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._device = torch.device(options.device)
        self._rules = (DataRules if options.inert else Rules)(options.allow)
        self.on_meta = self._device.type == "meta"
        # Plain tensors leave nothing behind in a ring, so these serve all of them.
        self._ring = self._new_ring()
        self._cpu_ring = Ring("cpu", self._rules)
        self._checkpoint: Checkpoint | None = None
        self._ring.place("cpu")  # a device that is not there is found now

    def _new_ring(self) -> Ring:
        return Ring("meta" if self.on_meta else self._device, self._rules)

    @staticmethod
    def order() -> int:
        return _compat.order_if_missing()

    # --- what the file may name

    def checkpoint(self, parse: Parse, *, strict: bool) -> Checkpoint:
        """The checkpoint as it is vetted for torch: its nodes have the same numbers as otherwise.

        For single tensors it need not be strict: what is not allowed stays data, and around
        them nothing is built.
        """
        rules = self._rules if strict else DataRules(self._options.allow)
        return parse(rules.judge, order=self.order())

    # --- whole values

    def load(self, parse: Parse, progress: Tick | None) -> Any:
        core = self.checkpoint(parse, strict=True)
        with _tls_map_location(self._device):
            return self._build(core, self._new_ring(), None, self._options.verify, progress)

    def plain(self, core: Checkpoint, info: TensorInfo, verify: bool | None) -> torch.Tensor:
        return self._build(core, self._ring, info.node, verify)

    def get(self, parse: Parse, info: TensorInfo, verify: bool | None) -> Any:
        """A tensor that torch makes in a way of its own: a parameter, a sparse one ..."""
        if self._checkpoint is None:
            self._checkpoint = self.checkpoint(parse, strict=False)
        with _tls_map_location(self._device):
            return self._build(self._checkpoint, self._new_ring(), info.node, verify)

    def _build(
        self,
        core: Checkpoint,
        ring: Ring,
        node: int | None,
        verify: bool | None,
        progress: Tick | None = None,
    ) -> Any:
        options = self._options
        without_data = self.on_meta and ring is not self._cpu_ring
        return core.build_torch(
            ring,
            without_data,
            node,
            verify=verify,
            private=options.mmap is False,
            threads=options.threads,
            progress=progress,
        )

    # --- parts: plain tensors, which need no gradient

    @staticmethod
    def check_index(index: tuple[Any, ...]) -> None:
        for part in index:
            if isinstance(part, slice) and part.step is not None and part.step <= 0:
                raise ValueError("step must be greater than zero: torch has no others")

    def part(
        self,
        core: Checkpoint,
        info: TensorInfo,
        index: tuple[Any, ...],
        verify: bool | None,
        *,
        copy: bool,
    ) -> torch.Tensor:
        """Elements of a tensor that is built first; `copy`: not as a view of it."""
        ring = self._ring if self.on_meta else self._cpu_ring
        result = _as_tensor(self._build(core, ring, info.node, verify)).detach()[index]
        if self._device.type not in ("cpu", "meta"):
            return result.to(self._device)
        return result.clone() if copy else result

    @staticmethod
    def empty(dtype: str, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.empty(shape, dtype=Ring.dtypes[dtype], device="cpu")

    def placed(self, value: torch.Tensor, conj: bool, neg: bool) -> torch.Tensor:
        value = value.to(self._device)
        if conj or neg:
            Ring.set_bits(value, conj, neg)
        return value

    def over(self, flat: torch.Tensor, info: TensorInfo, bits: tuple[bool, bool]) -> torch.Tensor:
        """The tensor whose elements, from the first to the last, are `flat`."""
        storage = flat.to(self._device).untyped_storage()
        result = Ring.view(storage, flat.dtype, 0, info.shape, info.stride)
        if any(bits):
            Ring.set_bits(result, *bits)
        return result.requires_grad_(info.requires_grad)

    # --- into tensors

    def copy_into(
        self, core: Checkpoint, info: TensorInfo, out: torch.Tensor, verify: bool | None
    ) -> None:
        with torch.no_grad():
            out.copy_(_as_tensor(self._build(core, self._cpu_ring, info.node, verify)))


def _as_tensor(value: Any) -> torch.Tensor:
    if not isinstance(value, torch.storage.TypedStorage):
        return cast(torch.Tensor, value)
    storage = value._untyped_storage
    return torch.empty(0, dtype=value.dtype, device=storage.device).set_(storage)


def memory_of_tensor(tensor: torch.Tensor, item: int) -> np.ndarray[Any, Any] | None:
    """The memory of a plain tensor as elements of `item` bytes; None for those that only torch
    can write to. Autograd is told that it changes."""
    if (
        tensor.device.type != "cpu"
        or tensor.layout is not torch.strided
        or type(tensor) not in (torch.Tensor, torch.nn.Parameter)
        or tensor.is_quantized
        or tensor.is_conj()
        or tensor.is_neg()
    ):
        return None
    if tensor.numel() == 0:
        return np.empty(tuple(tensor.shape), f"V{item}")
    if not tensor.is_inference():
        torch.autograd.graph.increment_version(tensor)
    storage = tensor.untyped_storage()
    memory = (ctypes.c_char * storage.nbytes()).from_address(storage.data_ptr())
    elements = np.frombuffer(memory, f"V{item}", count=storage.nbytes() // item)
    strides = tuple(step * item for step in tensor.stride())
    return as_strided(elements[tensor.storage_offset() :], tuple(tensor.shape), strides)
