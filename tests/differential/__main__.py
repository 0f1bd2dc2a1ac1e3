# SPDX-License-Identifier: Apache-2.0
"""Runs many cases, from the seed at which the log stops, and adds a line of counts to the log.

    PYTHONPATH=tests python -m differential --cases 1000000 --processes 2
    PYTHONPATH=tests python -m differential --seed 1234      # one seed again, not logged
    PYTHONPATH=tests python -m differential --cases 50000 --tally

At a disagreement it prints the stream and exits with 1; seeds before it are logged.
"""

import argparse
import collections
import concurrent.futures
import datetime
import faulthandler
import importlib.util
import pathlib
import subprocess
import sys
import warnings

from . import cases, tally

LOG = pathlib.Path(__file__).with_name("log.tsv")
COUNTS = ("cases", "generated", "pickled", "mutated", "accepted", "refused")
COUNTS += ("pickle._Unpickler", "_pickle.Unpickler", "torch", "excused", "disagreements")
COLUMNS = ("date", "commit", "python", "first_seed", "next_seed", *COUNTS)
SEEDS = 100  # of one task of a process
HANG = 600  # seconds for one task, on however busy a machine

_reader = None


def start_process(tallied):
    global _reader
    warnings.simplefilter("ignore")  # NumPy's and torch's, of what old or odd files say
    torch = None
    if importlib.util.find_spec("torch") is not None:
        from .oracles import Torch

        torch = Torch()
    _reader = cases.Reader(torch, tallied)


def run_seeds(first, last):
    """(counts, what ptio refused beyond Python, the disagreement or None, where it stopped)."""
    _reader.reset()
    faulthandler.dump_traceback_later(HANG, exit=True)
    try:
        for seed in range(first, last):
            before = _reader.counts.copy()
            try:
                _reader.run(seed)
            except cases.Disagreement as e:
                return before, _reader.refused_beyond, str(e), seed
    finally:
        faulthandler.cancel_dump_traceback_later()
    return _reader.counts, _reader.refused_beyond, None, last


def next_seed():
    """The seed after those of the log."""
    lines = LOG.read_text().splitlines()[1:] if LOG.exists() else []
    at = COLUMNS.index("next_seed")
    return max((int(line.split("\t")[at]) for line in lines), default=0)


def run_many(first, last, processes, tallied):
    """The counts of seeds from `first` on; (counts, refused, disagreement, next seed)."""
    counts, refused = collections.Counter(), {}
    pool = concurrent.futures.ProcessPoolExecutor(
        processes, initializer=start_process, initargs=(tallied,)
    )
    starts = range(first, last, SEEDS)
    done = first
    with pool:
        ends = [min(start + SEEDS, last) for start in starts]
        try:
            for part, beyond, found, done in pool.map(run_seeds, starts, ends):
                counts += part
                tally.add(refused, beyond)
                if found is not None:
                    pool.shutdown(wait=False, cancel_futures=True)
                    return counts, refused, found, done
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
        except concurrent.futures.process.BrokenProcessPool:
            found = f"a process died or hung in one of the seeds from {done} on"
            return counts, refused, found, done
    return counts, refused, None, done


def git(*arguments):
    command = ["git", *arguments]
    return subprocess.run(
        command, cwd=LOG.parent, capture_output=True, text=True, check=True
    ).stdout.strip()


def append_to_log(first, after, counts):
    commit = git("rev-parse", "--short", "HEAD")
    if git("status", "--porcelain", "--", ":/csrc", ":/python"):
        commit += "+"
    now = datetime.datetime.now(datetime.timezone.utc)
    row = [
        f"{now:%Y-%m-%d}",
        commit,
        ".".join(map(str, sys.version_info[:2])),
        first,
        after,
    ]
    row += [counts[name] for name in COUNTS]
    with LOG.open("a") as log:
        if log.tell() == 0:
            log.write("\t".join(COLUMNS) + "\n")
        log.write("\t".join(map(str, row)) + "\n")


def main():
    parser = argparse.ArgumentParser(prog="differential", description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, help="run this seed alone")
    parser.add_argument("--tally", action="store_true", help="tell what only ptio refuses")
    arguments = parser.parse_args()
    first = next_seed() if arguments.seed is None else arguments.seed
    count = -(-arguments.cases // cases.CASES) if arguments.seed is None else 1
    counts, refused, found, after = run_many(
        first, first + count, arguments.processes, arguments.tally
    )
    if arguments.seed is None and after > first:
        append_to_log(first, after, counts)
    for name, n in sorted(counts.items()):
        print(f"{n:10} {name}")
    if arguments.tally:
        print(tally.table(refused))
    if found is not None:
        print(found)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
