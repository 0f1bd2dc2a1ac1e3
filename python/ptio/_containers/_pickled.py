# SPDX-License-Identifier: Apache-2.0
"""A pickle and its storages: checkpoints of torch.save, and each such part of other archives."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ptio._checkpoint import for_core
from ptio._containers._base import Checked, Options, Tick
from ptio._core import Checkpoint, Finding, Source, TensorInfo
from ptio._dtypes import item_bytes, numpy_dtype
from ptio._errors import Error
from ptio._region import Region, memory_of

_PLAIN = ("tensor", "storage")  # kinds whose bytes are their elements


class Pickled:
    """What `_core.Checkpoint` reads.

    Takes the source over. Any number of threads may use it; closing it waits for nobody: the
    source is closed when the last of them is done.
    """

    def __init__(
        self,
        source: Source,
        options: Options,
        *,
        path: str | None,
        members: Any = None,
    ) -> None:
        self._source = source
        self._options = options
        self._path = path
        self._members = members
        self._users = _Users(source.close)
        self._torch: Any = None
        self._rows: list[TensorInfo] | None = None
        try:
            self.core = self._parse()
        except BaseException:
            source.close()
            raise
        self.format = self.core.format

    def _parse(self, judge: Any = None) -> Checkpoint:
        options = self._options
        names = tuple(name for name in options.allow if isinstance(name, str))
        with self._naming_the_file():
            return Checkpoint(
                self._source,
                limits=for_core(options.limits),
                inert=options.inert,
                allow=names,
                encoding=options.encoding,
                path=self._path,
                judge=judge,
                order=0,
                for_torch=judge is not None,
                members=self._members,
                lenient=False,
            )

    @contextmanager
    def _naming_the_file(self) -> Iterator[None]:
        try:
            yield
        except Error as e:
            if e.path is None:
                e.path = self._path
            raise

    # --- what there is

    def tensors(self) -> list[TensorInfo]:
        if self._rows is None:
            self._rows = self.core.tensors(True)
        return self._rows

    def metadata(self) -> dict[str, str] | None:
        return None

    def leaves(self, limit: int) -> list[tuple[tuple[Any, ...], Any]]:
        return self.core.leaves(limit)

    def check(self, threads: int, progress: Tick | None) -> Checked:
        with self._users, self._naming_the_file():
            findings = self.core.check(threads=threads, progress=progress)
            records = self.core.records()
        if not any(finding.exception for finding in findings):
            self.check_contents(threads)
        rows = self.core.tensors(False)
        return Checked(
            len(records),
            sum(record.size for record in records),
            len(rows),
            [(None, finding, touched(finding, rows)) for finding in findings],
        )

    def check_contents(self, threads: int) -> None:
        """What only the bytes of tensors decide."""
        if self.core.has_composites:
            with self._users, self._naming_the_file():
                self.core.build(None, verify=False, private=False, threads=threads, progress=None)

    def tree(self, infos: dict[int, Any]) -> Any:
        with self._users:
            return self.core.build_tree(infos)

    def place(self, info: TensorInfo) -> tuple[str | None, int] | None:
        if info.record is None:
            return None
        with self._users, self._naming_the_file():
            return None, self.core.place(info.node)[0]

    def advise(self, info: TensorInfo, needed: bool) -> None:
        if info.record is not None:
            with self._users, self._naming_the_file():
                self.core.advise(info.node, needed)

    # --- values

    def load(self, progress: Tick | None) -> Any:
        return self._build(None, progress)

    def get(self, info: TensorInfo) -> Any:
        return self._build(info, None)

    def _build(self, info: TensorInfo | None, progress: Tick | None) -> Any:
        node = None if info is None else info.node
        if self._options.framework == "numpy":
            return self._numpy_build(node, progress)
        if info is not None and info.kind in _PLAIN:
            return self._torch_build(self.core, node, progress)
        # Parameters, subclasses, sparse tensors: nodes of a graph that was vetted for torch.
        return self._torch_build(self._torch_side().checkpoint(self._parse), node, progress)

    def _numpy_build(self, node: int | None, progress: Tick | None) -> Any:
        options = self._options
        with self._users, self._naming_the_file():
            return self.core.build(
                node,
                verify=options.verify,
                private=options.mmap is False,
                threads=options.threads,
                progress=progress,
            )

    def _torch_build(self, core: Checkpoint, node: int | None, progress: Tick | None) -> Any:
        with self._users, self._naming_the_file():
            return self._torch_side().build(core, node, self._options, progress)

    def _torch_side(self) -> Any:
        if self._torch is None:
            from ptio.torch._handle import TorchSide

            self._torch = TorchSide(self._options)
        return self._torch

    def get_slice(self, info: TensorInfo, index: tuple[Any, ...]) -> Any:
        if info.kind not in _PLAIN:
            raise TypeError(f"a {info.kind} tensor has no slices: get_tensor() gives all of it")
        if self._can_gather(info) and not self._maps():
            region = self._region(info, index)
            out, result = self._new(info, region.shape)
            with self._users, self._naming_the_file():
                self.core.gather(info.node, region.begin, region.strides, out, False)
            return result[()] if region.is_scalar and isinstance(result, np.ndarray) else result
        return self.get(info)[index]

    def read_into(self, info: TensorInfo, out: Any) -> None:
        if info.kind not in _PLAIN:
            raise TypeError(f"a {info.kind} tensor is no array: get_tensor() gives its parts")
        target = memory_of(out, info)
        if target is None:
            out.copy_(self._torch_build(self.core, info.node, None))
            return
        if not self._can_gather(info):
            value = np.ascontiguousarray(self._numpy_build(info.node, None))
            np.copyto(target, value.view(target.dtype).reshape(target.shape))
            return
        region = self._region(info, ())
        with self._users, self._naming_the_file():
            verify = self._options.verify is not False
            self.core.gather(info.node, region.begin, region.strides, target, verify)

    def _maps(self) -> bool:
        return self._source.mapped and self._options.mmap is not False

    def _can_gather(self, info: TensorInfo) -> bool:
        if info.record is None or 0 in info.shape:
            return False
        with self._users, self._naming_the_file():
            return self.core.place(info.node)[1]

    def _region(self, info: TensorInfo, index: tuple[Any, ...]) -> Region:
        item = item_bytes(info.dtype)
        return Region(item, info.storage_offset * item, info.shape, info.stride, index)

    def _new(self, info: TensorInfo, shape: tuple[int, ...]) -> tuple[Any, Any]:
        """Memory to read to, and the array or tensor that it is."""
        if self._options.framework == "torch":
            result = self._torch_side().empty(info.dtype, shape)
            return memory_of(result, info._replace(shape=shape)), result
        dtype = numpy_dtype(info.dtype)
        if not isinstance(dtype, np.dtype):
            raise TypeError(f"NumPy has no dtype {info.dtype}: get_tensor() gives a RawTensor")
        array = np.empty(shape, dtype)
        return array, array

    def close(self) -> None:
        self._users.close()


def touched(finding: Finding, rows: list[TensorInfo]) -> tuple[tuple[Any, ...], ...]:
    """Paths of the tensors that lie in the member of which there is something to say."""
    if not finding.exception or not finding.record:
        return ()
    return tuple(row.path for row in rows if row.record == finding.record)


class _Users:
    """Counts who is at work, so that what they work on is closed behind the last of them."""

    def __init__(self, close: Any) -> None:
        self._close = close
        self._lock = threading.Lock()
        self._count = 0
        self._closed = False

    def __enter__(self) -> None:
        with self._lock:
            if self._closed:
                raise ValueError("the checkpoint is closed")
            self._count += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._count -= 1
            last = self._closed and self._count == 0
        if last:
            self._close()

    def close(self) -> None:
        with self._lock:
            last = not self._closed and self._count == 0
            self._closed = True
        if last:
            self._close()
