# SPDX-License-Identifier: Apache-2.0
"""A model in outline, on which load_state_dict is tried before it may touch the model.

load_state_dict copies what fits before it reports what does not. On the shadow it does the same
checks and calls the same hooks, but its tensors are on the meta device: they have a shape and a
dtype, and no memory.
"""

from __future__ import annotations

import copy
import functools
import types
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.modules.module import _WrappedHook


def rehearse(model: torch.nn.Module, state: Mapping[str, Any], options: dict[str, Any]) -> Shadow:
    """Runs load_state_dict on a shadow of the model. What it raises, it would raise there.

    Meta tensors accept some values that real ones refuse, and a hook may want to see values of
    its own parameters: then real copies are used, at the price of their memory.
    """
    tensors = [value for value in state.values() if isinstance(value, torch.Tensor)]
    on_meta = all(_is_ordinary(tensor) and not tensor.is_meta for tensor in tensors)
    while True:
        shadow = Shadow(on_meta)
        try:
            with warnings.catch_warnings(record=True):  # they come again
                warnings.filterwarnings("ignore", message=".*copying from a non-meta parameter")
                shadow.of(model).load_state_dict(state, **options)
        except Exception as e:
            if not on_meta or not _is_about_meta(e):
                raise
            on_meta = False
        else:
            return shadow


class Shadow:
    """Copies of modules, and of the plain containers in them, that share no tensor with them."""

    def __init__(self, on_meta: bool) -> None:
        self._on_meta = on_meta
        self._made: dict[int, tuple[Any, Any]] = {}  # by id; the original stays alive with it

    def of(self, value: Any) -> Any:
        """The counterpart of a value: the same one each time."""
        if id(value) in self._made:
            return self._made[id(value)][1]
        if isinstance(value, torch.nn.Module):
            return self._module(value)
        if isinstance(value, torch.Tensor):
            return self._tensor(value)
        kind = type(value)
        if kind is dict or kind is OrderedDict:
            items = self._keep(value, kind())
            items.update((key, self.of(item)) for key, item in value.items())
            return items
        if kind is list:
            values = self._keep(value, [])
            values.extend(map(self.of, value))
            return values
        if kind is tuple or kind is set:
            return self._keep(value, kind(map(self.of, value)))
        if kind is types.MethodType:
            return self._keep(value, types.MethodType(value.__func__, self.of(value.__self__)))
        return self._hook(value) if kind is _WrappedHook else value

    def was_written(self, tensor: torch.Tensor) -> bool:
        """Whether the counterpart of a meta tensor got a value."""
        return bool(self.of(tensor)._version)

    def _keep(self, value: Any, counterpart: Any) -> Any:
        self._made[id(value)] = value, counterpart
        return counterpart

    def _module(self, root: torch.nn.Module) -> Any:
        modules = [module for module in root.modules() if id(module) not in self._made]
        for module in modules:  # all before the first is filled: they refer to each other
            self._keep(module, object.__new__(_python_class(module)))
        for module in modules:
            attributes = _python_attributes(module).items()
            vars(self.of(module)).update((name, self.of(value)) for name, value in attributes)
        return self.of(root)

    def _tensor(self, tensor: torch.Tensor) -> Any:
        data = tensor.data
        is_ordinary = _is_ordinary(data)
        if is_ordinary and 0 in data.stride():
            shadow = _as_class_of(tensor, copy.deepcopy(data))  # elements stay one in memory
        elif is_ordinary and self._on_meta:
            shadow = empty_like(tensor, "meta")
        elif tensor.is_meta:
            shadow = empty_like(tensor, "cpu")
        else:
            shadow = _as_class_of(tensor, data.clone())
        self._keep(tensor, shadow)
        shadow.__dict__.update((name, self.of(value)) for name, value in vars(tensor).items())
        return shadow

    def _hook(self, hook: Any) -> Any:
        shadow = self._keep(hook, copy.copy(hook))
        shadow.hook = self.of(hook.hook)
        if hook.with_module:
            shadow.module = weakref.ref(self.of(hook.module()))
        return shadow


def empty_like(tensor: torch.Tensor, device: str | torch.device) -> torch.Tensor:
    """A tensor of the same class, shape, strides and dtype, with requires_grad as there."""
    return _as_class_of(tensor, torch.empty_like(tensor.data, device=device))


def _as_class_of(tensor: torch.Tensor, data: torch.Tensor) -> torch.Tensor:
    if type(data) is type(tensor) and type(data) is not torch.Tensor:
        return data
    return torch.Tensor._make_subclass(type(tensor), data, tensor.requires_grad)


def _python_class(module: torch.nn.Module) -> type[torch.nn.Module]:
    """The class; that of a scripted module would write to the C++ object behind it."""
    kind = type(module)
    if isinstance(module, torch.jit.ScriptModule):
        return type(kind.__name__, (torch.nn.Module,), {})
    return kind


def _python_attributes(module: torch.nn.Module) -> dict[str, Any]:
    if not isinstance(module, torch.jit.ScriptModule):
        own: dict[str, Any] = vars(module)
        return own
    attributes = {name: getattr(module, name) for name in vars(torch.nn.Module())}
    for name in ("_parameters", "_buffers", "_modules"):
        attributes[name] = dict(attributes[name].items())
    return attributes


def _is_ordinary(tensor: torch.Tensor) -> bool:
    """Whether a copy between it and a meta tensor succeeds only where a real one would."""
    return (
        type(tensor).__torch_dispatch__ is torch.Tensor.__torch_dispatch__
        and tensor.layout is torch.strided
        and not tensor.is_nested
        and _is_convertible(tensor.dtype)
    )


@functools.cache
def _is_convertible(dtype: torch.dtype) -> bool:
    try:
        torch.empty(1, device="cpu").copy_(torch.empty(1, dtype=dtype, device="cpu"))
    except RuntimeError:
        return False
    return True


def _is_about_meta(error: Exception) -> bool:
    """Whether it may be the shadow's fault, and not one that load_state_dict reports."""
    text = str(error)
    is_report = text.startswith("Error(s) in loading") and "an exception occurred" not in text
    return "meta" in text.lower() and not is_report
