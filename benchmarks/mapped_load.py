# SPDX-License-Identifier: Apache-2.0
"""G: 1 GiB in 16 tensors, mapped: ready to use, and with every page touched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import files, timing, tools
from benchmarks.case import Case

GIB = 1 << 30
PAGE = 4096


def run(folder: Path, quick: bool) -> Case:
    total = GIB >> 2 if quick else GIB
    case = Case("G", f"{total >> 20} MiB in 16 tensors, mapped, warm page cache")
    path = files.large_tensors(total, folder / f"large{total >> 20}.pt")
    other = folder / f"large{total >> 20}.safetensors"
    if tools.installed("safetensors"):
        files.as_safetensors(path, other)
    work = tools.present(
        {
            "ptio": ((), lambda: tools.ptio(path)),
            "ztensor": (("ztensor",), lambda: tools.ztensor_numpy(path)),
            "safetensors.torch": (("safetensors", "torch"), lambda: tools.safetensors_torch(other)),
            "torch.load(mmap)": (("torch",), lambda: tools.torch_load(path, mmap=True)),
        }
    )
    case.rows = timing.in_turn(work, rounds=10 if quick else 30)
    all_pages = {f"{name}, touched": touching(load) for name, load in work.items()}
    case.rows += timing.in_turn(all_pages, rounds=3 if quick else 7)
    ours = case.row("ptio")
    assert ours is not None
    case.absolute("ptio <= 0.0003 s", ours.median, 0.0003)
    case.faster("torch.load(mmap)", 6)
    case.faster("safetensors.torch", 1.5)
    case.at_most("safetensors.torch, touched", 1.1, ours="ptio, touched")
    case.at_most("torch.load(mmap), touched", 1.1, ours="ptio, touched")
    return case


def touching(load: Callable[[], Any]) -> Callable[[], Any]:
    """Loads, and reads one byte of each page."""

    def touch() -> Any:
        loaded = load()
        for value in loaded.values():
            array = value if isinstance(value, np.ndarray) else value.detach().numpy()
            array.view(np.uint8)[::PAGE].sum()
        return loaded

    return touch
