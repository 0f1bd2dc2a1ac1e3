# SPDX-License-Identifier: Apache-2.0
"""An archive of torch by its members, and the archives inside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ptio._checkpoint import read_leniently
from ptio._containers.base import FREE, Options
from ptio._containers.described import Described, pickle_of
from ptio._containers.pickled import Pickled
from ptio._core import Source
from ptio._errors import Error
from ptio._limits import Limits

if TYPE_CHECKING:
    from ptio._core import Finding, TensorInfo


class Index:
    """The members of an archive, by their names below its top directory."""

    def __init__(self, source: Source, options: Options, path: str | None) -> None:
        self.source = source.part(0, source.size)
        self.path = path
        self._options = options
        self.core = read_leniently(
            self.source, limits=options.limits, encoding=options.encoding, path=path
        )
        self.sizes = {r.name.partition("/")[2]: r.size for r in self.core.records()}

    def prove(self) -> None:
        """The header of every member. What the archive holds is read off their names, so a name
        that only the directory has would hide a member."""
        for name in self.sizes:
            self.core.member(name)

    def rules(self, options: Options, name: str) -> Options:
        """Those for one of the pickles: all together may need what one file may."""
        return options.share(FREE // len(self.sizes), self.sizes[name])

    def whole(self) -> Source:
        """The archive, once more: containers take their source over."""
        return self.source.part(0, self.source.size)

    def read(self, name: str) -> bytes:
        """A member that is small: metadata."""
        limits = self._options.limits or Limits()
        return self.core.read_member(name, limits.pickle_bytes)

    def inside(self, name: str, options: Options, members: Any = None) -> Nested:
        """The checkpoint that a member is."""
        source, base = self._open(name)
        return Nested(source, self.rules(options, name), name, base, members)

    def views(self, name: str, tensors: list[Described], options: Options) -> Nested:
        """Tensors that view a storage of the checkpoint that a member is."""
        return self.inside(name, options, (pickle_of(tensors), "data/", ""))

    def _open(self, name: str) -> tuple[Source, int | None]:
        place = self.core.member(name)
        if place is None:  # compressed
            return Source.from_bytes(self.read(name), 0), None
        return self.source.part(*place), place[0]

    def check(self, threads: int, progress: Any) -> list[Finding]:
        return self.core.check(threads=threads, progress=progress)

    def close(self) -> None:
        self.source.close()


class Nested(Pickled):
    """A checkpoint that is the member `name` of an archive, at byte `base` of its file."""

    def __init__(
        self, source: Source, options: Options, name: str, base: int | None, members: Any
    ) -> None:
        self.name = name
        self._base = base
        try:
            super().__init__(source, options, path=None, members=members)
        except Error as e:
            e.record = f"{name}: {e.record}" if e.record else name
            raise

    def place(self, info: TensorInfo) -> tuple[str | None, int] | None:
        place = super().place(info)
        if place is None or self._base is None:
            return None
        return place[0], self._base + place[1]
