# SPDX-License-Identifier: Apache-2.0
"""ptio.save and ptio.Writer: checkpoints from NumPy arrays, without torch."""

from __future__ import annotations

from typing import Any

from ptio._api import _threads_setting
from ptio._progress import Progress
from ptio._save.archive import NewArchive, alignment_setting, durable_setting, new_archive
from ptio._save.array_plan import StoragePlan
from ptio._save.describe import Describer


def save(
    obj: Any,
    f: Any,
    *,
    atomic: bool = True,
    durable: bool | None = None,
    compact: bool = False,
    compute_crc32: bool = True,
    storage_alignment: int = 64,
    threads: int | None = None,
    progress: bool | Progress | None = None,
) -> None:
    """Save NumPy arrays and plain data as a checkpoint that torch.load(weights_only=True) reads.

    Arrays become torch tensors, NumPy scalars Python numbers. Containers keep their types, order
    and identity. What else `load` gives, an `Opaque` or a date, is saved as what it was: torch
    then wants its class to be registered, or weights_only=False.

    Arrays that view the same memory become tensors that share a storage, where that is no larger
    than saving each for itself.

    Args:
        obj: dict, OrderedDict, Counter, list, tuple, set, None, bool, int, float, complex, str,
            bytes, bytearray, NumPy arrays and scalars, `Deferred`, and the tensor classes of ptio;
            `Opaque`, frozenset, defaultdict, deque, range, slice, dates and times, paths,
            argparse.Namespace and types.SimpleNamespace.
        f: a path, or an object with write(). It is only written forward: pipes and sockets do.
        atomic: True: a new file takes the name when it is whole. If saving fails or the process
            dies, the old file is as it was. False: write into the file.
        durable: True: when save returns, the file survives a power cut. Default: the environment
            variable PTIO_DURABLE (0 or 1), else False.
        compact: True: every array by itself, in no more bytes than its elements have; arrays that
            share memory no longer do.
        compute_crc32: False: no checksums, as torch.serialization.set_crc32_options(False).
        storage_alignment: of the storages in the file, in bytes: a power of two.
        threads: how many threads write and take checksums; the default is the environment
            variable PTIO_THREADS, or as many as are useful.
        progress: True: a bar on the terminal. Or a callable(done_bytes, total_bytes).

    Raises:
        TypeError: a value or a dtype that torch does not have; the message has its path.
        ValueError: a name or an argument that no archive can have; a tensor class of ptio whose
            parts do not fit each other; `Deferred`: another array than was promised.
        OSError: the file cannot be written; it names the path. The old file is as it was.
    """
    write_object(
        Describer(compact),
        obj,
        f,
        atomic=atomic,
        durable=durable,
        compute_crc32=compute_crc32,
        storage_alignment=storage_alignment,
        threads=threads,
        progress=progress,
    )


def write_object(
    describer: Describer,
    obj: Any,
    f: Any,
    *,
    atomic: bool = True,
    durable: bool | None = None,
    compute_crc32: bool = True,
    storage_alignment: int = 64,
    threads: int | None = None,
    progress: bool | Progress | None = None,
) -> None:
    """`save`, with values as this describer sees them."""
    data = describer.collect(obj)
    with new_archive(
        f,
        atomic=atomic,
        durable=durable_setting(durable),
        alignment=alignment_setting(storage_alignment),
        crc=compute_crc32,
        threads=_threads_setting(threads),
        progress=progress,
    ) as archive:
        archive.add_pickle(data)
        archive.add_notes(alignment=storage_alignment)
        for plan in describer.storages:
            add_storage(archive, plan)
        archive.finish()


def add_storage(archive: NewArchive, plan: StoragePlan) -> None:
    """The record of a storage that has its number."""
    name = f"data/{plan.number}"
    if plan.pieces is None:
        archive.core.add_memory(name, plan.address, plan.nbytes, plan.owner)
        return
    if plan.nbytes == 0:  # nobody will ask for no bytes, yet it has its turn
        archive.core.write()
        for _ in plan.pieces():
            pass
    archive.core.add_deferred(name, plan.nbytes, plan.pieces)
