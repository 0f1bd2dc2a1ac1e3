# SPDX-License-Identifier: Apache-2.0
"""ptio verify: structure and checksums of files."""

from __future__ import annotations

from typing import Any

import ptio
from ptio.cli import _output
from ptio.cli._exit import Exit


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "verify",
        description="Check the structure of checkpoints and the CRC32 of every member.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--json", action="store_true", help="one JSON object per file and line")
    parser.add_argument("-q", "--quiet", action="store_true", help="only say what is wrong")
    parser.set_defaults(run=run)


def run(arguments: Any) -> int:
    return max(_verify(path, arguments.json, arguments.quiet) for path in arguments.files)


def _verify(path: str, json: bool, quiet: bool) -> int:
    try:
        report = ptio.verify(path, progress=not (json or quiet))
    except (OSError, ValueError) as e:
        _output.error(f"{path}: {_reason(e)}")
        return Exit.UNREADABLE
    if json:
        _output.json_line(report.to_dict())
    elif not (quiet and report.ok):
        print(report)
    return _status(report)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _status(report: ptio.VerifyReport) -> Exit:
    if report.ok:
        return Exit.FINE
    readable = all(problem.kind == "ChecksumError" for problem in report.problems)
    return Exit.FINDING if readable else Exit.UNREADABLE
