# SPDX-License-Identifier: Apache-2.0
"""Where converted, slimmed and merged checkpoints go: a file of torch, a safetensors file, or a
directory of shards with an index, in the layout of Hugging Face."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from errno import ENOTDIR
from shutil import SameFileError
from typing import Any, NamedTuple

from ptio._errors import LimitError
from ptio._rewrite.flat_state import Alias, alias_metadata, equal_names, without_aliases
from ptio._rewrite.safetensors_file import Part, require_writable, write_safetensors
from ptio._rewrite.stored import Stored, plan_storages
from ptio._rewrite.stored_pickle import StoredDescriber
from ptio._rewrite.tree import entries
from ptio._save.archive import durable_setting
from ptio._save.destination import Destination, open_destination
from ptio._save.save import write_object
from ptio._source import is_path
from ptio._text import printable, size

_SUFFIXES = {
    ".safetensors": "safetensors",
    **dict.fromkeys((".pt", ".pth", ".bin", ".ckpt", ".tar"), "pt"),
}
_STEMS = {"safetensors": ("model", ".safetensors"), "pt": ("pytorch_model", ".bin")}
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}
_LEAST_LIMIT = 1 << 30
_FACTOR = 32

Tick = Callable[[int, int], Any]


class Written(NamedTuple):
    """What has been written: names of files, bytes of tensors, and names of views in them."""

    files: list[str]
    nbytes: int
    aliases: list[str]


# --- arguments -----------------------------------------------------------------------------------


def format_of(dst: Any, to: str | None, *, default: str | None = None) -> str:
    """ "pt" or "safetensors": what `to` says, or the name of the file.

    Raises:
        ValueError: neither says it.
    """
    if not is_path(dst):
        raise TypeError(f"dst must be the name of a file, not {dst!r}")
    if to is not None and to not in _STEMS:
        raise ValueError(f"to must be 'pt' or 'safetensors', not {to!r}")
    name = os.fsdecode(dst)
    told = to or _SUFFIXES.get(os.path.splitext(name)[1].lower()) or default
    if told is None:
        raise ValueError(
            f"{printable(name)!r} does not say of what format it is: give it a name that ends in "
            f"{', '.join(_SUFFIXES)}, or say to='pt' or 'safetensors'"
        )
    return told


def shard_size(text: int | str | None) -> int | None:
    """5_000_000_000, "5GB" (10**9 bytes) or "5GiB" (2**30 bytes).

    Raises:
        ValueError: it is no size.
    """
    if text is None:
        return None
    digits = str(text).strip().upper()
    unit = digits.lstrip("0123456789.")
    number = digits[: len(digits) - len(unit)]
    try:
        nbytes = int(float(number) * _UNITS[unit.strip()])
    except (KeyError, ValueError, OverflowError):
        nbytes = 0
    if nbytes <= 0:
        raise ValueError(f"the size of shards must be like '5GB' or '500MiB', not {text!r}")
    return nbytes


def require_new(src: list[Any], dst: Any, overwrite: bool, index: str | None = None) -> None:
    """Proves that nothing is lost by writing to dst.

    Args:
        index: the name of the index, where dst is a directory of shards.

    Raises:
        FileExistsError: something is there, and may not be overwritten.
        NotADirectoryError: it is no directory, where one is wanted.
        shutil.SameFileError: dst is one of the files that are read.
    """
    target = os.fsdecode(dst)
    if index is not None and os.path.isdir(target):
        taken = [name for name in os.listdir(target) if _is_of_layout(name, index)]
        if taken and not overwrite:
            raise FileExistsError(f"{printable(target)} holds {printable(taken[0])} already")
    elif os.path.lexists(target) and not overwrite:
        raise FileExistsError(f"{printable(target)} exists already")
    elif index is not None and os.path.lexists(target):
        raise NotADirectoryError(ENOTDIR, os.strerror(ENOTDIR), target)
    for source in src:
        if is_path(source) and _is_read(os.fsdecode(source), target):
            raise SameFileError(
                f"{printable(target)} is what is read: write to another name, and rename it then"
            )


def _is_read(source: str, target: str) -> bool:
    """Whether a target that exists is one of the files of the source."""
    with suppress(OSError):
        if os.path.samefile(source, target):
            return True
        folder = source if os.path.isdir(source) else os.path.dirname(source) or "."
        is_parts = os.path.isdir(source) or source.endswith(".index.json")
        if is_parts and os.path.isdir(target):
            return os.path.samefile(folder, target)
        if is_parts:
            each = (os.path.join(folder, name) for name in os.listdir(folder))
            return any(os.path.samefile(one, target) for one in each)
    return False


def index_name(to: str) -> str:
    stem, suffix = _STEMS[to]
    return f"{stem}{suffix}.index.json"


def _is_of_layout(name: str, index: str) -> bool:
    stem, suffix = next(s for s in _STEMS.values() if index.startswith(s[0] + s[1]))
    return name == index or (name.startswith(stem) and name.endswith(suffix))


# --- one file ------------------------------------------------------------------------------------


def write_pt(
    tree: Any, dst: Any, *, compact: bool, durable: bool | None, progress: Tick | None
) -> Written:
    """An object with stored tensors, as torch.save would write it."""
    tensors = [entry.value for entry in entries(tree) if type(entry.value) is Stored]
    plan_storages(tensors, compact=compact)
    require_sane_size(tensors)
    describer = StoredDescriber()
    write_object(describer, tree, dst, durable=durable, progress=progress)
    nbytes = sum(plan.nbytes for plan in describer.storages)
    return Written([os.fsdecode(dst)], nbytes, [])


def write_state(
    state: dict[str, Stored],
    dst: Any,
    metadata: Mapping[str, str],
    *,
    durable: bool | None,
    progress: Tick | None,
) -> Written:
    """A state dict, as a safetensors file."""
    kept, aliases = without_aliases(state)
    parts = _parts(kept)
    require_writable(parts)
    require_sane_size(kept.values())
    tick = _Counter(progress, sum(part.nbytes for part in parts.values()))
    with open_destination(dst, durable=durable_setting(durable)) as destination:
        write_safetensors(destination, parts, _metadata(kept, aliases, metadata), tick)
    return Written([os.fsdecode(dst)], tick.total, list(aliases))


def _parts(state: Mapping[str, Stored]) -> dict[str, Part]:
    return {n: Part(s.type_name, s.shape, s.nbytes, s.elements) for n, s in state.items()}


def _metadata(
    kept: Mapping[str, Stored], aliases: Mapping[str, Alias], metadata: Mapping[str, str]
) -> dict[str, str]:
    known = {"format": "pt", **equal_names(aliases, kept), **metadata}
    return alias_metadata(aliases, known)


def require_sane_size(tensors: Any) -> None:
    """Strides of 0 let a small file have tensors that no disk holds.

    Raises:
        LimitError: the elements are far more than the storages hold.
    """
    stored: dict[Any, int] = {}
    wanted: dict[Any, int] = {}
    for each in tensors:
        row = each.row
        stored[each.storage] = row.storage_nbytes if row.storage is not None else row.nbytes
        if each.plan is None:
            wanted[id(each)] = each.nbytes
        else:
            wanted[id(each.plan.storage)] = each.plan.storage.nbytes
    total, limit = sum(wanted.values()), max(_LEAST_LIMIT, _FACTOR * sum(stored.values()))
    if total > limit:
        raise LimitError(
            f"the tensors would take {size(total)}, though the file holds only "
            f"{size(sum(stored.values()))} for them"
        )


class _Counter:
    """Counts bytes for a progress function."""

    def __init__(self, progress: Tick | None, total: int) -> None:
        self.total = total
        self._progress, self._done = progress, 0

    def __call__(self, nbytes: int) -> None:
        self._done += nbytes
        if self._progress is not None:
            self._progress(self._done, self.total)


# --- shards --------------------------------------------------------------------------------------


def write_shards(
    state: dict[str, Stored],
    directory: Any,
    to: str,
    most: int,
    metadata: Mapping[str, str],
    *,
    durable: bool | None,
    progress: Tick | None,
) -> Written:
    """A state dict in files of at most `most` bytes, and an index that says what is where.

    A tensor that is larger has a file of its own. All files get their names when all have been
    written, the index last. What fits into one file has no index.
    """
    kept, aliases = without_aliases(state)
    if to == "safetensors":
        require_writable(_parts(kept))
    require_sane_size(kept.values())
    shards = _split(kept, most)
    stem, suffix = _STEMS[to]
    names = [f"{stem}-{i + 1:05}-of-{len(shards):05}{suffix}" for i in range(len(shards))]
    if len(shards) == 1:
        names = [f"{stem}{suffix}"]
    homes = {name: i for i, shard in enumerate(shards) for name in shard}
    homes.update({name: homes[alias.of] for name, alias in aliases.items()})
    tick = _Counter(progress, sum(stored.nbytes for stored in kept.values()))
    with _new_directory(directory) as folder, ExitStack() as stack:

        def begin(name: str) -> Destination:
            path = os.path.join(folder, name)
            return stack.enter_context(open_destination(path, durable=durable_setting(durable)))

        if len(shards) > 1:  # the stack ends in reverse order: what is opened first appears last
            weight_map = {n: names[homes[n]] for n in state if to == "pt" or n in kept}
            told = {"total_size": tick.total}
            known = alias_metadata(aliases, {}) if to == "safetensors" else {}
            _write_index(begin(index_name(to)), {**told, **known}, weight_map)
        for i, shard in enumerate(shards):
            here = {n: alias for n, alias in aliases.items() if homes[n] == i}
            destination = begin(names[i])
            if to == "safetensors":
                told_here = _metadata(shard, here, metadata)
                write_safetensors(destination, _parts(shard), told_here, tick)
            else:
                members = {n: state[n] for n in state if n in shard or n in here}
                _write_pt_shard(destination, members, tick)
    files = [os.path.join(folder, name) for name in names]
    if len(shards) > 1:
        files.append(os.path.join(folder, index_name(to)))
    return Written(files, tick.total, list(aliases))


def _split(state: Mapping[str, Stored], most: int) -> list[dict[str, Stored]]:
    shards: list[dict[str, Stored]] = [{}]
    room = most
    for name, stored in state.items():
        if stored.nbytes > room and shards[-1]:
            shards.append({})
            room = most
        shards[-1][name] = stored
        room -= stored.nbytes
    return shards


def _write_pt_shard(destination: Destination, members: dict[str, Stored], tick: _Counter) -> None:
    plan_storages(members.values(), compact=True)
    with io.FileIO(destination.fd, "wb", closefd=False) as file:
        write_object(StoredDescriber(), members, file)
        destination.finish(file.tell())
    tick(
        sum(
            {id(m.plan.storage): m.plan.storage.nbytes for m in members.values() if m.plan}.values()
        )
    )


def stored_bytes(tensors: Iterable[Stored]) -> int:
    """Of the storages that have been planned for tensors."""
    plans = [stored.plan for stored in tensors if stored.plan is not None]
    return sum({id(plan.storage): plan.storage.nbytes for plan in plans}.values())


def _write_index(destination: Destination, told: Mapping[str, Any], files: Any) -> None:
    text = json.dumps({"metadata": told, "weight_map": files}, indent=2, sort_keys=True) + "\n"
    with io.FileIO(destination.fd, "wb", closefd=False) as file:
        file.write(text.encode())
        destination.finish(file.tell())


@contextmanager
def _new_directory(directory: Any) -> Iterator[str]:
    """A directory, which is made; after an exception, one that was made is gone again."""
    path = os.fsdecode(directory)
    made = not os.path.isdir(path)
    if made:
        os.mkdir(path)
    try:
        yield path
    except BaseException:
        if made:
            with suppress(OSError):  # what others put into it stays
                os.rmdir(path)
        raise
