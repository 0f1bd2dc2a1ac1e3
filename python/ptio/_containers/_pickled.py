# SPDX-License-Identifier: Apache-2.0
"""A pickle and its storages: checkpoints of torch.save, and each such part of other archives."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ptio._arrays import Array
from ptio._checkpoint import for_core
from ptio._containers._base import Options, Tick
from ptio._core import Checkpoint, Record, Source, Storage, TensorInfo
from ptio._dtypes import item_bytes, numpy_dtype
from ptio._errors import ChecksumError, Error
from ptio._region import Region, memory_of
from ptio._types import RawTensor

_PLAIN = ("tensor", "storage")  # kinds whose bytes are their elements
_PIECE = 1 << 20  # bytes that are read at once


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
        members: tuple[str, str, str] | None = None,
    ) -> None:
        self._source = source
        self._options = options
        self._path = path
        self._members = members
        self._users = _Users(source.close)
        self._torch: Any = None
        self._rows: list[TensorInfo] | None = None
        self._records: dict[str, Record] | None = None
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

    # --- storages as they lie in the file

    def is_as_stored(self, info: TensorInfo) -> bool:
        """Whether `stored_pieces` reads from the file, and keeps no more than a piece in memory."""
        return self._can_gather(info)

    def lies_in_storage(self, info: TensorInfo) -> bool:
        """Whether the elements of a tensor are the bytes of its storage: some are conjugates."""
        return self._can_gather(info) or self._storage_of(info) is not None

    def stored_pieces(self, info: TensorInfo, begin: int, end: int) -> Iterator[Array]:
        """Bytes of the storage of a tensor that lies in it. A piece is valid until the next."""
        if not self._can_gather(info):
            whole = self._storage_of(info)
            if whole is None:
                raise ValueError("the elements of this tensor are not the bytes of its storage")
            yield whole[begin:end]
            return
        check = begin == 0 and end == info.storage_nbytes and self._options.verify is not False
        buffer, crc = np.empty(min(_PIECE, end - begin), np.uint8), 0
        for at in range(begin, end, _PIECE):
            piece = buffer[: min(_PIECE, end - at)]
            with self._users, self._naming_the_file():
                self.core.gather(info.node, at, (1,), piece, False)
            crc = zlib.crc32(piece.data, crc) if check else 0
            if check and at + _PIECE >= end:  # before the last piece goes out
                self._check_crc(info, crc)
            yield piece

    def _check_crc(self, info: TensorInfo, crc: int) -> None:
        if self._records is None:
            self._records = {record.name: record for record in self.core.records()}
        record = self._records.get(info.record or "")
        if record is None or record.crc32 in (0, crc):  # 0: none was computed
            return
        raise ChecksumError(
            f"CRC-32 is 0x{crc:08x}, the archive says 0x{record.crc32:08x}",
            path=self._path,
            record=record.name,
        )

    def _storage_of(self, info: TensorInfo) -> Array | None:
        """All bytes of the storage; None where the elements of the tensor are others."""
        value = self._numpy_build(info.node, None)
        array = value.data if isinstance(value, RawTensor) else value
        if array is None or not isinstance(array.base, Storage):
            return None
        whole: Array = np.from_dlpack(array.base)
        offset = info.storage_offset * item_bytes(info.dtype)
        address = whole.__array_interface__["data"][0] + offset
        return whole if array.__array_interface__["data"][0] == address else None

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
