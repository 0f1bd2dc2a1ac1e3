# SPDX-License-Identifier: Apache-2.0
"""Tensors of every dtype in every layout, for torch.save. Imports torch: ask for its fixture."""

import torch

from . import checkpoints

DTYPES = [getattr(torch, name) for name in checkpoints.ITEMSIZE]

LAYOUTS = {
    "contiguous": ((2, 3, 4), (12, 4, 1), 0),
    "transposed": ((4, 3, 2), (1, 4, 12), 0),
    "offset view": ((2, 4), (12, 1), 5),
    "expanded": ((5, 3), (0, 2), 1),
    "scalar": ((), (), 7),
    "empty": ((0, 3), (3, 1), 0),
    "empty at the end": ((2, 0), (1, 1), 24),
    "channels last": ((1, 3, 2, 2), (12, 1, 6, 3), 0),
    "overlapping windows": ((6, 4), (3, 1), 2),
    "one element, odd strides": ((1, 1), (100, 7), 3),
    "last element": ((1,), (1,), 23),
}


def memory(dtype, seed):
    """24 elements of a dtype with random bytes: NaNs with payloads, subnormals and all."""
    generator = torch.Generator().manual_seed(seed)
    high = 2 if dtype is torch.bool else 256
    size = 24 * dtype.itemsize
    return torch.randint(high, (size,), dtype=torch.uint8, generator=generator).untyped_storage()


def tensor(dtype, layout, storage=None, seed=0):
    shape, stride, offset = LAYOUTS[layout]
    storage = memory(dtype, seed) if storage is None else storage
    return torch.empty(0, dtype=dtype).set_(storage, offset, shape, stride)


def every_layout(dtype, seed=0):
    """Once over one shared storage, once each over its own."""
    storage = memory(dtype, seed)
    return {
        "shared": {name: tensor(dtype, name, storage) for name in LAYOUTS},
        "own": {name: tensor(dtype, name, seed=seed + i) for i, name in enumerate(LAYOUTS)},
        "no memory": torch.empty(0, dtype=dtype),
    }
