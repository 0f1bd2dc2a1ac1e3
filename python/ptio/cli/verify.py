# SPDX-License-Identifier: Apache-2.0
"""ptio verify: structure and checksums of files."""

from __future__ import annotations

from typing import Any

import ptio
from ptio.cli import _output
from ptio.cli._exit import Exit

_FINDINGS = ("ChecksumError", "NON_FINITE")

_EXAMPLES = """\
examples:
  ptio verify *.pt
  ptio verify --quiet checkpoint.pt && echo fine
  ptio verify --values checkpoint.pt       which tensors hold NaN?
"""


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "verify",
        description="Check the structure of checkpoints and the CRC32 of every member.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--values", action="store_true", help="find NaN and infinite elements, too")
    parser.add_argument(
        "--second-opinion",
        action="store_true",
        help="compare with what libzip makes of the archive, too",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per file and line")
    parser.add_argument("-q", "--quiet", action="store_true", help="only say what is wrong")
    parser.set_defaults(run=run)


def run(arguments: Any) -> int:
    return max(_verify(path, arguments) for path in arguments.files)


def _verify(path: str, arguments: Any) -> int:
    json, quiet = arguments.json, arguments.quiet
    try:
        report = ptio.verify(
            path,
            values=arguments.values,
            second_opinion=arguments.second_opinion,
            progress=not (json or quiet),
        )
    except _output.UNREADABLE as e:
        return _output.failure(path, e, json=json)
    if json:
        _output.json_line(report.to_dict())
    elif not (quiet and report.ok):
        print(report)
    return _status(report)


def _status(report: ptio.VerifyReport) -> Exit:
    if report.ok:
        return Exit.FINE
    readable = all(problem.kind in _FINDINGS for problem in report.problems)
    return Exit.FINDING if readable else Exit.UNREADABLE
