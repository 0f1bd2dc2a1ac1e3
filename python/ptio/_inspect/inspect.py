# SPDX-License-Identifier: Apache-2.0
"""inspect: what a file is, whoever wrote it and whatever is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ptio import _core
from ptio._checkpoint import read_leniently
from ptio._containers import Options, open_container
from ptio._errors import Error
from ptio._inspect.writers import Writer, written_by
from ptio._limits import Limits
from ptio._report import Problem
from ptio._source import display_path, is_path, open_source
from ptio._text import count, printable, size

_SHOWN = 10
_MOST_GLOBALS = 10_000  # that are told, of those that are unknown, and of others


@dataclass(frozen=True)
class Member:
    """A member of an archive.

    Attributes:
        name: with the top directory.
        offset: of its bytes in the file; None where its header is damaged.
        size: of its bytes, unpacked.
        stored_size: of its bytes in the file.
        compressed: whether they are compressed.
        crc32: as the archive has it; None where it was not computed.
    """

    name: str
    offset: int | None
    size: int
    stored_size: int
    compressed: bool
    crc32: int | None


@dataclass(frozen=True)
class GlobalUse:
    """A class or function that the pickle names.

    Attributes:
        name: "module.name".
        verdict: "allowed": ptio makes it; "data": known, and loaded as data only; "unknown".
        count: how often it is named. References to a name that was memoized are not counted.
        offset: in the pickle, of the first.
    """

    name: str
    verdict: str
    count: int
    offset: int


@dataclass(frozen=True)
class TensorSummary:
    """All tensors of a file together.

    Attributes:
        count: of them.
        bytes: of their elements, each view of the same memory counted.
        dtypes: number of tensors of each, the most frequent first.
        storages: number of storages; storage_bytes: their size.
        shared: number of tensors that share their storage with another one.
        unused_bytes: of the storages, that no tensor shows: what a saved view drags along.
    """

    count: int
    bytes: int
    dtypes: dict[str, int]
    storages: int
    storage_bytes: int
    shared: int
    unused_bytes: int


@dataclass(frozen=True)
class Inspection:
    """What `ptio.inspect` found out. All of it is as far as the file could be read.

    Attributes:
        path: the file, or None where it has no name.
        format: as `Checkpoint.format`; "other" for what is no checkpoint.
        description: what it is, in words.
        size: in bytes; of a directory, of its files.
        writer: what wrote it and with which settings, or None.
        members: of the archive.
        globals: that the pickle names, in its order: the first 10,000 that are unknown, and the
            first 10,000 others.
        more_globals: number of names that are not in `globals`.
        tensors: a summary, or None where there are none to be seen.
        unreferenced: members that no tensor needs and torch.save does not write.
        problems: what is wrong; empty for a sound file. Checksums of tensors are not looked at:
            that is what `verify` does.
        hints: what to do about the problems.
    """

    path: str | None
    format: str
    description: str
    size: int
    writer: Writer | None = None
    members: tuple[Member, ...] = ()
    globals: tuple[GlobalUse, ...] = ()
    more_globals: int = 0
    tensors: TensorSummary | None = None
    unreferenced: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    hints: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether it can be read."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """As plain dicts and lists, for json."""
        return {"ok": self.ok, **asdict(self)}

    def __str__(self) -> str:
        name = "file" if self.path is None else printable(self.path, 160)
        lines = [f"{name}: {printable(self.description)}, {size(self.size)}"]
        rows = [
            ("written by", "" if self.writer is None else str(self.writer)),
            ("tensors", _tensors_text(self.tensors)),
            ("members", _members_text(self.members)),
            ("globals", _globals_text(self.globals, self.more_globals)),
            ("not needed", _names_text(self.unreferenced)),
        ]
        lines += [f"  {label:<11} {text}" for label, text in rows if text]
        lines += [f"  problem     {problem}" for problem in self.problems]
        lines += [f"  hint        {hint}" for hint in self.hints]
        return "\n".join(lines)


def inspect(f: Any, *, limits: Limits | None = None) -> Inspection:
    """Find out what a file is, what is in it, and what is wrong with it.

    Nothing is loaded, and no damage and no unknown kind of file is an error: the result says it.

    Args:
        f: a path, of a directory too, or a seekable binary file object.
        limits: what reading it may spend.

    Raises:
        OSError: the file cannot be opened or read.
    """
    path = display_path(f)
    if is_path(f) and os.path.isdir(f):
        return _directory(f, path, limits)
    begin = 0 if is_path(f) or not hasattr(f, "tell") else f.tell()
    try:
        source = open_source(f, "auto")
    except Error as e:  # a FIFO, a device
        problems, hints = _problem(e, path)
        return Inspection(path, "other", "no regular file", 0, problems=problems, hints=hints)
    try:
        return _File(f, begin, source, path, limits).result()
    finally:
        source.close()


class _File:
    def __init__(
        self, f: Any, begin: int, source: _core.Source, path: str | None, limits: Limits | None
    ) -> None:
        self._f = f
        self._begin = begin
        self._source = source
        self._path = path
        self._limits = limits

    def result(self) -> Inspection:
        kind, words = _core.sniff(self._source)
        core = self._parse()
        error: Exception | None = core.error
        tensors, too_many = self._tensors(core)
        form = core.format if error is None else kind
        if error is not None:
            form, tensors, error = self._other_container(form, error)
        error = error or too_many
        core.locate()
        members = tuple(map(_member, core.records()))
        problems, hints = _problem(error, self._path)
        uses, unknown, others = core.globals((), _MOST_GLOBALS, _MOST_GLOBALS)
        return Inspection(
            path=self._path,
            format=form,
            description=_description(form, words, core.error, error),
            size=self._source.size,
            writer=written_by(form, core, self._read),
            members=members,
            globals=_uses(uses),
            more_globals=unknown + others,
            tensors=_summary(tensors) if error is None else None,
            unreferenced=_unreferenced(form, members, core)
            if core.error is too_many is None
            else (),
            problems=problems,
            hints=hints,
        )

    @staticmethod
    def _tensors(core: _core.Checkpoint) -> tuple[list[_core.TensorInfo], Error | None]:
        try:
            return core.tensors(True), None
        except Error as e:  # their names take too much memory
            return [], e

    def _parse(self) -> _core.Checkpoint:
        return read_leniently(self._source, limits=self._limits, inert=True, path=self._path)

    def _other_container(
        self, form: str, error: Exception
    ) -> tuple[str, list[_core.TensorInfo], Exception | None]:
        """Another kind of container may read what no plain archive of torch.save is."""
        if not is_path(self._f):
            self._f.seek(self._begin)
        try:
            container = open_container(self._f, Options(inert=True, limits=self._limits))
        except Error as e:
            return form, [], e
        try:
            return container.format, container.tensors(), None
        except Error as e:
            return container.format, [], e
        finally:
            container.close()

    def _read(self, record: _core.Record, most: int) -> bytes | None:
        """A small member that is not compressed, as far as it can be read."""
        if record.offset < 0 or record.method != 0 or record.size > most:
            return None
        if is_path(self._f):
            with open(self._f, "rb") as file:
                file.seek(record.offset)
                return file.read(record.size)
        self._f.seek(self._begin + record.offset)
        data: bytes = self._f.read(record.size)
        return data


def _directory(f: Any, path: str | None, limits: Limits | None) -> Inspection:
    total = sum(entry.stat().st_size for entry in os.scandir(f) if entry.is_file())
    try:
        container = open_container(f, Options(inert=True, limits=limits))
    except (Error, IsADirectoryError) as e:
        message = str(e.args[0]) if isinstance(e, Error) else "a directory, and no model in parts"
        kind = type(e).__name__ if isinstance(e, Error) else "UnsupportedError"
        problem = Problem(kind, message)
        return Inspection(path, "other", "a directory", total, problems=(problem,))
    try:
        tensors = container.tensors()
        return Inspection(
            path,
            container.format,
            f"a directory ({container.format})",
            total,
            tensors=_summary(tensors),
        )
    finally:
        container.close()


# --- parts


def _member(record: _core.Record) -> Member:
    return Member(
        name=record.name,
        offset=None if record.offset < 0 else record.offset,
        size=record.size,
        stored_size=record.compressed_size,
        compressed=record.method != 0,
        crc32=None if record.crc32 == 0 and record.size else record.crc32,
    )


def _uses(rows: Iterable[tuple[str, str, str, int, int]]) -> tuple[GlobalUse, ...]:
    return tuple(
        GlobalUse(f"{module}.{name}", verdict, times, offset)
        for module, name, verdict, times, offset in rows
    )


def _summary(tensors: Sequence[_core.TensorInfo]) -> TensorSummary:
    dtypes: dict[str, int] = {}
    sizes: dict[str, int] = {}
    users: dict[str, int] = {}
    views: dict[str, dict[tuple[Any, ...], int]] = {}
    for t in tensors:
        dtypes[t.dtype] = dtypes.get(t.dtype, 0) + 1
        if t.storage is not None:
            sizes[t.storage] = t.storage_nbytes
            users[t.storage] = users.get(t.storage, 0) + 1
            view = (t.dtype, t.shape, t.stride, t.storage_offset)
            views.setdefault(t.storage, {})[view] = t.nbytes
    unused = (max(0, sizes[key] - sum(seen.values())) for key, seen in views.items())
    return TensorSummary(
        count=len(tensors),
        bytes=sum(t.nbytes for t in tensors),
        dtypes=dict(sorted(dtypes.items(), key=lambda item: -item[1])),
        storages=len(sizes),
        storage_bytes=sum(sizes.values()),
        shared=sum(n for n in users.values() if n > 1),
        unused_bytes=sum(unused),
    )


def _unreferenced(form: str, members: Sequence[Member], core: _core.Checkpoint) -> tuple[str, ...]:
    if form != "zip":
        return ()
    ours = ("data.pkl", "version", "byteorder", ".format_version", ".storage_alignment")
    needed = {t.record for t in core.tensors(False)}
    stem = next((m.name[: -len("data.pkl")] for m in members if m.name.endswith("/data.pkl")), "")
    needed |= {stem + name for name in (*ours, ".data/serialization_id")}
    return tuple(m.name for m in members if m.name not in needed)


_NAMES = {
    "zip": "a PyTorch checkpoint (zip)",
    "legacy": "a PyTorch checkpoint (before torch 1.6)",
    "tar": "a PyTorch checkpoint (torch 0.1, tar)",
    "pickle": "a pickle without tensors",
    "torchscript": "a TorchScript archive",
    "safetensors": "a safetensors file",
}
_ARCHIVES = {
    "TORCHSCRIPT": "a TorchScript archive",
    "TORCH_PACKAGE": "an archive of torch.package",
    "TORCH_EXPORT": "an archive of torch.export",
}


def _description(form: str, words: str, first: Exception | None, error: Exception | None) -> str:
    kind = getattr(error, "kind", None) or getattr(first, "kind", None)
    if kind in _ARCHIVES:
        return _ARCHIVES[kind]
    return _NAMES.get(form, words) if error is None else words


def _problem(
    error: Exception | None, path: str | None
) -> tuple[tuple[Problem, ...], tuple[str, ...]]:
    if not isinstance(error, Error):
        return (), ()
    hints = [error.hint] if error.hint else []
    if isinstance(error, RuntimeError) and "not a checkpoint" not in str(error.args[0]):
        name = "FILE" if path is None else printable(path, 160)
        if type(error).__name__ in ("TruncatedError", "FormatError", "ChecksumError"):
            hints.append(f"`ptio repair {name}` saves the tensors that are still whole")
    problem = Problem(type(error).__name__, str(error.args[0]), error.record, error.offset)
    return (problem,), tuple(hints)


# --- text


def _tensors_text(tensors: TensorSummary | None) -> str:
    if tensors is None:
        return ""
    dtypes = ", ".join(f"{number:,} {dtype}" for dtype, number in tensors.dtypes.items())
    text = count(tensors.count, "tensor") + (f" ({dtypes})" if dtypes else "")
    text += f", {size(tensors.storage_bytes)} in {count(tensors.storages, 'storage')}"
    if tensors.shared:
        text += f", {tensors.shared:,} share memory"
    if tensors.unused_bytes:
        text += f", {size(tensors.unused_bytes)} that no tensor shows"
    return text


def _members_text(members: Sequence[Member]) -> str:
    if not members:
        return ""
    text = count(len(members), "member")
    packed = sum(member.compressed for member in members)
    unchecked = sum(member.crc32 is None for member in members)
    text += f", {packed:,} compressed" if packed else ""
    text += f", {unchecked:,} without a checksum" if unchecked else ""
    return text


def _globals_text(uses: Sequence[GlobalUse], more: int) -> str:
    if not uses:
        return ""
    parts = []
    for verdict in ("allowed", "data", "unknown"):
        names = [use.name for use in uses if use.verdict == verdict]
        if names:
            shown = "" if verdict == "allowed" else f": {_names_text(names)}"
            parts.append(f"{len(names):,} {verdict}{shown}")
    if more:
        parts.append(f"{more:,} more")
    return "; ".join(parts)


def _names_text(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(map(printable, names[:_SHOWN])) + (f" and {more:,} more" if more > 0 else "")
