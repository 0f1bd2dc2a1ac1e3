# SPDX-License-Identifier: Apache-2.0
"""ptio.open. L: one row of one tensor out of 1 GiB. Lo: opening, whatever the size of the file.
Lg: many small tensors one by one. Li: 1 GiB into memory that is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import files, timing, tools
from benchmarks.case import Case

GIB = 1 << 30
COUNT = 10_000


def run_row(folder: Path, quick: bool) -> Case:
    total = GIB >> 2 if quick else GIB
    case = Case("L", f"one row of one tensor out of {total >> 20} MiB: open, read, close")
    path = files.large_tensors(total, folder / f"large{total >> 20}.pt")
    other = folder / f"large{total >> 20}.safetensors"
    if tools.installed("safetensors"):
        files.as_safetensors(path, other)
    name, rows = "layer7.weight", slice(4096, 8192)
    work = tools.present(
        {
            "ptio": ((), lambda: lambda: _slice(path, name, rows)),
            "ptio, read": ((), lambda: lambda: _slice(path, name, rows, mmap=False)),
            "ptio, torch": (
                ("torch",),
                lambda: lambda: _slice(path, name, rows, framework="torch"),
            ),
            "safetensors.numpy": (
                ("safetensors",),
                lambda: lambda: _safe_slice(other, name, rows, "np"),
            ),
            "safetensors.torch": (
                ("safetensors", "torch"),
                lambda: lambda: _safe_slice(other, name, rows, "pt"),
            ),
            "torch.load(mmap)": (("torch",), lambda: _torch_slice(path, name, rows)),
        }
    )
    case.rows = timing.in_turn(work, rounds=10 if quick else 30)
    ours = case.row("ptio")
    assert ours is not None
    case.absolute("ptio <= 0.0005 s", ours.median, 0.0005)
    case.faster("torch.load(mmap)", 3)
    case.notes.append("each opens the file, reads 16 KiB and copies them, and closes it")
    return case


def run_open(folder: Path, quick: bool) -> Case:
    sizes = {"4 MiB": 1 << 16, "256 MiB" if quick else "4 GiB": (1 << 22) if quick else (1 << 26)}
    case = Case("Lo", "opening a file of 64 tensors, and their names")
    work = {}
    for text, size in sizes.items():
        path = files.sparse_tensors(64, size, folder / f"sparse{size}.pt")
        work[f"ptio, {text}"] = lambda path=path: _names(path)
    case.rows = timing.in_turn(work, rounds=30)
    small, large = work
    case.at_most(small, 2, ours=large)
    return case


def run_each(folder: Path, quick: bool) -> Case:
    case = Case("Lg", "10,000 float32 tensors of 32, one by one from an open file")
    path = files.small_tensors(COUNT, folder / "small.pt")
    other = folder / "small.safetensors"
    if tools.installed("safetensors"):
        files.as_safetensors(path, other)
    work = tools.present(
        {
            "ptio": ((), lambda: lambda: _each(path)),
            "ptio, read": ((), lambda: lambda: _each(path, mmap=False)),
            "ptio, torch": (("torch",), lambda: lambda: _each(path, framework="torch")),
            "safetensors.numpy": (("safetensors",), lambda: lambda: _safe_each(other, "np")),
            "safetensors.torch": (
                ("safetensors", "torch"),
                lambda: lambda: _safe_each(other, "pt"),
            ),
        }
    )
    case.rows = timing.in_turn(work, rounds=3 if quick else 7)
    case.at_most("safetensors.numpy", 1.2)
    case.at_most("safetensors.torch", 1, ours="ptio, torch")
    return case


def run_into(folder: Path, quick: bool) -> Case:
    total = GIB >> 2 if quick else GIB
    case = Case("Li", f"{total >> 20} MiB in 16 tensors into memory that is there, CRC verified")
    path = files.large_tensors(total, folder / f"large{total >> 20}.pt")
    memory = {f"layer{i}.weight": np.ones(total // 64, np.float32) for i in range(16)}
    load = tools.ptio(path, mmap=False)

    def copy_into() -> None:
        import ptio

        with ptio.open(path) as ckpt:
            for name, out in memory.items():
                ckpt.read_into(name, out)

    work = {"ptio": copy_into, "ptio.load(mmap=False)": load}
    case.rows = timing.in_turn(work, rounds=3 if quick else 7)
    case.at_most("ptio.load(mmap=False)", 1.1)
    case.notes.append("a load takes new memory, in huge pages, which read_into does not")
    return case


def _slice(path: Path, name: str, rows: slice, **options: Any) -> Any:
    import ptio

    with ptio.open(path, **options) as ckpt:
        part = ckpt.get_slice(name)[rows]
        return part.clone() if hasattr(part, "clone") else part.copy()


def _safe_slice(path: Path, name: str, rows: slice, framework: str) -> Any:
    from safetensors import safe_open

    with safe_open(path, framework=framework) as file:
        return file.get_slice(name)[rows]


def _torch_slice(path: Path, name: str, rows: slice) -> Any:
    load = tools.torch_load(path, mmap=True)
    return lambda: load()[name][rows].clone()


def _names(path: Path) -> Any:
    import ptio

    with ptio.open(path) as ckpt:
        return list(ckpt)


def _each(path: Path, **options: Any) -> Any:
    import ptio

    with ptio.open(path, **options) as ckpt:
        return {name: ckpt.get_tensor(name) for name in ckpt.keys()}  # noqa: SIM118 - as below


def _safe_each(path: Path, framework: str) -> Any:
    from safetensors import safe_open

    with safe_open(path, framework=framework) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
