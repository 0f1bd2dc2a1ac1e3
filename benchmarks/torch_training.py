# SPDX-License-Identifier: Apache-2.0
"""D: a checkpoint of training with AdamW: 3,000 parameters, and their 9,000 tensors of state."""

from __future__ import annotations

from pathlib import Path

from benchmarks import files, timing, tools
from benchmarks.case import Case

PARAMETERS = 3_000


def run(folder: Path, quick: bool) -> Case:
    case = Case("D", "AdamW checkpoint, 3,000 parameters and 9,000 tensors of state -> torch")
    if not tools.installed("torch"):
        return case
    path = files.training(PARAMETERS, folder / "training.pt")
    work = {
        "ptio": tools.ptio_torch(path),
        "ptio, mmap": tools.ptio_torch(path, mmap=True),
        "ptio, weights_only=False, mmap": tools.ptio_torch(path, mmap=True, weights_only=False),
        "torch.load(weights_only)": tools.torch_load(path),
        "torch.load(weights_only, mmap)": tools.torch_load(path, mmap=True),
        "C pickle": tools.c_pickle(path),
        "C pickle, mmap": tools.c_pickle(path, mmap=True),
    }
    case.rows = timing.in_turn(work, rounds=3 if quick else 7)
    case.faster("torch.load(weights_only)", 40)
    case.faster("C pickle, mmap", 20, ours="ptio, mmap")
    return case
