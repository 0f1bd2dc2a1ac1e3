# SPDX-License-Identifier: Apache-2.0
"""What `ptio.open(..., framework="torch")` needs of torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from ptio._core import Checkpoint
from ptio.torch._ring import Ring
from ptio.torch._rules import DataRules, Rules

if TYPE_CHECKING:
    from ptio._containers._base import Options, Tick


class TorchSide:
    """Builds the values of one open checkpoint as torch's."""

    def __init__(self, options: Options) -> None:
        self._rules = (DataRules if options.inert else Rules)(options.allow)
        self._device = options.device
        self._checkpoint: Checkpoint | None = None

    def checkpoint(self, parse: Callable[[Any], Checkpoint]) -> Checkpoint:
        """The checkpoint as it was vetted for torch: its nodes have the same numbers."""
        if self._checkpoint is None:
            self._checkpoint = parse(self._rules.judge)
        return self._checkpoint

    def build(
        self, core: Checkpoint, node: int | None, options: Options, progress: Tick | None
    ) -> Any:
        return core.build_torch(
            Ring(self._device, self._rules),
            False,
            node,
            verify=options.verify,
            private=options.mmap is False,
            threads=options.threads,
            progress=progress,
        )

    @staticmethod
    def empty(dtype: str, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.empty(shape, dtype=getattr(torch, dtype))
