# SPDX-License-Identifier: Apache-2.0
"""ptio.torch.save: the file that torch.save writes, byte for byte, but for the digits of its id."""

from __future__ import annotations

import os
import pickle
from typing import Any

import torch

from ptio._api import _threads_setting
from ptio._progress import Progress
from ptio._save.archive import durable_setting, new_archive, stem_of
from ptio._save.destination import open_destination
from ptio._source import is_path
from ptio.torch import _compat
from ptio.torch._collect import Collected, collect, collect_compact
from ptio.torch._patch import original


def save(
    obj: Any,
    f: Any,
    pickle_module: Any = pickle,
    pickle_protocol: int = 2,
    _use_new_zipfile_serialization: bool = True,
    _disable_byteorder_record: bool = False,
    *,
    atomic: bool = True,
    durable: bool | None = None,
    compact: bool = False,
    compute_crc32: bool | None = None,
    storage_alignment: int | None = None,
    threads: int | None = None,
    progress: bool | Progress | None = None,
) -> None:
    """Save an object as torch.save does: the same arguments and bytes, faster, and whole or not.

    The file is what torch.save writes, but for the 40 digits of its serialization_id. Those come
    from the content: saving the same object under the same name again gives the same file.

    Args:
        obj: what to save.
        f: a path, or an object with write(). It is only written forward: pipes and sockets do.
        pickle_module, pickle_protocol: as for torch.save; another module or protocol than
            Python's pickle and 2 writes the pickle by itself.
        _use_new_zipfile_serialization: False: the format of torch before 1.6.
        _disable_byteorder_record: as for torch.save.
        atomic: True: a new file takes the name when it is whole. If saving fails or the process
            dies, the old file is as it was. False: write into the file.
        durable: True: when save returns, the file survives a power cut. Default: the environment
            variable PTIO_DURABLE (0 or 1), else False.
        compact: True: of storages that are larger than what is saved of them, only that part is
            written. Tensors that share memory still do. The object is pickled twice.
        compute_crc32, storage_alignment: default: torch.utils.serialization.config.save.
        threads: how many threads write and take checksums; the default is the environment
            variable PTIO_THREADS, or as many as are useful.
        progress: True: a bar on the terminal. Or a callable(done_bytes, total_bytes).

    Raises:
        pickle.PicklingError, AttributeError, TypeError: the object cannot be pickled.
        RuntimeError: in torch's words: tensors of two dtypes share memory; the parent directory
            does not exist.
        OSError: the file cannot be written; it names the path. The old file is as it was.
    """
    torch.serialization._check_dill_version(pickle_module)
    _check_target(f)
    arguments = (pickle_module, pickle_protocol, _use_new_zipfile_serialization)
    if _compat.skips_data() or _compat.is_faking():
        original("save")(obj, f, *arguments, _disable_byteorder_record)
        return
    if not _use_new_zipfile_serialization:
        if compact:
            raise ValueError("compact=True is not for the format of torch before 1.6")
        _save_legacy(obj, f, arguments, atomic, durable_setting(durable))
        return
    alignment = _compat.storage_alignment() if storage_alignment is None else storage_alignment
    crc = _compat.computes_crc32() if compute_crc32 is None else compute_crc32
    _check_path(f)
    collect_all = collect_compact if compact else collect
    collected = collect_all(obj, pickle_module, pickle_protocol)
    with new_archive(
        f,
        atomic=atomic,
        durable=durable_setting(durable),
        alignment=alignment,
        crc=crc,
        threads=_threads_setting(threads),
        progress=progress,
    ) as archive:
        archive.add_pickle(collected.pickle)
        archive.add_notes(alignment=alignment, byteorder=not _disable_byteorder_record)
        _add_storages(archive.core, collected)
        archive.finish(byteorder=_disable_byteorder_record)


def _check_target(f: Any) -> None:
    if is_path(f):
        return
    if not hasattr(f, "write"):
        raise AttributeError(
            "expected 'f' to be string, path, or a file-like object with a 'write' attribute"
        )
    if not callable(f.write):
        raise TypeError(f"Buffer of {str(type(f)).strip('<>')} has no callable attribute 'write'")


def _check_path(f: Any) -> None:
    if not is_path(f):
        return
    parent = os.path.dirname(os.fsdecode(f))
    if parent and not os.path.isdir(parent):
        raise RuntimeError(f"Parent directory {parent} does not exist.")
    try:
        stem_of(f)
    except ValueError as e:
        raise RuntimeError(str(e)) from None


# --- the storages ---------------------------------------------------------------------------------


def _add_storages(core: Any, collected: Collected) -> None:
    if collected.places is not None:
        core.add_storages(collected.storages, collected.places)
        return
    for key, storage in enumerate(collected.storages):
        _add_storage(core, f"data/{key}", storage)


def _add_storage(core: Any, name: str, storage: torch.UntypedStorage) -> None:
    if storage.device.type == "cpu":
        core.add_memory(name, storage.data_ptr(), storage.nbytes(), storage)
    else:  # on the CPU only while it is written
        core.add_deferred(name, storage.nbytes(), lambda: iter([_bytes_on_cpu(storage)]))


def _bytes_on_cpu(storage: torch.UntypedStorage) -> Any:
    whole = torch.empty(0, dtype=torch.uint8)
    return whole.set_(storage.cpu()).numpy()


# --- where it goes --------------------------------------------------------------------------------


def _save_legacy(obj: Any, f: Any, arguments: Any, atomic: bool, durable: bool) -> None:
    if not is_path(f):
        original("save")(obj, f, *arguments)
        return
    with (
        open_destination(f, atomic=atomic, durable=durable) as destination,
        open(destination.fd, "wb", closefd=False) as file,
    ):
        original("save")(obj, file, *arguments)
