# SPDX-License-Identifier: Apache-2.0
"""ptio inspect: what a file is, whoever wrote it and whatever is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ptio
from ptio._text import size
from ptio.cli import _output
from ptio.cli._exit import Exit

if TYPE_CHECKING:
    from ptio._inspect.inspect import Inspection

_EXAMPLES = """\
examples:
  ptio inspect download.bin                what is this?
  ptio inspect model.pt --all              every member, every global
  ptio inspect *.pt --json | jq 'select(.ok | not) | .path'
"""


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "inspect",
        description="Say what a file is, what wrote it, what it holds, and what is wrong with it: "
        "for any file, damaged ones too. Nothing of it is loaded. Checksums of tensors are what "
        "`ptio verify` checks.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--all", action="store_true", help="list all members and globals, too")
    parser.add_argument("--json", action="store_true", help="one JSON object per file and line")
    parser.set_defaults(run=run)


def run(arguments: Any) -> int:
    return max(_inspect(path, arguments) for path in arguments.files)


def _inspect(path: str, arguments: Any) -> int:
    try:
        found = ptio.inspect(path)
    except (OSError, ValueError) as e:
        return _output.failure(path, e, json=arguments.json)
    if arguments.json:
        _output.json_line(found.to_dict())
    else:
        print(found)
        if arguments.all:
            _print_lists(found)
    return Exit.FINE if found.ok else Exit.UNREADABLE


def _print_lists(found: Inspection) -> None:
    members = [
        (
            m.name,
            "?" if m.offset is None else str(m.offset),
            size(m.size),
            size(m.stored_size) if m.compressed else "",
            "-" if m.crc32 is None else f"{m.crc32:08x}",
        )
        for m in found.members
    ]
    if members:
        print()
        headers = ("member", "offset", "size", "compressed", "CRC-32")
        _output.table(headers, members, right=(False, True, True, True, False))
    uses = [(use.name, use.verdict, str(use.count), str(use.offset)) for use in found.globals]
    if uses:
        print()
        _output.table(
            ("global", "verdict", "count", "first at byte"), uses, right=(False, False, True, True)
        )
