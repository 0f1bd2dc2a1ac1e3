# SPDX-License-Identifier: Apache-2.0
"""ptio.open: a handle that lists the tensors of a file and reads those that are asked for."""

from __future__ import annotations

import codecs
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, KeysView, Mapping
from dataclasses import dataclass
from fnmatch import translate
from itertools import islice
from typing import TYPE_CHECKING, Any

from ptio._api import _names, _threads_setting, _verify_setting
from ptio._containers import Container, Options, open_container
from ptio._names import joined
from ptio._progress import Progress, reporting
from ptio._region import basic_index
from ptio._source import is_path
from ptio._text import count, size

if TYPE_CHECKING:
    from ptio import _core
    from ptio._limits import Limits

Name = str | tuple[Any, ...]

_SHOWN = 20  # names in a repr

_MANY = 10_000  # names, of which no similar one is looked for


@dataclass(frozen=True)
class TensorInfo:
    """A tensor of an open checkpoint, as far as it is known without reading it.

    Attributes:
        name: as in `Checkpoint.keys()`.
        path: dict keys, list positions and attributes that lead to it from the root.
        kind: "tensor"; "storage" for a storage pickled by itself; "quantized"; "sparse" or
            "nested"; "raw" for a tensor without data.
        dtype: torch's name without "torch.", e.g. "bfloat16".
        shape: as in torch.
        strides: in elements, as in torch.
        storage_offset: elements of the storage before its first one.
        nbytes: bytes of its elements.
        storage: which storage holds it: tensors with the same one share memory. None for
            tensors that have none or several.
        storage_nbytes: size of that storage.
        device: where it was saved from, e.g. "cuda:0".
        requires_grad: as in torch.
        member: of the archive, or None.
    """

    name: Name
    path: tuple[Any, ...]
    kind: str
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    storage_offset: int
    nbytes: int
    storage: str | None
    storage_nbytes: int
    device: str
    requires_grad: bool
    member: str | None

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.shape)) or "scalar"
        return f"<tensor {self.name!r} {self.dtype} {shape}, {size(self.nbytes)}>"


def open(
    f: Any,
    framework: str = "numpy",
    device: Any = "cpu",
    *,
    mmap: bool | str = "auto",
    verify: bool | None = None,
    unknown: str = "error",
    allow: Iterable[Any] = (),
    encoding: str = "utf-8",
    limits: Limits | None = None,
    threads: int | None = None,
    progress: bool | Progress | None = None,
) -> Checkpoint:
    """Open a checkpoint to look into it, and to read single tensors or parts of them.

    Opening reads the pickle and the directory of the file, whatever its size.

    Args:
        f: a path, or a seekable binary file object, which stays in use until the handle is
            closed. Directories of torch.distributed.checkpoint and of sharded models work too.
        framework: "numpy" or "np" (default); "torch" or "pt".
        device: where tensors of torch go.
        mmap, verify, unknown, allow, encoding, limits, threads: as for `ptio.load`; with
            framework="torch", `allow` also takes classes, as that of `ptio.torch.load`. A
            checksum is over a whole storage: slices, and tensors that are a small part of
            their storage in a file that is not mapped, are checked with verify=True only,
            which reads all of it.
        progress: of `Checkpoint.load`.

    Returns:
        A `Checkpoint`, which is also a context manager.

    Raises:
        As `ptio.load`.
    """
    framework = {"np": "numpy", "pt": "torch"}.get(framework, framework)
    if encoding not in ("utf-8", "bytes"):
        codecs.lookup(encoding)
    if framework not in ("numpy", "torch"):
        raise ValueError(f"framework must be 'numpy' or 'torch', not {framework!r}")
    if framework == "numpy" and str(device) != "cpu":
        raise ValueError("NumPy arrays are on the CPU: other devices need framework='torch'")
    if unknown not in ("error", "inert"):
        raise ValueError(f"unknown must be 'error' or 'inert', not {unknown!r}")
    options = Options(
        mmap=mmap,
        verify=_verify_setting(verify),
        inert=unknown == "inert",
        allow=_names(allow) if framework == "numpy" else tuple(allow),
        encoding=encoding,
        limits=limits,
        threads=_threads_setting(threads),
        framework=framework,
        device=device,
    )
    return Checkpoint(f, options, progress)


