# SPDX-License-Identifier: Apache-2.0
"""Which state dict of a file fits a model, and what the model calls its entries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from ptio._module_tree import Values
from ptio._state_dict import Candidate, Finder, Names, State


class TorchValues(Values):
    """What ptio.torch.load makes; registered modules are real ones."""

    tensors = (torch.Tensor,)

    def attributes(self, value: Any) -> Mapping[Any, Any] | None:
        if isinstance(value, torch.nn.Module):
            attributes: dict[str, Any] = vars(value)
            return attributes
        return super().attributes(value)

    def in_state_dict(self, value: Any) -> Any:
        return value.detach() if isinstance(value, torch.Tensor) else value


class ModelNames(Names):
    """The names in a model's state dict, with their shapes."""

    def __init__(self, model: torch.nn.Module, prefixes: str | Iterable[str]) -> None:
        self._shapes = {name: _shape(value) for name, value in model.state_dict().items()}
        modules = (name for name, _ in model.named_modules(remove_duplicate=False))
        super().__init__(prefixes, self._shapes, modules)

    def find(self, root: Any) -> State:
        """The only state dict in a file that can be meant for the model."""
        return Finder(root, TorchValues()).find([self._all_in, self._any_in], " for the model")

    def _all_in(self, candidates: list[Candidate]) -> list[Candidate]:
        return [each for each in candidates if self._has_all(each.state)]

    def _has_all(self, state: State) -> bool:
        """Whether all names of the model are there, with the same shapes."""
        shapes = {self.in_model(name): _shape(value) for name, value in state.items()}
        return all(
            name in shapes and (shape is None or shape == shapes[name])
            for name, shape in self._shapes.items()
        )

    def _any_in(self, candidates: list[Candidate]) -> list[Candidate]:
        def has_any(state: State) -> bool:
            return any(self.in_model(name) in self._shapes for name in state)

        return [each for each in candidates if has_any(each.state)]


def select_from(root: Any, select: str | tuple[Any, ...]) -> State:
    """The state dict at a way of keys."""
    return Finder(root, TorchValues()).select(select)


def _shape(value: Any) -> torch.Size | None:
    if not isinstance(value, torch.Tensor) or torch.nn.parameter.is_lazy(value):
        return None
    return value.shape
