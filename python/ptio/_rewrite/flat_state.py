# SPDX-License-Identifier: Apache-2.0
"""State dicts of stored tensors: which part of a file is one, and tensors that share memory.

A safetensors file has each tensor by itself. Tensors that view others are left out of it; the
metadata says what they view:

    "ptio.aliases": {name: {"of": name, "offset": n, "shape": [...], "stride": [...]}, ...}

as JSON, offset and stride in elements of the other, which is contiguous. Those that equal another
are also there as {name: other name}, as safetensors.torch.save_model writes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ptio._errors import FormatError
from ptio._module_tree import Values
from ptio._names import joined
from ptio._rewrite.stored import Stored, is_contiguous, lie_in_storage, span
from ptio._rewrite.tree import entries
from ptio._state_dict import Finder, Names
from ptio._text import printable

ALIASES = "ptio.aliases"
_MOST_DIMENSIONS = 64


class StoredValues(Values):
    tensors = (Stored,)


def find_state(
    tree: Any, select: str | tuple[Any, ...] | None = None, *, instead: str = ""
) -> Mapping[str, Any]:
    """The state dict in what a file holds, as `load_state_dict` finds it.

    Args:
        instead: what to do where the caller cannot select.

    Raises:
        ValueError: there is none, or several; the message has the choices.
    """
    if type(tree) is Stored:
        raise ValueError("the file holds no state dict: it is a tensor")
    finder = Finder(tree, StoredValues())
    if select is not None:
        return finder.select(select)
    try:
        return finder.find()
    except ValueError as e:
        raise ValueError(f"{e}{instead if 'select=' in str(e) else ''}") from None


def tensors_of(state: Mapping[str, Any], strip_prefix: str | Iterable[str]) -> dict[str, Stored]:
    """Those of a state dict, without parts of names.

    Raises:
        ValueError: there are none; or stripping makes two names equal.
    """
    names = Names(strip_prefix)
    renamed = names.rename(state) if names.has_prefixes else state
    tensors = {name: value for name, value in renamed.items() if type(value) is Stored}
    if not tensors:
        raise ValueError("the state dict holds no tensors")
    return tensors


def flattened(tree: Any) -> dict[str, Stored]:
    """All tensors, by their paths joined with dots.

    Raises:
        ValueError: there are none; or two paths give the same name.
    """
    tensors: dict[str, Stored] = {}
    for entry in entries(tree):
        if type(entry.value) is Stored:
            name = ".".join(map(str, entry.path))
            if name in tensors:
                raise ValueError(f"two tensors have the name {printable(name)!r}")
            tensors[name] = entry.value
    if not tensors:
        raise ValueError("the file holds no tensors")
    return tensors


# --- tensors that share memory -----------------------------------------------------------------


class Alias(NamedTuple):
    """A tensor that is a view of another one, which is contiguous."""

    of: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def without_aliases(state: dict[str, Stored]) -> tuple[dict[str, Stored], dict[str, Alias]]:
    """The tensors to write, and those that are views of them."""
    aliases: dict[str, Alias] = {}
    groups: dict[Any, list[tuple[str, Stored]]] = {}
    names = {id(stored): name for name, stored in reversed(state.items())}  # the first of each
    for name, stored in state.items():
        row = stored.row
        if names[id(stored)] != name or not stored.is_plain:
            continue
        if stored.of is not None and id(stored.of) in names:
            offset, stride = row.storage_offset, row.stride
            aliases[name] = Alias(names[id(stored.of)], offset, row.shape, stride)
        elif stored.of is None and stored.made is None and row.storage is not None and row.nbytes:
            group = *stored.storage, row.dtype, stored.dtype
            groups.setdefault(group, []).append((name, stored))
    for members in groups.values():
        if len(members) > 1:
            _find_views(members, aliases)
    for name, alias in aliases.items():
        further = aliases.get(alias.of)  # of a contiguous one that is a part of another
        if further is not None:
            aliases[name] = Alias(further.of, further.offset + alias.offset, *alias[2:])
    for name, stored in state.items():
        first = names[id(stored)]
        if first != name:  # the same object again
            aliases[name] = aliases.get(first) or _whole(first, stored)
    aliases = {name: aliases[name] for name in state if name in aliases}
    return {name: stored for name, stored in state.items() if name not in aliases}, aliases


def _whole(of: str, stored: Stored) -> Alias:
    stride, step = [], 1
    for n in reversed(stored.shape):
        stride.append(step)
        step *= max(n, 1)
    return Alias(of, 0, stored.shape, tuple(reversed(stride)))


def _find_views(members: list[tuple[str, Stored]], aliases: dict[str, Alias]) -> None:
    """Tensors inside of a contiguous one of the same storage."""
    inside = [member for member in members if lie_in_storage([member[1]])]

    def place(member: tuple[str, Stored]) -> tuple[int, int, bool]:
        row = member[1].row
        return row.storage_offset, -span(row.shape, row.stride), not is_contiguous(row)

    owner, end = None, 0
    for name, stored in sorted(inside, key=place):
        row = stored.row
        begin, length = row.storage_offset, span(row.shape, row.stride)
        if owner is not None and begin + length <= end:
            offset = begin - owner[1].row.storage_offset
            aliases[name] = Alias(owner[0], offset, row.shape, row.stride)
        elif is_contiguous(row):
            owner, end = (name, stored), begin + length


def alias_metadata(aliases: Mapping[str, Alias], metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata, with what says which tensors are views."""
    result = dict(metadata)
    if aliases:
        result[ALIASES] = json.dumps({name: alias._asdict() for name, alias in aliases.items()})
    return result


