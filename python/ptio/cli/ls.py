# SPDX-License-Identifier: Apache-2.0
"""ptio ls: the tensors of a checkpoint, without reading them."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, prod
from typing import TYPE_CHECKING, Any

from ptio._containers import Options, open_container
from ptio._errors import Error
from ptio._names import joined
from ptio._text import count, printable, size
from ptio.cli import _output
from ptio.cli._exit import Exit

if TYPE_CHECKING:
    from ptio._core import TensorInfo

_ROOT = "(the object itself)"
_LEAVES = 1000  # as many values that are no tensors go into the JSON,
_LEAVES_SHOWN = 20  # so many into the text
_TEXT = 40
_JSON_FIELDS = (
    "kind",
    "dtype",
    "shape",
    "stride",
    "storage_offset",
    "nbytes",
    "storage",
    "storage_nbytes",
    "location",
    "requires_grad",
    "record",
)


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "ls",
        help="list the tensors",
        description="List name, dtype, shape and size of the tensors of checkpoints. No tensor "
        "is read. Objects of unknown classes are listed as data.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--json", action="store_true", help="one JSON object per file and line")
    parser.add_argument(
        "--sort", choices=("size", "name"), help="largest first, or by name; else as in the file"
    )
    parser.set_defaults(run=run)


def run(arguments: Any) -> int:
    several = len(arguments.files) > 1
    return max(_ls(path, arguments, several) for path in arguments.files)


def _ls(path: str, arguments: Any, several: bool) -> int:
    try:
        tensors, values = _contents(path)
    except Error as e:
        _output.error(str(e))
        return Exit.UNREADABLE
    except (OSError, ValueError) as e:
        _output.error(f"{path}: {getattr(e, 'strerror', None) or e}")
        return Exit.UNREADABLE
    if arguments.sort == "size":
        tensors.sort(key=lambda t: -t.nbytes)
    elif arguments.sort == "name":
        tensors.sort(key=lambda t: joined(t.path))
    if arguments.json:
        _output.json_line(_as_dict(path, tensors, values))
        return Exit.FINE
    if several:
        print(f"{_output.line(path)}:")
    _print_tensors(tensors)
    _print_values(values)
    print(_totals(tensors))
    if several:
        print()
    return Exit.FINE


def _contents(path: str) -> tuple[list[TensorInfo], list[tuple[tuple[Any, ...], Any]]]:
    """The tensors, and the first of the other values with where they stand."""
    container = open_container(path, Options(inert=True))
    try:
        return container.tensors(), container.leaves(_LEAVES)
    finally:
        container.close()


def _print_tensors(tensors: Sequence[TensorInfo]) -> None:
    rows = [(joined(t.path) or _ROOT, t.dtype, _shape(t.shape), size(t.nbytes)) for t in tensors]
    if rows:
        _output.table(("name", "dtype", "shape", "size"), rows, right=(False, False, False, True))


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) if shape else "scalar"


def _print_values(values: Sequence[tuple[tuple[Any, ...], Any]]) -> None:
    """epoch=3  loss=0.25 ...: nearest to the root first, the versions of modules not at all."""
    telling = sorted((v for v in values if "_metadata" not in v[0]), key=lambda v: len(v[0]))
    texts = [printable(f"{joined(path) or _ROOT}={_value(value)}") for path, value in telling]
    if texts:
        print("  ".join(texts[:_LEAVES_SHOWN]) + ("  ..." if len(texts) > _LEAVES_SHOWN else ""))


def _value(value: Any) -> str:
    return repr(value[: _TEXT + 1]) if isinstance(value, (str, bytes)) else repr(value)


def _totals(tensors: Sequence[TensorInfo]) -> str:
    elements = sum(prod(t.shape) for t in tensors)
    text = f"{count(len(tensors), 'tensor')}, {count(elements, 'element')}"
    storages = {t.storage: t.storage_nbytes for t in tensors if t.storage is not None}
    stored = size(sum(storages.values()))
    return f"{text}, {stored} in {count(len(storages), 'storage')}"


def _as_dict(
    path: str, tensors: Sequence[TensorInfo], values: Sequence[tuple[tuple[Any, ...], Any]]
) -> dict[str, Any]:
    return {
        "path": path,
        "tensors": [{"name": joined(t.path), **_json_fields(t)} for t in tensors],
        "values": {joined(p): _json_value(v) for p, v in values},
    }


def _json_fields(tensor: TensorInfo) -> dict[str, Any]:
    return {name: getattr(tensor, name) for name in _JSON_FIELDS}


def _json_value(value: Any) -> Any:
    plain = value is None or isinstance(value, (bool, int, str)) or _is_finite(value)
    return value if plain else repr(value)


def _is_finite(value: Any) -> bool:
    return isinstance(value, float) and isfinite(value)
