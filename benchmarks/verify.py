# SPDX-License-Identifier: Apache-2.0
"""K: checking all checksums of 1 GiB."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from benchmarks import files, floor, timing
from benchmarks.case import Case

GIB = 1 << 30


def run(folder: Path, quick: bool) -> Case:
    import ptio

    total = GIB >> 2 if quick else GIB
    case = Case("K", f"verify {total >> 20} MiB in 16 tensors, warm page cache")
    path = files.large_tensors(total, folder / f"large{total >> 20}.pt")
    threads = os.cpu_count() or 1
    bare = floor.module()

    def by_zipfile():
        with zipfile.ZipFile(path) as archive:
            return archive.testzip()

    work = {
        "ptio": lambda: ptio.verify(path),
        "zipfile.testzip": by_zipfile,
        "reading the mapping": lambda: bare.read_file(str(path), threads, bare.SUM, False),
        "bare pread with CRC": lambda: bare.read_file(str(path), threads, bare.SCAN, True),
    }
    case.rows = timing.in_turn(work, rounds=3 if quick else 7)
    case.faster("zipfile.testzip", 5)
    case.faster("reading the mapping", 0.7)
    case.notes.append(f"reading the mapping: {threads} threads add up its words (floor.c)")
    case.notes.append("bare pread: into a buffer of 128 KiB for each thread, no page is mapped")
    return case
