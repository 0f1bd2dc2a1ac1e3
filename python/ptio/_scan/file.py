# SPDX-License-Identifier: Apache-2.0
"""scan: one file. The core that loads files says what is in it; here it is put together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from ptio import _core
from ptio._checkpoint import read_leniently
from ptio._containers import Options, container_of, is_other
from ptio._containers.index import Index
from ptio._containers.pickled import touched
from ptio._containers.torchscript import ALWAYS
from ptio._errors import Error, ForbiddenError, LimitError, PickleFormatError
from ptio._inspect.inspect import _description, _member, _summary, _unreferenced
from ptio._names import joined
from ptio._report import Problem
from ptio._scan.findings import PACKED, Findings, Rules
from ptio._scan.hidden import PICKLED, elsewhere, looks_like
from ptio._scan.leftovers import unclaimed
from ptio._scan.names import Budget, walk
from ptio._scan.report import FileScan, ScannedGlobal
from ptio._text import count, printable, size

_ARCHIVES = ("TORCHSCRIPT", "TORCH_PACKAGE", "TORCH_EXPORT")
_FORMATS = {"TORCHSCRIPT": "torchscript", "TORCH_PACKAGE": "package", "TORCH_EXPORT": "pt2"}
_MOST_TENSORS = 20
_LARGEST_MEMBER = 16 << 20  # that is inflated to look into it


def scan_source(
    source: _core.Source, rules: Rules, path: str | None, name: str | None, *more: str
) -> FileScan:
    """What is in a source. `name`: of the file, if it has one; `more`: names that are data."""
    found = Findings()
    kind, words = _core.sniff(source)
    options = rules.options(*more)
    if kind in PICKLED:
        try:
            form, first, error = PickleScan(source, options, found).whole()
        except (Error, OSError) as e:  # the file changed meanwhile, or cannot be read here
            found.add_failure(e)
            return found.result(path, kind, words, source.size)
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
        if is_other(e):
            kind = "other"
            if words in PACKED:
                found.not_checked.append(f"what is in {words}")
            look_elsewhere(source, kind, options, found, Budget.for_file(source.size))
        return found.result(path, kind, words, source.size)
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
        self._budget = Budget.for_file(source.size)
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
            return view.format, first, None
        form = _core.sniff(self._source)[0]
        if view.pickle_size and form == "zip":
            view.locate()
            self._unclaimed(view)
            self._found.not_checked.append("members beside the pickle, as it cannot be loaded")
        else:
            look_elsewhere(
                self._source, form, self._options, self._found, self._budget, self._prefix
            )
        return form, first, first

    def _parse(self, options: Options, members: Any = None, inert: bool = False) -> Any:
        return read_leniently(
            self._source,
            limits=options.limits,
            inert=inert,
            allow=tuple(options.allow),
            encoding=options.encoding,
            members=members,
        )

    # --- what a pickle names

    def _judge(self, core: Any, options: Options, members: Any = None) -> _core.Checkpoint:
        """Lists globals and problems of a pickle. What is forbidden does not hide the rest of
        it: the result is the same pickle with everything unknown as data."""
        view: _core.Checkpoint = core
        member = self._pickle_member(core, members)
        refused = self._found.refused
        left_out = self._found.take(core, member, options.allow)
        refused = self._found.refused - refused
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
        broken = isinstance(view.error, (ForbiddenError, LimitError, PickleFormatError))
        if broken and not left_out:  # following it would not get as far as the core did
            self._follow(core, member)
        return view

    def _follow(self, core: _core.Checkpoint, member: str | None) -> None:
        """What a pickle names for readers that go on where the core stopped."""
        before, self._budget.spent = self._budget.spent, False
        if core.pickle_size and self._budget.take(2 * core.pickle_size):  # it is copied
            names = walk(core.pickle, self._budget).names
            self._found.add_names(names, member, self._options.allow)
        if self._budget.spent:
            text = "all that the broken pickle names: there is too much of it"
            self._found.not_checked.append(text)
        self._budget.spent |= before

    def _refuse_by_error(self, error: ForbiddenError, member: str | None) -> None:
        """An opcode, or a global of a pickle that comes before the one that is listed."""
        self._found.add_error(error, self._prefix)
        for name in error.globals:
            self._found.name(ScannedGlobal(name, "forbidden", 1, error.offset or 0, member))

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
        self._prove_composites(view)
        self._note_tensors(view)

    def _prove_composites(self, view: _core.Checkpoint) -> None:
        """What only the bytes of tensors decide is proven when they are built."""
        if view.error is None and view.has_composites:
            try:
                view.build(None, verify=False, private=False, threads=0, progress=None)
            except Error as e:
                self._found.add_error(e, self._prefix)

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
        left_out = 0
        for name in _unreferenced("zip", tuple(members.values()), view):
            m = members[name]
            cost = m.size if m.compressed else 0
            content = self.content(partial(self._bytes_of, view, name), cost) if m.size else ""
            left_out += content is None
            what = "no tensor needs this member"
            self._found.leave(what, self._prefix + name, m.offset, m.size, content)
        self._unclaimed(view, left_out)

    def _unclaimed(self, view: _core.Checkpoint, left_out: int = 0) -> None:
        """Bytes in and around the headers of the archive."""
        for rest in unclaimed(self._source, view.gaps()):
            content = self.content(partial(self._source.part, rest.offset, rest.size), 0)
            left_out += content is None
            self._found.leave(rest.what, None, rest.offset, rest.size, content)
        if left_out:
            text = f"{left_out:,} of the members and bytes that nothing refers to"
            self._found.not_checked.append(text)
        elif self._budget.spent:
            text = "all of the bytes that nothing refers to: they are too many"
            self._found.not_checked.append(text)

    def _bytes_of(self, view: _core.Checkpoint, name: str) -> _core.Source:
        below = name.partition("/")[2]
        place = view.member(below)
        if place is not None:
            return self._source.part(*place)
        return _core.Source.from_bytes(view.read_member(below, _LARGEST_MEMBER), 0)

    def content(self, open_: Callable[[], _core.Source], cost: int) -> str | None:
        """What bytes are that nobody refers to. It is only told: no load looks at them. None:
        they cannot be looked at, or that would take too long."""
        if not self._budget.take(cost):
            return None
        try:
            source = open_()
        except (Error, KeyError):
            return None
        try:
            is_pickled = _core.sniff(source)[0] in PICKLED
            inner = PickleScan(source, self._options, Findings())
            core = inner._parse(self._options) if is_pickled else None
            return looks_like(source, core, self._budget)
        except Error:
            return None
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
            index.core.locate()
            self._unclaimed(index.core)
            rest = [name for name in index.sizes if name not in looked_at]
            if rest:
                found.not_checked.append(_rest_text(rest))
        finally:
            index.close()
        return self._as_loaded(before)

    def _one_of(self, members: tuple[str, str, str], rules: Options) -> set[str]:
        """One pickle of an archive; the members that it is and needs."""
        view = self._judge(self._parse(rules, members), rules, members)
        self._prove_composites(view)
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
                if _core.sniff(part)[0] not in PICKLED:
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
        from ptio._containers.package import pickles

        yield from pickles(index, options)
        return
    seen = set()
    if kind == "TORCHSCRIPT":
        from ptio._containers.torchscript import pickles

        for members, rules in pickles(index, options):
            seen.add(members[0])
            yield members, rules
    rules = replace(options, allow=(*options.allow, *ALWAYS))
    for name in index.sizes:
        if name.endswith(".pkl") and name not in seen:
            yield (name, "data/", ""), index.rules(rules, name)


def look_elsewhere(
    source: _core.Source,
    kind: str,
    options: Options,
    found: Findings,
    budget: Budget,
    prefix: str = "",
) -> None:
    """What a file names that is not as it should be, wherever another reader might find it."""
    allow = (*options.allow, *ALWAYS)  # it may have been an archive of TorchScript
    for member, offset, names in elsewhere(source, kind, budget):
        if member is None:
            names = [n._replace(offset=n.offset + offset) for n in names]
        where = prefix.removesuffix(": ") or None if member is None else prefix + member
        found.add_names(names, where, allow)
    if budget.spent:
        found.not_checked.append("all places where pickles may be in what cannot be loaded")


def _rest_text(names: list[str]) -> str:
    places: dict[str, int] = {}
    for name in names:
        folder, slash, _ = name.partition("/")
        places[folder + slash] = places.get(folder + slash, 0) + 1
    shown = [f"{printable(place, 40)} ({n:,})" for place, n in list(places.items())[:10]]
    more = f" and {len(places) - 10:,} more" if len(places) > 10 else ""
    return f"{count(len(names), 'member')} beside pickles and storages: {', '.join(shown)}{more}"
