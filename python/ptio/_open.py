# SPDX-License-Identifier: Apache-2.0
"""ptio.open: a handle that lists the tensors of a file and reads those that are asked for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from ptio._api import _names, _threads_setting, _verify_setting
from ptio._containers import Container, Options, open_container
from ptio._names import joined
from ptio._progress import Progress, reporting
from ptio._region import basic_index
from ptio._source import is_path
from ptio._text import size

if TYPE_CHECKING:
    from ptio import _core
    from ptio._limits import Limits

Name = str | tuple[Any, ...]


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
        framework: "numpy" (default), or "torch" (also "pt"), whose tensors `device` tells where
            to put.
        mmap, verify, unknown, allow, encoding, limits, threads, progress: as for `ptio.load`.
            What a slice reads is not checked: a checksum is over a whole storage.

    Returns:
        A `Checkpoint`, which is also a context manager.

    Raises:
        As `ptio.load`.
    """
    framework = {"np": "numpy", "pt": "torch"}.get(framework, framework)
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
    the name is the tuple. Arrays stay valid when the handle is closed. Any thread may use it.

    Made by `ptio.open`. A handle on a file given by name can be pickled: it opens the file again.
    """

    def __init__(self, f: Any, options: Options, progress: bool | Progress | None = None) -> None:
        self._f = f
        self._options = options
        self._progress = progress
        self._container: Container = open_container(f, options)
        self._index: dict[Name, tuple[TensorInfo, _core.TensorInfo]] | None = None
        self._by_path: dict[tuple[Any, ...], Name] = {}

    # --- names

    def _entries(self) -> dict[Name, tuple[TensorInfo, _core.TensorInfo]]:
        if self._index is None:
            rows = self._container.tensors()
            names: list[Name] = [joined(row.path) for row in rows]
            seen: dict[Name, int] = {}
            for name in names:
                seen[name] = seen.get(name, 0) + 1
            entries = {}
            for row, name in zip(rows, names, strict=True):
                unique = name if seen[name] == 1 else row.path
                entries[unique] = (_public(unique, row), row)
            self._by_path = {row.path: name for name, (_, row) in entries.items()}
            self._index = entries
        return self._index

    def _entry(self, name: Name) -> tuple[TensorInfo, _core.TensorInfo]:
        entries = self._entries()
        found = entries.get(name)
        if found is None and isinstance(name, tuple):
            found = entries.get(self._by_path.get(name, name))
        if found is None:
            raise KeyError(self._unknown(name))
        return found

    def _unknown(self, name: Name) -> str:
        from difflib import get_close_matches

        known = [n for n in self._entries() if isinstance(n, str)]
        close = get_close_matches(str(name), known[:10_000], n=1)
        return f"no tensor {name!r}" + (f"; did you mean {close[0]!r}?" if close else "")

    def __iter__(self) -> Iterator[Name]:
        return iter(self._entries())

    def __len__(self) -> int:
        return len(self._entries())

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, (str, tuple)):
            return False
        return name in self._entries() or name in self._by_path

    def glob(self, pattern: str) -> list[Name]:
        """The names that match a pattern of *, ? and [...]; * matches "/" as well."""
        return [
            name
            for name, (info, _) in self._entries().items()
            if fnmatchcase(name if isinstance(name, str) else joined(info.path), pattern)
        ]

    # --- tensors

    def __getitem__(self, name: Name) -> Any:
        return self.get_tensor(name)

    def get_tensor(self, name: Name) -> Any:
        """The whole tensor, as `load` would return it."""
        return self._container.get(self._entry(name)[1])

    def get_slice(self, name: Name) -> Slice:
        """The tensor unread: indexing it reads only what is asked for."""
        info, row = self._entry(name)
        return Slice(self._container, info, row)

    def read_into(self, name: Name, out: Any) -> None:
        """Copy a tensor into a NumPy array, a torch tensor, or any writable buffer.

        Args:
            name: of the tensor.
            out: of the tensor's dtype and shape, with any strides; or a contiguous buffer of
                its size in bytes.
        """
        self._container.read_into(self._entry(name)[1], out)

    def info(self, name: Name) -> TensorInfo:
        """dtype, shape, strides, storage, device ... of a tensor, without reading it."""
        return self._entry(name)[0]

    def infos(self) -> list[TensorInfo]:
        """All of them, in the order of the file's pickle."""
        return [info for info, _ in self._entries().values()]

    def file_offset(self, name: Name) -> tuple[str | None, int] | None:
        """Where the storage of a tensor begins: (file, byte), the file None for the one that was
        opened; None for a tensor that has no single place in a file."""
        return self._container.place(self._entry(name)[1])

    def prefetch(self, names: Iterable[Name]) -> None:
        """Let the system read these tensors ahead, as a hint. They must be stored uncompressed."""
        for name in names:
            self._container.advise(self._entry(name)[1], True)

    def release(self, names: Iterable[Name]) -> None:
        """Let the system take back the memory that holds the file's bytes of these tensors, as a
        hint. Arrays stay valid, and what was written to them stays."""
        for name in names:
            self._container.advise(self._entry(name)[1], False)

    # --- the whole

    def load(self) -> Any:
        """The object that was saved, as `ptio.load` returns it."""
        with reporting(self._progress, "loading") as report:
            return self._container.load(report)

    def tree(self) -> Any:
        """The object with a `TensorInfo` in the place of each tensor."""
        return self._container.tree({row.node: info for info, row in self._entries().values()})

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
        return f"<ptio.Checkpoint {self._f!r}: {self.format}, {len(self)} tensors>"


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

    def __init__(self, container: Container, info: TensorInfo, row: _core.TensorInfo) -> None:
        self._container = container
        self._info = info
        self._row = row

    def __getitem__(self, index: Any) -> Any:
        """The elements, with NumPy's basic indexing: ints, slices, ... and None."""
        return self._container.get_slice(self._row, basic_index(index))

    @property
    def shape(self) -> tuple[int, ...]:
        return self._info.shape

    @property
    def dtype(self) -> str:
        return self._info.dtype

    def get_shape(self) -> list[int]:
        """As in safetensors."""
        return list(self._info.shape)

    def get_dtype(self) -> str:
        """As in safetensors: "F32", "BF16" ..."""
        from ptio._dtypes import safetensors_name

        return safetensors_name(self._info.dtype)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a scalar has no length")
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<ptio slice of {self._info!r}>"
