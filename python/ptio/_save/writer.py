# SPDX-License-Identifier: Apache-2.0
"""ptio.Writer: a checkpoint larger than memory, array by array."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Any

from ptio._api import _threads_setting
from ptio._progress import Progress
from ptio._save.archive import NewArchive, alignment_setting, durable_setting, new_archive
from ptio._save.describe import Describer, Reference
from ptio._save.save import add_storage


class Writer:
    """Writes arrays one after another: each is in the file before the next one is given.

        with ptio.Writer("model.pt") as w:
            for name, array in arrays():
                w[name] = array

    torch.load gives {name: tensor, ...}. For any other object, keep what `write` returns and put
    it where the tensor belongs in `root`. The file appears when the block ends; after an
    exception there is none, and an old one is as it was.

    Args:
        f: a path, or an object with write(), which is only written forward.
        atomic, durable, compute_crc32, storage_alignment, threads, progress: as for `ptio.save`.

    Attributes:
        root: the object to save, with References where tensors belong, and whatever `ptio.save`
            takes. None (default): the dict of the names that were assigned.
    """

    def __init__(
        self,
        f: Any,
        *,
        atomic: bool = True,
        durable: bool | None = None,
        compute_crc32: bool = True,
        storage_alignment: int = 64,
        threads: int | None = None,
        progress: bool | Progress | None = None,
    ) -> None:
        self.root: Any = None
        self._names: dict[str, Reference] = {}
        self._context = new_archive(
            f,
            atomic=atomic,
            durable=durable_setting(durable),
            alignment=alignment_setting(storage_alignment),
            crc=compute_crc32,
            threads=_threads_setting(threads),
            progress=progress,
        )
        self._stack = ExitStack()
        self._entered = False
        self._archive: NewArchive | None = None
        self._describer = Describer()

    def __enter__(self) -> Writer:
        if self._entered:
            raise ValueError("a Writer writes one file, in one `with` block")
        self._entered = True
        self._archive = self._stack.enter_context(self._context)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        archive, self._archive = self._archive, None
        with self._stack:
            if error is not None:
                self._stack.__exit__(kind, error, traceback)
            elif archive is not None:
                self._finish(archive)

    def __setitem__(self, name: str, array: Any) -> None:
        """Write an array under a name of the root dict."""
        if not isinstance(name, str):
            raise TypeError(f"names are str, not {name!r}: use write() and root for other objects")
        if name in self._names:
            raise ValueError(f"{name!r} has been written already")
        self._names[name] = self._write(array, name)

    def write(self, array: Any) -> Reference:
        """Write an array (or `Deferred`) now.

        Returns:
            What stands for its tensor in `root`, in as many places as it should be.

        Raises:
            TypeError: torch has no such dtype.
        """
        return self._write(array)

    def _write(self, array: Any, name: str | None = None) -> Reference:
        if self._archive is None:
            raise ValueError("write inside of `with ptio.Writer(...) as w:`")
        reference, plan = self._describer.refer(array, name)
        add_storage(self._archive, plan)
        self._archive.core.write()
        return reference

    def _finish(self, archive: NewArchive) -> None:
        if self.root is not None and self._names:
            raise ValueError("names were assigned and root was set: put all tensors into root")
        data = self._describer.collect(self._names if self.root is None else self.root)
        for plan in self._describer.storages:
            add_storage(archive, plan)
        archive.add_pickle(data)
        archive.add_byteorder()
        archive.finish()
