# SPDX-License-Identifier: Apache-2.0
"""The ptio command. Each verb is a module of this package, imported when it is used: `add_parser`
says what it takes, `run` does it and returns the exit status."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any, NoReturn

import ptio
from ptio.cli import _output
from ptio.cli._exit import Exit

# Verb, which is also the name of its module, and what `ptio --help` says about it.
VERBS = {
    "ls": "list the tensors",
    "tree": "show the nested structure",
    "inspect": "say what a file is, and what is wrong with it",
    "verify": "check structure and checksums",
    "scan": "say which files hold what no checkpoint may",
    "diff": "say what differs between two checkpoints",
    "extract": "write tensors as NumPy files",
    "repair": "write what is intact in a damaged file into a new one",
    "report": "write an HTML page about a file",
    "convert": "write a checkpoint in another format",
    "slim": "write a checkpoint without what is not needed",
    "merge": "write the average of checkpoints",
    "run": "run a program with torch.load replaced",
    "completion": "print a script for the shell",
}

_EPILOG = """\
examples:
  ptio inspect download.bin           what is this file, and is it whole?
  ptio ls model.pt --sort size        the tensors, largest first
  ptio tree checkpoint.pt             how it is nested
  ptio diff old.pt new.pt             what changed
  ptio verify --values model.pt       checksums, NaN, Inf
  ptio VERB --help                    all about a verb

exit status: 0 fine; 1 a finding, such as a bad checksum; 2 unreadable, malformed or ambiguous;
3 nothing to do; 4 wrong usage.
"""


@cache
def _terminal_width() -> int:
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        return int(columns) - 2
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns - 2  # type: ignore[union-attr]
    except (AttributeError, OSError, ValueError):
        return 78


class _Formatter(argparse.HelpFormatter):
    """Wraps paragraphs, and leaves texts of several lines (examples) as they are."""

    def __init__(self, prog: str, **settings: Any) -> None:
        # argparse makes one for each argument, and would import shutil to measure the terminal.
        settings.setdefault("width", _terminal_width())
        super().__init__(prog, **settings)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return "".join(indent + line for line in text.splitlines(keepends=True))
        return super()._fill_text(text, width, indent)


class Parser(argparse.ArgumentParser):
    def __init__(self, **settings: Any) -> None:
        settings.setdefault("formatter_class", _Formatter)
        settings.setdefault("allow_abbrev", False)
        super().__init__(**settings)

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(Exit.USAGE, f"{self.prog}: {_output.line(message)}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    if sys.stdout is None:  # closed by the caller: `ptio ls model.pt >&-`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - until the end of the process
    _output.never_fail_on_characters()
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if not words:
            parser().print_help(sys.stderr)
            return Exit.USAGE
        verb = next((word for word in words if not word.startswith("-")), "")
        arguments = parser([verb]).parse_args(words)
        status: int = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # `ptio ls model.pt | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FINE
    except KeyboardInterrupt:
        return 130


def parser(known: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser of the command; only these verbs have their arguments, and are imported."""
    result = Parser(
        prog="ptio",
        description="Look into PyTorch checkpoints, safely and without torch: no code of a file "
        "is ever run. Every verb that tells something has --json.",
        epilog=_EPILOG,
    )
    result.add_argument("--version", action="version", version=f"ptio {ptio.__version__}")
    verbs = result.add_subparsers(title="verbs", metavar="VERB", required=True, prog="ptio")
    for name, text in VERBS.items():
        if name in known:
            import_module(f"ptio.cli.{name}").add_parser(verbs)
        else:
            verbs.add_parser(name, help=text)
    return result
