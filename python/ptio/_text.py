# SPDX-License-Identifier: Apache-2.0
"""Text for people: names out of a file made safe for a terminal, and sizes in words."""

from __future__ import annotations

WIDTH = 80


def printable(text: str, width: int = WIDTH) -> str:
    """`text` on one line of at most `width` characters, safe for any terminal.

    Control characters, line ends, marks that turn the direction of writing, and lone surrogates
    become escapes; what is too long is cut and ends in "...".
    """
    if len(text) <= width and text.isprintable():
        return text
    head = text[: width + 1]
    if not head.isprintable():
        head = "".join(c if c.isprintable() else _escaped(c) for c in head)
    if len(text) <= width and len(head) <= width:
        return head
    return head[: width - 3] + "..."


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")


def size(nbytes: int) -> str:
    """A number of bytes in the largest unit that leaves at least 1: "512 B", "1.5 MiB"."""
    if nbytes < 1024:
        return f"{nbytes} B"
    value = float(nbytes)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        value /= 1024
        if value < 1024 or unit == "TiB":
            break
    return f"{value:.1f} {unit}"


def count(n: int, noun: str) -> str:
    """ "1 tensor", "12,345 tensors"."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
