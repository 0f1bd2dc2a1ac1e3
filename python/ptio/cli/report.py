# SPDX-License-Identifier: Apache-2.0
"""ptio report: all about a file as one HTML page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ptio
from ptio._errors import Error
from ptio._progress import reporting
from ptio._text import size
from ptio.cli import _output
from ptio.cli._exit import Exit

if TYPE_CHECKING:
    from ptio._inspect.inspect import Inspection

_EXAMPLES = """\
examples:
  ptio report model.pt -o model.html
  ptio report huge.pt -o huge.html --no-values       without reading the tensors
"""


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "report",
        description="Write one HTML page about a checkpoint: its structure, where the bytes "
        "are, minimum, mean, maximum and a histogram of every tensor, what shares memory, "
        "globals and members. The page works offline and loads nothing.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("-o", "--output", required=True, metavar="PAGE.html", help="where to")
    parser.add_argument(
        "--no-values", action="store_true", help="do not read tensors: no histograms"
    )
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=run)


def run(arguments: Any) -> int:
    from ptio._rewrite.extract import refuse_old

    try:
        if not arguments.force:
            refuse_old(arguments.output)
        found = ptio.inspect(arguments.file)
        document = _document(found, arguments)
        written = _write(arguments.output, document)
    except _output.UNREADABLE as e:
        where = getattr(e, "filename", None) or arguments.file
        return _output.failure(str(where), e, json=arguments.json)
    if arguments.json:
        told = {"path": arguments.file, "output": arguments.output, "bytes": written}
        _output.json_line({**told, "ok": found.ok})
    else:
        print(f"{_output.line(arguments.output)}: {size(written)}")
    return Exit.FINE if found.ok else Exit.UNREADABLE


def _document(found: Inspection, arguments: Any) -> str:
    """Of a file that cannot be opened, what inspect could tell."""
    from ptio._inspect.page import page

    with reporting(not arguments.json, "reading") as report:
        if not found.ok:
            return page(found, None)
        try:
            with ptio.open(arguments.file, unknown="inert") as checkpoint:
                return page(found, checkpoint, values=not arguments.no_values, progress=report)
        except Error as e:
            _output.error(str(e))
            return page(found, None)


def _write(path: str, document: str) -> int:
    from ptio._save.destination import open_destination

    data = document.encode("ascii", "xmlcharrefreplace")
    with open_destination(path) as destination, open(destination.fd, "wb", closefd=False) as out:
        out.write(data)
        out.flush()
        destination.finish(len(data))
    return len(data)
