# SPDX-License-Identifier: Apache-2.0
"""ptio tree: what a checkpoint holds, nested as it was saved."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, Any

import ptio
from ptio._text import printable, size
from ptio.cli import _output
from ptio.cli._exit import Exit

if TYPE_CHECKING:
    from ptio._inspect.outline import Line
    from ptio._open import Checkpoint, TensorInfo

_INDENT = 2
_DEEPEST_INDENT = 40  # levels; deeper ones say their level instead
_ELEMENTS = 5
_STYLES = {"opaque": "yellow", "more": "dim", "same": "dim"}

_EXAMPLES = """\
examples:
  ptio tree checkpoint.pt
  ptio tree checkpoint.pt --depth 1
  ptio tree checkpoint.pt --values         also the first elements of each tensor
"""


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "tree",
        description="Show the nested structure of a checkpoint: tensors with dtype, shape and "
        "what they share memory with, other values as they are, objects of unknown classes by "
        "their names. Long lists are cut.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("--depth", type=_depth, metavar="N", help="enter containers to this depth")
    parser.add_argument("--values", action="store_true", help="show the first elements of tensors")
    parser.add_argument("--all", action="store_true", help="do not cut long lists")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=run)


def _depth(text: str) -> int:
    if not text.isdecimal():
        raise ValueError
    return int(text)


def run(arguments: Any) -> int:
    path = arguments.file
    try:
        with ptio.open(path, unknown="inert") as checkpoint:
            nodes = _nodes(checkpoint, arguments)
            if arguments.json:
                told = {"path": path, "format": checkpoint.format}
                _output.json_stream(told, "nodes", (_as_dict(*node) for node in nodes))
                return Exit.FINE
            print(f"{_output.styled(_output.line(path), 'bold')}  {checkpoint.format}")
            for line, elements in nodes:
                print(_text(line, elements))
            return Exit.FINE
    except BrokenPipeError:
        raise
    except _output.UNREADABLE as e:
        return _output.failure(path, e, json=arguments.json)


def _nodes(checkpoint: Checkpoint, arguments: Any) -> Iterator[tuple[Line, str | None]]:
    from ptio._inspect.outline import outline

    tree = checkpoint.tree()
    infos = checkpoint.infos()
    for line in outline(tree, infos, depth=arguments.depth, everything=arguments.all):
        wanted = arguments.values and line.info is not None
        yield line, _elements(checkpoint, line.info) if wanted and line.info else None


def _elements(checkpoint: Checkpoint, info: TensorInfo) -> str | None:
    """The first elements, or why there are none to show."""
    if info.kind not in ("tensor", "storage") or (info.member is None and info.storage is None):
        return None
    if prod(info.shape) == 0:
        return "[]"
    try:
        if not info.shape:
            return str(checkpoint.get_tensor(info.name))
        index = (*(0,) * (len(info.shape) - 1), slice(_ELEMENTS))
        first = checkpoint.get_slice(info.name)[index]
    except (*_output.UNREADABLE, TypeError) as e:
        return f"({e})"
    more = ", ..." if prod(info.shape) > len(first) else ""
    return f"[{', '.join(map(str, first))}{more}]"


def _text(line: Line, elements: str | None) -> str:
    level = line.depth
    indent = " " * (_INDENT * min(level, _DEEPEST_INDENT))
    if level > _DEEPEST_INDENT:
        indent += f"({level}) "
    key = f"{_output.styled(printable(line.key), 'bold')}: " if line.key or level else ""
    key = "" if line.kind == "more" else key
    text = printable(line.text, 160)
    if line.kind in _STYLES:
        text = _output.styled(text, _STYLES[line.kind])
    if line.info is not None:
        text += _output.styled(_notes(line, line.info), "dim")
    if elements is not None:
        text += f"  {_output.styled(printable(elements, 160), 'cyan')}"
    return f"{indent}{key}{text}"


def _notes(line: Line, info: TensorInfo) -> str:
    notes = f"  {size(info.nbytes)}"
    if info.requires_grad:
        notes += ", requires grad"
    if info.device not in ("cpu", ""):
        notes += f", {printable(info.device)}"
    if line.shares is not None:
        other, same_view = line.shares
        notes += f", {'the same as' if same_view else 'shares memory with'} {printable(other)}"
    return notes


def _as_dict(line: Line, elements: str | None) -> dict[str, Any]:
    told = {
        "depth": line.depth,
        "key": line.key,
        "kind": line.kind,
        "text": line.text,
    }
    if line.info is not None:
        told["dtype"] = line.info.dtype
        told["shape"] = line.info.shape
        told["nbytes"] = line.info.nbytes
        told["storage"] = line.info.storage
        told["shares_with"] = line.shares[0] if line.shares else None
    if elements is not None:
        told["elements"] = elements
    return told
