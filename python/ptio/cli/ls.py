# SPDX-License-Identifier: Apache-2.0
"""ptio ls: the tensors of a checkpoint, without reading them."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from functools import cache
from math import isfinite, prod
from typing import TYPE_CHECKING, Any

from ptio._containers import Options, open_container
from ptio._names import joined
from ptio._text import count, printable, size
from ptio.cli import _output
from ptio.cli._exit import Exit

if TYPE_CHECKING:
    from ptio._containers import Container
    from ptio._core import TensorInfo

    Values = list[tuple[tuple[Any, ...], Any]]

_ROOT = "(the object itself)"
_LEAVES = 1000  # as many values that are no tensors go into the JSON,
_LEAVES_SHOWN = 20  # so many into the text
_TEXT = 40

_EXAMPLES = """\
examples:
  ptio ls model.pt
  ptio ls model.pt --sort size | head
  ptio ls checkpoint.pt --glob 'optimizer/*exp_avg'
  ptio ls *.safetensors --json | jq .totals
"""


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "ls",
        description="List name, dtype, shape and size of the tensors of checkpoints. No tensor "
        "is read. Objects of unknown classes are listed as data.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--glob", metavar="PATTERN", help="only names that match, with * ? [...]")
    parser.add_argument(
        "--sort",
        choices=("size", "name", "dtype"),
        help="largest first, by name, or by dtype; else as in the file",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per file and line")
    parser.set_defaults(run=run)


def run(arguments: Any) -> int:
    several = len(arguments.files) > 1
    gc.disable()  # ten thousand rows are no garbage, and looking for it takes as long as they
    try:
        return max(_ls(path, arguments, several) for path in arguments.files)
    finally:
        gc.enable()


def _ls(path: str, arguments: Any, several: bool) -> int:
    try:
        form, tensors, values = _contents(path)
    except _output.UNREADABLE as e:
        return _output.failure(path, e, json=arguments.json)
    tensors = _chosen(tensors, arguments.glob, arguments.sort)
    if arguments.json:
        _output.json_line(_as_dict(path, form, tensors, values))
        return Exit.FINE
    if several:
        print(f"{_output.line(path)}:")
    _print_tensors(tensors)
    if arguments.glob is None:
        _print_values(values)
    print(_totals_text(_totals(tensors)))
    if several:
        print()
    return Exit.FINE


def _contents(path: str) -> tuple[str, list[TensorInfo], Values]:
    """The format, the tensors, and the first of the other values with where they stand."""
    container = open_container(path, Options(inert=True))
    try:
        return container.format, container.tensors(), _values(container)
    finally:
        container.close()


def _values(container: Container) -> Values:
    core = getattr(container, "core", None)
    if core is not None:
        leaves: Values = core.leaves(_LEAVES)
        return leaves
    from ptio._outline import leaves_of

    return leaves_of(container, _LEAVES)


def _chosen(tensors: list[TensorInfo], glob: str | None, sort: str | None) -> list[TensorInfo]:
    if glob is not None:
        from fnmatch import fnmatchcase

        tensors = [t for t in tensors if fnmatchcase(joined(t.path), glob)]
    if sort == "size":
        return sorted(tensors, key=lambda t: -t.nbytes)
    if sort == "name":
        return sorted(tensors, key=lambda t: joined(t.path))
    if sort == "dtype":
        return sorted(tensors, key=lambda t: t.dtype)
    return tensors


def _print_tensors(tensors: Sequence[TensorInfo]) -> None:
    size_text = cache(size)  # many tensors have few sizes and shapes
    shape_text = cache(_shape)
    rows = [
        (joined(t.path) or _ROOT, t.dtype, shape_text(t.shape), size_text(t.nbytes))
        for t in tensors
    ]
    if rows:
        _output.table(("name", "dtype", "shape", "size"), rows, right=(False, False, False, True))


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) if shape else "scalar"


def _print_values(values: Values) -> None:
    """epoch=3  loss=0.25 ...: nearest to the root first, the versions of modules not at all."""
    telling = sorted((v for v in values if "_metadata" not in v[0]), key=lambda v: len(v[0]))
    texts = [printable(f"{joined(path) or _ROOT}={_value(value)}") for path, value in telling]
    if texts:
        print("  ".join(texts[:_LEAVES_SHOWN]) + ("  ..." if len(texts) > _LEAVES_SHOWN else ""))


def _value(value: Any) -> str:
    return repr(value[: _TEXT + 1]) if isinstance(value, (str, bytes)) else repr(value)


def _totals(tensors: Sequence[TensorInfo]) -> dict[str, int]:
    storages = {t.storage: t.storage_nbytes for t in tensors if t.storage is not None}
    return {
        "tensors": len(tensors),
        "elements": sum(prod(t.shape) for t in tensors),
        "bytes": sum(t.nbytes for t in tensors),
        "storages": len(storages),
        "storage_bytes": sum(storages.values()),
    }


def _totals_text(totals: dict[str, int]) -> str:
    text = f"{count(totals['tensors'], 'tensor')}, {count(totals['elements'], 'element')}"
    return f"{text}, {size(totals['storage_bytes'])} in {count(totals['storages'], 'storage')}"


def _as_dict(path: str, form: str, tensors: Sequence[TensorInfo], values: Values) -> dict[str, Any]:
    return {
        "path": path,
        "format": form,
        "tensors": [_tensor(t) for t in tensors],
        "values": {joined(p): _json_value(v) for p, v in values},
        "totals": _totals(tensors),
    }


def _tensor(t: TensorInfo) -> dict[str, Any]:
    return {
        "name": joined(t.path),
        "kind": t.kind,
        "dtype": t.dtype,
        "shape": t.shape,
        "strides": t.stride,
        "storage_offset": t.storage_offset,
        "nbytes": t.nbytes,
        "storage": t.storage,
        "storage_nbytes": t.storage_nbytes,
        "device": t.location,
        "requires_grad": t.requires_grad,
        "member": t.record,
    }


def _json_value(value: Any) -> Any:
    plain = value is None or isinstance(value, (bool, int, str)) or _is_finite(value)
    return value if plain else repr(value)


def _is_finite(value: Any) -> bool:
    return isinstance(value, float) and isfinite(value)
