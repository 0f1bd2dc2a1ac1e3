# SPDX-License-Identifier: Apache-2.0
"""How results are shown: a table for people, JSON, and a picture where matplotlib is there."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from pathlib import Path

from benchmarks.case import Case

PACKAGES = ("ptio", "numpy", "ml_dtypes", "torch", "safetensors", "ztensor", "ptloader")


def machine() -> dict:
    """What the numbers depend on."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
    }


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo") as info:
            return next(
                line.split(":")[1].strip() for line in info if line.startswith("model name")
            )
    except (OSError, StopIteration):
        return platform.processor()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def print_machine(told: dict) -> None:
    versions = ", ".join(f"{name} {told[name]}" for name in PACKAGES if told[name])
    print(f"{told['cpu']}, {told['cores']} cores, {told['system']}")
    print(f"Python {told['python']}, {versions}\n")


def print_case(case: Case) -> None:
    print(f"{case.letter}  {case.title}")
    ours = case.row("ptio") or (case.rows[0] if case.rows else None)
    width = max((len(row.tool) for row in case.rows), default=0)
    scale, unit = _scale(case)
    print(f"   {'':{width}}  {'median':>10} {'min':>10} {'max':>10}  {unit:4} ratio")
    for row in case.rows:
        numbers = (row.median, min(row.values), max(row.values))
        text = " ".join(f"{value * scale:10.3f}" for value in numbers)
        ratio = f"{row.median / ours.median:8.2f}" if ours and ours.median else ""
        print(f"   {row.tool:{width}}  {text}  {'':4} {ratio}")
    for target in case.targets:
        print(f"   {'pass' if target.met else 'FAIL'}  {target.text}: {target.ratio:.4g}")
    for note in case.notes:
        print(f"   note: {note}")
    print(flush=True)


def _scale(case: Case) -> tuple[float, str]:
    return (1000.0, "ms") if case.unit == "s" else (1.0, case.unit)


def write_json(path: Path, told: dict, cases: list[Case]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": told, "cases": [case.to_dict() for case in cases]}
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(f"written: {path}")


def write_picture(path: Path, cases: list[Case]) -> None:
    """One row of bars for each case, on a logarithmic scale; needs matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no picture: matplotlib is not installed")
        return
    timed = [case for case in cases if case.unit == "s" and case.rows]
    figure = Figure(figsize=(9, 1 + 1.9 * len(timed)), layout="constrained")
    for axes, case in zip(figure.subplots(len(timed), squeeze=False)[:, 0], timed, strict=True):
        rows = sorted(case.rows, key=lambda row: -row.median)
        colors = ["#d95f02" if row.tool.startswith("ptio") else "#7f7f7f" for row in rows]
        axes.barh([row.tool for row in rows], [row.median * 1000 for row in rows], color=colors)
        axes.set_xscale("log")
        axes.set_xlabel("milliseconds, median", fontsize=8)
        axes.set_title(f"{case.letter}  {case.title}", fontsize=9, loc="left")
        axes.tick_params(labelsize=8)
    figure.savefig(path, dpi=120)
    print(f"written: {path}")
