# SPDX-License-Identifier: Apache-2.0
"""O: `import ptio` against `import numpy`, each in fresh processes."""

from __future__ import annotations

from pathlib import Path

from benchmarks import timing, tools
from benchmarks.case import Case, Row

CODE = """
import json, sys
from time import perf_counter
begin = perf_counter()
__import__(sys.argv[1])
print(json.dumps(perf_counter() - begin))
"""


def run(folder: Path, quick: bool) -> Case:
    case = Case("O", "import, each in a fresh process")
    names = ["ptio", "numpy"] + ([] if quick or not tools.installed("torch") else ["torch"])
    case.rows = [Row(name) for name in names]
    for number in range(6 if quick else 16):
        for row in case.rows:
            seconds = timing.child(CODE, row.tool) if row.tool != "torch" or number < 4 else None
            if number and seconds is not None:
                row.values.append(seconds)
    case.at_most("numpy", 1.2)
    return case
