# SPDX-License-Identifier: Apache-2.0
"""A pickle and its storages: checkpoints of torch.save, and each such part of other archives."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np

from ptio._checkpoint import for_core
from ptio._containers.base import Checked, Options, Tick
from ptio._core import Checkpoint, Finding, Record, Source, Storage, TensorInfo
from ptio._errors import ChecksumError, Error, ForbiddenError
from ptio._region import Region, fits_numpy, is_contiguous, memory_of, select, span
from ptio._types import RawTensor
from ptio._types.arrays import Array
from ptio._types.dtypes import item_bytes, numpy_dtype

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
        members: Any = None,
    ) -> None:
        self._source = source
        self._options = options
        self._path = path
        self._members = members
        self._errors = _Errors(path)
        self._side: Any = None
        self._starting = threading.Lock()
        self._rows: list[TensorInfo] | None = None
        self._records: dict[str, Record] | None = None
        self._checked: set[str] = set()  # mapped members whose CRC has been checked
        try:
            self.core = self._open()
        except BaseException:
            source.close()
            raise
        self.format = self.core.format

    def _open(self) -> Checkpoint:
        if self._options.framework == "numpy":
            return self._parse()
        try:
            return self._parse(order=self._torch_side().order())
        except ForbiddenError:
            # What torch allows may be more than we know; here it is only listed.
            self._torch_side().checkpoint(self._parse, strict=True)
            return self._parse(inert=True, order=self._torch_side().order())

    def _parse(self, judge: Any = None, *, inert: bool = False, order: int = 0) -> Checkpoint:
        options = self._options
        names = tuple(name for name in options.allow if isinstance(name, str))
        with self._errors:
            return Checkpoint(
                self._source,
                limits=for_core(options.limits),
                inert=options.inert or inert,
                allow=names,
                encoding=options.encoding,
                path=self._path,
                judge=judge,
                order=order,
                for_torch=judge is not None,
                members=self._members,
                lenient=False,
            )

    # --- what there is

    def tensors(self) -> list[TensorInfo]:
        if self._rows is None:
            self._rows = self.core.tensors(True)
        return self._rows

    @property
    def end(self) -> int | None:
        """Of a legacy format, which may be followed by others: where it ends in the source."""
        return self.core.end

    def metadata(self) -> dict[str, str] | None:
        return None

    def leaves(self, limit: int) -> list[tuple[tuple[Any, ...], Any]]:
        return self.core.leaves(limit)

    def check(self, threads: int, progress: Tick | None) -> Checked:
        with self._errors:
            findings = self.core.check(threads=threads, progress=progress)
            records = self.core.records()
        if not any(finding.exception for finding in findings):
            self.check_contents(threads)
        rows = self.core.tensors(False)
        has_parts = self.core.has_composites or any(row.kind == "quantized" for row in rows)
        return Checked(
            len(records),
            sum(record.size for record in records),
            len(self.core.tensors(True)) if has_parts else len(rows),
            [(None, finding, touched(finding, rows)) for finding in findings],
        )

    def check_contents(self, threads: int) -> None:
        """What only the bytes of tensors decide."""
        if self.core.has_composites:
            with self._errors:
                self.core.build(None, verify=False, private=False, threads=threads, progress=None)

    def tree(self, infos: dict[int, Any]) -> Any:
        return self.core.build_tree(infos)

    def place(self, info: TensorInfo) -> tuple[str | None, int] | None:
        return None if info.record is None else (None, self.core.place(info.node)[0])

    def advise(self, info: TensorInfo, needed: bool) -> None:
        if info.record is not None:
            self.core.advise(info.node, needed)

    # --- whole values

    def load(self, progress: Tick | None) -> Any:
        with self._errors:
            if self._options.framework == "torch":
                return self._torch_side().load(self._parse, progress)
            return self._build(None, self._options.verify, progress)

    def get(self, info: TensorInfo) -> Any:
        if self._reads_part(info):
            return self._read_span(info)
        verify = self._options.verify
        if verify and info.record in self._checked:
            verify = None  # of mapped bytes: None asks for no check
        with self._errors:
            if self._options.framework == "numpy":
                value = self._build(info.node, verify)
            elif info.kind == "tensor" and not self._has_wrappers:
                value = self._torch_side().plain(self.core, info, verify)
            else:
                value = self._torch_side().get(self._parse, info, verify)
        if verify and info.record is not None and self._source.mapped:
            self._checked.add(info.record)
        return value

    def _build(self, node: int | None, verify: bool | None, progress: Tick | None = None) -> Any:
        options = self._options
        return self.core.build(
            node,
            verify=verify,
            private=options.mmap is False,
            threads=options.threads,
            progress=progress,
        )

    @cached_property
    def _has_wrappers(self) -> bool:
        return self.core.has_wrappers

    # --- parts

    def get_slice(self, info: TensorInfo, index: tuple[Any, ...]) -> Any:
        numpy = self._options.framework == "numpy"
        self._require_elements(info, "slices")
        if numpy and not fits_numpy(info):
            known = isinstance(numpy_dtype(info.dtype), np.dtype)
            what = "arrays of that shape" if known else f"dtype {info.dtype}"
            raise TypeError(f"NumPy has no {what}: get_tensor() gives a RawTensor")
        if not numpy:
            self._torch_side().check_index(index)
        region = select(info, index)
        with self._errors:
            if 0 in region.shape:
                nothing = self._new(info, region.shape)[1]
                return nothing if numpy else self._torch_side().placed(nothing, False, False)
            result = self._view(info, index)
            if result is None:
                result = self._gather(info, region)
        if numpy and not region.shape and Ellipsis not in index:
            return result[()]
        return result

    def _view(self, info: TensorInfo, index: tuple[Any, ...]) -> Any:
        """Elements of what is mapped, or cannot be read in part; None for others."""
        viewed = True
        if info.record is not None:
            _, stored, viewed, *_ = self.core.place(info.node)
            if stored and not viewed:
                return None
        verify = None if viewed else self._options.verify
        if self._options.framework == "torch":
            return self._torch_side().part(self.core, info, index, verify, copy=not viewed)
        result = self._build(info.node, verify)[(*index, ...) if Ellipsis not in index else index]
        return result if viewed else result.copy()

    def _gather(self, info: TensorInfo, region: Region) -> Any:
        # What repeats by a stride of 0 is read once.
        steps = zip(region.shape, region.strides, strict=True)
        shape = tuple(min(size, 1) if step == 0 else size for size, step in steps)
        memory, result = self._new(info, shape)
        self._read(info, region, memory)
        result = self._flipped(info, result)
        if shape == region.shape:
            return result
        if self._options.framework == "torch":
            return result.expand(region.shape)
        strides = [
            step if size == wanted else 0
            for size, wanted, step in zip(shape, region.shape, result.strides, strict=True)
        ]
        return np.ndarray(region.shape, result.dtype, result, 0, strides)

    def _reads_part(self, info: TensorInfo) -> bool:
        """Whether a tensor is so small a part of its storage that it is read by itself. A
        checksum is over a whole storage: who wants it checked gets all of it read."""
        options = self._options
        if info.record is None or info.nbytes == info.storage_nbytes or self._source.mapped:
            return False
        if info.kind != "tensor" or options.verify:
            return False
        if options.framework == "torch":
            if self._has_wrappers or self._torch_side().on_meta:
                return False
        elif not fits_numpy(info):
            return False
        smaller = span(info) * item_bytes(info.dtype) < info.storage_nbytes
        return smaller and self.core.place(info.node)[1]

    def _read_span(self, info: TensorInfo) -> Any:
        region = Region(info.storage_offset, (span(info),), (1,))
        with self._errors:
            memory, flat = self._new(info, region.shape)
            self._read(info, region, memory)
            if self._options.framework == "torch":
                return self._torch_side().over(flat, info, self.core.place(info.node)[4:])
            item = flat.dtype.itemsize
            strides = tuple(step * item for step in info.stride)
            return self._flipped(info, np.ndarray(info.shape, flat.dtype, flat, 0, strides))

    def _read(
        self, info: TensorInfo, region: Region, memory: np.ndarray[Any, Any], verify: bool = False
    ) -> None:
        if 0 in region.shape:
            return
        item = item_bytes(info.dtype)
        strides = tuple(step * item for step in region.strides)
        threads = self._options.threads
        self.core.gather(info.node, region.begin * item, strides, memory, verify, threads)

    def _new(self, info: TensorInfo, shape: tuple[int, ...]) -> tuple[np.ndarray[Any, Any], Any]:
        """Memory to read to, and the array or tensor that it is."""
        if self._options.framework == "torch":
            result = self._torch_side().empty(info.dtype, shape)
            memory = memory_of(result, info._replace(shape=shape))
            assert memory is not None
            return memory, result
        array = np.empty(shape, numpy_dtype(info.dtype))
        return array.view(f"V{array.dtype.itemsize}"), array

    def _flipped(self, info: TensorInfo, value: Any) -> Any:
        """With torch's conj and neg bits, which say that the elements are not those stored."""
        conj, neg = self.core.place(info.node)[4:]
        if self._options.framework == "torch":
            return self._torch_side().placed(value, conj, neg)
        if conj:
            value = np.conjugate(value, out=np.empty_like(value))
        return np.negative(value, out=np.empty_like(value)) if neg else value

    def _require_elements(self, info: TensorInfo, what: str) -> None:
        if info.kind not in _PLAIN:
            raise TypeError(f"a {info.kind} tensor has no {what}: get_tensor() gives all of it")

    # --- into memory of the caller

    def read_into(self, info: TensorInfo, out: Any) -> None:
        self._require_elements(info, "elements of its own")
        target = memory_of(out, info)
        with self._errors:
            if target is None:
                self._torch_side().copy_into(self.core, info, out, self._options.verify)
            elif target.size > 0 and not self._gathers_into(info, target):
                np.copyto(target, self._elements(info))

    def _gathers_into(self, info: TensorInfo, target: np.ndarray[Any, Any]) -> bool:
        _, stored, _, swapped, conj, neg = self.core.place(info.node)
        dense = target.flags.c_contiguous
        whole = dense and info.nbytes == info.storage_nbytes and is_contiguous(info)
        verify = self._options.verify
        if not stored or conj or neg or (swapped and not dense):
            return False
        if verify and not whole and info.record not in self._checked:
            return False  # only building checks a storage of which this is a part
        region = Region(info.storage_offset, info.shape, info.stride)
        self._read(info, region, target, verify is not False)
        return True

    def _elements(self, info: TensorInfo) -> np.ndarray[Any, Any]:
        """All of them as bytes, from what NumPy's builder makes."""
        value = self._build(info.node, self._options.verify)
        item = item_bytes(info.dtype)
        if isinstance(value, RawTensor):
            strides = tuple(step * item for step in value.stride)
            value = np.ndarray(value.shape, f"V{item}", value.data, 0, strides)
        elements: np.ndarray[Any, Any] = np.asarray(value).view(f"V{item}")
        return elements

    # --- storages as they lie in the file

    def is_as_stored(self, info: TensorInfo) -> bool:
        """Whether `stored_pieces` reads from the file, and keeps no more than a piece in memory."""
        if info.record is None or 0 in info.shape:
            return False
        _, stored, _, swapped, conj, neg = self.core.place(info.node)
        return stored and not swapped and not conj and not neg

    def lies_in_storage(self, info: TensorInfo) -> bool:
        """Whether the elements of a tensor are the bytes of its storage: some are conjugates."""
        return self.is_as_stored(info) or self._storage_of(info) is not None

    def stored_pieces(self, info: TensorInfo, begin: int, end: int) -> Iterator[Array]:
        """Bytes of the storage of a tensor that lies in it. A piece is valid until the next."""
        if not self.is_as_stored(info):
            whole = self._storage_of(info)
            if whole is None:
                raise ValueError("the elements of this tensor are not the bytes of its storage")
            yield whole[begin:end]
            return
        check = begin == 0 and end == info.storage_nbytes and self._options.verify is not False
        buffer, crc = np.empty(min(_PIECE, end - begin), np.uint8), 0
        for at in range(begin, end, _PIECE):
            piece = buffer[: min(_PIECE, end - at)]
            with self._errors:
                self.core.gather(info.node, at, (1,), piece, False, self._options.threads)
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
            record=record.name,
            kind="CHECKSUM",
        )

    def _storage_of(self, info: TensorInfo) -> Array | None:
        """All bytes of the storage; None where the elements of the tensor are others."""
        with self._errors:
            value = self._build(info.node, None)
        array = value.data if isinstance(value, RawTensor) else value
        if array is None or not isinstance(array.base, Storage):
            return None
        whole: Array = np.from_dlpack(array.base)
        offset = info.storage_offset * item_bytes(info.dtype)
        address = whole.__array_interface__["data"][0] + offset
        return whole if array.__array_interface__["data"][0] == address else None

    # --- around it

    def _torch_side(self) -> Any:
        if self._side is None:
            with self._starting:
                if self._side is None:
                    from ptio.torch._handle import TorchSide

                    self._side = TorchSide(self._options)
        return self._side

    def close(self) -> None:
        self._source.close()


def touched(finding: Finding, rows: list[TensorInfo]) -> tuple[tuple[Any, ...], ...]:
    """Paths of the tensors that lie in the member of which there is something to say."""
    if not finding.exception or not finding.record:
        return ()
    return tuple(row.path for row in rows if row.record == finding.record)


class _Errors:
    """Errors that pass by get the name of the file, where they have none."""

    def __init__(self, path: str | None) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, Error) and error.path is None:
            error.path = self._path
