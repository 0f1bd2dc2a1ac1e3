# SPDX-License-Identifier: Apache-2.0
"""What the verbs that write a new checkpoint have in common."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from ptio._errors import Error
from ptio._rewrite.cast import float_name
from ptio._rewrite.new_checkpoint import format_of
from ptio.cli import _output
from ptio.cli._exit import Exit

DTYPES = "bf16, fp16, fp32 or fp64"


class _Report(Protocol):
    def to_dict(self) -> dict[str, Any]: ...


_R = TypeVar("_R", bound=_Report)


def add_arguments(parser: Any) -> None:
    parser.add_argument("--to", choices=("pt", "safetensors"), help="if its name does not say it")
    parser.add_argument("--force", action="store_true", help="replace what is there")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("-q", "--quiet", action="store_true", help="only say what is wrong")
    parser.set_defaults(parser=parser)


def require_format(arguments: Any, dst: str) -> None:
    """Ends with the usage where neither the name nor --to says what to write."""
    try:
        format_of(dst, arguments.to)
    except ValueError as e:
        arguments.parser.error(str(e))


def dtype(text: str) -> str:
    try:
        return float_name(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be {DTYPES}, not {text!r}") from None


def attempt(arguments: Any, path: str, call: Callable[[], _R]) -> _R | int:
    """What the call gives, or the exit status for what it raises, which is told.

    2: the file cannot be read, or the new one not be written. 1: it holds what cannot be done,
    e.g. no state dict. 4: something is there already.
    """
    try:
        return call()
    except (FileExistsError, shutil.SameFileError) as e:
        hint = "" if isinstance(e, shutil.SameFileError) else "; --force replaces it"
        status, text = Exit.USAGE, f"{e}{hint}"
        problem: Exception = e
    except Error as e:
        status, text, problem = Exit.UNREADABLE, str(e), e
    except OSError as e:
        where = e.filename if isinstance(e.filename, str) else path
        status, text, problem = Exit.UNREADABLE, f"{where}: {e.strerror or e}", e
    except (ValueError, TypeError) as e:
        status, text, problem = Exit.FINDING, f"{path}: {e}", e
    _output.error(text)
    if arguments.json:
        _output.json_line({"path": path, "error": _output.error_dict(problem)})
    return status


def show(arguments: Any, report: _Report) -> None:
    if arguments.json:
        _output.json_line(report.to_dict())
    elif not arguments.quiet:
        print(report)


def wants_bar(arguments: Any) -> bool:
    return not (arguments.json or arguments.quiet)
