# SPDX-License-Identifier: Apache-2.0
"""scan: what files of unknown origin hold, as the code that loads files sees it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import replace
from time import perf_counter
from typing import Any

from ptio._api import _names
from ptio._errors import Error
from ptio._limits import Limits
from ptio._progress import Progress, reporting
from ptio._report import Problem
from ptio._scan.dcp import METADATA, DistributedFiles
from ptio._scan.file import scan_source
from ptio._scan.findings import Rules
from ptio._scan.report import FileScan, ScanReport
from ptio._source import display_path, is_path, open_source

# Who has such a name says that it is a checkpoint.
_CLAIMS = (".pt", ".pth", ".bin", ".ckpt", ".tar", ".pkl", ".pickle", ".pt2", ".distcp")
_DIRECTORY = 4 << 20  # bytes at the end of a zip file


def scan(
    *paths: Any,
    limits: Limits | None = None,
    allow: Iterable[str] = (),
    progress: bool | Progress | None = None,
) -> ScanReport:
    """Say of files what `ptio.load` would refuse, and what it would not even look at.

    The same parser and the same rules that load a file judge it here, so the two cannot
    disagree. Nothing is loaded, imported or called, and no bad file is an error: the report
    says it.

    Args:
        paths: files, directories with all files below them, or binary file objects. Symbolic
            links inside of directories are not followed.
        limits: what reading one file may spend.
        allow: names that are no findings: "module.name", or the group of a module, as for `load`.
        progress: True: a bar on the terminal. Or a callable(done_bytes, total_bytes).
    """
    rules = Rules(_names(allow), limits)
    start = perf_counter()
    with reporting(progress, "scanning") as report:
        run = _Run(rules)
        todo = [item for path in paths for item in _walk(path)]
        total = sum(nbytes for *_, nbytes in todo)
        files, done = [], 0
        for path, explicit, why, nbytes in todo:
            files.append(run.scan(path, explicit) if why is None else _skipped(path, why))
            done += nbytes
            if report is not None:
                report(done, total)
    return ScanReport(tuple(files), perf_counter() - start)


Item = tuple[Any, bool, str | None, int]  # path, named by the caller, why it is skipped, bytes


def _walk(path: Any) -> Iterator[Item]:
    if not is_path(path) or not os.path.isdir(path):
        yield path, True, None, 0
        return
    pending = [os.fsdecode(path)]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError:
            yield folder, True, None, 0  # opening it will say why
            continue
        below = []
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                below.append(entry.path)
                continue
            yield _item(entry)
        pending += reversed(below)


def _item(entry: os.DirEntry[str]) -> Item:
    if entry.is_symlink():
        return entry.path, False, "a symbolic link", 0
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return entry.path, True, None, 0
    if not stat.S_ISREG(status.st_mode):
        return entry.path, False, "no regular file", 0
    return entry.path, False, None, status.st_size


def _skipped(path: str, why: str) -> FileScan:
    return FileScan(path, "other", why, skipped=why)


class _Run:
    """Scans one file after another; remembers directories of torch.distributed.checkpoint."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._distributed: dict[str, DistributedFiles | None] = {}

    def scan(self, f: Any, explicit: bool) -> FileScan:
        """One file, whatever happens to it."""
        path = display_path(f)
        try:
            found = self._scan(f, path)
        except (Error, OSError, ValueError) as e:
            text = str(e.args[0]) if isinstance(e, Error) else getattr(e, "strerror", None) or e
            problem = Problem(type(e).__name__, str(text))
            return FileScan(path, "other", "a file that cannot be opened", problems=(problem,))
        if explicit or found.ok or found.forbidden or path is None:
            return found
        if path.lower().endswith(_CLAIMS):
            return found
        if found.format == "other":
            return replace(found, skipped=f"{found.description}, no checkpoint", problems=())
        if found.format == "zip" and _has_no_pickle(path):
            words = "a zip archive without pickles, whose members nobody looked into"
            return replace(found, skipped=words, problems=(), notes=())
        return found

    def _scan(self, f: Any, path: str | None) -> FileScan:
        source = open_source(f, False)
        try:
            if not is_path(f) or path is None:
                return scan_source(source, self._rules, path, None)
            folder, name = os.path.split(path)
            distributed = self._of(folder)
            if distributed is not None and name == METADATA:
                return distributed.scan_metadata(source, path)
            if distributed is not None and name in distributed.files:
                return distributed.scan_file(source, path, name)
            index = path if name.endswith(".index.json") else None
            return scan_source(source, self._rules, path, index)
        finally:
            source.close()

    def _of(self, folder: str) -> DistributedFiles | None:
        if folder not in self._distributed:
            there = os.path.isfile(os.path.join(folder, METADATA))
            self._distributed[folder] = DistributedFiles(folder, self._rules) if there else None
        return self._distributed[folder]


def _has_no_pickle(path: str) -> bool:
    """Of a zip file of anybody, as far as the names in its directory tell."""
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - _DIRECTORY))
        return b".pkl" not in file.read(_DIRECTORY).lower()
