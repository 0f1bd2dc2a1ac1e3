# SPDX-License-Identifier: Apache-2.0
"""scan: one file. The core that loads files says what is in it; here it is put together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from ptio import _core
from ptio._checkpoint import for_core
from ptio._containers import Options, container_of, is_other
from ptio._containers._index import Index
from ptio._containers._pickled import touched
from ptio._containers._torchscript import ALWAYS
from ptio._errors import Error, ForbiddenError
from ptio._inspect import _description, _member, _summary, _unreferenced, _uses
from ptio._limits import Limits
from ptio._names import joined
from ptio._report import Problem
from ptio._scan_report import Checksums, FileScan, ScannedGlobal, Unreferenced
from ptio._text import count, printable, size

_PICKLED = ("zip", "legacy", "tar", "pickle")
_ARCHIVES = ("TORCHSCRIPT", "TORCH_PACKAGE", "TORCH_EXPORT")
_FORMATS = {"TORCHSCRIPT": "torchscript", "TORCH_PACKAGE": "package", "TORCH_EXPORT": "pt2"}
_MOST_PROBLEMS = 1000  # forbidden names that get a line each
_MOST_LOOKED_INTO = 100  # unreferenced members
_MOST_TENSORS = 20
_END = 22  # bytes of an end record ...
_END64 = 76  # ... and of the two records of zip64 before it


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

    def add_error(self, error: Error, prefix: str = "") -> None:
        member = prefix + error.record if error.record else prefix.removesuffix(": ") or None
        self.add(Problem(type(error).__name__, str(error.args[0]), member, error.offset))

    def add(self, problem: Problem) -> None:
        same = (problem.kind, problem.member, problem.offset)
        if not any((p.kind, p.member, p.offset) == same for p in self.problems[-100:]):
            self.problems.append(problem)

    def result(self, path: str | None, form: str, words: str, nbytes: int) -> FileScan:
        return FileScan(
            path,
            form,
            words,
            nbytes,
            globals=tuple(self.globals),
            unreferenced=tuple(self.unreferenced),
            checksums=Checksums(self.checked, self.wrong, self.not_computed),
            problems=tuple(self.problems),
            notes=tuple(self.notes),
            not_checked=tuple(self.not_checked),
        )


def scan_source(
    source: _core.Source, rules: Rules, path: str | None, name: str | None, *more: str
) -> FileScan:
    """What is in a source. `name`: of the file, if it has one; `more`: names that are data."""
    found = Findings()
    kind, words = _core.sniff(source)
    options = rules.options(*more)
    if kind in _PICKLED:
        form, first, error = PickleScan(source, options, found).whole()
        words = _description(form, words, first, error)
        return found.result(path, form, words, source.size)
    try:
        container = container_of(source, options, path, name)
        try:
            checked = container.check(rules.threads, None)
            form = container.format
        finally:
            container.close()
    except Error as e:
        found.add_error(e)
        return found.result(path, "other" if is_other(e) else kind, words, source.size)
    for file, finding, paths in checked.findings:
        if form == "safetensors" and not finding.exception:
            continue  # which has no checksums
        names = tuple(joined(path) for path in paths[:_MOST_TENSORS])
        text, member = finding.message, finding.record or None
        kind = finding.exception or finding.kind
        problem = Problem(kind, text, member, finding.offset, names, file)
        (found.problems if finding.exception else found.notes).append(problem)
    if form == "safetensors":
        found.not_checked.append("this format has no pickles and no checksums")
    return found.result(path, form, _description(form, words, None, None), source.size)


class PickleScan:
    """Scans archives and pickles; what it finds goes to `found`.

    prefix: before the names of members: the way to an archive inside of others.
    """

    def __init__(
        self, source: _core.Source, options: Options, found: Findings, prefix: str = ""
    ) -> None:
        self._source = source
        self._options = options
        self._found = found
        self._prefix = prefix
        self.view: _core.Checkpoint | None = None  # of a plain archive that can be read

    def tensors(self) -> list[_core.TensorInfo]:
        return [] if self.view is None else self.view.tensors(True)

    def whole(self) -> tuple[str, Error | None, Error | None]:
        """Scans all of it; the format, and the core's error and what is left of it."""
        core = self._parse(self._options)
        first: Any = core.error
        if first is not None and first.kind in _ARCHIVES:
            return _FORMATS[first.kind], first, self._archive(first.kind)
        view = self._judge(core, self._options)
        self._check(view)
        if view.error is None:
            self.view = view
            if view.format == "zip":
                self._leftovers(view)
        form = view.format if view.error is None else _core.sniff(self._source)[0]
        return form, first, None if view.error is None else first

    def _parse(self, options: Options, members: Any = None, inert: bool = False) -> Any:
        return _core.Checkpoint(
            self._source,
            limits=for_core(options.limits),
            inert=inert,
            allow=tuple(options.allow),
            encoding=options.encoding,
            path=None,
            judge=None,
            order=0,
            for_torch=False,
            members=members,
            lenient=True,
        )

    # --- what a pickle names

    def _judge(self, core: Any, options: Options, members: Any = None) -> _core.Checkpoint:
        """Lists globals and problems of a pickle. What is forbidden does not hide the rest of
        it: the result is the same pickle with everything unknown as data."""
        view: _core.Checkpoint = core
        member = self._pickle_member(core, members)
        refused = 0
        for use in _uses(core.globals()):
            verdict = use.verdict
            if verdict == "unknown":
                verdict = "data" if is_allowed(use.name, options.allow) else "forbidden"
            self._found.globals.append(
                ScannedGlobal(use.name, verdict, use.count, use.offset, member)
            )
            if verdict == "forbidden":
                refused += 1
                self._refuse(use.name, refused, member, use.offset)
        error = core.error
        if error is None:
            return view
        if not isinstance(error, ForbiddenError):
            self._found.add_error(error, self._prefix)
        elif refused == 0:
            self._refuse_by_error(error, member)
        if refused or isinstance(error, ForbiddenError):
            view = self._parse(options, members, inert=True)
            if view.error is not None and not isinstance(view.error, ForbiddenError):
                assert isinstance(view.error, Error)
                self._found.add_error(view.error, self._prefix)
        return view

    def _refuse(self, name: str, number: int, member: str | None, offset: int | None) -> None:
        if number <= _MOST_PROBLEMS:
            text = f"{printable(name)} is not allowed"
            self._found.problems.append(Problem("ForbiddenError", text, member, offset))

    def _refuse_by_error(self, error: ForbiddenError, member: str | None) -> None:
        """An opcode, or a global of a pickle that comes before the one that is listed."""
        self._found.add_error(error, self._prefix)
        for name in error.globals:
            use = ScannedGlobal(name, "forbidden", 1, error.offset or 0, member)
            self._found.globals.append(use)

    def _pickle_member(self, core: _core.Checkpoint, members: Any) -> str | None:
        wanted = "data.pkl" if members is None else members[0]
        for record in core.records():
            if record.name.partition("/")[2] == wanted:
                return self._prefix + record.name
        return self._prefix.removesuffix(": ") or None

    # --- members

    def _check(self, view: _core.Checkpoint) -> None:
        """Headers and checksums of all members, and what only the bytes of tensors decide."""
        found, records = self._found, view.records()
        rows = view.tensors(False)
        if view.format in ("legacy", "tar", "pickle") and view.error is None:
            found.not_checked.append("this format has no checksums")
        elif records and view.pickle_size and _core.sniff(self._source)[0] == "zip":
            # Without the pickle's bytes nobody has proven where the members are.
            self._check_members(view, len(records), rows)
        if view.error is None and view.has_composites:
            try:
                view.build(None, verify=False, private=False, threads=0, progress=None)
            except Error as e:
                found.add_error(e, self._prefix)
        self._note_tensors(view)

    def _check_members(
        self, view: _core.Checkpoint, members: int, rows: list[_core.TensorInfo]
    ) -> None:
        found = self._found
        try:
            findings = view.check(threads=self._options.threads, progress=None)
        except Error as e:
            found.add_error(e, self._prefix)
            return
        for finding in findings:
            member = self._prefix + finding.record if finding.record else None
            tensors = tuple(joined(path) for path in touched(finding, rows)[:_MOST_TENSORS])
            kind = finding.exception or finding.kind
            problem = Problem(kind, finding.message, member, finding.offset, tensors)
            if finding.exception:
                found.wrong += finding.exception == "ChecksumError"
                if not any(p.kind == kind and p.member == member for p in found.problems[:100]):
                    found.problems.append(problem)
            else:
                found.not_computed += 1
                found.notes.append(problem)
        found.checked += members - len(findings)

    def _note_tensors(self, view: _core.Checkpoint) -> None:
        if view.error is not None:
            return
        rows = view.tensors(True)
        where = self._prefix.removesuffix(": ") or None
        expanded = [t for t in rows if t.storage is not None and t.nbytes > t.storage_nbytes]
        if expanded:
            names = tuple(joined(t.path) for t in expanded[:_MOST_TENSORS])
            text = f"{count(len(expanded), 'tensor')} of more bytes than are stored"
            self._found.notes.append(Problem("EXPANDED", text, where, None, names))
        unused = _summary(rows).unused_bytes
        if unused:
            text = f"{size(unused)} of the storages belong to no tensor"
            self._found.notes.append(Problem("UNUSED_BYTES", text, where))

    def _leftovers(self, view: _core.Checkpoint) -> None:
        """Members that no tensor needs, and bytes outside of members."""
        view.locate()
        members = {m.name: m for m in map(_member, view.records())}
        names = _unreferenced("zip", tuple(members.values()), view)
        for number, name in enumerate(names):
            looked = number < _MOST_LOOKED_INTO
            content = self._content(self._bytes_of(view, name)) if looked else ""
            m = members[name]
            self._leave(Unreferenced(self._prefix + name, m.offset, m.size, content))
        self._gaps(view)

    def _gaps(self, view: _core.Checkpoint) -> None:
        for number, (offset, length) in enumerate(unclaimed(self._source, view.gaps())):
            looked = number < _MOST_LOOKED_INTO
            content = self._content(self._source.part(offset, length)) if looked else ""
            self._leave(Unreferenced(None, offset, length, content))

    def _leave(self, rest: Unreferenced) -> None:
        self._found.unreferenced.append(rest)
        what = "no tensor needs this member" if rest.member else "bytes that belong to no member"
        text = f"{what}: {size(rest.size)}" + (f", {rest.content}" if rest.content else "")
        self._found.notes.append(Problem("UNREFERENCED", text, rest.member, rest.offset))

    def _bytes_of(self, view: _core.Checkpoint, name: str) -> _core.Source | None:
        below = name.partition("/")[2]
        try:
            place = view.member(below)
            if place is not None:
                return self._source.part(*place)
            return _core.Source.from_bytes(view.read_member(below, 64 << 20), 0)
        except (Error, KeyError):
            return None

    def _content(self, source: _core.Source | None) -> str:
        """What bytes are that nobody refers to. It is only told: no load looks at them."""
        if source is None:
            return ""
        try:
            kind, words = _core.sniff(source)
            if kind not in _PICKLED:
                return "" if words == "a file of no known kind" else words
            inner = PickleScan(source, self._options, Findings())
            core = inner._parse(self._options)
            names = list(dict.fromkeys(use.name for use in _uses(core.globals())))
            shown = ", ".join(map(printable, names[:3])) + (" ..." if len(names) > 3 else "")
            return words + (f" that names {shown}" if names else "")
        except Error:
            return ""
        finally:
            source.close()

    # --- other archives of torch

    def _archive(self, kind: str) -> Error | None:
        options, found = self._options, self._found
        before = len(found.problems)
        try:
            index = Index(self._source, options, None)
        except Error as e:
            found.add_error(e, self._prefix)
            return e
        try:
            looked_at = set()
            for members, rules in _pickles(kind, index, options):
                looked_at |= self._one_of(members, rules)
            self._nested(kind, index, looked_at)
            self._check_members(index.core, len(index.sizes), [])
            rest = [name for name in index.sizes if name not in looked_at]
            if rest:
                found.not_checked.append(_rest_text(rest))
        finally:
            index.close()
        return self._as_loaded(before)

    def _one_of(self, members: tuple[str, str, str], rules: Options) -> set[str]:
        """One pickle of an archive; the members that it is and needs."""
        view = self._judge(self._parse(rules, members), rules, members)
        if view.error is None and view.has_composites:
            try:
                view.build(None, verify=False, private=False, threads=0, progress=None)
            except Error as e:
                self._found.add_error(e, self._prefix)
        needed = {t.record.partition("/")[2] for t in view.tensors(False) if t.record}
        return {members[0], *needed}

    def _nested(self, kind: str, index: Index, looked_at: set[str]) -> None:
        """Archives of torch.save inside the archive."""
        for name in index.sizes:
            place = index.core.member(name) if name not in looked_at else None
            if kind != "TORCH_EXPORT" or place is None:
                continue
            part = self._source.part(*place)
            try:
                if _core.sniff(part)[0] not in _PICKLED:
                    continue
                more = ALWAYS if name.rpartition("/")[2].startswith("custom_obj_") else ()
                options = replace(self._options, allow=(*self._options.allow, *more))
                PickleScan(part, options, self._found, f"{self._prefix}{name}: ").whole()
                looked_at.add(name)
            finally:
                part.close()

    def _as_loaded(self, before: int) -> Error | None:
        """What a load says of all of it together, where no part says it already."""
        try:
            container_of(self._source, self._options, None, None).close()
        except Error as e:
            if len(self._found.problems) == before:
                self._found.add_error(e, self._prefix)
            return e
        return None


