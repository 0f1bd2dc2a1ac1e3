# SPDX-License-Identifier: Apache-2.0
"""F and G for torch: 1 GiB in 16 tensors, copied with CRC, and mapped."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks import files, floor, timing, tools
from benchmarks.case import Case
from benchmarks.mapped_load import touching

GIB = 1 << 30


def run_copied(folder: Path, quick: bool) -> Case:
    total = GIB >> 2 if quick else GIB
    case = Case("Ft", f"{total >> 20} MiB in 16 tensors -> torch, private copy, CRC verified")
    path = files.large_tensors(total, folder / f"large{total >> 20}.pt")
    threads = os.cpu_count() or 1
    bare = floor.module()
    work = tools.present(
        {
            "ptio": (("torch",), lambda: tools.ptio_torch(path)),
            "ptio, not verified": (("torch",), lambda: tools.ptio_torch(path, verify=False)),
            "torch.load (unverified)": (("torch",), lambda: tools.torch_load(path)),
            "C pickle (unverified)": (("torch",), lambda: tools.c_pickle(path)),
        }
    )
    work["bare pread with CRC"] = lambda: bare.read_file(str(path), threads, bare.COPY, True)
    case.rows = timing.in_turn(work, rounds=3 if quick else 15)
    case.faster("torch.load (unverified)", 2.5)
    case.faster("bare pread with CRC", 0.9)
    case.notes.append(
        f"bare pread: {threads} threads into huge pages, libdeflate's CRC32 (floor.c)"
    )
    return case


def run_mapped(folder: Path, quick: bool) -> Case:
    total = GIB >> 2 if quick else GIB
    case = Case("Gt", f"{total >> 20} MiB in 16 tensors -> torch, mapped, warm page cache")
    path = files.large_tensors(total, folder / f"large{total >> 20}.pt")
    other = folder / f"large{total >> 20}.safetensors"
    if tools.installed("safetensors"):
        files.as_safetensors(path, other)
    work = tools.present(
        {
            "ptio": (("torch",), lambda: tools.ptio_torch(path, mmap=True)),
            "safetensors.torch": (("safetensors", "torch"), lambda: tools.safetensors_torch(other)),
            "torch.load(mmap)": (("torch",), lambda: tools.torch_load(path, mmap=True)),
            "C pickle, mmap": (("torch",), lambda: tools.c_pickle(path, mmap=True)),
        }
    )
    case.rows = timing.in_turn(work, rounds=10 if quick else 30)
    all_pages = {f"{name}, touched": touching(load) for name, load in work.items()}
    case.rows += timing.in_turn(all_pages, rounds=3 if quick else 7)
    ours = case.row("ptio")
    if ours is not None:
        case.absolute("ptio <= 0.0003 s", ours.median, 0.0003)
    case.faster("torch.load(mmap)", 6)
    case.faster("safetensors.torch", 1.5)
    case.at_most("safetensors.torch, touched", 1.1, ours="ptio, touched")
    case.at_most("torch.load(mmap), touched", 1.1, ours="ptio, touched")
    return case
