# SPDX-License-Identifier: Apache-2.0
"""The public functions: they check arguments and settings, and call the C extension."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ptio._checkpoint import open_checkpoint
from ptio._errors import UnsupportedError
from ptio._limits import Limits
from ptio._progress import Progress, reporting
from ptio._source import position

if TYPE_CHECKING:
    from ptio._report import VerifyReport


def load(
    f: Any,
    *,
    mmap: bool | str = "auto",
    verify: bool | None = None,
    unknown: str = "error",
    allow: Iterable[str] = (),
    encoding: str = "utf-8",
    limits: Limits | None = None,
    threads: int | None = None,
    progress: bool | Progress | None = None,
) -> Any:
    """Load a checkpoint; tensors become NumPy arrays.

    Reads what torch.save wrote, and TorchScript, torch.package and torch.export archives,
    safetensors files, sharded models and directories of torch.distributed.checkpoint.

    Nothing that the file names is imported or called, and torch is not needed. Containers keep
    their types, order and identity; two tensors that share a storage are two views of the same
    memory. Arrays have the dtype, shape and strides of the tensors (bfloat16 and float8 by
    ml_dtypes); what NumPy cannot express comes as `RawTensor`, `SparseTensor`,
    `QuantizedTensor` or `NestedTensor`.

    Args:
        f: a path (str, bytes, os.PathLike), or a seekable binary file object, which is read
            from its current position on. Its position afterwards is right behind a checkpoint
            of torch before 1.6, of which several may follow one another in a stream; behind
            others it is unspecified. An io.BytesIO is read without a copy. The path of a directory,
            or of the index of shards, works too.
        mmap: True: arrays are views of a private memory map of the file: loading reads next to
            nothing, arrays can be written to, the file never changes. False: the bytes are
            read into memory. "auto" (default): map files given by path on a local file system,
            read others.
        verify: True: check the CRC32 of all tensors. False: of none. None (default): of those
            that are read into memory; mapped bytes are not touched. The pickle is always
            checked. The environment variable PTIO_VERIFY (0 or 1) replaces the default.
        unknown: "error" (default): a file that names classes or functions which are not allowed
            is refused. "inert": each becomes an `Opaque`, which is data only.
        allow: names to load as `Opaque` even so: "module.name", or a group such as "numpy".
        encoding: of the byte strings that Python 2 pickled; "bytes" leaves them bytes.
        limits: what the load may spend; the default is `Limits()`.
        threads: how many threads read and check; the default is the environment variable
            PTIO_THREADS, or as many as are useful.
        progress: True: a bar on the terminal. Or a callable(done_bytes, total_bytes).

    Returns:
        The object that was saved.

    Raises:
        ForbiddenError: the file names globals that are not allowed; `.globals` has them all.
        PickleFormatError: the pickle is malformed.
        FormatError: the archive is malformed; its subclasses TruncatedError, AmbiguousError,
            BoundsError and ChecksumError say how.
        LimitError: the file needs more than `limits`.
        UnsupportedError: not a checkpoint (the message says what it is), or a kind that is not
            read.
        OSError: the file cannot be opened or read.
    """
    if unknown not in ("error", "inert"):
        raise ValueError(f"unknown must be 'error' or 'inert', not {unknown!r}")
    if encoding not in ("utf-8", "bytes"):
        codecs.lookup(encoding)
    names = _names(allow)
    verify = _verify_setting(verify)
    workers = _threads_setting(threads)
    inert = unknown == "inert"
    start = position(f)
    with reporting(progress, "loading") as report:
        try:
            with open_checkpoint(
                f, mmap=mmap, limits=limits, inert=inert, allow=names, encoding=encoding
            ) as checkpoint:
                return checkpoint.build(
                    None, verify=verify, private=mmap is False, threads=workers, progress=report
                )
        except UnsupportedError as e:
            from ptio._containers import Options, is_other, open_container

            if not is_other(e):
                raise
        if start is not None:
            f.seek(start)
        options = Options(mmap, verify, inert, names, encoding, limits, workers)
        container = open_container(f, options)
        try:
            return container.load(report)
        finally:
            container.close()


def verify(
    f: Any,
    *,
    values: bool = False,
    second_opinion: bool = False,
    limits: Limits | None = None,
    threads: int | None = None,
    progress: bool | Progress | None = None,
) -> VerifyReport:
    """Check the structure of a checkpoint and the CRC32 of every member.

    Everything is checked that `load` relies on: the archive, its pickle, the bounds of every
    tensor. Objects of unknown classes are no problem: their data is checked, and nothing is
    ever built from it.

    Args:
        f, limits, threads, progress: as for `load`.
        values: look for NaN and infinite elements, too, one tensor at a time. Each tensor that
            has some is a problem of kind "NON_FINITE".
        second_opinion: also have libzip read the directory of the archive, with its own
            consistency checks, and compare what it sees.

    Returns:
        A report: `.ok`, and `.problems` with the tensors that each bad member holds. A file
        that cannot be read as a checkpoint is a report too, with one problem.

    Raises:
        OSError: the file cannot be opened or read.
    """
    from ptio._report import report_on

    workers = _threads_setting(threads)
    begin = f.tell() if hasattr(f, "tell") else 0
    with reporting(progress, "verifying") as report:
        found = report_on(f, limits=limits, threads=workers, progress=report)
    if found.format and second_opinion:
        from ptio._inspect.second_opinion import with_second_opinion

        _rewind(f, begin)
        found = with_second_opinion(found, f, limits=limits)
    if found.format and values:
        from ptio._inspect.values import with_values

        _rewind(f, begin)
        with reporting(progress, "looking at values") as report:
            found = with_values(found, f, limits=limits, progress=report)
    return found


def _rewind(f: Any, begin: int) -> None:
    if hasattr(f, "seek"):
        f.seek(begin)


def _names(allow: Iterable[str]) -> tuple[str, ...]:
    if isinstance(allow, str):
        raise TypeError(f"allow must be several names: allow=({allow!r},)")
    names = tuple(allow)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"allow takes names such as 'module.name', not {name!r}")
    return names


def _verify_setting(verify: bool | None) -> bool | None:
    if verify is not None:
        return bool(verify)
    text = os.environ.get("PTIO_VERIFY", "")
    if text not in ("", "0", "1"):
        raise ValueError(f"the environment variable PTIO_VERIFY must be 0 or 1, not {text!r}")
    return text == "1" if text else None


def _threads_setting(threads: int | None) -> int:
    """The number of threads; 0 for automatic."""
    name = "threads"
    if threads is None:
        text = os.environ.get("PTIO_THREADS", "")
        if not text:
            return 0
        name = "the environment variable PTIO_THREADS"
        if not text.isdecimal():
            raise ValueError(f"{name} must be a positive int, not {text!r}")
        threads = int(text)
    if not isinstance(threads, int) or isinstance(threads, bool):
        raise TypeError(f"{name} must be an int, not {threads!r}")
    if not 1 <= threads <= 1024:
        raise ValueError(f"{name} must be from 1 to 1024, not {threads}")
    return threads
