# SPDX-License-Identifier: Apache-2.0
"""Directories of torch.distributed.checkpoint as several ranks write them, without any ranks.

Imported by tests that have torch.
"""

import io
import pickle

import torch
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)


class Directory:
    """Metadata that can be changed before it is written, and the files of the ranks."""

    def __init__(self, path):
        self.path = path
        self.files = {}
        self.metadata = Metadata(state_dict_metadata={}, planner_data=None, storage_data={})
        path.mkdir(exist_ok=True)

    def _add(self, rank, obj):
        file = io.BytesIO()
        torch.save(obj, file)
        name = f"__{rank}_0.distcp"
        data = self.files.setdefault(name, bytearray())
        info = _StorageInfo(name, len(data), len(file.getvalue()))
        data += file.getvalue()
        return info

    def tensor(self, name, tensor, chunks=None):
        """`chunks` is [(offsets, sizes, rank)]; None: all of it by rank 0."""
        if chunks is None:
            chunks = [((0,) * tensor.ndim, tuple(tensor.shape), 0)]
        entry = TensorStorageMetadata(
            TensorProperties.create_from_tensor(tensor), tensor.size(), []
        )
        for number, (offsets, sizes, rank) in enumerate(chunks):
            index = tuple(slice(b, b + n) for b, n in zip(offsets, sizes, strict=True))
            entry.chunks.append(ChunkStorageMetadata(torch.Size(offsets), torch.Size(sizes)))
            part = tensor[index].clone() if tensor.ndim else tensor
            key = MetadataIndex(name, offsets, number)
            self.metadata.storage_data[key] = self._add(rank, part)
        self.metadata.state_dict_metadata[name] = entry
        return self

    def object(self, name, obj, rank=0):
        self.metadata.state_dict_metadata[name] = BytesStorageMetadata()
        self.metadata.storage_data[MetadataIndex(name)] = self._add(rank, obj)
        return self

    def infos(self, name):
        return [i for key, i in self.metadata.storage_data.items() if key.fqn == name]

    def chunk(self, name, number=0):
        return self.metadata.state_dict_metadata[name].chunks[number]

    def write(self):
        for name, data in self.files.items():
            (self.path / name).write_bytes(data)
        (self.path / ".metadata").write_bytes(pickle.dumps(self.metadata))
        return self.path
