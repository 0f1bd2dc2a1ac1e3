# SPDX-License-Identifier: Apache-2.0
"""E: 50,000 lists [int, float, str] in dicts, no tensors."""

from __future__ import annotations

from pathlib import Path

from benchmarks import files, timing, tools
from benchmarks.case import Case

COUNT = 50_000


def run(folder: Path, quick: bool) -> Case:
    case = Case("E", "50,000 lists [int, float, str] in dicts, no tensors")
    path = files.plain_objects(COUNT, folder / "plain.pt")
    c_pickle = {"weights_only": False}
    work = tools.present(
        {
            "ptio": ((), lambda: tools.ptio(path)),
            "ptloader": (("ptloader",), lambda: tools.ptloader(path)),
            "torch.load(weights_only)": (("torch",), lambda: tools.torch_load(path)),
            "C pickle": (("torch",), lambda: tools.torch_load(path, **c_pickle)),
        }
    )
    case.rows = timing.in_turn(work, rounds=3 if quick else 7)
    case.faster("torch.load(weights_only)", 8)
    case.faster("C pickle", 1)
    case.notes.append("C pickle: torch.load(weights_only=False), which imports what the file names")
    return case