class Checkpoint(Mapping[Name, Any]):
    """An open checkpoint: a read-only mapping from the names of its tensors to arrays.

    Names are the ways to the tensors, joined by "/", e.g. "optimizer/state/0/exp_avg"; for a
    state dict they are its keys. Tuples work, too; where two ways would give the same name,
    the name is the tuple. Arrays stay valid when the handle is closed, and so does what is
    known of the tensors. Any number of threads may use it.

    Made by `ptio.open`. A handle on a file given by name can be pickled: it opens the file again.
    """

    def __init__(self, f: Any, options: Options, progress: bool | Progress | None = None) -> None:
        self._f = os.path.abspath(f) if is_path(f) else f
        self._options = options
        self._progress = progress
        self._container: Container = open_container(f, options)
        self._index: dict[Name, _core.TensorInfo] | None = None
        self._names: dict[tuple[Any, ...], Name] | None = None  # by path

    # --- names

    def _rows(self) -> dict[Name, _core.TensorInfo]:
        if self._index is None:
            rows = self._container.tensors()
            index: dict[Name, _core.TensorInfo] = {joined(row.path): row for row in rows}
            self._index = index if len(index) == len(rows) else _distinct(rows)
        return self._index

    def _row(self, name: Name) -> _core.TensorInfo:
        row = self._rows().get(name)
        if row is None and isinstance(name, tuple):
            row = self._rows().get(self._by_path().get(name, name))
        if row is None:
            raise KeyError(self._unknown(name))
        return row

    def _by_path(self) -> dict[tuple[Any, ...], Name]:
        if self._names is None:
            self._names = {row.path: name for name, row in self._rows().items()}
        return self._names

    def _unknown(self, name: Name) -> str:
        from difflib import get_close_matches

        known = [n for n in self._rows() if isinstance(n, str)]
        close = get_close_matches(str(name), known, n=1) if len(known) <= _MANY else []
        return f"no tensor {name!r}" + (f"; did you mean {close[0]!r}?" if close else "")

    def __iter__(self) -> Iterator[Name]:
        return iter(self._rows())

    def __len__(self) -> int:
        return len(self._rows())

    def __contains__(self, name: object) -> bool:
        if isinstance(name, tuple):
            return name in self._rows() or name in self._by_path()
        return isinstance(name, str) and name in self._rows()

    def keys(self) -> KeysView[Name]:
        """The names, in the order of the file's pickle."""
        return _Names(self)

    def get(self, name: Name, default: Any = None) -> Any:
        if name not in self:  # asking for it would look for similar names
            return default
        return self[name]

    def offset_keys(self) -> list[Name]:
        """The names in the order in which the tensors lie in the file: the fastest to read in."""
        places = {}
        for name, row in self._rows().items():
            file, offset = self._container.place(row) or (None, -1)
            places[name] = (file or "", offset, row.storage_offset)
        return sorted(places, key=places.__getitem__)

    def glob(self, pattern: str) -> list[Name]:
        """The names that match a pattern of *, ? and [...]; * matches "/" as well."""
        matches = re.compile(translate(pattern)).match
        return [name for name, row in self._rows().items() if matches(joined(row.path))]

    # --- tensors

    def __getitem__(self, name: Name) -> Any:
        return self.get_tensor(name)

    def get_tensor(self, name: Name) -> Any:
        """The whole tensor, as `load` would return it.

        Raises:
            KeyError: there is no such tensor.
            ValueError: the handle is closed.
            Error: the file is damaged there, or has changed.
        """
        return self._container.get(self._row(name))

    def get_tensors(self) -> dict[Name, Any]:
        """All of them, read in the order in which they lie in the file."""
        return {name: self.get_tensor(name) for name in self.offset_keys()}

    def get_slice(self, name: Name) -> Slice:
        """The tensor unread: indexing it reads only what is asked for."""
        return Slice(self._container, self._row(name))

    def read_into(self, name: Name, out: Any) -> None:
        """Copy a tensor into a NumPy array, a torch tensor, or any writable buffer.

        Args:
            name: of the tensor.
            out: of the tensor's dtype and shape, with any strides; or a contiguous buffer of
                its size in bytes. A torch tensor may be on any device, and is written to as
                under torch.no_grad().
        """
        self._container.read_into(self._row(name), out)

    def info(self, name: Name) -> TensorInfo:
        """dtype, shape, strides, storage, device ... of a tensor, without reading it."""
        row = self._row(name)
        return _public(name if name in self._rows() else self._by_path()[row.path], row)

    def infos(self) -> list[TensorInfo]:
        """All of them, in the order of the file's pickle."""
        return [_public(name, row) for name, row in self._rows().items()]

    def file_offset(self, name: Name) -> tuple[str | None, int] | None:
        """Where the storage of a tensor begins: (file, byte), the file None for the one that was
        opened; None for a tensor that has no single place in a file."""
        return self._container.place(self._row(name))

    def prefetch(self, names: Iterable[Name]) -> None:
        """Let the system read these tensors ahead, as a hint. They must be stored uncompressed."""
        for name in names:
            self._container.advise(self._row(name), True)

    def release(self, names: Iterable[Name]) -> None:
        """Let the system take back the memory that holds the file's bytes of these tensors, as a
        hint. Arrays stay valid, and what was written to them stays."""
        for name in names:
            self._container.advise(self._row(name), False)

    # --- the whole

    def load(self) -> Any:
        """The object that was saved, as `ptio.load` returns it."""
        with reporting(self._progress, "loading") as report:
            return self._container.load(report)

    def tree(self) -> Any:
        """The object with a `TensorInfo` in the place of each tensor."""
        infos: dict[int, TensorInfo] = {}
        for name, row in self._rows().items():
            infos.setdefault(row.node, _public(name, row))
        return self._container.tree(infos)

    def metadata(self) -> dict[str, str] | None:
        """What safetensors files keep beside the tensors; None for other formats."""
        return self._container.metadata()

    @property
    def format(self) -> str:
        """ "zip", "legacy", "tar", "pickle", "torchscript", "safetensors" ..."""
        return self._container.format

    def close(self) -> None:
        """Close the file. Arrays stay valid; nothing more can be read."""
        self._container.close()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        if not is_path(self._f):
            raise TypeError("a handle on a file object cannot be pickled: open the file by name")
        return Checkpoint, (self._f, self._options)

    def __repr__(self) -> str:
        known = "" if self._index is None else f", {count(len(self._index), 'tensor')}"
        return f"<ptio.Checkpoint {self._f!r}: {self.format}{known}>"


