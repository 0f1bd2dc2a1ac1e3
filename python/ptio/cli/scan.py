# SPDX-License-Identifier: Apache-2.0
"""ptio scan: which files hold what no checkpoint may."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ptio
from ptio._text import printable
from ptio.cli import _output
from ptio.cli._exit import Exit

if TYPE_CHECKING:
    from ptio._report import Problem
    from ptio._scan import FileScan, ScanReport

_TEXT = 1000  # characters of a message

_EXAMPLES = """\
examples:
  ptio scan downloads/                     everything below a directory
  ptio scan -q --strict *.pt               only what is wrong, or odd
  ptio scan --allow known.txt model.pt     known.txt: one module.name per line
  ptio scan --sarif . > scan.sarif         for tools that collect findings
  ptio scan --json . | jq 'select(.forbidden) | .path'
"""


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "scan",
        description="Say which files name classes or functions that a checkpoint must not name, "
        "which cannot be read, and what in them nothing refers to. The parser and the rules are "
        "those of ptio.load. Directories are searched, by content; links are not followed.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("paths", nargs="+", metavar="PATH")
    parser.add_argument("--strict", action="store_true", help="notes are findings, too")
    parser.add_argument("--allow", metavar="FILE", help="names that are no findings, one per line")
    parser.add_argument("--json", action="store_true", help="one JSON object per file and line")
    parser.add_argument("--sarif", action="store_true", help="one SARIF 2.1.0 document")
    parser.add_argument("-q", "--quiet", action="store_true", help="only files with findings")
    parser.set_defaults(run=run)


def run(arguments: Any) -> int:
    if arguments.json and arguments.sarif:
        _output.error("--json and --sarif exclude each other")
        return Exit.USAGE
    try:
        allow = () if arguments.allow is None else _read_names(arguments.allow)
    except (OSError, ValueError) as e:
        _output.error(f"{arguments.allow}: {getattr(e, 'strerror', None) or e}")
        return Exit.USAGE
    plain = not (arguments.json or arguments.sarif or arguments.quiet)
    report = ptio.scan(*arguments.paths, allow=allow, progress=plain)
    if arguments.sarif:
        _output.json_line(sarif(report, arguments.strict))
    else:
        _print(report, arguments)
    return _status(report, arguments.strict)


def _read_names(path: str) -> tuple[str, ...]:
    """One name per line; empty lines and those that begin with # say nothing."""
    with open(path, encoding="utf-8") as file:
        lines = (line.strip() for line in file)
        return tuple(line for line in lines if line and not line.startswith("#"))


def _print(report: ScanReport, arguments: Any) -> None:
    for file in report.files:
        if arguments.quiet and not _has_findings(file, arguments.strict):
            continue
        if arguments.json:
            _output.json_line(file.to_dict())
        else:
            print(file)
    if not (arguments.json or arguments.quiet):
        print(report.summary())


def _has_findings(file: FileScan, strict: bool) -> bool:
    return not file.ok or (strict and bool(file.notes))


def _status(report: ScanReport, strict: bool) -> Exit:
    """What is forbidden outweighs what cannot be read."""
    if report.forbidden:
        return Exit.FINDING
    if not report.ok:
        return Exit.UNREADABLE
    if strict and any(file.notes for file in report.files):
        return Exit.FINDING
    return Exit.FINE if report.scanned else Exit.NOTHING_TO_DO


# --- SARIF


def sarif(report: ScanReport, strict: bool) -> dict[str, Any]:
    """The findings as SARIF 2.1.0 has them (docs.oasis-open.org/sarif/sarif/v2.1.0)."""
    results, rules, said = [], set(), []
    for file in report.files:
        words = [f"not checked: {text}" for text in file.not_checked]
        words += [f"skipped: {file.skipped}"] if file.skipped else []
        said += [_notification(file, text) for text in words]
        levels = (("error", file.problems), ("error" if strict else "note", file.notes))
        for level, problems in levels:
            for problem in problems:
                rules.add(problem.kind)
                results.append(_result(file, problem, level))
    driver = {
        "name": "ptio",
        "version": ptio.__version__,
        "rules": [{"id": kind} for kind in sorted(rules)],
    }
    return {
        "version": "2.1.0",
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "runs": [
            {
                "tool": {"driver": driver},
                "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": said}],
                "results": results,
            }
        ],
    }


def _notification(file: FileScan, text: str) -> dict[str, Any]:
    place = {"physicalLocation": {"artifactLocation": {"uri": _uri(file.path or "file")}}}
    return {"level": "note", "message": {"text": printable(text, _TEXT)}, "locations": [place]}


def _result(file: FileScan, problem: Problem, level: str) -> dict[str, Any]:
    location: dict[str, Any] = {"artifactLocation": {"uri": _uri(file.path or "file")}}
    if problem.member is None and problem.offset is not None:
        location["region"] = {"byteOffset": problem.offset, "byteLength": 0}
    place: dict[str, Any] = {"physicalLocation": location}
    if problem.member is not None:
        place["logicalLocations"] = [
            {"fullyQualifiedName": printable(problem.member), "kind": "member"}
        ]
    return {
        "ruleId": problem.kind,
        "level": level,
        "message": {"text": printable(problem.message, _TEXT)},
        "locations": [place],
        "properties": {"offset": problem.offset, "tensors": list(map(printable, problem.tensors))},
    }


def _uri(path: str) -> str:
    """A relative or absolute reference; bytes that are no UTF-8 are escaped, too."""
    from os import fsencode
    from urllib.parse import quote

    return ("file://" if path.startswith("/") else "") + quote(fsencode(path))
