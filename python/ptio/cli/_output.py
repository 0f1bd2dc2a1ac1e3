# SPDX-License-Identifier: Apache-2.0
"""What the verbs write: tables, JSON and errors. Names that come out of a file are made safe."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

from ptio._errors import Error
from ptio._text import printable
from ptio.cli._exit import Exit

# What a file, or its absence, can raise.
UNREADABLE = (Error, OSError, ValueError)

_LINE_WIDTH = 1000
_NAME_WIDTH = 100
_RICH_ROWS = 500  # beyond that rich takes seconds
_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def never_fail_on_characters() -> None:
    """Writes characters that the terminal's encoding lacks as escapes."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def line(text: str) -> str:
    """`text` as one line that is safe for a terminal."""
    return printable(text, _LINE_WIDTH)


def error(message: str) -> None:
    print(f"ptio: {line(message)}", file=sys.stderr)


def failure(path: str, problem: Exception, *, json: bool = False) -> int:
    """Says why a file cannot be read; returns the exit status for it."""
    reason = getattr(problem, "strerror", None) or str(problem)
    error(reason if isinstance(problem, Error) else f"{path}: {reason}")
    if json:
        json_line({"path": path, "error": error_dict(problem)})
    return Exit.UNREADABLE


def error_dict(problem: Exception) -> dict[str, Any]:
    """An exception for JSON: every verb writes it in the place of what it could not find out."""
    message = str(problem.args[0]) if isinstance(problem, Error) else str(problem)
    return {
        "kind": type(problem).__name__,
        "message": message,
        "member": getattr(problem, "record", None),
        "offset": getattr(problem, "offset", None),
        "hint": getattr(problem, "hint", None),
    }


def json_line(value: dict[str, Any]) -> None:
    """One object per line: what several files give is JSON Lines."""
    import json

    print(json.dumps(value, allow_nan=False))


def json_number(value: float | None) -> float | str | None:
    """JSON has no infinities and no NaN: they become "inf", "-inf" and "nan"."""
    return value if value is None or math.isfinite(value) else str(value)


# --- colours


@cache
def is_colourful() -> bool:
    """Whether a person sees the output on a terminal that knows colours; see no-color.org."""
    dumb = os.environ.get("TERM") == "dumb" or bool(os.environ.get("NO_COLOR"))
    return sys.stdout.isatty() and not dumb


def styled(text: str, style: str) -> str:
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if is_colourful() else text


# --- tables


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]) -> None:
    """Writes rows in aligned columns; `right` says which columns end flush right."""
    rows = _safe(rows)
    if len(rows) > _RICH_ROWS or not sys.stdout.isatty() or not _rich_table(headers, rows, right):
        _plain_table(headers, rows, right)


def _safe(rows: Sequence[Sequence[str]]) -> Sequence[Sequence[str]]:
    # One look at all of it is much cheaper than one at each cell.
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if max(widths, default=0) <= _NAME_WIDTH and "".join(map("".join, rows)).isprintable():
        return rows
    return [[printable(cell, _NAME_WIDTH) for cell in row] for row in rows]


def _plain_table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]
) -> None:
    everything = [headers, *rows]
    widths = [max(map(len, column)) for column in zip(*everything, strict=True)]
    # "%-12s  %8s": formatting a row is then one operation of C
    cells = (f"%{'' if r else '-'}{width}s" for r, width in zip(right, widths, strict=True))
    form = "  ".join(cells)
    lines = [(form % tuple(row)).rstrip() for row in everything]
    sys.stdout.write("\n".join(lines) + "\n")


def _rich_table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]
) -> bool:
    """Whether rich is there to write the table."""
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return False
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for header, is_right in zip(headers, right, strict=True):
        grid.add_column(header, justify="right" if is_right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*map(Text, row))  # Text: markup in a name has no meaning
    Console().print(grid)
    return True
