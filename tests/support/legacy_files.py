# SPDX-License-Identifier: Apache-2.0
"""Files as torch before 1.6 wrote them, made without torch, right or wrong on purpose.

Objects are those of checkpoints.py; a View is a storage over part of another one's memory, as
torch before 0.4 saved them.
"""

import io
import pickle
import struct
from dataclasses import dataclass, field

from . import checkpoints

MAGIC = 0x1950A86A20F9469CFC6C
SYSTEM = {"protocol_version": 1001, "little_endian": True}
SYSTEM["type_sizes"] = {"short": 2, "int": 4, "long": 4}


@dataclass(eq=False)
class View:
    """Elements [offset, offset + numel) of a storage."""

    root: checkpoints.Storage
    offset: int
    numel: int

    @property
    def dtype(self):
        return self.root.dtype


class Pickler(checkpoints.Pickler):
    def persistent_id(self, obj):
        if not isinstance(obj, View):
            whole = super().persistent_id(obj)
            return whole and (*whole, None)
        key = f"view-{id(obj)}"
        return (*super().persistent_id(obj.root), (key, obj.offset, obj.numel))


@dataclass
class Parts:
    """What a file consists of: pickles are bytes, storages (count, bytes)."""

    magic: bytes
    version: bytes
    system: bytes
    obj: bytes
    keys: bytes
    storages: list = field(default_factory=list)

    def join(self):
        data = b"".join(struct.pack("<q", count) + bytes_ for count, bytes_ in self.storages)
        return self.magic + self.version + self.system + self.obj + self.keys + data


def parts_of(obj, protocol=2):
    file = io.BytesIO()
    pickler = Pickler(file, protocol)
    pickler.dump(obj)
    storages = dict(sorted(pickler.storages.values()))
    return Parts(
        *(pickle.dumps(part, protocol) for part in (MAGIC, 1001, SYSTEM)),
        file.getvalue(),
        pickle.dumps(list(storages), protocol),
        [(storage.numel, storage.data) for storage in storages.values()],
    )


def save(obj, protocol=2):
    return parts_of(obj, protocol).join()
