# SPDX-License-Identifier: Apache-2.0
"""Several containers as one: the pickles of an archive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ptio._containers.base import Checked, Container, Tick
from ptio._containers.index import Index, Nested
from ptio._containers.pickled import Pickled, touched
from ptio._core import Finding

if TYPE_CHECKING:
    from ptio._core import TensorInfo
    from ptio._errors import Error


def stored_bytes(rows: list[TensorInfo]) -> int:
    """Of the storages, each once."""
    return sum({row.record: row.storage_nbytes for row in rows if row.record}.values())


def finding_of(e: Error) -> Finding:
    """What keeps one of several files from being read."""
    message = f"{e.args[0]}; {e.hint}" if e.hint else str(e.args[0])
    return Finding(
        exception=type(e).__name__,
        kind=e.kind or "",
        message=message,
        record=e.record or "",
        offset=e.offset,
    )


class Ticks:
    """One progress over several works, whose sizes are known."""

    def __init__(self, progress: Tick | None, sizes: Sequence[int]) -> None:
        self._progress = progress
        self._sizes = iter(sizes)
        self._total = sum(sizes)
        self._begin = self._end = 0

    def next(self) -> Tick | None:
        """For the next of them."""
        self._begin, self._end = self._end, self._end + next(self._sizes)
        return None if self._progress is None else self._tick

    def _tick(self, done: int, total: int) -> Any:
        assert self._progress is not None
        return self._progress(min(self._begin + done, self._end), self._total)


@contextmanager
def closing_all() -> Iterator[list[tuple[tuple[Any, ...], Container]]]:
    """A list of parts, which are closed when the block fails."""
    parts: list[tuple[tuple[Any, ...], Container]] = []
    try:
        yield parts
    except BaseException:
        for _, part in parts:
            part.close()
        raise


class Parts:
    """The containers in an archive, each under a name that begins the paths of its tensors.

    `load` returns a dict of what the parts load, by their names; a name of several steps is a
    dict in a dict, and dicts of the same name become one.
    """

    def __init__(
        self,
        format: str,
        parts: Sequence[tuple[tuple[Any, ...], Container]],
        *,
        index: Index,
    ) -> None:
        self.format = format
        self._index = index
        self._parts = parts
        self._rows: list[TensorInfo] | None = None
        self._homes: list[tuple[Container, TensorInfo]] = []

    def tensors(self) -> list[TensorInfo]:
        if self._rows is None:
            self._homes = [(part, row) for _, part in self._parts for row in part.tensors()]
            names = [name for name, part in self._parts for _ in part.tensors()]
            self._rows = [
                row._replace(path=(*name, *row.path), node=node)
                for node, (name, (_, row)) in enumerate(zip(names, self._homes, strict=True))
            ]
        return self._rows

    def _home(self, info: TensorInfo) -> tuple[Container, TensorInfo]:
        return self._homes[info.node]

    def home_of(self, info: TensorInfo) -> tuple[Container, TensorInfo]:
        """The part that has a tensor, and its row there."""
        self.tensors()
        return self._home(info)

    def get(self, info: TensorInfo) -> Any:
        part, row = self._home(info)
        return part.get(row)

    def get_slice(self, info: TensorInfo, index: tuple[Any, ...]) -> Any:
        part, row = self._home(info)
        return part.get_slice(row, index)

    def read_into(self, info: TensorInfo, out: Any) -> None:
        part, row = self._home(info)
        part.read_into(row, out)

    def place(self, info: TensorInfo) -> tuple[str | None, int] | None:
        part, row = self._home(info)
        return part.place(row)

    def advise(self, info: TensorInfo, needed: bool) -> None:
        part, row = self._home(info)
        part.advise(row, needed)

    def load(self, progress: Tick | None) -> Any:
        ticks = Ticks(progress, [stored_bytes(part.tensors()) for _, part in self._parts])
        return self._join([part.load(ticks.next()) for _, part in self._parts])

    def tree(self, infos: dict[int, Any]) -> Any:
        self.tensors()
        trees, first = [], 0
        for _, part in self._parts:
            rows = part.tensors()
            known = {row.node: infos[first + i] for i, row in enumerate(rows) if first + i in infos}
            trees.append(part.tree(known))
            first += len(rows)
        return self._join(trees)

    def _join(self, values: list[Any]) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        for (name, _), value in zip(self._parts, values, strict=True):
            place = result
            for step in name[:-1]:
                place = place.setdefault(step, {})
            if isinstance(place.get(name[-1]), dict) and isinstance(value, dict):
                place[name[-1]].update(value)
            else:
                place[name[-1]] = value
        return result

    def leaves(self, limit: int) -> list[tuple[tuple[Any, ...], Any]]:
        found: list[tuple[tuple[Any, ...], Any]] = []
        for name, part in self._parts:
            for path, value in part.leaves(limit - len(found)):
                found.append(((*name, *path), value))
        return found

    def check(self, threads: int, progress: Tick | None) -> Checked:
        """The members of the archive, and of the archives inside it."""
        rows = self.tensors()
        findings = self._index.check(threads, progress)
        checked = Checked(len(self._index.sizes), sum(self._index.sizes.values()), len(rows))
        checked.findings = [(None, finding, touched(finding, rows)) for finding in findings]
        for name, part in self._parts:
            if isinstance(part, Nested):
                result = part.check(threads, None)
                for _, finding, paths in result.findings:
                    whole = tuple((*name, *path) for path in paths)
                    checked.findings.append((part.name, finding, whole))
            elif isinstance(part, Pickled) and not any(f.exception for f in findings):
                part.check_contents(threads)
        return checked

    def metadata(self) -> dict[str, str] | None:
        return None

    def close(self) -> None:
        for _, part in self._parts:
            part.close()
        self._index.close()
