# SPDX-License-Identifier: Apache-2.0
"""Memory that filling a model from its file takes beyond the model, each in a fresh process."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import files, timing, tools
from benchmarks.case import Case, Row
from benchmarks.memory import MIB, metadata

# A process beside it looks at RssAnon all the time; VmHWM, the kernel's own peak, also counts
# pages of the file that are mapped, which the system can take back.
CODE = """
import json, os, sys
def kib(field, process="self"):
    with open(f"/proc/{process}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field + ":"))
end, told = os.pipe(), os.pipe()
watched = os.getpid()
if os.fork() == 0:
    os.close(end[1])
    os.set_blocking(end[0], False)
    most = 0
    while True:
        most = max(most, kib("RssAnon", watched))
        try:
            go_on = os.read(end[0], 1)
        except BlockingIOError:
            continue
        if not go_on:
            break
        most = 0
    os.write(told[1], str(most).encode())
    os._exit(0)
os.close(end[0])
import torch
small, path, tool, sizes = sys.argv[1:]
class Model(torch.nn.Module):
    def __init__(self, sizes):
        super().__init__()
        for name, size in sizes.items():
            module, _, name = name.partition(".")
            self.add_module(module, torch.nn.Module())
            getattr(self, module).register_parameter(name, torch.nn.Parameter(torch.zeros(size)))
sizes = json.loads(sizes)
def fill(model, file):
    if tool == "ptio":
        import ptio.torch
        ptio.torch.load_model(model, file)
    elif tool == "torch, mmap":
        model.load_state_dict(torch.load(file, mmap=True))
    else:
        model.load_state_dict(torch.load(file))
fill(Model(dict.fromkeys(sizes, 8)), small)
model = Model(sizes)
for parameter in model.parameters():
    parameter.data.fill_(1)
with open("/proc/self/clear_refs", "w") as peak:
    peak.write("5")
before = kib("VmRSS"), kib("RssAnon")
os.write(end[1], b"-")
fill(model, path)
peak = kib("VmHWM")
os.close(end[1])
anonymous = int(os.read(told[0], 20))
print(json.dumps([(anonymous - before[1]) * 1024, (peak - before[0]) * 1024]))
"""


def run(folder: Path, quick: bool) -> Case:
    total = (64 if quick else 256) * MIB
    case = Case("load_model", f"filling a model of {total >> 20} MiB, beyond the model", unit="MiB")
    if not tools.installed("torch") or not Path("/proc/self/clear_refs").exists():
        case.notes.append("needs torch and Linux")
        return case
    path = files.large_tensors(total, folder / f"large{total >> 20}.pt")
    tiny = files.large_tensors(64 * 8, folder / "tiny16.pt")
    sizes = json.dumps({f"layer{i}.weight": total // 64 for i in range(16)})
    allowed = 16 * MIB + 10 * metadata(path)
    for tool in ("ptio", "torch", "torch, mmap"):
        runs = [timing.child(CODE, tiny, path, tool, sizes) for _ in range(3 if quick else 5)]
        case.rows.append(Row(f"{tool}, RssAnon", [anonymous / MIB for anonymous, _ in runs]))
        case.rows.append(Row(f"{tool}, VmHWM", [peak / MIB for _, peak in runs]))
    ours = case.row("ptio, RssAnon")
    assert ours is not None
    case.absolute(f"ptio, RssAnon <= {allowed / MIB:.1f} MiB", ours.median, allowed / MIB)
    case.notes.append("torch: load_state_dict(torch.load(f)); VmHWM counts mapped pages too")
    return case
