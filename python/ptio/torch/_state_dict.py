# SPDX-License-Identifier: Apache-2.0
"""Which part of a file is the state dict for a model, and what the model calls its entries."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import Any

import torch

from ptio._names import joined
from ptio._text import printable

_SEARCH_DEPTH = 3
_CHOICES_SHOWN = 10

State = Mapping[str, Any]
Path = tuple[str, ...]


class Names:
    """The names in a model's state dict, and what a file may call them.

    A wrapper such as DataParallel adds a part to names: "module.fc.weight". Such parts, the
    prefixes, stay where the model has a module of this name, and are ignored elsewhere.
    """

    def __init__(self, model: torch.nn.Module, prefixes: str | Iterable[str]) -> None:
        prefixes = (prefixes,) if isinstance(prefixes, str) else prefixes
        self._prefixes = [prefix.rstrip(".").split(".") for prefix in prefixes]
        self._shapes = {name: _shape(value) for name, value in model.state_dict().items()}
        self._modules = {name for name, _ in model.named_modules(remove_duplicate=False)}

    def all_in(self, state: State) -> bool:
        """Whether all names of the model are there, with the same shapes."""
        shapes = {self._in_model(name): _shape(value) for name, value in state.items()}
        return all(
            name in shapes and (shape is None or shape == shapes[name])
            for name, shape in self._shapes.items()
        )

    def any_in(self, state: State) -> bool:
        return any(self._in_model(name) in self._shapes for name in state)

    def rename(self, state: State) -> OrderedDict[str, Any]:
        """The state dict, and its metadata, with the names of the model."""
        result: OrderedDict[str, Any] = OrderedDict()
        origin: dict[str, str] = {}
        for old, value in state.items():
            new = self._in_model(old)
            if new in origin:
                first, second, both = (repr(printable(n)) for n in (origin[new], old, new))
                raise ValueError(
                    f"{first} and {second} of the file are both {both} in the model; "
                    "strip_prefix=() takes the names as they are"
                )
            origin[new] = old
            result[new] = value
        metadata = getattr(state, "_metadata", None)
        if metadata is not None:
            renamed = list(result) != list(state)
            result._metadata = (  # type: ignore[attr-defined]
                self._rename_metadata(metadata) if renamed else metadata
            )
        return result

    def _rename_metadata(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Where a wrapper and what it wraps become one, the latter's counts: it comes later."""
        by_bare = {self._strip_module(name): value for name, value in metadata.items()}
        bare = {name: self._strip_module(name) for name in self._modules}
        ours = {name: by_bare[text] for name, text in bare.items() if text in by_bare}
        return {**metadata, **ours}

    @functools.cached_property
    def _by_bare(self) -> dict[str, list[str]]:
        result: dict[str, list[str]] = {}
        for name in self._shapes:
            result.setdefault(self._strip(name), []).append(name)
        return result

    def _in_model(self, name: str) -> str:
        if name in self._shapes:
            return name
        owners = self._by_bare.get(self._strip(name), [])
        return owners[0] if len(owners) == 1 else self._strip(name, keep=self._modules)

    def _strip_module(self, name: str) -> str:
        return self._strip(f"{name}.") if name else ""

    def _strip(self, name: str, keep: Container[str] = ()) -> str:
        """The name without prefixes; those that lead to a module of `keep` stay."""
        *path, last = name.split(".")
        kept: list[str] = []
        for part in path:
            kept.append(part)
            for prefix in self._prefixes:
                if kept[-len(prefix) :] == prefix and ".".join(kept) not in keep:
                    del kept[-len(prefix) :]
        return ".".join([*kept, last])


def find(root: Any, names: Names) -> State:
    """The only state dict in a file that can be meant for the model."""
    candidates = list({id(state): (path, state) for path, state in _state_dicts(root)}.values())
    tests: list[Callable[[State], bool]] = [names.all_in, names.any_in, _is_mostly_tensors]
    for test in tests:
        fitting = [(path, state) for path, state in candidates if test(state)]
        if len(fitting) == 1:
            return fitting[0][1]
        if fitting:
            raise ValueError(
                f"the file holds {len(fitting)} state dicts that may be meant for the model: "
                f"choose by {_choices(fitting)}"
            )
    raise ValueError(f"the file holds no state dict: it is {_description(root)}")


def select_from(root: Any, select: str | tuple[Any, ...]) -> State:
    """The state dict at a way of keys."""
    if isinstance(select, str):
        is_key = isinstance(root, Mapping) and select in root
        path: tuple[Any, ...] = (select,) if is_key else tuple(select.split("/") if select else ())
    else:
        path = select
    value = root
    for key in path:
        value = _children(value).get(str(key))
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return value
    candidates = list(_state_dicts(root))
    there_is = _choices(candidates) if candidates else f"none: it is {_description(root)}"
    shown = repr(printable(joined(path)))
    raise ValueError(f"select={shown} is no state dict of the file; there is {there_is}")


def _children(value: Any) -> dict[str, Any]:
    if isinstance(value, (list, tuple)):
        value = dict(enumerate(value))
    return {str(key): child for key, child in value.items()} if isinstance(value, Mapping) else {}


def _state_dicts(value: Any, path: Path = ()) -> Iterator[tuple[Path, State]]:
    """What may be a state dict, with the way there. Optimizers are left out."""
    if not isinstance(value, Mapping) or "param_groups" in value:
        return
    if not all(isinstance(key, str) for key in value):
        return
    has_tensors = any(isinstance(child, torch.Tensor) for child in value.values())
    if has_tensors or (not path and all(key.endswith("_extra_state") for key in value)):
        yield path, value
    if len(path) < _SEARCH_DEPTH:
        for key, child in value.items():
            yield from _state_dicts(child, (*path, key))


def _is_mostly_tensors(state: State) -> bool:
    return 2 * sum(isinstance(value, torch.Tensor) for value in state.values()) >= len(state)


def _shape(value: Any) -> torch.Size | None:
    if not isinstance(value, torch.Tensor) or torch.nn.parameter.is_lazy(value):
        return None
    return value.shape


def _choices(candidates: list[tuple[Path, State]]) -> str:
    texts = [f"select={printable(joined(path))!r}" for path, _ in candidates[:_CHOICES_SHOWN]]
    more = len(candidates) - len(texts)
    return " or ".join(texts) + (f" or {more} more" if more else "")


def _description(root: Any) -> str:
    if not isinstance(root, Mapping):
        return f"a {type(root).__name__}"
    keys = [repr(printable(str(key))) for key in list(root)[:_CHOICES_SHOWN]]
    return f"a dict of {', '.join(keys)}{', ...' if len(root) > len(keys) else ''}"
