# SPDX-License-Identifier: Apache-2.0
"""Models in several files: shards, and mostly an index that says which tensor is in which.

  {"metadata": {...}, "weight_map": {"layer.weight": "model-00001-of-00002.safetensors", ...}}

One flat mapping. The index decides: what it does not list is not part of the model. A shard is
opened when one of its tensors is listed or read.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ptio._containers.base import FREE, Checked, Container, Options, Tick
from ptio._containers.json import parse_json, require
from ptio._containers.parts import Ticks, finding_of, stored_bytes
from ptio._containers.siblings import Siblings
from ptio._core import Source
from ptio._errors import AmbiguousError, Error, FormatError, LimitError, UnsupportedError
from ptio._limits import Limits
from ptio._text import printable

if TYPE_CHECKING:
    from ptio._core import TensorInfo

_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})(\.safetensors|\.bin|\.pt|\.pth)")


class Sharded:
    """Shards as one mapping.

    `weight_map` gives the file of each tensor; None: all tensors of all `names`.
    """

    format = "sharded"

    def __init__(
        self,
        siblings: Siblings,
        names: list[str],
        weight_map: dict[str, str] | None,
        metadata: dict[str, str] | None,
        options: Options,
    ) -> None:
        self._siblings = siblings
        self._paths = {name: siblings.resolve(name) for name in names}
        self._weight_map = weight_map
        self._metadata = metadata
        self._options = options
        self._shards: dict[str, Container] = {}
        self._rows: list[TensorInfo] | None = None
        self._homes: list[tuple[str, TensorInfo]] = []
        self._lock = threading.Lock()
        self._closed = False
        self._names_in: dict[str, list[str]] = {name: [] for name in names}
        for tensor, name in (weight_map or {}).items():
            self._names_in[name].append(tensor)

    def _shard(self, name: str) -> Container:
        from ptio._containers import open_file

        with self._lock:
            if self._closed:
                raise ValueError("the checkpoint is closed")
            shard = self._shards.get(name)
            if shard is None:
                with self._naming(name):
                    path = self._paths[name]
                    share = FREE // len(self._paths), os.path.getsize(path)
                    shard = open_file(path, self._options.share(*share), index=False)
                self._shards[name] = shard
            return shard

    @contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        """Errors name the shard as the directory does, not where a link leads."""
        try:
            yield
        except Error as e:
            e.path = os.path.join(self._siblings.directory, name)
            raise

    def _listed(self, name: str) -> list[TensorInfo]:
        """Those tensors of a shard that the index says are there; all without an index."""
        shard = self._shard(name)
        rows = shard.tensors()
        if self._weight_map is None:
            return rows
        listed = [
            row
            for row in rows
            if len(row.path) == 1 and self._weight_map.get(str(row.path[0])) == name
        ]
        found = {row.path[0] for row in listed}
        for tensor in self._names_in[name]:
            if tensor not in found:
                raise FormatError(
                    f"the index says that the tensor {printable(tensor)!r} is in this file",
                    path=os.path.join(self._siblings.directory, name),
                    kind="TENSOR_MISSING",
                    hint="the index and the shards are not of the same model",
                )
        return listed

    def tensors(self) -> list[TensorInfo]:
        if self._rows is None:
            self._homes = [(name, row) for name in self._paths for row in self._listed(name)]
            seen: dict[Any, str] = {}
            for name, row in self._homes:
                if row.path in seen and seen[row.path] != name:
                    raise AmbiguousError(
                        f"two shards, {seen[row.path]} and {name}, have a tensor "
                        f"{printable(str(row.path[0]))!r}",
                        kind="TENSOR_TWICE",
                    )
                seen[row.path] = name
            self._rows = [row._replace(node=i) for i, (_, row) in enumerate(self._homes)]
        return self._rows

    def home_of(self, info: TensorInfo) -> tuple[Container, TensorInfo]:
        """The file that has a tensor, and its row there."""
        self.tensors()
        return self._home(info)[1:]

    def _home(self, info: TensorInfo) -> tuple[str, Container, TensorInfo]:
        name, row = self._homes[info.node]
        return name, self._shard(name), row

    def get(self, info: TensorInfo) -> Any:
        name, shard, row = self._home(info)
        with self._naming(name):
            return shard.get(row)

    def get_slice(self, info: TensorInfo, index: tuple[Any, ...]) -> Any:
        name, shard, row = self._home(info)
        with self._naming(name):
            return shard.get_slice(row, index)

    def read_into(self, info: TensorInfo, out: Any) -> None:
        name, shard, row = self._home(info)
        with self._naming(name):
            shard.read_into(row, out)

    def place(self, info: TensorInfo) -> tuple[str | None, int] | None:
        name, shard, row = self._home(info)
        with self._naming(name):
            place = shard.place(row)
        return None if place is None else (self._paths[name], place[1])

    def advise(self, info: TensorInfo, needed: bool) -> None:
        name, shard, row = self._home(info)
        with self._naming(name):
            shard.advise(row, needed)

    # --- the whole

    def load(self, progress: Tick | None) -> Any:
        self.tensors()
        names = list(self._paths)
        ticks = Ticks(progress, [stored_bytes(self._shard(name).tensors()) for name in names])
        values: dict[Any, Any] = {}
        for name in names:
            with self._naming(name):
                shard = require_mapping(self._shard(name).load(ticks.next()))
            wanted = self._weight_map
            for key, value in shard.items():
                if wanted is None or wanted.get(key) == name:
                    values[key] = value
        return self._in_order(values)

    def tree(self, infos: dict[int, Any]) -> Any:
        self.tensors()
        values: dict[Any, Any] = {}
        known: dict[str, dict[int, Any]] = {name: {} for name in self._paths}
        for i, (name, row) in enumerate(self._homes):
            if i in infos:
                known[name][row.node] = infos[i]
        for name in self._paths:
            for key, value in require_mapping(self._shard(name).tree(known[name])).items():
                if self._weight_map is None or self._weight_map.get(key) == name:
                    values[key] = value
        return self._in_order(values)

    def _in_order(self, values: dict[Any, Any]) -> dict[Any, Any]:
        if self._weight_map is None:
            return values
        return {name: values[name] for name in self._weight_map}

    def leaves(self, limit: int) -> list[tuple[tuple[Any, ...], Any]]:
        return []

    def check(self, threads: int, progress: Tick | None) -> Checked:
        """Every shard, also behind one that is bad."""
        checked = Checked()
        sizes = [os.path.getsize(path) for path in self._paths.values()]
        ticks = Ticks(progress, sizes)
        for name in self._paths:
            tick = ticks.next()
            try:
                self._listed(name)
                result = self._shard(name).check(threads, tick)
            except Error as e:
                checked.findings.append((name, finding_of(e), ()))
                continue
            result.findings = [(name, finding, paths) for _, finding, paths in result.findings]
            checked.add(result)
        return checked

    def metadata(self) -> dict[str, str] | None:
        return self._metadata

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for shard in self._shards.values():
                shard.close()


def require_mapping(value: Any) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise FormatError(f"a shard holds a {type(value).__name__}, not a dict", kind="SHARD")
    return value


def open_index(source: Source, options: Options, path: str) -> Sharded | None:
    """The model of an index; None for JSON that is none."""
    limit = (options.limits or Limits()).pickle_bytes
    if source.size > limit:
        raise LimitError(f"the index has {source.size} bytes, at most {limit} are read")
    try:
        index = parse_json(source.read(0, source.size), "the index")
    except FormatError:
        if path.endswith(".index.json"):
            raise
        return None
    if "weight_map" not in index:
        return None
    weight_map = require(index["weight_map"], dict, "weight_map")
    for name in weight_map.values():
        require(name, str, "a value of weight_map")
    about = index.get("metadata")
    metadata = None
    if isinstance(about, dict):
        metadata = {
            key: value if isinstance(value, str) else str(value)[:1000]
            for key, value in about.items()
        }
    names = list(dict.fromkeys(weight_map.values()))
    return Sharded(Siblings(os.path.dirname(path) or "."), names, weight_map, metadata, options)


def open_shards(directory: str, names: list[str], options: Options) -> Sharded | None:
    """The shards of a directory without an index; None where there are none.

    Raises:
        FormatError: some are missing.
        UnsupportedError: there are shards of several models.
    """
    models: dict[tuple[str, str, str], set[int]] = {}
    for name in names:
        match = _SHARD.fullmatch(name)
        if match:
            models.setdefault((match[1], match[3], match[4]), set()).add(int(match[2]))
    for suffix in (".safetensors", ".bin", ".pt", ".pth"):
        some = [key for key in models if key[2] == suffix]
        if len(some) > 1:
            text = f"the directory holds shards of {len(some)} models: open one by its index"
            raise UnsupportedError(text, path=directory, kind="SHARDS")
        if some:
            stem, total, _ = some[0]
            numbers = range(1, int(total) + 1)
            missing = [number for number in numbers if number not in models[some[0]]]
            if missing or len(models[some[0]]) != len(numbers):
                name = f"{stem}-{(missing or [0])[0]:05d}-of-{total}{suffix}"
                raise FormatError(
                    f"the file {printable(name)!r} is missing",
                    path=directory,
                    kind="FILE_MISSING",
                    hint="copy or download the whole directory again",
                )
            shards = [f"{stem}-{number:05d}-of-{total}{suffix}" for number in numbers]
            return Sharded(Siblings(directory), shards, None, None, options)
    return None