def _pickles(
    kind: str, index: Index, options: Options
) -> Iterator[tuple[tuple[str, str, str], Options]]:
    """The pickles of an archive, those that no load reads too."""
    if kind == "TORCH_PACKAGE":
        from ptio._containers._package import pickles

        yield from pickles(index, options)
        return
    seen = set()
    if kind == "TORCHSCRIPT":
        from ptio._containers._torchscript import pickles

        for members, rules in pickles(index, options):
            seen.add(members[0])
            yield members, rules
    rules = replace(options, allow=(*options.allow, *ALWAYS))
    for name in index.sizes:
        if name.endswith(".pkl") and name not in seen:
            yield (name, "data/", ""), index.rules(rules, name)


def is_allowed(name: str, allow: Iterable[str]) -> bool:
    """As `allow=` of a load: a whole name, or the group of a module."""
    return any(name == a or ("." not in a and name.startswith(f"{a}.")) for a in allow)


def unclaimed(source: _core.Source, gaps: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """What is left of the gaps of an archive behind the headers of its directories and, of the
    last, behind its end records."""
    for number, (offset, length) in enumerate(gaps):
        last = number == len(gaps) - 1
        taken = _end_records(source, offset) if last else _directories(source, offset, length)
        if taken < length:
            yield offset + taken, length - taken


def _end_records(source: _core.Source, offset: int) -> int:
    is_64 = source.read(offset, 4) == b"PK\6\6"
    return _END + (_END64 if is_64 else 0)


def _directories(source: _core.Source, offset: int, length: int) -> int:
    """Bytes of the headers of directories ("folder/"), which are members without a content."""
    taken = 0
    while length - taken >= 30:
        head = source.read(offset + taken, 30)
        lengths = [int.from_bytes(head[at : at + 2], "little") for at in (26, 28)]
        end = taken + 30 + sum(lengths)
        if head[:4] != b"PK\3\4" or head[18:26] != bytes(8) or end > length or not lengths[0]:
            break
        if source.read(offset + taken + 30 + lengths[0] - 1, 1) != b"/":
            break
        taken = end
        if head[6] & 8 and length - taken >= 16 and source.read(offset + taken, 4) == b"PK\7\x08":
            taken += 16
    return taken


def _rest_text(names: list[str]) -> str:
    places: dict[str, int] = {}
    for name in names:
        folder, slash, _ = name.partition("/")
        places[folder + slash] = places.get(folder + slash, 0) + 1
    shown = [f"{printable(place, 40)} ({n:,})" for place, n in list(places.items())[:10]]
    more = f" and {len(places) - 10:,} more" if len(places) > 10 else ""
    return f"{count(len(names), 'member')} beside pickles and storages: {', '.join(shown)}{more}"
