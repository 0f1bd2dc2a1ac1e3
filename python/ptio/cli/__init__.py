# SPDX-License-Identifier: Apache-2.0
"""The ptio command. Each verb is a module of this package: `add_parser` says what it takes,
`run` does it and returns the exit status."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import ptio
from ptio.cli import _output, ls, repair, run, verify
from ptio.cli._exit import Exit

VERBS = (ls, verify, repair, run)

_EPILOG = """\
exit status: 0 fine; 1 a finding, such as a bad checksum; 2 unreadable, malformed or ambiguous;
3 nothing to do; 4 wrong usage.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(Exit.USAGE, f"{self.prog}: {_output.line(message)}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    _output.never_fail_on_characters()
    try:
        arguments = _parser().parse_args(argv)
        status: int = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # `ptio ls model.pt | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FINE
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="ptio",
        description="Look into PyTorch checkpoints, safely and without torch.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ptio {ptio.__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for verb in VERBS:
        verb.add_parser(verbs)
    return parser
