# SPDX-License-Identifier: Apache-2.0
"""ptio.repair: what is intact in a damaged file, written into a new one.

Objects are never built for it. The new file has the old pickle: byte for byte where nothing is
lost, else with the lost tensors taken out of it. So whatever else there is stays what it was:
classes that nobody here knows, parameters, strides, shared storages.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ptio._api import _threads_setting
from ptio._checkpoint import open_salvage
from ptio._errors import FormatError
from ptio._limits import Limits
from ptio._names import joined
from ptio._progress import Progress, reporting
from ptio._report import Problem
from ptio._save.archive import NewArchive, alignment_setting, durable_setting, new_archive
from ptio._source import display_path, is_path
from ptio._text import count, printable

if TYPE_CHECKING:
    from ptio._core import Record, Salvage, TensorInfo

_ROOT = "(the object itself)"
_WIDTH = 160
_ALIGNMENT = 64
# What torch writes around the storages and nobody else does; new archives have their own.
_NOTES = (".format_version", ".storage_alignment")
_ID = ".data/serialization_id"
_ADDED = ("version", _ID)  # where they are not intact
_NOTHING_LEFT = "nothing can be saved from it: copy or download it again"


@dataclass(frozen=True)
class LostTensor:
    """A tensor that the new file does not have.

    Attributes:
        name: as in `ptio ls`.
        reason: why it is lost, in words.
    """

    name: str
    reason: str


@dataclass(frozen=True)
class RepairReport:
    """What `ptio.repair` saved and what was lost.

    Attributes:
        path: the damaged file, or None where it has no name.
        out: the new file, or None where it has no name.
        saved: names of the tensors in the new file.
        lost: the tensors that it does not have, and why.
        problems: what is wrong with the damaged file, as far as it was in the way; `ptio.verify`
            tells all of it.
    """

    path: str | None
    out: str | None
    saved: tuple[str, ...] = ()
    lost: tuple[LostTensor, ...] = ()
    problems: tuple[Problem, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether nothing was lost."""
        return not self.lost

    def to_dict(self) -> dict[str, Any]:
        """The report as plain dicts and lists, for json."""
        return {"ok": self.ok, **asdict(self)}

    def __str__(self) -> str:
        name = "checkpoint" if self.path is None else printable(self.path, _WIDTH)
        out = "the new file" if self.out is None else printable(self.out, _WIDTH)
        verdict = f"{count(len(self.saved), 'tensor')} saved in {out}"
        lines = [f"{name}: {verdict}, {len(self.lost):,} lost"]
        lines += [f"  {problem}" for problem in self.problems]
        lines += [f"  lost: {printable(t.name)}: {printable(t.reason, _WIDTH)}" for t in self.lost]
        return "\n".join(lines)


def repair(
    f: Any,
    out: Any,
    *,
    recompute_crc: bool = False,
    limits: Limits | None = None,
    progress: bool | Progress | None = None,
) -> RepairReport:
    """Write what is intact in a damaged or truncated checkpoint into a new one.

    The central directory at the end of the file is used if it can be read; else the members are
    found by themselves. Every tensor whose bytes have their CRC32 is saved. Those that are lost
    go from the dicts that held them, and become None in lists and tuples. Everything else is as
    it was: other objects, parameters, requires_grad, strides, tensors that share memory.

    Args:
        f: the damaged file: a path, or a seekable binary file object.
        out: the new file: a path, or an object with write(). A file is replaced when the new one
            is whole.
        recompute_crc: True: members whose CRC32 is wrong are saved as they are, with a new one.
            Only for files whose checksums are known to be wrong while the bytes are right.
        limits: what reading may spend; the default is `Limits()`.
        progress: True: a bar on the terminal. Or a callable(done_bytes, total_bytes).

    Returns:
        A report: `.ok`, and the names of all tensors in `.saved` and `.lost`.

    Raises:
        Error: nothing can be saved: `data.pkl`, which says what tensors there are, is not
            intact, or none of them is; or the file is something else. Nothing is written.
        ValueError: `out` is the damaged file itself.
        OSError: a file cannot be read or written.
    """
    if _is_same_file(f, out):
        raise ValueError("the new file needs another name: the damaged one stays as it is")
    try:
        return _repair(f, out, recompute_crc, limits, progress)
    except FormatError as e:
        e.hint = _NOTHING_LEFT
        raise


def _repair(
    f: Any,
    out: Any,
    recompute_crc: bool,
    limits: Limits | None,
    progress: bool | Progress | None,
) -> RepairReport:
    threads = _threads_setting(None)
    with (
        reporting(progress, "checking") as report,
        open_salvage(
            f, limits=limits, any_crc=recompute_crc, threads=threads, progress=report
        ) as salvage,
    ):
        whole = _Contents(salvage)
        found = whole.report(f, out)
        if found.lost and not any(tensor.storage is not None for tensor in whole.saved):
            raise FormatError(
                f"none of {count(len(found.lost), 'tensor')} is intact: {found.lost[0].reason}",
                path=found.path,
                kind="RECORD_MISSING",
            )
        _write(salvage, whole, out, progress)
        return found


