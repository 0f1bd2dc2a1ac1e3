# SPDX-License-Identifier: Apache-2.0
"""scan: names in pickles that no load reads: of broken files, in bytes that belong to nothing."""

from __future__ import annotations

from collections.abc import Iterator

from ptio import _core
from ptio._scan.names import Budget, Named, verdicts
from ptio._scan.places import Found, in_archive, in_file, inside, may_be_archive
from ptio._text import printable

PICKLED = ("zip", "legacy", "tar", "pickle")
_SHOWN = 3


def elsewhere(source: _core.Source, kind: str, budget: Budget) -> Iterator[Found]:
    """What any reader might take for a pickle in a file that cannot be loaded."""
    if kind == "tar":
        yield from inside(source, budget)
        return
    if source.size == 0:
        return
    if kind != "zip" or source.read(0, min(4, source.size)) != b"PK\3\4":
        yield from in_file(source, kind, budget)
    if kind == "zip" or may_be_archive(source):
        yield from in_archive(source, budget)


def unknown(names: list[Named]) -> list[Named]:
    """Those that a load would refuse."""
    return [n for n, verdict in zip(names, verdicts(names), strict=True) if verdict == "unknown"]


def looks_like(source: _core.Source, core: _core.Checkpoint | None, budget: Budget) -> str:
    """What bytes are that nobody refers to, in words; `core`, if they are a checkpoint."""
    words = _core.sniff(source)[1]
    names = [] if core is None else _first_names(core)
    if not names:
        found = [n for *_, some in inside(source, budget) for n in unknown(some)]
        names = [n.whole for n in found]
    shown = _shown(list(dict.fromkeys(names)))
    if core is not None:
        return words + (f" that names {shown}" if shown else "")
    words = "" if words == "a file of no known kind" else words
    return f"{words + ', ' if words else ''}a pickle in it names {shown}" if shown else words


def _first_names(core: _core.Checkpoint) -> list[str]:
    """As many as are shown, and one more."""
    rows, *_ = core.globals((), _SHOWN + 1, _SHOWN + 1)
    return [f"{module}.{name}" for module, name, *_ in rows]


def _shown(names: list[str]) -> str:
    return ", ".join(map(printable, names[:_SHOWN])) + (" ..." if len(names) > _SHOWN else "")
