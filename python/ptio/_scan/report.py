# SPDX-License-Identifier: Apache-2.0
"""What `ptio.scan` found out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ptio._report import Problem, _note_lines
from ptio._text import count, printable, size

_SHOWN = 10
_FORBIDDEN = "ForbiddenError"


@dataclass(frozen=True)
class ScannedGlobal:
    """A class or function that a pickle names.

    Attributes:
        name: "module.name".
        verdict: "allowed": ptio makes it; "data": it is loaded as data, never imported;
            "forbidden": `ptio.load` refuses the file because of it.
        count: how often it is named; references to the memo are not counted.
        offset: in the pickle, of the first.
        member: that is the pickle; None where the file itself is.
    """

    name: str
    verdict: str
    count: int
    offset: int
    member: str | None


@dataclass(frozen=True)
class Unreferenced:
    """Bytes that nothing in the file refers to.

    Attributes:
        member: that they are; None for bytes outside of all members.
        offset: in the file; None where the member's header is damaged.
        size: how many.
        content: what they look like, such as "a pickle that names os.system".
    """

    member: str | None
    offset: int | None
    size: int
    content: str


@dataclass(frozen=True)
class Checksums:
    """How many members have the CRC-32 that the archive says, another one, or none."""

    checked: int = 0
    wrong: int = 0
    not_computed: int = 0


@dataclass(frozen=True)
class FileScan:
    """What was found in one file.

    Attributes:
        path: the file, or None where it has no name.
        format: as `Checkpoint.format`; "other" for what is no checkpoint.
        description: what it is, in words.
        size: in bytes.
        skipped: why it was not scanned, or None.
        globals: that its pickles name: the first 10,000 that are forbidden, and the first 10,000
            others.
        more_globals: number of names that are not in `globals`; of a broken file some may count
            twice. They are judged like all others.
        unreferenced: members and bytes that nothing refers to.
        checksums: of the members.
        problems: everything because of which `ptio.load` would refuse the file.
        notes: what does not stop a load, but should be known.
        not_checked: what of the file nobody looked at, in words.
    """

    path: str | None
    format: str
    description: str
    size: int = 0
    skipped: str | None = None
    globals: tuple[ScannedGlobal, ...] = ()
    more_globals: int = 0
    unreferenced: tuple[Unreferenced, ...] = ()
    checksums: Checksums = Checksums()
    problems: tuple[Problem, ...] = ()
    notes: tuple[Problem, ...] = ()
    not_checked: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    @property
    def forbidden(self) -> bool:
        """Whether it names, or does, what no checkpoint may."""
        return any(problem.kind == _FORBIDDEN for problem in self.problems)

    def to_dict(self) -> dict[str, Any]:
        """As plain dicts and lists, for json."""
        return {"ok": self.ok, "forbidden": self.forbidden, **asdict(self)}

    def __str__(self) -> str:
        name = "file" if self.path is None else printable(self.path, 160)
        if self.skipped is not None:
            return f"{name}: skipped, {printable(self.skipped)}"
        verdict = "ok" if self.ok else "FORBIDDEN" if self.forbidden else "cannot be loaded"
        lines = [f"{name}: {verdict} ({printable(self.description)}, {size(self.size)})"]
        lines += [f"  {problem}" for problem in self.problems]
        lines += [f"  globals: {text}" for text in _globals_text(self.globals, self.more_globals)]
        told = [n for n in self.notes if n.kind == "UNREFERENCED" and " names " in n.message]
        others = [n for n in self.notes if n not in told[:_SHOWN]] if told else self.notes
        lines += [f"  note: {note}" for note in told[:_SHOWN]]
        lines += [f"  note: {line}" for line in _note_lines(others)]
        lines += [f"  not checked: {text}" for text in self.not_checked]
        return "\n".join(lines)


@dataclass(frozen=True)
class ScanReport:
    """What `ptio.scan` found.

    Attributes:
        files: of all files, also of those that were skipped, in order.
        seconds: how long it took.
    """

    files: tuple[FileScan, ...]
    seconds: float = 0.0

    @property
    def scanned(self) -> int:
        """Number of files that were not skipped."""
        return sum(file.skipped is None for file in self.files)

    @property
    def ok(self) -> bool:
        """Whether no file has a problem."""
        return all(file.ok for file in self.files)

    @property
    def forbidden(self) -> bool:
        """Whether a file names, or does, what no checkpoint may."""
        return any(file.forbidden for file in self.files)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Those of all files."""
        return tuple(replace(p, file=f.path) for f in self.files for p in f.problems)

    @property
    def notes(self) -> tuple[Problem, ...]:
        """Those of all files."""
        return tuple(replace(p, file=f.path) for f in self.files for p in f.notes)

    def to_dict(self) -> dict[str, Any]:
        """As plain dicts and lists, for json."""
        return {
            "ok": self.ok,
            "forbidden": self.forbidden,
            "scanned": self.scanned,
            "seconds": self.seconds,
            "files": [file.to_dict() for file in self.files],
        }

    def __str__(self) -> str:
        return "\n".join([*(str(file) for file in self.files), self.summary()])

    def summary(self) -> str:
        """One line about all files."""
        bad = sum(file.forbidden for file in self.files)
        broken = sum(not file.ok and not file.forbidden for file in self.files)
        parts = [f"{count(self.scanned, 'file')} scanned"]
        parts += [f"{bad:,} forbidden"] if bad else []
        parts += [f"{broken:,} cannot be loaded"] if broken else []
        skipped = len(self.files) - self.scanned
        parts += [f"{skipped:,} skipped"] if skipped else []
        return ", ".join(parts)


def _globals_text(uses: Sequence[ScannedGlobal], more: int) -> list[str]:
    parts = []
    for verdict in ("allowed", "data", "forbidden"):
        names = list(dict.fromkeys(use.name for use in uses if use.verdict == verdict))
        shown = ", ".join(map(printable, names[:_SHOWN])) if verdict != "allowed" else ""
        shown += f" and {len(names) - _SHOWN:,} more" if shown and len(names) > _SHOWN else ""
        parts += [f"{len(names):,} {verdict}" + (f": {shown}" if shown else "")] if names else []
    parts += [f"{more:,} more"] if more else []
    return ["; ".join(parts)] if parts else []
