# SPDX-License-Identifier: Apache-2.0
"""Converting to safetensors and merging: time and peak memory, beside torch and safetensors used
by hand. Peaks are of a process of its own, beyond what it has before the work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import timing, tools
from benchmarks.case import Case

MIB = 1 << 20
TENSORS = 16  # in each file

CODE = """
import gc, json, sys
def kib(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field + ":"))
sys.path.insert(0, ".")
from benchmarks import converting
tool, verb, folder, *sources = sys.argv[1:]
work = converting.WORK[verb][tool]
tiny, target = [folder + "/tiny.pt"] * len(sources), folder + "/out." + verb
work(tiny, target)
gc.collect()
before = kib("VmHWM")
work(sources, target)
print(json.dumps((kib("VmHWM") - before) * 1024))
"""


def _ptio_convert(sources: list[str], target: str) -> None:
    import ptio

    ptio.convert(sources[0], target, to="safetensors", overwrite=True)


def _torch_convert(sources: list[str], target: str, **options: Any) -> None:
    import safetensors.torch
    import torch

    safetensors.torch.save_file(torch.load(sources[0], **options), target, {"format": "pt"})


def _torch_convert_mapped(sources: list[str], target: str) -> None:
    _torch_convert(sources, target, mmap=True)


def _ptio_merge(sources: list[str], target: str) -> None:
    import ptio

    ptio.merge(sources, target, to="pt", overwrite=True)


def _torch_merge(sources: list[str], target: str, **options: Any) -> None:
    """As the scripts for model soups do it: one file after the other into a sum."""
    import torch

    total = torch.load(sources[0], **options)
    for source in sources[1:]:
        for name, tensor in torch.load(source, **options).items():
            total[name] = total[name] + tensor
    torch.save({name: tensor / len(sources) for name, tensor in total.items()}, target)


def _torch_merge_mapped(sources: list[str], target: str) -> None:
    _torch_merge(sources, target, mmap=True)


_MAPPED = "torch, mmap=True"
WORK: dict[str, dict[str, Callable[[list[str], str], None]]] = {
    "convert": {
        "ptio": _ptio_convert,
        "torch": _torch_convert,
        _MAPPED: _torch_convert_mapped,
    },
    "merge": {"ptio": _ptio_merge, "torch": _torch_merge, _MAPPED: _torch_merge_mapped},
}


def run_convert(folder: Path, quick: bool) -> Case:
    return _run(folder, "convert", 256 if quick else 1024, 1)


def run_merge(folder: Path, quick: bool) -> Case:
    return _run(folder, "merge", 128 if quick else 512, 3)


def _run(folder: Path, verb: str, mib: int, count: int) -> Case:
    name = "to safetensors" if verb == "convert" else "the average"
    case = Case(verb, f"{name}: {count} x {mib} MiB in {TENSORS} tensors")
    sources = [str(_source(folder, mib, i)) for i in range(count)]
    _source(folder, 0, 0)
    target = folder / f"out.{verb}"
    known = {
        tool: work
        for tool, work in WORK[verb].items()
        if tool == "ptio" or tools.installed("torch", "safetensors")
    }

    def timed(work: Callable[[list[str], str], None]) -> Callable[[], None]:
        def once() -> None:
            target.unlink(missing_ok=True)
            work(sources, str(target))

        return once

    case.rows += timing.in_turn({tool: timed(work) for tool, work in known.items()}, 5)
    target.unlink()
    largest = mib * MIB / TENSORS
    for tool in known:
        peak = timing.child(CODE, tool, verb, folder, *sources) / MIB
        allowed = count * largest / MIB + 32
        if tool == "ptio":
            case.absolute(f"peak memory in MiB <= {allowed:.0f}", peak, allowed)
        case.notes.append(f"{tool}: {peak:,.0f} MiB of memory at most")
        target.unlink()
    case.notes.append("new file each time; ptio checks the CRC of what it reads, torch does not")
    return case


def _source(folder: Path, mib: int, number: int) -> Path:
    import numpy as np
    import ptio

    path = folder / (f"{mib}.{number}.pt" if mib else "tiny.pt")
    shape = (mib * MIB // TENSORS // 4,)
    values = np.random.default_rng(number)
    if not path.exists():
        with ptio.Writer(path) as writer:
            for i in range(TENSORS):
                writer[f"layers.{i}.weight"] = values.random(shape, np.float32)
    return path
