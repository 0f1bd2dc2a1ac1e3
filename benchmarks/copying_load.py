# SPDX-License-Identifier: Apache-2.0
"""F: 1 GiB in 16 tensors into private memory, CRC verified."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks import files, floor, timing, tools
from benchmarks.case import Case

GIB = 1 << 30


def run(folder: Path, quick: bool) -> Case:
    total = GIB >> 2 if quick else GIB
    case = Case("F", f"{total >> 20} MiB in 16 tensors, private copy, CRC verified, tmpfs")
    path = files.large_tensors(total, folder / f"large{total >> 20}.pt")
    threads = os.cpu_count() or 1
    bare = floor.module()
    work = tools.present(
        {
            "ptio": ((), lambda: tools.ptio(path, mmap=False)),
            "ptio, not verified": ((), lambda: tools.ptio(path, mmap=False, verify=False)),
            "torch.load (unverified)": (("torch",), lambda: tools.torch_load(path)),
            "ptloader (unverified)": (("ptloader",), lambda: tools.ptloader(path)),
        }
    )
    work["bare pread with CRC"] = lambda: bare.read_file(str(path), threads, bare.COPY, True)
    work["bare pread"] = lambda: bare.read_file(str(path), threads, bare.COPY, False)
    case.rows = timing.in_turn(work, rounds=3 if quick else 15)
    case.faster("torch.load (unverified)", 2.5)
    case.faster("bare pread with CRC", 0.9)
    case.notes.append(
        f"bare pread: {threads} threads into huge pages, libdeflate's CRC32 (floor.c)"
    )
    return case
