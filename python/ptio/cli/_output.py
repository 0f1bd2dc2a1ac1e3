# SPDX-License-Identifier: Apache-2.0
"""What the verbs write: tables, JSON and errors. Names that come out of a file are made safe."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from ptio._text import printable

_LINE_WIDTH = 1000
_NAME_WIDTH = 100
_RICH_ROWS = 500  # beyond that rich takes seconds


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


def json_line(value: dict[str, Any]) -> None:
    """One object per line: what several files give is JSON Lines."""
    import json

    print(json.dumps(value))


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]) -> None:
    """Writes rows in aligned columns; `right` says which columns end flush right."""
    rows = [[printable(cell, _NAME_WIDTH) for cell in row] for row in rows]
    if len(rows) > _RICH_ROWS or not sys.stdout.isatty() or not _rich_table(headers, rows, right):
        _plain_table(headers, rows, right)


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
