# SPDX-License-Identifier: Apache-2.0
"""N: 1,000,000 tensors to NumPy against 100 times the 10,000 of A, in time and in memory."""

from __future__ import annotations

from pathlib import Path

from benchmarks import files, timing, tools
from benchmarks.case import Case, Row

MEMORY = """
import json, sys
import ptio
def rss():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024
before = rss()
obj = ptio.load(sys.argv[1])
print(json.dumps([len(obj), rss() - before]))
"""


def run(folder: Path, quick: bool) -> Case:
    factor = 10 if quick else 100
    case = Case("N", f"growth: {10_000 * factor:,} tensors of 32 -> NumPy, mapped")
    small = files.small_tensors(10_000, folder / "small.pt")
    large = files.small_tensors(10_000 * factor, folder / "many.pt")
    rounds = 3 if quick else 5
    work = {"10,000 tensors": tools.ptio(small), f"{10_000 * factor:,} tensors": tools.ptio(large)}
    one, many = case.rows = timing.in_turn(work, rounds)
    case.rows.append(Row(f"{factor} x 10,000 tensors", [value * factor for value in one.values]))
    case.absolute(f"time / ({factor} x A) <= 1.3", many.median / (one.median * factor), 1.3)
    per_tensor = [timing.child(MEMORY, path) for path in (small, large)]
    bytes_each = [peak / count for count, peak in per_tensor]
    case.absolute("memory per tensor / that of A <= 1.1", bytes_each[1] / bytes_each[0], 1.1)
    case.notes.append(
        f"peak memory per tensor: {bytes_each[0]:.0f}, then {bytes_each[1]:.0f} bytes"
    )
    large.unlink()
    return case
