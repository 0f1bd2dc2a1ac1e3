# SPDX-License-Identifier: Apache-2.0
"""Loads every hostile file and every good one many times over in one process.

    LOOPS=10000 python tests/leaks/repeat.py [PART OF A NAME...]

After that there must be as many objects, references to what is shared, bytes of malloc and
resident pages as before. A file whose load takes longer than SLOW is loaded less often, so that it
takes as long as the others may; how often is printed.
"""

import gc
import io
import os
import pathlib
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import islice

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import attacks
import ml_dtypes
import numpy as np
import ptio
from ptio import _core
from support import small_files
from support.leaks import allocated, malloced, rss

SLOW = 0.02  # seconds
_FEWEST = 10
_PAGES = 2 << 20  # bytes that may become resident for good
_IMMORTAL = 1 << 30  # a reference count that never changes

# What loads refer to and give back.
_SHARED = [
    *(None, True, False, (), "", b"", dict, list, tuple, int, np.ndarray, np.dtype("f4")),
    *(np.dtype(ml_dtypes.bfloat16), np.dtype("u1"), _core.Storage, _core.Checkpoint, _core.Source),
    *(ptio.Opaque, ptio.RawTensor, ptio.FormatError, ptio.ForbiddenError, ptio.LimitError),
    *(ptio.PickleFormatError, ptio.BoundsError, ptio.AmbiguousError, ptio.UnsupportedError),
]


def _references():
    counts = map(sys.getrefcount, _SHARED)
    return [0 if count >= _IMMORTAL else count for count in counts]


@dataclass
class Used:
    blocks: int
    malloced: int
    resident: int
    references: list

    @classmethod
    def now(cls):
        return cls(allocated(), malloced(), rss(), _references())


def left_behind(work, loops):
    """What is more than before after so many times, in words; "" if nothing is."""
    for i in range(min(loops, 20)):
        work(i)
    first = Used.now()
    before = Used.now()
    own = before.blocks - first.blocks
    for i in range(loops):
        work(i)
    after = Used.now()
    most = max(loops // 10, 8)  # what leaks does so each time
    told = []
    if after.blocks - before.blocks - own > most:
        told.append(f"{after.blocks - before.blocks - own} blocks")
    if after.malloced - before.malloced > 16 * most:
        told.append(f"{after.malloced - before.malloced} bytes of malloc")
    if after.resident - before.resident > _PAGES:
        told.append(f"{after.resident - before.resident} resident bytes")
    for shared, old, new in zip(_SHARED, before.references, after.references, strict=True):
        if new - old > most:
            told.append(f"{new - old} references to {shared!r}")
    return ", ".join(told)


def loader(path, data, options):
    """Every other time copied, and with unknown classes as data."""

    def work(i):
        try:
            if i % 2:
                ptio.load(path, **options)
            else:
                ptio.load(io.BytesIO(data), **{**options, "unknown": "inert"})
        except ptio.Error:
            pass

    return work


def all_files():
    """(name, bytes, options of load)"""
    for name, data in small_files.all_files().items():
        yield name, data, {}
    for attack in attacks.load_all():
        for name, data in attack.files():
            yield name, data, attack.options


def times_for(work, loops):
    """loops, or fewer where one takes long; none where that would be too few to tell."""
    begin = time.process_time()
    work(0)
    seconds = time.process_time() - begin
    times = loops if seconds <= SLOW else int(loops * SLOW / seconds / 10)
    return times if times >= _FEWEST else 0


def run(folder, loops, parts=(), tell=None, step=1):
    """Of every step-th file: (files, loads, {name: what each left behind})"""
    files, loads, wrong = 0, 0, {}
    gc.collect()
    gc.freeze()  # what is there before is no concern of the collector's
    path = os.path.join(folder, "file.pt")
    for name, data, options in islice(all_files(), 0, None, step):
        if parts and not any(part in name for part in parts):
            continue
        with open(path, "wb") as file:
            file.write(data)
        work = loader(path, data, options)
        times = times_for(work, loops)
        left = left_behind(work, times) if times else ""
        if left:
            wrong[name] = f"after {times} loads: {left}"
        files, loads = files + 1, loads + times
        if tell is not None and (left or times != loops):
            tell(f"{name}: {times} loads {left}")
    gc.unfreeze()
    return files, loads, wrong


def main():
    loops = int(os.environ.get("LOOPS", "10000"))
    with tempfile.TemporaryDirectory() as folder:
        files, loads, wrong = run(folder, loops, sys.argv[1:], lambda line: print(line, flush=True))
    print(f"{files} files, {loads} loads, {len(wrong)} of the files left something behind")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
