# SPDX-License-Identifier: Apache-2.0
"""M: peak memory of mapped and copying loads, each in a fresh process."""

from __future__ import annotations

import zipfile
from pathlib import Path

from benchmarks import files, timing, tools
from benchmarks.case import Case, Row

MIB = 1 << 20
CODE = """
import gc, io, json, sys
def kib(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field + ":"))
small, path, tool, source = sys.argv[1:]
if tool == "torch":
    import torch as package
    options = {"mmap": source == "mapped"} if source != "BytesIO" else {}
else:
    import ptio as package
    options = {"mmap": source == "mapped"} if source != "BytesIO" else {}
package.load(small)
data = io.BytesIO(open(path, "rb").read()) if source == "BytesIO" else path
gc.collect()
before = kib("VmHWM") if source != "BytesIO" else kib("VmRSS")
obj = package.load(data, **options)
peak = (kib("VmHWM") - before) * 1024
objects = sys.getsizeof(obj)
for key, value in obj.items():
    objects += sys.getsizeof(key)
    if tool == "ptio":
        objects += sys.getsizeof(value) - (value.nbytes if value.flags.owndata else 0)
        objects += 16 * value.ndim + sys.getsizeof(value.base)
print(json.dumps([peak, objects]))
"""


def run(folder: Path, quick: bool) -> Case:
    total = 256 * MIB if quick else 1024 * MIB
    case = Case("memory", f"peak memory of a load: {total >> 20} MiB in 16 tensors", unit="MiB")
    few = files.large_tensors(total, folder / f"large{total >> 20}.pt")
    many = files.small_tensors(10_000, folder / "small.pt")
    tiny = files.small_tensors(1, folder / "tiny.pt")
    payload = total
    for source in ("mapped", "copied", "BytesIO"):
        peak, objects = _measure(case, tiny, few, "ptio", source)
        allowed = 4 * MIB + 10 * metadata(few) + objects
        if source != "mapped":
            allowed += 1.03 * payload
        case.absolute(f"ptio, {source} <= {allowed / MIB:.1f} MiB", peak / MIB, allowed / MIB)
        if tools.installed("torch"):
            _measure(case, tiny, few, "torch", source)
    peak, objects = _measure(case, tiny, many, "ptio", "mapped", "10,000 tensors, ")
    allowed = 4 * MIB + 10 * metadata(many) + objects
    case.absolute(
        f"ptio, 10,000 tensors, mapped <= {allowed / MIB:.1f} MiB", peak / MIB, allowed / MIB
    )
    return case


def _measure(case: Case, tiny: Path, path: Path, tool: str, source: str, label: str = ""):
    runs = [timing.child(CODE, tiny, path, tool, source) for _ in range(3)]
    case.rows.append(Row(f"{tool}, {label}{source}", [peak / MIB for peak, _ in runs]))
    return sorted(runs)[1]


def metadata(path: Path) -> int:
    """Bytes of data.pkl and of the central directory."""
    with zipfile.ZipFile(path) as archive:
        pickles = [i.file_size for i in archive.infolist() if i.filename.endswith("/data.pkl")]
        return sum(pickles) + path.stat().st_size - archive.start_dir
