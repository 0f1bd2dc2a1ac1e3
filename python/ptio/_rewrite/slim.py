# SPDX-License-Identifier: Apache-2.0
"""ptio.slim: a checkpoint without what is not needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from ptio._names import joined
from ptio._progress import Progress, reporting
from ptio._rewrite.cast import FLOATS, Cast, float_name
from ptio._rewrite.convert import kept_metadata, names_in_short, open_stored, tree_of
from ptio._rewrite.flat_state import find_state, tensors_of
from ptio._rewrite.new_checkpoint import (
    format_of,
    require_new,
    require_sane_size,
    stored_bytes,
    write_pt,
    write_state,
)
from ptio._rewrite.stored import Stored, plan_storages
from ptio._rewrite.tree import Entry, Path, entries, remove
from ptio._source import display_path
from ptio._text import count, size
from ptio._types.opaque import Opaque

if TYPE_CHECKING:
    from ptio._limits import Limits

_INSTEAD = "; slim has `keep` for that"


@dataclass
class SlimReport:
    """What `slim` did, or would do.

    Attributes:
        src, dst: as they were given; dst "" where nothing was written.
        dropped: names of what went; of several that went together, what held them.
        dropped_tensors: how many tensors went.
        cast: names of the tensors whose dtype changed.
        overflows: {name: how many finite elements became infinite}.
        unmatched: patterns that fit nothing.
        tensors: how many there are now.
        nbytes_before, nbytes: of all storages.
    """

    src: str
    dst: str
    dropped: list[str] = field(default_factory=list)
    dropped_tensors: int = 0
    cast: list[str] = field(default_factory=list)
    overflows: dict[str, int] = field(default_factory=dict)
    unmatched: list[str] = field(default_factory=list)
    tensors: int = 0
    nbytes_before: int = 0
    nbytes: int = 0

    @property
    def changes(self) -> bool:
        """Whether anything is different from src."""
        return bool(self.dropped or self.cast) or self.nbytes != self.nbytes_before

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        saved = self.nbytes_before - self.nbytes
        share = f" ({saved / self.nbytes_before:.0%})" if self.nbytes_before else ""
        lines = [
            f"{count(self.tensors, 'tensor')}, {size(self.nbytes)}; "
            f"before {size(self.nbytes_before)}, saved {size(max(saved, 0))}{share}"
        ]
        if self.dropped:
            tensors = count(self.dropped_tensors, "tensor")
            lines.append(f"dropped: {names_in_short(self.dropped)} ({tensors})")
        if self.cast:
            lines.append(f"cast: {count(len(self.cast), 'tensor')}")
        if self.overflows:
            total = sum(self.overflows.values())
            names = names_in_short(list(self.overflows))
            lines.append(f"became infinite: {count(total, 'element')} of {names}")
        if self.unmatched:
            lines.append(f"fit nothing: {names_in_short(self.unmatched)}")
        return "\n".join(lines)


def slim(
    src: Any,
    dst: Any,
    *,
    drop: str | Iterable[str] = (),
    keep: str | Iterable[str] | None = None,
    weights_only: bool = False,
    dtype: Any = None,
    compact: bool = True,
    to: str | None = None,
    dry_run: bool = False,
    overwrite: bool = False,
    verify: bool | None = None,
    durable: bool | None = None,
    encoding: str = "utf-8",
    limits: Limits | None = None,
    progress: bool | Progress | None = None,
) -> SlimReport:
    """Write a checkpoint without the optimizer, with smaller dtypes, or only its weights.

    What stays keeps its place: containers, order, strides, which tensors share memory. Tensors
    pass through memory piece by piece.

    Args:
        src: whatever `ptio.open` opens.
        dst: the name of the new file.
        drop: patterns of *, ? and [...] for names as in `Checkpoint.keys()`, e.g. "optimizer*";
            * matches "/" as well. What they fit goes, with all that is in it: tensors, dicts
            and other values. An object that is in several places has the name of the first.
        keep: only what these fit stays, with what is around it. drop comes after that.
        weights_only: True: keep only the state dict of the model, as `load_state_dict` finds it.
            A model that was saved whole becomes its state dict.
        dtype: "bf16", "fp16", "fp32" or "fp64", or such a dtype of torch or NumPy: of all tensors
            of these four types. Not of those named "step", which count the steps of optimizers.
        compact: True (default): storages have no more bytes than their tensors view.
        to: "pt" or "safetensors". Default: by the name of dst.
        dry_run: True: only say what would go. dst is not looked at, and may be None.
        overwrite, verify, durable, encoding, limits, progress: as for `convert`.

    Returns:
        A `SlimReport`: what went, and how many bytes that saved.

    Raises:
        As `convert`.
    """
    drops, keeps = _patterns(drop), None if keep is None else _patterns(keep)
    wanted = None if dtype is None else float_name(dtype)
    target = "pt"
    if not dry_run:
        target = format_of(dst, to)
        require_new([src], dst, overwrite)
    container = open_stored(src, verify=verify, encoding=encoding, limits=limits)
    try:
        tree = tree_of(container)
        metadata = kept_metadata(container, tree)
        before = _tensors(tree)
        report = SlimReport(display_path(src) or repr(src), "")
        report.nbytes_before = _file_bytes(before.values())
        tree = _shorten(tree, drops, keeps, weights_only, report)
        tensors = _tensors(tree)
        if wanted is not None:
            report.cast = _set_dtype(tensors, wanted)
        plan_storages(tensors.values(), compact=compact)
        require_sane_size(tensors.values())
        report.tensors = len(tensors)
        report.dropped_tensors = len({*map(id, before.values())} - {*map(id, tensors.values())})
        others = sum(each.nbytes for each in tensors.values() if not each.is_plain)
        report.nbytes = stored_bytes(tensors.values()) + others
        if dry_run:
            return report
        with reporting(progress, "slimming") as tick:
            if target == "pt":
                write_pt(tree, dst, compact=compact, durable=durable, progress=tick)
            else:
                state = tensors_of(find_state(tree, instead=_INSTEAD), ())
                write_state(state, dst, metadata, durable=durable, progress=tick)
        report.dst = display_path(dst) or ""
        for name, stored in tensors.items():
            if stored.cast is not None and stored.cast.overflows:
                report.overflows[name] = stored.cast.overflows
        return report
    finally:
        container.close()


def _patterns(patterns: str | Iterable[str]) -> list[str]:
    each = [patterns] if isinstance(patterns, str) else list(patterns)
    for pattern in each:
        if not isinstance(pattern, str):
            raise TypeError(f"patterns are str, not {pattern!r}")
    return each


def _tensors(tree: Any) -> dict[str, Stored]:
    """By name; each once."""
    found: dict[int, tuple[str, Stored]] = {}
    for entry in entries(tree):
        if type(entry.value) is Stored:
            found.setdefault(id(entry.value), (joined(entry.path), entry.value))
    names = [name for name, _ in found.values()]
    unique = len(set(names)) == len(names)
    return {
        name if unique else f"{name} ({i})": stored
        for i, (name, stored) in enumerate(found.values())
    }


def _file_bytes(tensors: Iterable[Stored]) -> int:
    storages: dict[Any, int] = {}
    for stored in tensors:
        if stored.of is None:
            row = stored.row
            storages[stored.storage] = row.nbytes if row.storage is None else row.storage_nbytes
    return sum(storages.values())


# --- what goes -----------------------------------------------------------------------------------


def _shorten(
    tree: Any, drops: list[str], keeps: list[str] | None, weights_only: bool, report: SlimReport
) -> Any:
    fitting: set[str] = set()
    if weights_only:
        tree = _weights(tree, report)
    if keeps is not None:
        _take_out(tree, _not_kept(tree, lambda path: _fits(path, keeps, fitting)), report)
    gone: list[Entry] = []

    def enter(entry: Entry) -> bool:
        if not entry.path or not _fits(entry.path, drops, fitting):
            return True
        gone.append(entry)
        return False

    if drops:
        for _ in entries(tree, enter):
            pass
        _take_out(tree, gone, report)
    report.unmatched = [p for p in [*(keeps or ()), *drops] if p not in fitting]
    return tree


def _fits(path: Path, patterns: list[str], fitting: set[str]) -> bool:
    name = joined(path)
    found = [pattern for pattern in patterns if fnmatchcase(name, pattern)]
    fitting.update(found)
    return bool(found)


def _weights(tree: Any, report: SlimReport) -> Any:
    state = find_state(tree, instead=_INSTEAD)
    place = next((entry.path for entry in entries(tree) if entry.value is state), None)
    if place is None:  # of a model that was saved whole: all but its tensors goes
        report.dropped.append("(everything but the state dict)")
        return dict(state)
    _take_out(tree, _not_kept(tree, lambda path: path == place), report)
    return tree


def _not_kept(tree: Any, is_kept: Callable[[Path], bool]) -> list[Entry]:
    """What is not kept, nor around what is. Objects and tuples of which a part is stay whole."""
    every: list[Entry] = []
    needed: set[Path] = {()}
    whole: set[Path] = set()

    def enter(entry: Entry) -> bool:
        every.append(entry)
        if not is_kept(entry.path):
            return True
        needed.update(entry.path[:end] for end in range(len(entry.path) + 1))
        return False

    for _ in entries(tree, enter):
        pass
    gone = []
    for entry in every:
        around = entry.path[:-1]
        if type(entry.value) is Opaque or around in whole:
            whole.add(entry.path)
        if entry.path in needed or around not in needed or around in whole:
            continue
        if entry.path[-1] == "_metadata":  # an attribute of state dicts
            continue
        if isinstance(entry.container, (dict, list)):
            gone.append(entry)
    return gone


def _take_out(tree: Any, gone: list[Entry], report: SlimReport) -> None:
    remove(gone)
    report.dropped += [joined(entry.path) for entry in gone]


# --- dtypes --------------------------------------------------------------------------------------


def _set_dtype(tensors: dict[str, Stored], dtype: str) -> list[str]:
    """Casts what is of another floating type; returns its names."""
    names = []
    for name, stored in tensors.items():
        row = stored.row
        counts = not row.shape and row.path[-1:] == ("step",)
        if row.kind == "tensor" and row.dtype in FLOATS and row.dtype != dtype and not counts:
            stored.cast = Cast(row.dtype, dtype)
            names.append(name)
    return names
