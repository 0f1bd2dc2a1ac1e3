# SPDX-License-Identifier: Apache-2.0
"""Several containers as one: the pickles of an archive, the files of a sharded model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ptio._containers._base import Container, Tick

if TYPE_CHECKING:
    from ptio._core import TensorInfo


class Parts:
    """Containers, each under a name that begins the paths of its tensors.

    `load` returns a dict of what the parts load, by their names; where names are (), the parts
    are dicts, and it returns one dict of all their items.
    """

    def __init__(
        self,
        format: str,
        parts: Sequence[tuple[tuple[Any, ...], Container]],
        metadata: dict[str, str] | None = None,
    ) -> None:
        self.format = format
        self._parts = parts
        self._metadata = metadata
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
        return self._join([part.load(progress) for _, part in self._parts])

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
            if name:
                result[name[0]] = value
            else:
                result.update(value)
        return result

    def metadata(self) -> dict[str, str] | None:
        return self._metadata

    def close(self) -> None:
        for _, part in self._parts:
            part.close()