class _Names(KeysView[Name]):
    """Has an order, so it may be indexed, as the list that safetensors returns."""

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]

    def __repr__(self) -> str:
        shown = list(islice(self, _SHOWN))
        more = len(self) - len(shown)
        return f"<names {shown!r}{f' and {more:,} more' if more else ''}>"


def _distinct(rows: list[_core.TensorInfo]) -> dict[Name, _core.TensorInfo]:
    """Where two tensors would have the same name, the path is the name."""
    times = Counter(joined(row.path) for row in rows)
    index: dict[Name, _core.TensorInfo] = {}
    for row in rows:
        text = joined(row.path)
        name: Name = row.path if times[text] > 1 else text
        while name in index:  # two keys that only the pickle can tell apart
            name = (*name, f"#{len(index)}")
        index[name] = row
    return index


def _public(name: Name, row: _core.TensorInfo) -> TensorInfo:
    return TensorInfo(
        name=name,
        path=row.path,
        kind=row.kind,
        dtype=row.dtype,
        shape=row.shape,
        strides=row.stride,
        storage_offset=row.storage_offset,
        nbytes=row.nbytes,
        storage=row.storage,
        storage_nbytes=row.storage_nbytes,
        device=row.location,
        requires_grad=row.requires_grad,
        member=row.record,
    )


class Slice:
    """A tensor of an open checkpoint that indexing reads in part: slice[2:5, :, ::2]."""

    def __init__(self, container: Container, row: _core.TensorInfo) -> None:
        self._container = container
        self._row = row

    def __getitem__(self, index: Any) -> Any:
        """The elements. Ints, slices, ... and None read only what is asked for; other indices
        (lists, masks) are applied to the whole tensor."""
        basic = basic_index(index)
        if basic is None:
            return self._container.get(self._row)[index]
        return self._container.get_slice(self._row, basic)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._row.shape

    @property
    def dtype(self) -> str:
        return self._row.dtype

    def get_shape(self) -> list[int]:
        """As in safetensors."""
        return list(self._row.shape)

    def get_dtype(self) -> str:
        """As in safetensors: "F32", "BF16" ..."""
        from ptio._types.dtypes import safetensors_name

        return safetensors_name(self._row.dtype)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a scalar has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"<ptio slice of {joined(self._row.path)!r}: {self.dtype} {list(self.shape)}>"