class _Contents:
    """What a damaged file holds; from here on its pickle is the one without what is lost.

    Attributes:
        records: the intact members.
        saved: tensors that the new pickle has.
        changed: whether it is another than the old one.
    """

    def __init__(self, salvage: Salvage) -> None:
        tensors = salvage.tensors()
        self.changed = salvage.lost
        self._directory = salvage.directory
        self._damaged = salvage.damaged()
        salvage.cut()
        self.records = salvage.records()
        self.saved = salvage.tensors() if self.changed else tensors
        kept = {tensor.path for tensor in self.saved}
        self._lost = [tensor for tensor in tensors if tensor.path not in kept]
        self._tensors = tensors
        self.stem = next(r.name for r in self.records if _below(r) == "data.pkl").split("/")[0]

    def report(self, f: Any, out: Any) -> RepairReport:
        reasons = {name: message for name, _, message, kept in self._damaged if not kept}
        sizes = {record.name: record.size for record in self.records}
        lost = [
            LostTensor(joined(t.path) or _ROOT, self._reason(t, reasons, sizes)) for t in self._lost
        ]
        return RepairReport(
            path=display_path(f),
            out=display_path(out),
            saved=tuple(joined(tensor.path) or _ROOT for tensor in self.saved),
            lost=tuple(lost),
            problems=tuple(self._problems()),
        )

    def _reason(self, tensor: TensorInfo, reasons: dict[str, str], sizes: dict[str, int]) -> str:
        member = f"{self.stem}/data/{tensor.storage}"
        if member in reasons:
            return f"member {member}: {reasons[member]}"
        if tensor.record is not None or tensor.storage is None:
            return "it is a part of a tensor whose other parts are lost"
        if member in sizes:
            has, needs = f"has {sizes[member]:,} bytes", f"its storage {tensor.storage_nbytes:,}"
            return f"member {member} {has}, {needs}"
        return f"member {member} is not in the file, or not all of it"

    def _problems(self) -> Iterator[Problem]:
        if self._directory is not None:
            kind, message = self._directory
            yield Problem(kind, message)
        touched: dict[str, list[str]] = {name: [] for name, *_ in self._damaged}
        for tensor in self._tensors if touched else ():
            member = f"{self.stem}/data/{tensor.storage}"
            if tensor.storage is not None and member in touched:
                touched[member].append(joined(tensor.path) or _ROOT)
        for name, kind, message, kept in self._damaged:
            text = f"{message}; it is saved as it is" if kept else message
            yield Problem(kind, text, name, None, tuple(touched[name]))
        wrong = {name for name, *_ in self._damaged}
        without = [r for r in self.records if r.crc32 == 0 and r.size > 0 and r.name not in wrong]
        if without:
            text = f"{count(len(without), 'member')} without a checksum, saved unchecked"
            yield Problem("CRC_NOT_COMPUTED", text, without[0].name)


def _below(record: Record) -> str:
    """The name of a member below the top folder."""
    return record.name.partition("/")[2]


def _write(
    salvage: Salvage, contents: _Contents, out: Any, progress: bool | Progress | None
) -> None:
    """The members in their order; notes that are true no longer are left out."""
    alignment = None if contents.changed else _alignment(salvage, contents.records)
    left_out = (*_NOTES, _ID) if alignment is None else (_ID,)
    with new_archive(
        out,
        atomic=True,
        durable=durable_setting(None),
        alignment=alignment or _ALIGNMENT,
        crc=True,
        threads=_threads_setting(None),
        progress=progress,
        stem=contents.stem.encode(),
    ) as archive:
        names = set()
        ids = []
        for number, record in enumerate(contents.records):
            name = _below(record)
            if name.lower() in _ADDED and name not in _ADDED:
                continue  # a damaged name, or made to clash with what is added
            names.add(name)
            if name == "data.pkl":
                archive.add_pickle(salvage.pickle)
            elif name == _ID and not contents.changed:
                ids.append(bytes(_payload(salvage, number)))
            elif name not in left_out:
                _copy(salvage, archive, number, record)
        archive.finish_copy(version=not names & {"version", ".data/version"}, ids=ids)


def _copy(salvage: Salvage, archive: NewArchive, number: int, record: Record) -> None:
    """A view of what is mapped costs nothing; everything else waits until its turn comes."""
    if record.size == 0 or (salvage.mapped and record.method == 0):
        archive.core.add(_below(record), _payload(salvage, number))
    else:
        archive.core.add_deferred(
            _below(record), record.size, lambda: iter((_payload(salvage, number),))
        )


def _payload(salvage: Salvage, number: int) -> np.ndarray[Any, Any]:
    return np.from_dlpack(salvage.payload(number))


def _alignment(salvage: Salvage, records: Sequence[Record]) -> int | None:
    """That of the storages, where the file notes it."""
    for number, record in enumerate(records):
        if _below(record) == ".storage_alignment":
            text = bytes(_payload(salvage, number))
            if text.isdigit() and len(text) < 6:
                try:
                    return alignment_setting(int(text))
                except ValueError:
                    return None
    return None


def _is_same_file(f: Any, out: Any) -> bool:
    one, other = _identity(f), _identity(out)
    return one is not None and one == other


def _identity(f: Any) -> tuple[int, int] | None:
    """Device and inode, where it is a file on disk."""
    try:
        status = os.stat(f) if is_path(f) else os.fstat(f.fileno())
    except (OSError, AttributeError, ValueError):
        return None
    return status.st_dev, status.st_ino
