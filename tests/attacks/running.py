# SPDX-License-Identifier: Apache-2.0
"""Opens all hostile files in one child process, or in a new one where it died."""

import fcntl
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from support import checkpoints
from support import pickle_asm as asm

from . import containers, load_all


def run_once(tmp_path_factory, modes, script):
    """run_all, by the first of the processes that share a test run; the others wait for it."""
    name = Path(script).stem
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    told = shared / f"{name}.json"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            results = run_all(tmp_path_factory.mktemp(name), modes, script)
            told.write_text(json.dumps([[*key, value] for key, value in results.items()]))
    return {(file, mode): value for file, mode, value in json.loads(told.read_text())}


def run_all(folder, modes, script):
    """(file, mode) -> what the script, child.py or one like it, saw happen."""
    tasks = _prepare(folder, modes)
    before = sorted(os.listdir(folder))
    found, first = {}, 0
    while first < len(tasks):
        batch, done = _run_child(script, folder, first)
        found |= batch
        first = max([first - 1, *batch]) + 1
        if first < len(tasks):  # this one killed the process
            message = f"exit {done.returncode}: {done.stderr[-2000:]}"
            found[first] = {"error": "CRASH", "message": message, "ok": None}
            found[first] |= {"seconds": 0.0, "events": [], "rss": 0, "touched": False}
            first += 1
    assert sorted(os.listdir(folder)) == before, "a file was made or removed"
    files = {file: _describe(folder / file) for file, *_ in tasks}
    return {(file, mode): {**found[i], **files[file]} for i, (file, mode, _) in enumerate(tasks)}


def of(results, attack, *modes):
    """Those of one attack, as "file, mode" -> what happened."""
    pattern = re.compile(re.escape(f"{attack.number}-{attack.name}") + r"(-\d+)?\.pt")
    return {
        f"{file}, {mode}": told
        for (file, mode), told in results.items()
        if pattern.fullmatch(file) and (not modes or mode in modes)
    }


def _describe(path):
    with open(path, "rb") as file:
        return {"size": path.stat().st_size, "is_zip": file.read(4) == b"PK\3\4"}


def _prepare(folder, modes):
    """Writes all files; returns the tasks: (file, mode, options)."""
    tasks = []
    for attack in load_all():
        for name, data in attack.files():
            (folder / f"{name}.pt").write_bytes(data)
            tasks += [(f"{name}.pt", mode, attack.options) for mode in modes]
    many = {"a": [1.5, "x", None, {1}], "w": checkpoints.tensor("bfloat16", [1, 2])}
    (folder / "warm-good.pt").write_bytes(checkpoints.save(many))
    (folder / "warm-bad.pt").write_bytes(checkpoints.archive(asm.program(asm.global_("os", "x"))))
    makers = (containers.package, containers.torchscript, containers.exported)
    for make in (*makers, containers.safetensors):
        (folder / f"warm-{make.__name__}.pt").write_bytes(make())
    (folder / "tasks.json").write_text(json.dumps(tasks))
    return tasks


def _run_child(script, folder, first):
    command = [sys.executable, script, folder, str(first)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    results = dict(json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))
    return results, done
