# SPDX-License-Identifier: Apache-2.0
"""A directory: of torch.distributed.checkpoint, or of a model in shards."""

from __future__ import annotations

import os

from ptio._containers.base import Container, Options
from ptio._containers.siblings import Siblings
from ptio._errors import UnsupportedError

_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_SINGLE = ("model.safetensors", "pytorch_model.bin")


def open_directory(directory: str, options: Options) -> Container:
    from ptio._containers import open_file
    from ptio._containers.sharded import open_shards

    names = sorted(os.listdir(directory))
    if ".metadata" in names:
        from ptio._containers.distributed import open_distributed

        return open_distributed(directory, options)
    indexes = [name for name in _INDEXES if name in names]
    indexes += [n for n in names if n.endswith(".index.json") and n not in indexes]
    if indexes:
        Siblings(directory).resolve(indexes[0])
        return open_file(os.path.join(directory, indexes[0]), options)
    sharded = open_shards(directory, names, options)
    if sharded is not None:
        return sharded
    for name in _SINGLE:
        if name in names:
            return open_file(Siblings(directory).resolve(name), options, index=False)
    raise UnsupportedError(
        "this is a directory without a checkpoint: no .metadata of torch.distributed.checkpoint, "
        "no index of shards and no shards",
        path=directory,
        kind="NOT_A_CHECKPOINT",
        hint="give the name of a file in it",
    )
