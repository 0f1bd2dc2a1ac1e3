# SPDX-License-Identifier: Apache-2.0
"""Objects of classes that are not there, as data: nothing is imported or called, ever."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

import numpy as np

from ptio._text import printable

_REPR_DEPTH = 3
_REPR_NODES = 30
_REPR_TEXT = 40

_MOST_COMPARED = 1000  # names that a suggestion is looked for in
_LONGEST_PATH = 150  # of a class in a class: a file may not buy long names with short calls
_GETATTR = (("__builtin__", "getattr"), ("builtins", "getattr"))
_RECONSTRUCTOR = (("copy_reg", "_reconstructor"), ("copyreg", "_reconstructor"))


class Opaque:
    """An object of a class, or the result of a function, that is not allowed: its data alone.

    Nothing of it was imported or called. Compared and hashed by identity, and always true.

    Its attributes below say what the file says. All other attributes are those that the object
    had, to read: `opaque.weight` looks into the state, for a torch.nn.Module also into its
    parameters, buffers and modules, and last into the mapping; `dir(opaque)` lists them. Names
    such as `__array__` are never looked up. What was a list, dict, named tuple, nn.Sequential or
    nn.ModuleList, or a container of omegaconf, has `opaque[key]`, len(), iteration and `in`.

    Attributes:
        module, name: of the class or function, e.g. "models.yolo" and "Model".
        args: positional arguments it was called with; None for a class or function that was
            only named.
        kwargs: keyword arguments, or None.
        state: what its __setstate__ would have got, usually the instance's __dict__; or None.
        items: list of what was appended or added to it, or None.
        mapping: dict of what was set by key, or None.
    """

    __slots__ = ("_by_new", "args", "items", "kwargs", "mapping", "module", "name", "state")

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
        self._by_new = kwargs is not None  # by class.__new__, not by a call of the class

    def __repr__(self) -> str:
        """At most a few hundred characters, whatever the object holds or refers to."""
        return Brief().text(self, _REPR_DEPTH)

    # --- the attributes that the object had

    def __getattr__(self, name: str) -> Any:
        if _is_protocol(name) or name in Opaque.__slots__:  # the latter while it is being copied
            raise AttributeError(f"'Opaque' object has no attribute {name!r}")
        for table in _tables(self):
            if name in table:
                return _unwrapped(table[name])
        raise AttributeError(_no_attribute(self, name))

    def __dir__(self) -> list[str]:
        names = {name for table in _tables(self) for name in table if type(name) is str}
        known = {name for name in names if name.isidentifier() and not _is_protocol(name)}
        return sorted({*object.__dir__(self), *known})

    # --- the items that it had

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> int:
        return len(self._contents())

    def __getitem__(self, key: Any) -> Any:
        found = self._contents()[key]
        return [_unwrapped(each) for each in found] if isinstance(key, slice) else _unwrapped(found)

    def __iter__(self) -> Iterator[Any]:
        contents = self._contents()
        return iter(contents) if isinstance(contents, dict) else map(_unwrapped, contents)

    def __contains__(self, key: Any) -> bool:
        contents = self._contents()
        return key in (contents if isinstance(contents, dict) else list(self))

    def _contents(self) -> Any:
        """The dict, list or tuple that this object was, or contained."""
        if self.mapping is not None:
            return self.mapping
        if self.items is not None:
            return self.items
        state = attributes_of(self) or {}
        content = state.get("_content") if _is_omegaconf(self) else None
        if isinstance(content, (dict, list)):
            return content
        modules: Any = state.get("_modules")
        if "_parameters" in state and _are_numbered(modules):
            return list(modules.values())
        if self._by_new and self.args:
            return self.args
        raise TypeError(f"{full_name(self)} has no items that are known")


def _are_numbered(modules: Any) -> bool:
    """As those of nn.Sequential and nn.ModuleList."""
    if not isinstance(modules, dict) or not modules:
        return False
    return all(key == str(number) for number, key in enumerate(modules))


def attributes_of(opaque: Opaque) -> dict[Any, Any] | None:
    """The instance's __dict__, as far as the file has it."""
    state = opaque.state
    if type(state) is tuple and len(state) == 2:  # with the slots
        state = state[0]
    return state if isinstance(state, dict) else None


def full_name(opaque: Opaque) -> str:
    return printable(f"{opaque.module}.{opaque.name}")


def make_call(callee: Opaque, args: tuple[Any, ...], kwargs: Any, by_new: bool) -> Opaque:
    """What a pickle makes by a call of something unknown."""
    if callee.args is not None:  # the result of a call is called
        result = Opaque("", "__call__", (callee, *args), kwargs)
    else:
        name = callee.module, callee.name
        if name in _GETATTR and not by_new and (inner := _class_in_class(args)):
            return inner
        if name in _RECONSTRUCTOR and not by_new and (cls := _plainly_made(args)):
            callee, args, by_new = cls, (), True  # NEWOBJ of the first protocols
        result = Opaque(callee.module, callee.name, args, kwargs)
    result._by_new = by_new
    return result


