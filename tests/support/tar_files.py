# SPDX-License-Identifier: Apache-2.0
"""Files as torch 0.1 wrote them, made without torch, right or wrong on purpose.

Objects are those of checkpoints.py, and legacy_files.View for views of storages. A Tensor is one
object of the file wherever it stands.
"""

import io
import pickle
import struct
import tarfile
from dataclasses import dataclass, field

from . import checkpoints, legacy_files

_SYSTEM = {"protocol_version": 1000, "little_endian": True}


class _Pickler(checkpoints.Pickler):
    """Numbers tensors and storages, as the addresses of torch's C objects were."""

    def __init__(self, file, protocol):
        super().__init__(file, protocol)
        self.tensors, self.roots, self.views, self.numbers = {}, {}, {}, {}

    def number(self, obj):
        return self.numbers.setdefault(id(obj), (94_000_000_000_000 + 16 * len(self.numbers), obj))[
            0
        ]

    def persistent_id(self, obj):
        if isinstance(obj, checkpoints.Tensor):
            self.tensors[self.number(obj)] = obj
            self.note(obj.storage)
        elif isinstance(obj, checkpoints.Storage | legacy_files.View):
            self.note(obj)
        else:
            return None
        return str(self.number(obj))

    def save_pers(self, pid):
        if self.bin:
            super().save_pers(pid)
        else:
            self.write(pickle.PERSID + pid.encode() + b"\n")

    def note(self, storage):
        if isinstance(storage, legacy_files.View):
            self.views[self.number(storage)] = storage
            storage = storage.root
        self.roots[self.number(storage)] = storage


def _dump(obj, protocol):
    file = io.BytesIO()
    checkpoints.Pickler(file, protocol).dump(obj)
    return file.getvalue()


def entry_of_storage(number, storage, protocol=2):
    head = _dump((number, storage.location, checkpoints.storage_class(storage)), protocol)
    return head + struct.pack("<q", storage.numel) + storage.data


def entry_of_tensor(number, storage, tensor, protocol=2):
    kind = checkpoints.storage_class(tensor.storage).name.replace("Storage", "Tensor")
    ndim = len(tensor.shape)
    numbers = (*tensor.shape, *tensor.stride, tensor.offset)
    head = _dump((number, storage, checkpoints.Global("torch", kind)), protocol)
    return head + struct.pack(f"<i4x{2 * ndim + 1}q", ndim, *numbers)


@dataclass
class Parts:
    """The members, as bytes; `order` and the kind of archive."""

    storages: bytes
    tensors: bytes
    pickle: bytes
    sys_info: bytes = field(default_factory=lambda: pickle.dumps(_SYSTEM, 2))
    order: tuple = ("sys_info", "pickle", "tensors", "storages")
    format: int = tarfile.PAX_FORMAT
    mtime: float = 1486512000.25

    def join(self):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w:", format=self.format) as archive:
            for name in self.order:
                data = getattr(self, name)
                info = tarfile.TarInfo(name)
                info.size, info.mtime = len(data), self.mtime
                archive.addfile(info, io.BytesIO(data))
        return file.getvalue()


def parts_of(obj, protocol=2, **more):
    file = io.BytesIO()
    pickler = _Pickler(file, protocol)
    pickler.dump(obj)
    tensors = [
        entry_of_tensor(number, pickler.number(tensor.storage), tensor, protocol)
        for number, tensor in pickler.tensors.items()
    ]
    storages = [entry_of_storage(*item, protocol) for item in pickler.roots.items()]
    views = [
        (number, pickler.number(view.root), view.offset, view.numel)
        for number, view in pickler.views.items()
    ]
    return Parts(
        pickle.dumps(len(storages), protocol) + b"".join(storages) + pickle.dumps(views, protocol),
        pickle.dumps(len(tensors), protocol) + b"".join(tensors),
        file.getvalue(),
        **more,
    )


def save(obj, protocol=2, **more):
    return parts_of(obj, protocol, **more).join()
