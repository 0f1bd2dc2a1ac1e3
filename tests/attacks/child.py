# SPDX-License-Identifier: Apache-2.0
"""Runs in a process of its own: opens every file of a folder in every way, with an audit hook
that writes down whatever Python does meanwhile. One line of JSON per attempt, flushed, so that
the parent knows which file killed the process.

    python child.py FOLDER FIRST
"""

import contextlib
import io
import json
import os
import pathlib
import sys
import time

import numpy as np
import ptio
from ptio.cli import main

QUIET = {
    # reading memory and looking at objects is no act
    *("object.__getattr__", "sys._getframe", "builtins.id", "marshal.loads", "gc.get_objects"),
}
events = path_now = None


def read_all(path, options):
    with ptio.open(path, **options) as ckpt:
        for name in list(ckpt.keys())[:1000]:
            value = ckpt.get(name)
            if isinstance(value, np.ndarray) and value.ndim:
                ckpt.get_slice(name)[:1]
        ckpt.load()


def run_command(path, options):
    """Every verb that looks into a file, in this process; what it prints goes nowhere."""
    for verb in VERBS:
        with contextlib.redirect_stdout(Nowhere()), contextlib.redirect_stderr(Nowhere()):
            try:
                status = main([verb[0], path, *verb[1:]])
            except SystemExit as stop:
                status = stop.code
        if status not in (0, 1, 2, 3):
            raise RuntimeError(f"{verb} ended with status {status}")


class Nowhere(io.TextIOBase):
    def write(self, text):
        return len(text)


MODES = {
    "mapped": lambda path, options: ptio.load(path, mmap=True, **options),
    "copied": lambda path, options: ptio.load(path, mmap=False, **options),
    "inert": lambda path, options: ptio.load(path, unknown="inert", **options),
    "handle": lambda path, options: read_all(path, options),
    "verify": lambda path, options: ptio.verify(path),
    "scan": lambda path, options: ptio.scan(path),
    "inspect": lambda path, options: ptio.inspect(path),
    "command": run_command,
}
if os.environ.get("PTIO_SANITIZE"):
    del MODES["command"]  # Python above the handle, which takes long there
VERBS = [["ls"], ["tree", "--values"], ["inspect"], ["verify"], ["scan"]]


def _reads(event, arguments):
    """Reading the file itself is no act."""
    return event == "open" and arguments[0] == path_now and arguments[1] in ("r", "rb")


def watch(event, arguments):
    if events is not None and event not in QUIET and not _reads(event, arguments):
        events.append(f"{event}{arguments!r:.200}")


def peak():
    """Highest resident size since the last reset, and a reset."""
    with open("/proc/self/status") as status:
        found = next(line for line in status if line.startswith("VmHWM"))
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")
    return int(found.split()[1]) * 1024


def state(path):
    """Of the file itself and its folder: whoever writes to either changes this."""
    found, folder = os.stat(path), os.stat(os.path.dirname(path))
    return found.st_size, found.st_mtime_ns, found.st_ino, folder.st_mtime_ns


def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def attempt(mode, path, options):
    global events, path_now
    path_now = path
    unchanged = state(path)
    before = peak() and resident()
    told = {"error": "", "message": "", "ok": None}
    seen, begin = [], time.process_time()
    events = seen
    try:
        result = MODES[mode](path, options)
        told["ok"] = result.ok if mode in ("verify", "scan", "inspect") else True
        del result
    except ptio.Error as error:
        told |= {"error": type(error).__name__, "message": str(error)}
    except BaseException as error:
        told |= {"error": f"{type(error).__module__}.{type(error).__name__}", "message": str(error)}
    events = path_now = None
    told |= {"seconds": time.process_time() - begin, "events": seen, "rss": peak() - before}
    told["touched"] = state(path) != unchanged
    return told


def warm_up(folder):
    """Modules that ptio imports when they are first needed are none of the file's doing."""
    for path in sorted(folder.glob("warm-*.pt")):
        for mode in MODES:
            attempt(mode, str(path), {})
    "\0".encode("unicode_escape")  # which shows names that nobody can print


def run():
    folder, first = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    tasks = json.loads((folder / "tasks.json").read_text())
    sys.addaudithook(watch)
    warm_up(folder)
    for index in range(first, len(tasks)):
        file, mode, options = tasks[index]
        sys.stdout.write(json.dumps([index, attempt(mode, str(folder / file), options)]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    run()