def _is_name(value: Any) -> bool:
    return type(value) is Opaque and value.args is None


def _class_in_class(args: tuple[Any, ...]) -> Opaque | None:
    """getattr(Outer, "Inner") is how protocol 2 names Outer.Inner."""
    if len(args) != 2 or not _is_name(args[0]) or type(args[1]) is not str:
        return None
    if not args[1].isidentifier():
        return None
    path = f"{args[0].name}.{args[1]}"
    return Opaque(args[0].module, path) if len(path) <= _LONGEST_PATH else None


def _plainly_made(args: tuple[Any, ...]) -> Opaque | None:
    """The class, of copyreg._reconstructor(class, object, None)."""
    if len(args) != 3 or not _is_name(args[0]) or not _is_name(args[1]) or args[2] is not None:
        return None
    cls: Opaque = args[0]
    is_object = args[1].name == "object" and args[1].module in ("__builtin__", "builtins")
    return cls if is_object else None


# --- reading ----------------------------------------------------------------------------------


def _is_protocol(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _tables(opaque: Opaque) -> Iterator[dict[Any, Any]]:
    """Where attributes may be, in the order in which Python and torch look for them."""
    state, parts = attributes_of(opaque), opaque.state
    if state is not None:
        yield state
    if type(parts) is tuple and len(parts) == 2 and isinstance(parts[1], dict):
        yield parts[1]
    if state is not None:
        names = ["_content"] if _is_omegaconf(opaque) else []
        if "_parameters" in state and "_modules" in state:
            names = ["_parameters", "_buffers", "_modules"]
        for name in names:
            if isinstance(state.get(name), dict):
                yield state[name]
    if isinstance(opaque.mapping, dict):
        yield opaque.mapping


def _is_omegaconf(value: Any) -> bool:
    return type(value) is Opaque and value.module.partition(".")[0] == "omegaconf"


def _unwrapped(value: Any) -> Any:
    """omegaconf keeps each value in a node."""
    if _is_omegaconf(value):
        state = attributes_of(value)
        if state is not None and "_val" in state:
            return state["_val"]
    return value


def _no_attribute(opaque: Opaque, name: str) -> str:
    message = f"{full_name(opaque)} has no attribute {printable(name)!r}"
    if name.startswith("_"):  # tools that probe an object expect a quick answer
        return message
    from difflib import get_close_matches

    known = islice(chain.from_iterable(_tables(opaque)), _MOST_COMPARED)
    names = [each for each in known if type(each) is str and len(each) <= _REPR_TEXT]
    near = get_close_matches(name[:_REPR_TEXT], names, 1)
    return f"{message}; did you mean {printable(near[0])!r}?" if near else message


# --- showing ----------------------------------------------------------------------------------


class Brief:
    """Writes values in short: to a depth, and up to a number of nodes in all."""

    def __init__(self) -> None:
        self.nodes_left = _REPR_NODES

    def text(self, value: Any, depth: int) -> str:
        self.nodes_left -= 1
        if isinstance(value, Opaque):
            return self._opaque(value, depth)
        if isinstance(value, dict):
            return self._group("{", "}", value.items(), depth, self._pair)
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
        text = full_name(value)
        if value.args is not None:
            given = [(None, each) for each in value.args]
            given += (value.kwargs or {}).items() if isinstance(value.kwargs, dict) else []
            text += self._group("(", ")", given, depth, self._named)
        if depth > 0:
            shown = [(None, part) for part in (value.items, value.mapping) if part is not None]
            shown += _shown_attributes(value)
            if shown:
                text += self._group(" ", "", shown, depth, self._named)
        return f"<Opaque {text}>"

    def _named(self, pair: tuple[Any, Any], depth: int) -> str:
        name, value = pair
        shown = self.text(value, depth)
        return shown if name is None else f"{self._cut(printable(str(name)))}={shown}"

    def _pair(self, pair: tuple[Any, Any], depth: int) -> str:
        return f"{self.text(pair[0], depth)}: {self.text(pair[1], depth)}"

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


def _shown_attributes(opaque: Opaque) -> list[tuple[Any, Any]]:
    """As pairs; of a torch.nn.Module without what every module has."""
    tables = [table for table in _tables(opaque) if table is not opaque.mapping]
    if not tables:
        return [] if opaque.state is None else [("state", opaque.state)]
    is_module = "_parameters" in tables[0] and "_modules" in tables[0]
    shown: list[tuple[Any, Any]] = []
    for table in tables:
        for name, value in table.items():
            if len(shown) > _REPR_NODES:
                return shown
            if not is_module or (name != "training" and not str(name).startswith("_")):
                shown.append((name if type(name) is str else Brief().text(name, 1), value))
    return shown
