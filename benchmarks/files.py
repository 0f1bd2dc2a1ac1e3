# SPDX-License-Identifier: Apache-2.0
"""The files that the benchmarks read: in /dev/shm where there is one, else below the temporary
folder. torch.save writes them; where torch is missing, the writer of the tests does."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import ROOT
from benchmarks.tools import installed


def folder() -> tempfile.TemporaryDirectory:
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(
        prefix="ptio-bench-", dir=memory if memory.is_dir() else None
    )


def small_tensors(count: int, path: Path) -> Path:
    """`count` float32 tensors of 32 elements."""
    if path.exists():
        return path
    names = [f"layers.{i // 8}.block.{i % 8}.weight" for i in range(count)]
    _save(dict.fromkeys(names), lambda i: np.full(32, i, np.float32), path)
    return path


def large_tensors(total: int, path: Path) -> Path:
    """16 float32 tensors with `total` bytes in all."""
    if path.exists():
        return path
    generator = np.random.default_rng(0)

    def make(_: int) -> np.ndarray:
        return generator.integers(0, 2**31, total // 64, np.uint32).view(np.float32)

    _save(dict.fromkeys(f"layer{i}.weight" for i in range(16)), make, path)
    return path


class _Sparse:
    """A file in which runs of zeros are holes."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115 - closed by close()

    def write(self, data: Any) -> int:
        size = len(data)
        if size >= 4096 and not np.frombuffer(data, np.uint8).any():
            self._file.seek(size, 1)
        else:
            self._file.write(data)
        return size

    def close(self) -> None:
        self._file.truncate(self._file.tell())
        self._file.close()


def sparse_tensors(count: int, size: int, path: Path) -> Path:
    """`count` tensors of `size` bytes of zeros, which take no room."""
    if path.exists():
        return path
    import ptio

    zeros = np.zeros(size, np.uint8)
    file = _Sparse(path)
    ptio.save({f"layer{i}.weight": zeros[: size - i] for i in range(count)}, file, compact=True)
    file.close()
    return path


def training(count: int, path: Path) -> Path:
    """A model with `count` small parameters in training with AdamW, after its first step."""
    if path.exists():
        return path
    import torch

    names = [f"layers.{i // 8}.block.{i % 8}.weight" for i in range(count)]
    parameters = [torch.nn.Parameter(torch.full((32,), float(i))) for i in range(count)]
    for parameter in parameters:
        parameter.grad = torch.ones(32)
    optimizer = torch.optim.AdamW(parameters)
    optimizer.step()
    model = {name: value.detach() for name, value in zip(names, parameters, strict=True)}
    checkpoint = {
        "epoch": 3,
        "model_state_dict": model,
        "optimizer_state_dict": optimizer.state_dict(),
        "loss": torch.tensor(0.25),
    }
    _save_object(checkpoint, path)
    return path


def plain_objects(count: int, path: Path) -> Path:
    """`count` lists [int, float, str] in dicts, no tensors."""
    if path.exists():
        return path
    per_dict = 100
    obj = {
        f"group{group}": {
            f"item{i}": [i, i * 0.5, f"text{i}"] for i in range(group, group + per_dict)
        }
        for group in range(0, count, per_dict)
    }
    _save_object(obj, path)
    return path


def _save(names: dict[str, None], make: Callable[[int], np.ndarray], path: Path) -> None:
    if installed("torch"):
        import torch

        _save_object({name: torch.from_numpy(make(i)) for i, name in enumerate(names)}, path)
    else:
        checkpoints = _writer()
        obj = {name: checkpoints.tensor("float32", make(i)) for i, name in enumerate(names)}
        path.write_bytes(checkpoints.save(obj))


def _save_object(obj: Any, path: Path) -> None:
    if installed("torch"):
        import torch

        torch.save(obj, path)
    else:
        path.write_bytes(_writer().save(obj))


def _writer() -> Any:
    if str(ROOT / "tests") not in sys.path:
        sys.path.insert(0, str(ROOT / "tests"))
    from support import checkpoints

    return checkpoints


def as_safetensors(source: Path, path: Path) -> Path:
    """The same tensors as a .safetensors file."""
    if not path.exists():
        import ptio
        from safetensors.numpy import save_file

        save_file(ptio.load(source), path)
    return path
