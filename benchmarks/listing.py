# SPDX-License-Identifier: Apache-2.0
"""M: `ptio ls` on 10,000 tensors as a whole process, beside what people type today."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

from benchmarks import files, timing, tools
from benchmarks.case import Case

TORCH = "import sys, torch; torch.load(sys.argv[1])"


def run(folder: Path, quick: bool) -> Case:
    case = Case("M", "10,000 tensors listed, each in a fresh process")
    path = str(files.small_tensors(10_000, folder / "small.pt"))
    work = {
        "ptio ls": partial(_run, "-m", "ptio", "ls", path),
        "import numpy": partial(_run, "-c", "import numpy"),
    }
    if tools.installed("torch"):
        work["torch.load"] = partial(_run, "-c", TORCH, path)
    case.rows = timing.in_turn(work, rounds=3 if quick else 7)
    case.at_most("import numpy", 1.6, ours="ptio ls")
    case.faster("torch.load", 12, ours="ptio ls")
    return case


def _run(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
