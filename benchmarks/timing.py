# SPDX-License-Identifier: Apache-2.0
"""How a benchmark measures: tools in turn, so that a drift of the machine hits all alike; each
result is dropped and collected outside the measured time."""

from __future__ import annotations

import gc
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.case import Row

ROOT = Path(__file__).resolve().parent.parent


def once(work: Callable[[], Any]) -> float:
    gc.collect()
    begin = perf_counter()
    result = work()
    seconds = perf_counter() - begin
    del result
    return seconds


def in_turn(tools: dict[str, Callable[[], Any]], rounds: int) -> list[Row]:
    """One warm-up and `rounds` measured runs of each tool, in another order each round: what a
    tool leaves behind (caches, free pages that are huge or in pieces) hits no other always."""
    rows = {name: Row(name) for name in tools}
    order, shuffle = list(tools), random.Random(0).shuffle
    for number in range(rounds + 1):
        for name in order:
            seconds = once(tools[name])
            if number:
                rows[name].values.append(seconds)
        shuffle(order)
    return list(rows.values())


def child(code: str, *arguments: Any) -> Any:
    """Runs code in a fresh process; it prints JSON, which is returned."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    settings = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *_path()])}
    done = subprocess.run(command, capture_output=True, text=True, env=settings, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(f"exit {done.returncode}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _path() -> list[str]:
    return [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
