# SPDX-License-Identifier: Apache-2.0
"""What the progress argument becomes: the caller's function, or a bar on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from ptio import _text

Progress = Callable[[int, int], Any]

_WIDTH = 30
_SECONDS_BETWEEN_UPDATES = 0.1


@contextmanager
def reporting(progress: bool | Progress | None, label: str) -> Iterator[Progress | None]:
    """The function to call with (done_bytes, total_bytes), or None for no reports.

    progress=True is a bar on stderr, by rich where that is installed; where stderr is no
    terminal there is none.
    """
    if progress is None or progress is False:
        yield None
    elif progress is not True:
        if not callable(progress):
            raise TypeError(f"progress must be True or a callable, not {progress!r}")
        yield progress
    elif sys.stderr is None or not sys.stderr.isatty():
        yield None
    else:
        with _bar(label) as update:
            yield update


@contextmanager
def _bar(label: str) -> Iterator[Progress]:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress
    except ImportError:
        with _plain_bar(label) as update:
            yield update
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def _plain_bar(label: str) -> Iterator[Progress]:
    last = -_SECONDS_BETWEEN_UPDATES

    def update(done: int, total: int) -> None:
        nonlocal last
        now = monotonic()
        if done < total and now - last < _SECONDS_BETWEEN_UPDATES:
            return
        last = now
        filled = _WIDTH * done // total if total else _WIDTH
        bar = "#" * filled + "-" * (_WIDTH - filled)
        sys.stderr.write(f"\r{label} [{bar}] {_text.size(done)} of {_text.size(total)}\x1b[K")
        sys.stderr.flush()

    try:
        yield update
    finally:
        sys.stderr.write("\n")
