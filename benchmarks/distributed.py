# SPDX-License-Identifier: Apache-2.0
"""dcp: folders of torch.distributed.checkpoint, beside torch's own tools."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from benchmarks import timing, tools
from benchmarks.case import Case

MIB = 1 << 20
TENSORS = 64


def run(folder: Path, quick: bool) -> Case:
    total = (64 if quick else 512) * MIB
    case = Case("dcp", f"a folder of torch.distributed.checkpoint, {total // MIB} MiB")
    source, target = folder / "dcp", folder / "dcp.pt"
    if not tools.installed("torch"):
        case.notes.append("needs torch")
        return case
    _write(source, total)
    work: dict[str, Any] = {
        "ptio.load": lambda: _load(source),
        "ptio, one tensor": lambda: _one(source),
        "ptio.convert": lambda: _convert(source, target),
        "torch dcp.load": lambda: _torch_load(source, total),
        "dcp_to_torch_save": lambda: _torch_convert(source, target),
    }
    case.rows = timing.in_turn(work, rounds=3 if quick else 7)
    case.faster("torch dcp.load", 1, ours="ptio.load")
    case.faster("dcp_to_torch_save", 1, ours="ptio.convert")
    return case


def _names() -> list[str]:
    return [f"layer{i}.weight" for i in range(TENSORS)]


def _write(folder: Path, total: int) -> None:
    import torch
    from torch.distributed import checkpoint

    state = {name: torch.randn(total // TENSORS // 4) for name in _names()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is only one process
        checkpoint.save(state, checkpoint_id=folder, no_dist=True)


def _load(folder: Path) -> Any:
    import ptio

    return ptio.load(folder, mmap=False)


def _one(folder: Path) -> Any:
    import ptio

    with ptio.open(folder) as f:
        return f[_names()[7]]


def _convert(folder: Path, target: Path) -> None:
    import ptio

    target.unlink(missing_ok=True)
    ptio.convert(folder, target)


def _torch_load(folder: Path, total: int) -> Any:
    import torch
    from torch.distributed import checkpoint

    state = {name: torch.empty(total // TENSORS // 4) for name in _names()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checkpoint.load(state, checkpoint_id=folder, no_dist=True)
    return state


def _torch_convert(folder: Path, target: Path) -> None:
    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

    target.unlink(missing_ok=True)
    dcp_to_torch_save(folder, target)
