# SPDX-License-Identifier: Apache-2.0
"""B and C: 10,000 float32 tensors of 32 elements, to torch, mapped and copied."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import files, floor, timing, tools
from benchmarks.case import Case
from benchmarks.small_tensors import COUNT


def run_mapped(folder: Path, quick: bool) -> Case:
    case = Case("B", "10,000 float32 tensors of 32 -> torch, mapped, file in tmpfs")
    path = files.small_tensors(COUNT, folder / "small.pt")
    other = folder / "small.safetensors"
    if tools.installed("safetensors"):
        files.as_safetensors(path, other)
    work = tools.present(
        {
            "ptio": (("torch",), lambda: tools.ptio_torch(path, mmap=True)),
            "safetensors.torch": (("safetensors", "torch"), lambda: tools.safetensors_torch(other)),
            "torch.load(weights_only)": (("torch",), lambda: tools.torch_load(path)),
            "torch.load(weights_only, mmap)": (
                ("torch",),
                lambda: tools.torch_load(path, mmap=True),
            ),
            "C pickle, mmap": (("torch",), lambda: tools.c_pickle(path, mmap=True)),
        }
    )
    bare = bare_tensors(COUNT)
    if bare is not None:
        work["floor"] = bare
        case.notes.append("floor: DLPack's C exchange and PyDict_SetItem alone, keys ready")
    case.rows = timing.in_turn(work, rounds=3 if quick else 7)
    case.faster("torch.load(weights_only)", 50)
    case.faster("C pickle, mmap", 22)
    case.faster("safetensors.torch", 10)
    return case


def run_copied(folder: Path, quick: bool) -> Case:
    case = Case("C", "10,000 float32 tensors of 32 -> torch, private copy, file in tmpfs")
    path = files.small_tensors(COUNT, folder / "small.pt")
    work = tools.present(
        {
            "ptio": (("torch",), lambda: tools.ptio_torch(path)),
            "torch.load(weights_only)": (("torch",), lambda: tools.torch_load(path)),
            "C pickle": (("torch",), lambda: tools.c_pickle(path)),
        }
    )
    case.rows = timing.in_turn(work, rounds=3 if quick else 7)
    case.faster("torch.load(weights_only)", 35)
    case.notes.append("ptio checks the CRC32 of what it copies; torch.load does not")
    return case


def bare_tensors(count: int) -> Callable[[], Any] | None:
    """None where this torch has no exchange table."""
    if not tools.installed("torch"):
        return None
    import torch

    table = getattr(torch.Tensor, "__dlpack_c_exchange_api__", None)
    if table is None:
        return None
    bare = floor.module().tensors
    keys = [f"layers.{i // 8}.block.{i % 8}.weight" for i in range(count)]
    memory = bytearray(count * 128 + 64)
    return lambda: bare(keys, memory, table)
