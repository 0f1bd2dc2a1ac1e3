# SPDX-License-Identifier: Apache-2.0
"""A: 10,000 float32 tensors of 32 elements, to NumPy."""

from __future__ import annotations

from pathlib import Path

from benchmarks import files, floor, timing, tools
from benchmarks.case import Case

COUNT = 10_000


def run(folder: Path, quick: bool) -> Case:
    case = Case("A", "10,000 float32 tensors of 32 -> NumPy, mapped, file in tmpfs")
    path = files.small_tensors(COUNT, folder / "small.pt")
    other = folder / "small.safetensors"
    if tools.installed("safetensors"):
        files.as_safetensors(path, other)
    work = tools.present(
        {
            "ptio": ((), lambda: tools.ptio(path)),
            "ptio, copied": ((), lambda: tools.ptio(path, mmap=False)),
            "ztensor": (("ztensor",), lambda: tools.ztensor_numpy(path)),
            "safetensors.numpy": (("safetensors",), lambda: tools.safetensors_numpy(other)),
            "ptloader": (("ptloader",), lambda: tools.ptloader(path)),
            "torch.load(weights_only)": (("torch",), lambda: tools.torch_load(path)),
            "torch.load(mmap)": (("torch",), lambda: tools.torch_load(path, mmap=True)),
        }
    )
    work["floor"] = bare_arrays(COUNT)
    case.rows = timing.in_turn(work, rounds=3 if quick else 7)
    case.faster("torch.load(weights_only)", 100)
    case.faster("ztensor", 15)
    case.faster("safetensors.numpy", 5)
    case.at_most("floor", 2)
    case.notes.append("floor: PyArray_NewFromDescr and PyDict_SetItem alone, keys ready (floor.c)")
    case.notes.append("torch and safetensors.numpy read the tensors; ptio and ztensor map them")
    return case


def bare_arrays(count: int):
    bare = floor.module().arrays
    keys = [f"layers.{i // 8}.block.{i % 8}.weight" for i in range(count)]
    memory = bytearray(count * 128)
    return lambda: bare(keys, memory)