def equal_names(aliases: Mapping[str, Alias], state: Mapping[str, Stored]) -> dict[str, str]:
    """{name: other name} of those that equal another tensor."""
    return {
        name: alias.of
        for name, alias in aliases.items()
        if alias == _whole(alias.of, state[alias.of]) and name != "format"
    }


def restore_aliases(tree: Any, metadata: Mapping[str, str] | None) -> None:
    """Puts the views that the metadata of a file names into its tensors.

    Raises:
        FormatError: it says what cannot be.
    """
    if not isinstance(tree, dict) or not metadata:
        return
    aliases = _told(metadata.get(ALIASES))
    for name, of in metadata.items():
        if name not in aliases and name not in tree and name != "format" and of in tree:
            aliases[name] = _whole(of, tree[of])._asdict()
    made = {name: _view(name, alias, tree) for name, alias in aliases.items()}
    tree.update(made)


def _told(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        aliases = json.loads(text)
    except (ValueError, RecursionError):
        aliases = None
    if not isinstance(aliases, dict):
        raise FormatError(f"the metadata {ALIASES!r} is no JSON object")
    return aliases


def _view(name: str, alias: Any, tree: dict[Any, Any]) -> Stored:
    try:
        of = tree[alias["of"]]
        offset, shape, stride = alias["offset"], tuple(alias["shape"]), tuple(alias["stride"])
    except (KeyError, TypeError):
        raise _impossible(name) from None
    numbers = (offset, *shape, *stride)
    plain = type(of) is Stored and of.is_plain and of.of is None and is_contiguous(of.row)
    if (
        not plain
        or name in tree
        or not all(type(n) is int and 0 <= n < 2**62 for n in numbers)
        or len(shape) != len(stride)
        or len(shape) > _MOST_DIMENSIONS
    ):
        raise _impossible(name)
    numel = 1
    for n in of.shape:
        numel *= n
    last = 0 if 0 in shape else offset + span(shape, stride)
    if last > numel:
        raise _impossible(name)
    nbytes = of.row.nbytes // numel if numel else 0
    for n in shape:
        nbytes *= n
    row = of.row._replace(
        path=(name,), shape=shape, stride=stride, storage_offset=offset, nbytes=nbytes
    )
    return Stored(of.container, row, of=of)


def _impossible(name: str) -> FormatError:
    return FormatError(
        f"the metadata {ALIASES!r} says of {printable(joined((name,)))!r} what no tensor of the "
        "file can be"
    )
