# SPDX-License-Identifier: Apache-2.0
"""ptio extract: tensors as NumPy files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import ptio
from ptio._inspect.outline import label
from ptio._text import count
from ptio.cli import _output
from ptio.cli._exit import Exit

if TYPE_CHECKING:
    from ptio._open import Checkpoint, TensorInfo
    from ptio._rewrite.extract import Extracted, NoArray

_EXAMPLES = """\
examples:
  ptio extract model.pt -o arrays/                     arrays/fc.weight.npy ...
  ptio extract model.pt fc.weight -o weight.npy
  ptio extract checkpoint.pt --glob 'model/*' -o model.npz
  python -c "import numpy; print(numpy.load('model.npz').files)"

Files of NumPy have no bfloat16 and no float8: such tensors are written as float32, which holds
the same numbers, or with --bits as unsigned integers of the same bits.
"""


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "extract",
        description="Write tensors as files of NumPy: .npy files in a folder, one .npz file, or "
        "a single .npy file. Nothing is written elsewhere, whatever the tensors are called.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("names", nargs="*", metavar="NAME", help="of tensors; all without it")
    parser.add_argument("--glob", metavar="PATTERN", help="names that match, with * ? [...]")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="DIR|FILE.npz|FILE.npy",
        help="where to; a folder is made if it is not there",
    )
    parser.add_argument("--bits", action="store_true", help="bfloat16 and float8 as integers")
    parser.add_argument("--force", action="store_true", help="replace files that are there")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=run, parser=parser)


def run(arguments: Any) -> int:
    path = arguments.file
    try:
        with ptio.open(path, unknown="inert") as checkpoint:
            return _extract(checkpoint, arguments)
    except _output.UNREADABLE as e:
        where = getattr(e, "filename", None) or path
        return _output.failure(str(where), e, json=arguments.json)


def _extract(checkpoint: Checkpoint, arguments: Any) -> int:
    infos = _chosen(checkpoint, arguments)
    if infos is None:
        return Exit.USAGE
    if not infos:
        _output.error(f"{arguments.file}: no tensor to extract")
        return Exit.NOTHING_TO_DO
    if arguments.output.endswith(".npy") and len(infos) > 1:
        arguments.parser.error(f"{count(len(infos), 'tensor')} do not fit into one .npy file")
    written, skipped = [], []
    for result in _write(checkpoint, infos, arguments):
        if isinstance(result, tuple):
            skipped.append(result)
        else:
            written.append(result)
    _tell(arguments, written, skipped)
    return Exit.FINDING if skipped else Exit.FINE


def _chosen(checkpoint: Checkpoint, arguments: Any) -> list[TensorInfo] | None:
    if not arguments.names and arguments.glob is None:
        return checkpoint.infos()
    names = []
    for name in arguments.names:
        if name not in checkpoint:
            _output.error(_unknown(checkpoint, name))
            return None
        names.append(name)
    if arguments.glob is not None:
        names += [name for name in checkpoint.glob(arguments.glob) if name not in names]
    return [checkpoint.info(name) for name in names]


def _unknown(checkpoint: Checkpoint, name: str) -> str:
    try:
        checkpoint.info(name)
    except KeyError as e:
        return str(e.args[0])
    return name


def _write(
    checkpoint: Checkpoint, infos: list[TensorInfo], arguments: Any
) -> Iterable[Extracted | tuple[TensorInfo, NoArray]]:
    from ptio._rewrite import extract

    target, bits = arguments.output, arguments.bits
    kind = os.path.splitext(target)[1]
    if kind not in (".npy", ".npz"):
        return extract.to_folder(checkpoint, infos, target, bits=bits, force=arguments.force)
    if not arguments.force:
        extract.refuse_old(target)
    if kind == ".npz":
        return extract.to_npz(checkpoint, infos, target, bits=bits)
    try:
        return [extract.to_npy(checkpoint, infos[0], target, bits=bits)]
    except extract.NoArray as e:
        return [(infos[0], e)]


def _tell(
    arguments: Any, written: list[Extracted], skipped: list[tuple[TensorInfo, NoArray]]
) -> None:
    if arguments.json:
        told = {
            "path": arguments.file,
            "output": arguments.output,
            "written": [asdict(one) for one in written],
            "skipped": [{"name": label(info), "reason": str(e)} for info, e in skipped],
        }
        _output.json_line(told)
        return
    for info, error in skipped:
        _output.error(f"{label(info) or 'the object itself'} is left out: {error}")
    rows = [(one.name, one.dtype, one.file) for one in written]
    if rows:
        _output.table(("name", "dtype", "in"), rows, right=(False, False, False))
    print(f"{count(len(written), 'tensor')} written to {_output.line(arguments.output)}")
    changed = sorted({one.stored_dtype for one in written if one.dtype != one.stored_dtype})
    if changed:
        print(f"as another type, since NumPy's files have none of these: {', '.join(changed)}")
