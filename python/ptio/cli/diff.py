# SPDX-License-Identifier: Apache-2.0
"""ptio diff: what differs between two checkpoints."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import ptio
from ptio._progress import reporting
from ptio._text import count
from ptio.cli import _output
from ptio.cli._exit import Exit

if TYPE_CHECKING:
    from ptio._inspect.diff import Change, Difference

_SHOWN = 50
_STYLES = {"added": ("+", "green"), "removed": ("-", "red")}

_EXAMPLES = """\
examples:
  ptio diff epoch1.pt epoch2.pt
  ptio diff model.pt model.safetensors --strip-prefix module.
  ptio diff a.pt b.pt --rtol 1e-3 --atol 1e-6
  ptio diff a.pt b.pt --structure          names, dtypes and shapes only
"""


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "diff",
        description="Say what differs between two checkpoints, which may be of different "
        "formats: tensors and values that were added, removed or changed; the tensors that "
        "differ most come first. The exit status is 1 if anything differs.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("a", metavar="A")
    parser.add_argument("b", metavar="B")
    parser.add_argument(
        "--rtol", type=_tolerance, default=0.0, help="elements are equal within this part of B's"
    )
    parser.add_argument("--atol", type=_tolerance, default=0.0, help="... plus this difference")
    parser.add_argument(
        "--nan-differs", action="store_true", help="NaN is not equal to NaN (it is by default)"
    )
    parser.add_argument(
        "--structure", action="store_true", help="compare names, dtypes and shapes only"
    )
    parser.add_argument(
        "--strip-prefix",
        action="append",
        default=[],
        metavar="PREFIX",
        help="take it off the names of both, e.g. module. (may be given several times)",
    )
    parser.add_argument("--all", action="store_true", help=f"show more than {_SHOWN} differences")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=run)


def _tolerance(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError
    return value


def run(arguments: Any) -> int:
    with ExitStack() as stack:
        opened = []
        for path in (arguments.a, arguments.b):
            try:
                opened.append(stack.enter_context(ptio.open(path, unknown="inert")))
            except _output.UNREADABLE as e:
                return _output.failure(path, e, json=arguments.json)
        try:
            found = _compare(opened, arguments)
        except _output.UNREADABLE as e:
            path = f"{arguments.a} and {arguments.b}"
            return _output.failure(path, e, json=arguments.json)
    if arguments.json:
        _output.json_line(_as_dict(found, arguments))
    else:
        _print(found, arguments)
    return Exit.FINDING if found.changes else Exit.FINE


def _compare(opened: list[ptio.Checkpoint], arguments: Any) -> Difference:
    from ptio._inspect.diff import Tolerance, diff

    with reporting(not arguments.json, "comparing") as report:
        return diff(
            *opened,
            tolerance=Tolerance(arguments.rtol, arguments.atol, not arguments.nan_differs),
            structure=arguments.structure,
            prefixes=arguments.strip_prefix,
            progress=report,
        )


def _print(found: Difference, arguments: Any) -> None:
    shown = found.changes if arguments.all else found.changes[:_SHOWN]
    for change in shown:
        sign, style = _STYLES.get(change.kind, ("~", "yellow"))
        print(_output.styled(f"{sign} {_output.line(str(change))}", style))
    left = len(found.changes) - len(shown)
    if left:
        print(f"... and {count(left, 'more difference')} (--all shows them)")
    print(_totals(found, arguments.structure))


def _totals(found: Difference, structure: bool) -> str:
    verdict = count(len(found.changes), "difference") if found.changes else "no difference"
    if structure:
        return f"{verdict} in structure"
    return f"{verdict}; {found.equal:,} of {count(found.compared, 'compared tensor')} equal"


def _as_dict(found: Difference, arguments: Any) -> dict[str, Any]:
    return {
        "a": arguments.a,
        "b": arguments.b,
        "equal": not found.changes,
        "compared_tensors": found.compared,
        "equal_tensors": found.equal,
        "changes": [_change(change) for change in found.changes],
    }


def _change(change: Change) -> dict[str, Any]:
    told = asdict(change)
    for name in ("largest", "relative"):
        told[name] = _output.json_number(told[name])
    return told
