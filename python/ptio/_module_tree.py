# SPDX-License-Identifier: Apache-2.0
"""What state_dict() would give for a module that was pickled whole, from its data alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ptio._errors import LimitError
from ptio._types import RawTensor
from ptio._types.nested import NestedTensor
from ptio._types.opaque import Opaque, attributes_of
from ptio._types.quantized import QuantizedTensor
from ptio._types.sparse import SparseTensor

# A module may be in many others, so a few can make more names than memory holds.
_MOST_REPEATS = 100_000  # of modules that were seen in another place
_MOST_TEXT = 200_000_000  # characters of all names

Named = tuple[str, Any]


class Values:
    """What the values of a file are: as ptio.load makes them; a subclass knows torch's."""

    tensors: tuple[type, ...] = (
        np.ndarray,
        RawTensor,
        SparseTensor,
        QuantizedTensor,
        NestedTensor,
    )

    def is_tensor(self, value: Any) -> bool:
        return isinstance(value, self.tensors)

    def attributes(self, value: Any) -> Mapping[Any, Any] | None:
        """Of an object, its instance's __dict__; None for all else."""
        if type(value) is not Opaque:
            return None
        attributes = attributes_of(value)
        if attributes is None and value.args and isinstance(value.args[0], dict):
            attributes = value.args[0]  # torch.fx.GraphModule
        return attributes

    def in_state_dict(self, value: Any) -> Any:
        """What state_dict() makes of a parameter or buffer."""
        return value

    def is_module(self, value: Any) -> bool:
        """Of torch.nn; or of TorchScript, or alike: tensors right among its attributes."""
        attributes = self.attributes(value)
        if attributes is None or "param_groups" in attributes:
            return False
        if _is_of_torch_nn(attributes) or _is_script(value):
            return True
        if type(value) is Opaque and value.mapping is not None:  # a state dict with attributes
            return False
        return any(self.is_tensor(child) for child in attributes.values())


def _is_of_torch_nn(attributes: Mapping[Any, Any]) -> bool:
    groups = ("_parameters", "_buffers", "_modules")
    return all(isinstance(attributes.get(name), Mapping) for name in groups)


def _is_script(value: Any) -> bool:
    return type(value) is Opaque and value.module.partition(".")[0] == "__torch__"


class Budget:
    """What the names of all modules of a file may cost."""

    def __init__(self) -> None:
        self._repeats, self._text = _MOST_REPEATS, _MOST_TEXT
        self._seen: set[int] = set()

    def enter(self, module: Any) -> None:
        if id(module) in self._seen:
            self._repeats -= 1
        self._seen.add(id(module))
        self._check()

    def name(self, prefix: str, name: str) -> None:
        self._text -= len(prefix) + len(name)
        self._check()

    def _check(self) -> None:
        if self._repeats < 0 or self._text < 0:
            raise LimitError(
                "modules of the file contain each other so often that they have more names than "
                "a model needs"
            )


def state_of(root: Any, values: Values, budget: Budget) -> dict[str, Any]:
    """The tensors of a module and the modules in it, by torch's names and in torch's order.

    A module that is in several places has its names in each; one that contains itself ends there.
    `get_extra_state` is code, so its results are not there.

    Raises:
        LimitError: there would be more names than anybody needs.
    """
    state: dict[str, Any] = {}
    around: set[int] = set()  # the modules around the one that is looked at
    todo: list[tuple[Any, str | None]] = [(root, "")]
    while todo:
        module, prefix = todo.pop()
        if prefix is None:
            around.discard(id(module))
            continue
        if id(module) in around:
            continue
        around.add(id(module))
        todo.append((module, None))
        budget.enter(module)
        tensors, modules = _parts(module, values)
        for name, value in tensors:
            budget.name(prefix, name)
            state[prefix + name] = values.in_state_dict(value)
        for name, child in reversed(modules):
            budget.name(prefix, name)
            todo.append((child, f"{prefix}{name}."))
    return state


def _parts(module: Any, values: Values) -> tuple[list[Named], list[Named]]:
    """The tensors that a module itself has, and its modules."""
    attributes = values.attributes(module)
    if attributes is None:
        return [], []
    if _is_of_torch_nn(attributes):
        hidden = attributes.get("_non_persistent_buffers_set", ())
        hidden = hidden if isinstance(hidden, (set, frozenset, list, tuple)) else ()
        tensors = _named(attributes["_parameters"])
        tensors += [each for each in _named(attributes["_buffers"]) if each[0] not in hidden]
        modules = _named(attributes["_modules"])
        return tensors, [each for each in modules if values.attributes(each[1]) is not None]
    named = _named(attributes)
    tensors = [each for each in named if values.is_tensor(each[1])]
    return tensors, [each for each in named if values.attributes(each[1]) is not None]


def _named(table: Mapping[Any, Any]) -> list[Named]:
    return [
        (name, value) for name, value in table.items() if type(name) is str and value is not None
    ]


def children_of(value: Any, values: Values) -> Iterator[tuple[Any, Any]]:
    """What a container or object holds, with the keys that lead there."""
    if isinstance(value, (list, tuple)):
        yield from enumerate(value)
    elif isinstance(value, Mapping):
        yield from value.items()
    attributes = values.attributes(value)
    if attributes is not None:
        for name in ("_modules", "_buffers", "_parameters"):
            if _is_of_torch_nn(attributes):
                yield from attributes[name].items()
        yield from attributes.items()
    if type(value) is Opaque:
        yield from enumerate(value.items or ())
        yield from (value.mapping or {}).items()
