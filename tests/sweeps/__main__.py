# SPDX-License-Identifier: Apache-2.0
"""Runs whole sweeps, each seed in a process of its own, and appends the totals to log.tsv.

    python -m sweeps [SEED ...]     from tests/; without names all that the commit has not had

A case after which the process dies, hangs, or has anything but an object or one of ptio's errors
ends the run with the number of the case; its file is written beside the log.
"""

import argparse
import datetime
import itertools
import mmap
import os
import pathlib
import signal
import struct
import subprocess
import sys
import time
import traceback

from . import changes, outcome
from .seeds import seeds

LOG = pathlib.Path(__file__).with_name("log.tsv")
COLUMNS = ("date", "commit", "seed", "bytes", "cases", "identical", "different", "refused")
COLUMNS += ("seconds",)
SECONDS = 1.0  # for one case
PATIENCE = 30  # seconds without progress


class Progress:
    """Numbers that the parent sees while the child works."""

    def __init__(self):
        self._shared = mmap.mmap(-1, 4 * 8)

    def set(self, index, value):
        struct.pack_into("<Q", self._shared, 8 * index, value)

    def all(self):
        """The case, and how many became what."""
        return struct.unpack_from("<4Q", self._shared)


def sweep(seed, progress, say):
    """Runs in the child. Returns whether all went well."""
    judge, counts = outcome.Judge(seed), [0, 0, 0]
    for number, data in enumerate(changes.everything(seed)):
        progress.set(0, number)
        begin = time.process_time()
        try:
            kind = judge.of(data)
        except BaseException:
            say(traceback.format_exc())
            return False
        if time.process_time() - begin > SECONDS:
            say(f"took {time.process_time() - begin:.1f} s")
            return False
        counts[kind] += 1
        progress.set(1 + kind, counts[kind])
    return True


def watch(child, progress):
    """Waits for the child; kills it when it makes no progress."""
    last, since = None, time.monotonic()
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        now = progress.all()
        if now != last:
            last, since = now, time.monotonic()
        elif time.monotonic() - since > PATIENCE:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.05)


def run(name, seed):
    """Totals of a seed; None if a case failed."""
    progress, begin = Progress(), time.monotonic()
    child = os.fork()
    if child == 0:
        fine = False
        try:
            fine = sweep(seed, progress, lambda text: print(text, file=sys.stderr, flush=True))
        finally:
            os._exit(0 if fine else 1)
    status = watch(child, progress)
    number, *counts = progress.all()
    if status == 0 and sum(counts) == number + 1:
        return [*counts, time.monotonic() - begin]
    data = next(itertools.islice(changes.everything(seed), number, None))
    kept = LOG.with_name(f"failed-{name.replace(' ', '-')}-{number}.bin")
    kept.write_bytes(seed.wrap(data))
    print(f"{name}: case {number} ended with status {status}; it is in {kept}", file=sys.stderr)
    return None


def commit():
    """The state of the sources; with a mark where they are not as committed."""
    root = LOG.parent.parent.parent
    git = ["git", "-C", str(root)]
    head = subprocess.run([*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True)
    changed = subprocess.run(
        [*git, "status", "--porcelain", "csrc", "python"], capture_output=True, text=True
    )
    if head.returncode or changed.returncode:
        return "unknown"
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def done(state):
    """Seeds that this commit has had."""
    if not LOG.exists() or state.endswith("+") or state == "unknown":
        return set()
    rows = (line.split("\t") for line in LOG.read_text().splitlines()[1:])
    return {row[2] for row in rows if row[1] == state}


def note(*row):
    new = not LOG.exists()
    with open(LOG, "a") as log:
        if new:
            log.write("\t".join(COLUMNS) + "\n")
        log.write("\t".join(map(str, row)) + "\n")


def main():
    parser = argparse.ArgumentParser(prog="sweeps", description=__doc__.splitlines()[0])
    parser.add_argument("seeds", nargs="*", help="names; all if none is given")
    parser.add_argument("--no-log", action="store_true", help="print the totals only")
    parser.add_argument("--part", default="1/1", help="of the seeds that are left, e.g. 2/3")
    options = parser.parse_args()
    known, state = seeds(), commit()
    names = options.seeds or [name for name in known if name not in done(state)]
    which, parts = map(int, options.part.split("/"))
    os.nice(10)
    failed = 0
    for name in names[which - 1 :: parts]:
        found = run(name, known[name])
        if found is None:
            failed += 1
            continue
        cases, seconds = sum(found[:3]), round(found[3])
        today = datetime.datetime.now(datetime.timezone.utc).date()
        row = (today, state, name, len(known[name].data), cases, *found[:3], seconds)
        print("\t".join(map(str, row)), flush=True)
        if not options.no_log:
            note(*row)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
