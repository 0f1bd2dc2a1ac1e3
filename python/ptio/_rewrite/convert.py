# SPDX-License-Identifier: Apache-2.0
"""ptio.convert: a checkpoint in another format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ptio._api import _verify_setting
from ptio._containers import Container, Options, open_container
from ptio._names import joined
from ptio._progress import Progress, reporting
from ptio._rewrite.flat_state import ALIASES, find_state, flattened, restore_aliases, tensors_of
from ptio._rewrite.new_checkpoint import (
    Tick,
    Written,
    format_of,
    index_name,
    require_new,
    shard_size,
    write_pt,
    write_shards,
    write_state,
)
from ptio._rewrite.stored import Stored, stored_tree
from ptio._rewrite.tree import entries
from ptio._source import display_path
from ptio._text import count, printable, size

if TYPE_CHECKING:
    from ptio._limits import Limits

_SHOWN = 5


@dataclass
class ConvertReport:
    """What `convert` did.

    Attributes:
        src, dst: as they were given.
        source_format: what src was: "zip", "legacy", "safetensors" ...
        format: what was written: "pt" or "safetensors".
        files: that were written; of shards the index is the last.
        tensors: how many are in them, views of others included.
        nbytes: of their storages.
        aliases: names of tensors that are views of others and take no bytes.
        left_out: paths of tensors that are in src and not in what was written.
    """

    src: str
    dst: str
    source_format: str
    format: str
    files: list[str] = field(default_factory=list)
    tensors: int = 0
    nbytes: int = 0
    aliases: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        where = printable(self.dst)
        if len(self.files) > 1:
            where += f" ({count(len(self.files) - 1, 'shard')})"
        lines = [f"{where}: {count(self.tensors, 'tensor')}, {size(self.nbytes)}"]
        if self.aliases:
            lines.append(f"share memory with others: {names_in_short(self.aliases)}")
        if self.left_out:
            lines.append(f"left out: {names_in_short(self.left_out)}")
        return "\n".join(lines)


def names_in_short(names: list[str]) -> str:
    shown = ", ".join(printable(name) for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else "")


def convert(
    src: Any,
    dst: Any,
    *,
    to: str | None = None,
    max_shard_size: int | str | None = None,
    select: str | tuple[Any, ...] | None = None,
    flatten: bool = False,
    strip_prefix: str | Iterable[str] = (),
    metadata: Mapping[str, str] | None = None,
    overwrite: bool = False,
    verify: bool | None = None,
    durable: bool | None = None,
    encoding: str = "utf-8",
    limits: Limits | None = None,
    progress: bool | Progress | None = None,
) -> ConvertReport:
    """Write a checkpoint in another format; its tensors pass through memory piece by piece.

    To torch's format the whole object is written, as it is: containers, strides, which tensors
    share a storage, objects of unknown classes. To safetensors, and into shards, goes a state
    dict: the only part of the file that can be meant, as `load_state_dict` finds it, or what
    `select` says. Tensors that share memory are written once; what views what is in the
    metadata of the file, and converting it back restores it.

    Args:
        src: whatever `ptio.open` opens.
        dst: the name of the new file; of the directory, where there are shards.
        to: "pt" or "safetensors". Default: by the name of dst; shards are safetensors.
        max_shard_size: of one file, in bytes or like "5GB": writes a directory of shards, with
            an index, in the layout of Hugging Face.
        select: where in the file the state dict is, e.g. "ema" or "state/model"; "" is the whole.
        flatten: True: all tensors of the file, by their paths joined with dots.
        strip_prefix: parts of names to leave out, e.g. "module." or "_orig_mod.".
        metadata: texts by name for the header of safetensors files. What src has is kept.
        overwrite: True: replace what is there. A failure leaves it as it was.
        verify, encoding, limits: as for `load`.
        durable: as for `save`.
        progress: True: a bar on the terminal. Or a callable(done_bytes, total_bytes).

    Returns:
        A `ConvertReport`, which also says what was left out.

    Raises:
        ValueError: the file holds no state dict, or several that may be meant: the message
            lists them; the format lacks a dtype or name: it lists the tensors; an argument
            makes no sense.
        TypeError: the file holds a value that torch's format cannot say; the message has its path.
        FileExistsError: dst is there already.
        shutil.SameFileError: dst is one of the files that are read.
        Error, OSError: src cannot be read, as for `load`, or dst not be written.
    """
    most = shard_size(max_shard_size)
    target = format_of(dst, to, default=None if most is None else "safetensors")
    require_new([src], dst, overwrite, None if most is None else index_name(target))
    if flatten and select is not None:
        raise ValueError("flatten is of the whole file, select of a part: choose one")
    told = _require_texts(metadata)
    if told and target == "pt":
        raise ValueError("only safetensors files have metadata")
    container = open_stored(src, verify=verify, encoding=encoding, limits=limits)
    try:
        tree = tree_of(container)
        flat = target == "safetensors" or most is not None or flatten or select is not None
        flat = flat or bool(strip_prefix) or container.format == "torchscript"
        with reporting(progress, "converting") as tick:
            if flat:
                state = flattened(tree) if flatten else find_state(tree, select)
                tensors = tensors_of(state, strip_prefix)
                known = {**kept_metadata(container, tree), **told}
                written = _write_flat(tensors, dst, target, most, known, durable, tick)
            else:
                written = write_pt(tree, dst, compact=False, durable=durable, progress=tick)
        return _report(src, dst, container.format, target, written, tree, tensors if flat else None)
    finally:
        container.close()


def open_stored(f: Any, *, verify: bool | None, encoding: str, limits: Limits | None) -> Container:
    """A file whose tensors are read when they are written: nothing of it is mapped."""
    options = Options(
        mmap=False, verify=_verify_setting(verify), inert=True, encoding=encoding, limits=limits
    )
    return open_container(f, options)


def tree_of(container: Container) -> Any:
    """The object in a file, with a `Stored` in the place of each tensor."""
    tree = stored_tree(container)
    restore_aliases(tree, container.metadata())
    return tree


def _write_flat(
    tensors: dict[str, Stored],
    dst: Any,
    target: str,
    most: int | None,
    metadata: Mapping[str, str],
    durable: bool | None,
    tick: Tick | None,
) -> Written:
    if most is not None:
        return write_shards(tensors, dst, target, most, metadata, durable=durable, progress=tick)
    if target == "safetensors":
        return write_state(tensors, dst, metadata, durable=durable, progress=tick)
    return write_pt(tensors, dst, compact=True, durable=durable, progress=tick)


def kept_metadata(container: Container, tree: Any) -> dict[str, str]:
    """What safetensors files have, without what says that names of the tree are views."""
    known = container.metadata() or {}
    return {
        name: text
        for name, text in known.items()
        if isinstance(text, str) and name not in (ALIASES, "total_size") and name not in tree
    }


def _require_texts(metadata: Mapping[str, str] | None) -> dict[str, str]:
    told = dict(metadata or {})
    for name, text in told.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise TypeError(f"metadata consists of texts, not {name!r}: {text!r}")
    return told


def _report(
    src: Any,
    dst: Any,
    source_format: str,
    target: str,
    written: Written,
    tree: Any,
    state: dict[str, Stored] | None,
) -> ConvertReport:
    paths: dict[int, str] = {}
    for entry in entries(tree):
        if type(entry.value) is Stored:
            paths.setdefault(id(entry.value), joined(entry.path))
    left_out: list[str] = []
    if state is not None:
        kept = {id(stored) for stored in state.values()}
        left_out = [path for key, path in paths.items() if key not in kept]
    return ConvertReport(
        src=display_path(src) or repr(src),
        dst=display_path(dst) or "",
        source_format=source_format,
        format=target,
        files=written.files,
        tensors=len(paths) if state is None else len(state),
        nbytes=written.nbytes,
        aliases=written.aliases,
        left_out=left_out,
    )
