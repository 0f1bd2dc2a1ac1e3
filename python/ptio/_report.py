# SPDX-License-Identifier: Apache-2.0
"""verify: what was checked in a file, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ptio._containers import Options, open_container
from ptio._errors import Error
from ptio._limits import Limits
from ptio._names import joined
from ptio._progress import Progress
from ptio._source import display_path, is_path
from ptio._text import count, printable, size

if TYPE_CHECKING:
    from ptio._core import Finding

_SHOWN = 10


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a file, or worth knowing about it.

    Attributes:
        kind: the class of ptio's errors that says it, e.g. "ChecksumError"; for a note a word
            such as "CRC_NOT_COMPUTED".
        message: what is wrong, in words.
        member: the member of the archive, or None for the file as a whole.
        offset: the byte inside the member (inside the file where member is None), or None.
        tensors: names of the tensors that lie in this member.
        file: of several that belong together, the one that it is about; else None.
    """

    kind: str
    message: str
    member: str | None = None
    offset: int | None = None
    tensors: tuple[str, ...] = ()
    file: str | None = None

    def __str__(self) -> str:
        text = f"{self.kind}: {self.message}"
        where = [] if self.file is None else [printable(self.file, 160)]
        where += [] if self.member is None else [f"member {printable(self.member)}"]
        where += [] if self.offset is None else [f"byte {self.offset}"]
        text += f" ({', '.join(where)})" if where else ""
        if self.tensors:
            shown = ", ".join(printable(name) for name in self.tensors[:_SHOWN])
            more = len(self.tensors) - _SHOWN
            text += f"\n    touches {shown}" + (f" and {more:,} more" if more > 0 else "")
        return text


@dataclass(frozen=True)
class VerifyReport:
    """What `ptio.verify` found.

    Attributes:
        path: the file, or None where it has no name.
        format: "zip", "legacy" (torch before 1.6), "tar" (torch 0.1), "safetensors" ...; "" where
            it could not be read.
        members: number of members of the archive; of the formats before 1.6, of storages.
        tensors: number of tensors.
        bytes: sum of the sizes of the members.
        seconds: how long it took.
        problems: everything that is wrong; empty for a sound file.
        notes: what is not wrong but worth knowing, e.g. members that were written without a
            checksum and so could not be checked.
    """

    path: str | None
    format: str = ""
    members: int = 0
    tensors: int = 0
    bytes: int = 0
    seconds: float = 0.0
    problems: tuple[Problem, ...] = field(default=())
    notes: tuple[Problem, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """The report as plain dicts and lists, for json."""
        return {"ok": self.ok, **asdict(self)}

    def __str__(self) -> str:
        name = "checkpoint" if self.path is None else printable(self.path, 160)
        if self.format:
            counts = f"{count(self.members, 'member')}, {count(self.tensors, 'tensor')}"
            checked = f"{counts}, {size(self.bytes)} in {self.seconds:.3f} s"
        else:
            checked = "could not be read"
        verdict = "ok" if self.ok else count(len(self.problems), "problem")
        lines = [f"{name}: {verdict} ({checked})"]
        lines += [f"  {problem}" for problem in self.problems]
        lines += [f"  note: {line}" for line in _note_lines(self.notes)]
        return "\n".join(lines)


def report_on(
    f: Any, *, limits: Limits | None, threads: int, progress: Progress | None
) -> VerifyReport:
    """Opens the checkpoint and checks it; what stops that is the only problem of the report."""
    path = display_path(f)
    begin = None if is_path(f) else f.tell()
    start = perf_counter()
    try:
        container = open_container(f, Options(inert=True, limits=limits, threads=threads))
        try:
            checked = container.check(threads, progress)
            if begin is not None and (end := getattr(container, "end", None)) is not None:
                f.seek(begin + end)  # right behind it, as `load` leaves the file
        finally:
            container.close()
    except Error as e:
        return VerifyReport(
            path=path, seconds=perf_counter() - start, problems=(_from_error(e, path),)
        )
    return VerifyReport(
        path=path,
        format=container.format,
        members=checked.members,
        tensors=checked.tensors,
        bytes=checked.bytes,
        seconds=perf_counter() - start,
        problems=tuple(_problem(*found) for found in checked.findings if found[1].exception),
        notes=tuple(_problem(*found) for found in checked.findings if not found[1].exception),
    )


def _from_error(e: Error, path: str | None) -> Problem:
    message = f"{e.args[0]}; {e.hint}" if e.hint else str(e.args[0])
    file = None if e.path == path else e.path
    return Problem(type(e).__name__, message, e.record, e.offset, file=file)


def _problem(file: str | None, finding: Finding, paths: tuple[tuple[Any, ...], ...]) -> Problem:
    return Problem(
        kind=finding.exception or finding.kind,
        message=finding.message,
        member=finding.record or None,
        offset=finding.offset,
        tensors=tuple(joined(path) for path in paths),
        file=file,
    )


def _note_lines(notes: Sequence[Problem]) -> list[str]:
    """One line per kind of note: thousands of members may lack a checksum."""
    by_kind: dict[str, list[Problem]] = {}
    for note in notes:
        by_kind.setdefault(note.kind, []).append(note)
    lines = []
    for same in by_kind.values():
        more = f" (and {count(len(same) - 1, 'other member')})" if len(same) > 1 else ""
        lines.append(str(same[0]) + more)
    return lines
