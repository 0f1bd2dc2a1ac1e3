# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of torch for what converts, slims and merges them, and how these are run."""

import errno
import os

import torch


def training_state(seed=0, *, size=40):
    """A model with tied weights, its optimizer after a step, and plain values."""
    torch.manual_seed(seed)
    model = torch.nn.Sequential(
        torch.nn.Linear(size, size), torch.nn.BatchNorm1d(size), torch.nn.Linear(size, size)
    )
    model[2].weight = model[0].weight
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(3, size)).sum().backward()
    optimizer.step()
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "name": "run",
        "scheduler": {"last_lr": [0.1]},
    }


def sharing_state():
    """A state dict in which one tensor equals another, and some are parts of others."""
    embedding, fused = torch.randn(6, 4), torch.randn(12, 4)
    return {
        "embedding": embedding,
        "fused": fused,
        "head": embedding.detach(),
        "query": fused[:4],
        "key": fused[4:8].t(),
        "part of query": fused[:4][1:3],
        "alone": torch.randn(3),
    }


def same(ours, theirs):
    """Two tensors: dtype, shape and every bit."""
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    assert raw(ours) == raw(theirs)


def raw(tensor):
    """The bytes of the elements, in C order."""
    plain = tensor.detach().resolve_conj().resolve_neg()
    flat = torch.empty(plain.numel(), dtype=plain.dtype)
    flat.view(plain.shape).copy_(plain)
    return flat.view(torch.uint8).numpy().tobytes() if plain.numel() else b""


def storages(tensors):
    """Which of the tensors share memory, as numbers of groups."""
    known = {}
    return [known.setdefault(tensor.untyped_storage().data_ptr(), len(known)) for tensor in tensors]


class FullDisk:
    """Replaces os in ptio's files: writing fails after a number of bytes."""

    def __init__(self, room):
        self._room = room

    def write(self, file, data):
        self._room -= len(data)
        if self._room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return file.write(data)
