# SPDX-License-Identifier: Apache-2.0
"""scan: what is known of a file while it is looked at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from ptio import _core
from ptio._containers import Options
from ptio._errors import Error
from ptio._limits import Limits
from ptio._report import Problem
from ptio._scan.names import Named, verdicts
from ptio._scan.report import Checksums, FileScan, ScannedGlobal, Unreferenced
from ptio._text import printable, size

PACKED = ("a 7z archive", "a rar archive", "a zstd file", "an lz4 file")  # never unpacked
_MOST_PROBLEMS = 1000  # forbidden names that get a line each
_MOST_NAMES = 10_000  # that are told, of those that are forbidden, and of others


@dataclass(frozen=True)
class Rules:
    """What a scan takes for all files."""

    allow: tuple[str, ...] = ()
    limits: Limits | None = None
    threads: int = 0

    def options(self, *more: str) -> Options:
        return Options(allow=(*self.allow, *more), limits=self.limits, threads=self.threads)


@dataclass
class Findings:
    """What has been found so far."""

    globals: list[ScannedGlobal] = field(default_factory=list)
    unreferenced: list[Unreferenced] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)
    checked: int = 0
    wrong: int = 0
    not_computed: int = 0
    refused: int = 0
    more_globals: int = 0
    _room: dict[bool, int] = field(default_factory=lambda: {True: _MOST_NAMES, False: _MOST_NAMES})
    _listed: set[tuple[str | None, str]] = field(default_factory=set)  # of globals[:_last]
    _last: int = 0

    def add_error(self, error: Error, prefix: str = "") -> None:
        member = prefix + error.record if error.record else prefix.removesuffix(": ") or None
        self.add(Problem(type(error).__name__, str(error.args[0]), member, error.offset))

    def add_failure(self, error: Exception) -> None:
        """Whatever ended the work."""
        if isinstance(error, Error):
            self.add_error(error)
        else:
            text = str(getattr(error, "strerror", None) or error)
            self.add(Problem(type(error).__name__, text))

    def add(self, problem: Problem) -> None:
        same = (problem.kind, problem.member, problem.offset)
        if not any((p.kind, p.member, p.offset) == same for p in self.problems[-100:]):
            self.problems.append(problem)

    def name(self, use: ScannedGlobal) -> None:
        """A name; those that are forbidden have room of their own in the report."""
        forbidden = use.verdict == "forbidden"
        if self._room[forbidden] > 0:
            self._room[forbidden] -= 1
            self.globals.append(use)
        else:
            self.more_globals += 1

    def take(self, core: _core.Checkpoint, member: str | None, allow: Iterable[str]) -> bool:
        """What a pickle names, as far as the core parses it; whether that is more than is told."""
        rows, unknown, others = core.globals(tuple(allow), self._room[True], self._room[False])
        for module, name, verdict, times, offset in rows:
            verdict = "forbidden" if verdict == "unknown" else verdict
            use = ScannedGlobal(f"{module}.{name}", verdict, times, offset, member)
            self.name(use)
            if verdict == "forbidden":
                self.refuse(use.name, member, offset)
        self.refused += unknown
        self.more_globals += unknown + others
        return unknown + others > 0

    def refuse(self, name: str, member: str | None, offset: int | None) -> None:
        """A forbidden name."""
        self.refused += 1
        if self.refused <= _MOST_PROBLEMS:
            text = f"{printable(name)} is not allowed"
            self.problems.append(Problem("ForbiddenError", text, member, offset))

    def add_names(self, names: list[Named], member: str | None, allow: Iterable[str]) -> None:
        """What a pickle names that is no sound one: only what the core has not listed."""
        self._listed |= {(use.member, use.name) for use in self.globals[self._last :]}
        uses: dict[str, ScannedGlobal] = {}
        for named, verdict in zip(names, verdicts(names, allow), strict=True):
            name = named.whole
            if name in uses:
                uses[name] = replace(uses[name], count=uses[name].count + 1)
            elif (member, name) not in self._listed:
                verdict = "forbidden" if verdict == "unknown" else verdict
                uses[name] = ScannedGlobal(name, verdict, 1, named.offset, member)
        self._last = len(self.globals)
        for use in uses.values():
            if self._room[use.verdict == "forbidden"] > 0 or not self.more_globals:
                self.name(use)  # else the core has counted it, though not told
            if use.verdict == "forbidden":
                self.refuse(use.name, member, use.offset)

    def leave(
        self, what: str, member: str | None, offset: int | None, nbytes: int, content: str | None
    ) -> None:
        """Bytes that nothing refers to."""
        self.unreferenced.append(Unreferenced(member, offset, nbytes, content or ""))
        text = f"{what}: {size(nbytes)}" + (f", {content}" if content else "")
        self.notes.append(Problem("UNREFERENCED", text, member, offset))
        if content in PACKED:
            self.not_checked.append(f"what is in {content}")

    def result(self, path: str | None, form: str, words: str, nbytes: int) -> FileScan:
        return FileScan(
            path,
            form,
            words,
            nbytes,
            globals=tuple(self.globals),
            more_globals=self.more_globals,
            unreferenced=tuple(self.unreferenced),
            checksums=Checksums(self.checked, self.wrong, self.not_computed),
            problems=tuple(self.problems),
            notes=tuple(self.notes),
            not_checked=tuple(self.not_checked),
        )
