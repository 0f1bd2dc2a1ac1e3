# SPDX-License-Identifier: Apache-2.0
"""Ng: how a save from torch grows, from 10 to 1,000,000 tensors and from 1 MiB to 4 GiB, and what
durable=True costs on a disk."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks import timing, tools
from benchmarks.case import Case, Row

COUNTS = (10, 1_000, 10_000, 100_000, 1_000_000)
MIB = (1, 16, 256, 1024, 4096)


def run(folder: Path, quick: bool) -> Case:
    case = Case("Ng", "growth of a save from torch; 256 MiB on disk with and without fsync")
    if not tools.installed("torch"):
        return case
    for count in COUNTS[: 3 if quick else None]:
        _measure(case, f"{count:,} tensors of 32", _small(count), folder / "x.pt", 3)
    for size in MIB[: 3 if quick else None]:
        _measure(case, f"{size:,} MiB in 16 tensors", _large(size), folder / "x.pt", 3)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as disk:  # tmpfs has nothing to sync
        for durable in (False, True):
            name = f"256 MiB on disk, durable={durable}"
            _measure(case, name, _large(256), Path(disk) / "x.pt", 3, durable=durable)
    case.notes.append("a new file each time; the disk is the one of the current folder")
    return case


def _small(count: int) -> Any:
    import torch

    return {f"layers.{i}.weight": torch.zeros(32) for i in range(count)}


def _large(mib: int) -> Any:
    import torch

    return {f"l{i}": torch.zeros((mib << 20) // 64) for i in range(16)}


def _measure(case: Case, name: str, obj: Any, path: Path, rounds: int, **options: Any) -> None:
    import ptio.torch

    def save() -> None:
        path.unlink(missing_ok=True)
        ptio.torch.save(obj, path, **options)

    save()
    case.rows.append(Row(name, [timing.once(save) for _ in range(rounds)]))
    path.unlink()
