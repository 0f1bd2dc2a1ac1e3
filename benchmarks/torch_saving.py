# SPDX-License-Identifier: Apache-2.0
"""H, I, J: torch tensors saved - many small ones, 1 GiB in a file, 1 GiB into a stream."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import files, floor, timing, tools
from benchmarks.case import Case
from benchmarks.small_tensors import COUNT

TENSORS = 16
_CHUNK = 4 << 20


class Discard:
    """A stream that keeps nothing."""

    def write(self, data: Any) -> int:
        return len(data)

    def flush(self) -> None:
        pass


def run_small(folder: Path, quick: bool) -> Case:
    case = Case("H", "10,000 float32 tensors of 32 saved from torch, tmpfs")
    if not tools.installed("torch"):
        return case
    import torch

    tensors = {f"layers.{i // 8}.block.{i % 8}.weight": torch.rand(32) for i in range(COUNT)}
    case.rows = timing.in_turn(_savers(tensors, folder / "small.pt"), rounds=3 if quick else 7)
    case.faster("torch.save", 15)
    return case


def run_training(folder: Path, quick: bool) -> Case:
    case = Case("Ds", "D's AdamW checkpoint saved from torch, tmpfs")
    if not tools.installed("torch"):
        return case
    import torch

    checkpoint = torch.load(files.training(3_000, folder / "training.pt"))
    case.rows = timing.in_turn(_savers(checkpoint, folder / "again.pt"), rounds=3 if quick else 7)
    return case


def run_large(folder: Path, quick: bool) -> Case:
    size = (256 if quick else 1024) << 20
    case = Case("I", f"{size >> 20} MiB in {TENSORS} tensors saved from torch, tmpfs")
    if not tools.installed("torch"):
        return case
    import torch

    tensors = {f"l{i}": torch.rand(size // TENSORS // 4) for i in range(TENSORS)}
    work = _savers(tensors, folder / "large.pt")
    arrays = [tensor.numpy() for tensor in tensors.values()]
    for threads in (1, 2):
        work[f"bare pwrite with CRC, {threads}"] = partial(_bare, arrays, folder / "bare", threads)
    case.rows = timing.in_turn(work, rounds=3 if quick else 5)
    case.faster("torch.save", 2)
    case.faster("bare pwrite with CRC, 1", 0.85)
    case.faster("bare pwrite with CRC, 2", 0.85)
    case.notes.append("bare: one or two threads, fallocate, pwrite and libdeflate's CRC32 in C")
    return case


def run_stream(folder: Path, quick: bool) -> Case:
    size = (256 if quick else 1024) << 20
    case = Case("J", f"{size >> 20} MiB in {TENSORS} tensors saved into a stream that discards")
    if not tools.installed("torch"):
        return case
    import ptio.torch
    import torch

    tensors = {f"l{i}": torch.rand(size // TENSORS // 4) for i in range(TENSORS)}
    work = {
        "ptio": lambda: ptio.torch.save(tensors, Discard()),
        "torch.save": lambda: torch.save(tensors, Discard()),
    }
    case.rows = timing.in_turn(work, rounds=3 if quick else 7)
    case.faster("torch.save", 3)
    return case


def _savers(obj: Any, path: Path) -> dict[str, Callable[[], Any]]:
    """Each writes a new file: the old one is unlinked first."""
    import ptio.torch
    import torch

    def fresh(save: Callable[[Any, Path], Any]) -> Callable[[], Any]:
        def run() -> None:
            path.unlink(missing_ok=True)
            save(obj, path)

        return run

    work = {"ptio": fresh(ptio.torch.save), "torch.save": fresh(torch.save)}
    flat = all(isinstance(value, torch.Tensor) for value in obj.values())
    if flat and tools.installed("safetensors"):
        import safetensors.torch

        work["safetensors.torch"] = fresh(safetensors.torch.save_file)
    return work


def _bare(arrays: list[Any], path: Path, threads: int) -> None:
    """The same bytes with their checksums, and nothing else."""
    write_chunk = floor.module().write_chunk
    path.unlink(missing_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    jobs, offset = [], 0
    for array in arrays:
        memory = memoryview(array).cast("B")
        for at in range(0, len(memory), _CHUNK):
            jobs.append((memory[at : at + _CHUNK], offset + at))
        offset += len(memory)
    os.posix_fallocate(file, 0, offset)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda job: write_chunk(file, *job), jobs))
    os.close(file)
