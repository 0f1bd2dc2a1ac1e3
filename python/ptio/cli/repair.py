# SPDX-License-Identifier: Apache-2.0
"""ptio repair: what is intact in a damaged file, in a new one."""

from __future__ import annotations

import os
from typing import Any

import ptio
from ptio.cli import _output
from ptio.cli._exit import Exit


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "repair",
        help="save what is intact in a damaged file",
        description="Write every intact tensor of a truncated or damaged checkpoint into a new "
        "file that torch.load reads, and list those that are lost.",
        epilog="exit status: 0 everything saved; 1 something lost; 2 nothing could be saved.",
    )
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("out", metavar="OUT")
    parser.add_argument(
        "--recompute-crc",
        action="store_true",
        help="save members whose checksum is wrong as they are",
    )
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists")
    parser.add_argument("--json", action="store_true", help="the report as a JSON object")
    parser.set_defaults(run=run)


def run(arguments: Any) -> int:
    if os.path.isfile(arguments.out) and not arguments.force:
        _output.error(f"{arguments.out} exists: --force replaces it")
        return Exit.USAGE
    try:
        report = ptio.repair(
            arguments.file,
            arguments.out,
            recompute_crc=arguments.recompute_crc,
            progress=not arguments.json,
        )
    except ptio.Error as e:
        _output.error(str(e))
        return Exit.UNREADABLE
    except ValueError as e:
        _output.error(f"{arguments.out}: {e}")
        return Exit.USAGE
    except OSError as e:
        _output.error(f"{e.filename or arguments.file}: {e.strerror or e}")
        return Exit.UNREADABLE
    if arguments.json:
        _output.json_line(report.to_dict())
    else:
        print(report)
    return Exit.FINE if report.ok else Exit.FINDING
