# SPDX-License-Identifier: Apache-2.0
"""Modules for torch.jit.script. Imported by tests that have torch."""

from enum import Enum
from typing import Dict, List, Optional, Tuple  # noqa: UP035  TorchScript wants these

import torch


class Color(Enum):
    RED = 1
    GREEN = 2


class Attributes(torch.nn.Module):
    """Every kind of attribute that TorchScript writes in its own way."""

    ints: List[int]  # noqa: UP006
    floats: List[float]  # noqa: UP006
    flags: List[bool]  # noqa: UP006
    names: Dict[str, int]  # noqa: UP006
    nested: List[List[int]]  # noqa: UP006
    pair: Tuple[int, str]  # noqa: UP006
    nothing: Optional[int]  # noqa: UP045
    tensors: List[torch.Tensor]  # noqa: UP006
    named: Dict[str, torch.Tensor]  # noqa: UP006

    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(3, 3)
        self.tied = self.fc.weight
        self.register_buffer("steps", torch.arange(4))
        self.register_buffer("turned", torch.randn(2, 3).t())
        self.ints, self.floats, self.flags = [1, 2, 3], [1.5], [True, False]
        self.names, self.nested, self.pair = {"a": 1}, [[1], [2, 3]], (1, "x")
        self.nothing = None
        self.empty = torch.jit.Attribute([], List[int])  # noqa: UP006
        self.tensors, self.named = [torch.ones(2)], {"z": torch.zeros(2)}
        self.number = 1 + 2j
        self.device = torch.device("cpu")
        self.color = Color.GREEN

    def forward(self, x):
        return self.fc(x)


class Kinds(torch.nn.Module):
    """Tensors of which C++ writes more than a storage, and dtypes that Python writes otherwise."""

    def __init__(self):
        super().__init__()
        scales = torch.tensor([0.1, 0.2], dtype=torch.float64)
        channels = torch.quantize_per_channel(
            torch.randn(2, 3), scales, torch.tensor([0, 1]), 0, torch.qint8
        )
        values = {
            "coo": torch.eye(3).to_sparse(),
            "csr": torch.eye(3).to_sparse_csr(),
            "channels": channels,
            "conjugate": torch.tensor([1 + 2j, 3j]).conj(),
            "brain": torch.randn(3).bfloat16(),
            "float8": torch.ones(3).to(torch.float8_e4m3fn),
            "uint16": torch.ones(3).to(torch.uint16),
            "half_complex": torch.ones(3).to(torch.complex32),
        }
        for name, value in values.items():
            self.register_buffer(name, value)

    def forward(self, x):
        return x
