# SPDX-License-Identifier: Apache-2.0
"""ptio slim: a checkpoint without what is not needed."""

from __future__ import annotations

from functools import partial
from typing import Any

from ptio._rewrite.slim import slim
from ptio.cli import _output, _writing
from ptio.cli._exit import Exit

_EXAMPLES = """\
examples:
  ptio slim checkpoint.pt small.pt --weights-only
  ptio slim checkpoint.pt small.pt --drop 'optimizer*' --drop '*ema*'
  ptio slim checkpoint.pt small.pt --keep model --keep epoch --dtype bf16
  ptio slim checkpoint.pt --dry-run        would it become smaller?
Without options only bytes go that no tensor views.
"""


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "slim",
        description="Write a checkpoint without optimizers or other parts, with smaller dtypes, "
        "or only its weights. Names are those that ptio ls shows; in patterns * matches / as "
        "well.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("src", metavar="SRC")
    parser.add_argument("dst", metavar="DST", nargs="?")
    parser.add_argument(
        "--drop", action="append", default=[], metavar="GLOB", help="what has such a name goes"
    )
    parser.add_argument("--keep", action="append", metavar="GLOB", help="only what has stays")
    parser.add_argument(
        "--weights-only", action="store_true", help="only the state dict of the model stays"
    )
    parser.add_argument(
        "--dtype", type=_writing.dtype, help=f"of floating tensors: {_writing.DTYPES}"
    )
    parser.add_argument("--no-compact", action="store_true", help="keep whole storages")
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")
    _writing.add_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: Any) -> int:
    if not arguments.dry_run:
        if arguments.dst is None:
            arguments.parser.error("the following arguments are required: DST")
        _writing.require_format(arguments, arguments.dst)
    shorten = partial(
        slim,
        arguments.src,
        drop=arguments.drop,
        keep=arguments.keep,
        weights_only=arguments.weights_only,
        dtype=arguments.dtype,
        compact=not arguments.no_compact,
    )
    report = _writing.attempt(arguments, arguments.src, partial(shorten, None, dry_run=True))
    if isinstance(report, int):
        return report
    if not report.changes:
        return _nothing_to_do(arguments, report)
    if not arguments.dry_run:
        report = _writing.attempt(
            arguments,
            arguments.src,
            partial(
                shorten,
                arguments.dst,
                to=arguments.to,
                overwrite=arguments.force,
                progress=_writing.wants_bar(arguments),
            ),
        )
        if isinstance(report, int):
            return report
    _writing.show(arguments, report)
    return Exit.FINDING if report.overflows else Exit.FINE


def _nothing_to_do(arguments: Any, report: Any) -> int:
    if arguments.json:
        _output.json_line(report.to_dict())
    fits = f": no name is like {', '.join(report.unmatched)}" if report.unmatched else ""
    _output.error(f"{arguments.src}: there is nothing to leave out{fits}")
    return Exit.NOTHING_TO_DO
