# SPDX-License-Identifier: Apache-2.0
"""Kd: a directory of 1,000 small checkpoints, scanned and verified."""

from __future__ import annotations

from pathlib import Path

from benchmarks import timing
from benchmarks.case import Case

FILES = 1000
SECONDS = 2.0


def run(folder: Path, quick: bool) -> Case:
    import ptio

    case = Case("Kd", f"a directory of {FILES:,} checkpoints of 6 tensors")
    directory = _directory(folder / "checkpoints")
    work = {
        "ptio.scan": lambda: ptio.scan(directory),
        "ptio.verify": lambda: [ptio.verify(path) for path in directory.iterdir()],
    }
    case.rows = timing.in_turn(work, rounds=3 if quick else 7)
    for row in case.rows:
        case.absolute(f"{row.tool} <= {SECONDS:g} s", row.median, SECONDS)
    return case


def _directory(directory: Path) -> Path:
    import numpy as np
    import ptio

    directory.mkdir(exist_ok=True)
    for number in range(FILES):
        path = directory / f"{number}.pt"
        if not path.exists():
            layers = {f"layer{i}.weight": np.full((8, 8), i, np.float32) for i in range(6)}
            ptio.save(layers, path)
    return directory
