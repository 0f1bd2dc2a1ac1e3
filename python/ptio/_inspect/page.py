# SPDX-License-Identifier: Apache-2.0
"""The page of `ptio report`: everything about a file as one HTML document that needs no other.

All of the file's own text goes into one block of JSON, made safe for a screen before and for HTML
then; the script of the page only ever sets text.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import ptio
from ptio._inspect.inspect import Inspection
from ptio._inspect.outline import label, outline
from ptio._inspect.values import Expanded, Statistics, each_tensor, statistics
from ptio._text import printable

if TYPE_CHECKING:
    from ptio._open import Checkpoint, TensorInfo
    from ptio._progress import Progress

_NAME_WIDTH = 200
_TENSORS = 50_000  # more rows than that no browser sorts in time
_MEMBERS = 50_000
_LINES = 20_000
_MARK = "__PTIO_DATA__"


def page(
    found: Inspection,
    checkpoint: Checkpoint | None,
    *,
    values: bool = True,
    progress: Progress | None = None,
) -> str:
    """The document.

    Args:
        found: of the file.
        checkpoint: the file; None where it cannot be opened.
        values: read the tensors, for histograms and the like.
    """
    data = {
        "title": _safe(found.path or "checkpoint"),
        "version": ptio.__version__,
        "file": _file(found),
        "tensors": [] if checkpoint is None else _tensors(checkpoint, values, progress),
        "tree": [] if checkpoint is None else _tree(checkpoint),
        "globals": [{**asdict(use), "name": _safe(use.name)} for use in found.globals],
        "members": [_member(member) for member in found.members[:_MEMBERS]],
    }
    template = files("ptio.cli").joinpath("report.html").read_text("utf-8")
    return template.replace(_MARK, _for_html(data), 1)


def _for_html(data: Any) -> str:
    """JSON that ends no <script>: the four characters that HTML looks at become escapes."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for character in "<>&'":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _safe(text: str) -> str:
    return printable(text, _NAME_WIDTH)


def _file(found: Inspection) -> dict[str, Any]:
    return {
        "description": _safe(found.description),
        "size": found.size,
        "writer": None if found.writer is None else str(found.writer),
        "summary": None if found.tensors is None else asdict(found.tensors),
        "problems": [printable(str(problem), 1000) for problem in found.problems],
        "hints": [printable(hint, 1000) for hint in found.hints],
        "unreferenced": [_safe(name) for name in found.unreferenced[:100]],
        "memberCount": len(found.members),
    }


def _member(member: Any) -> dict[str, Any]:
    return {
        "name": _safe(member.name),
        "offset": member.offset,
        "size": member.size,
        "stored": member.stored_size,
        "crc": None if member.crc32 is None else f"{member.crc32:08x}",
    }


# --- tensors


def _tensors(
    checkpoint: Checkpoint, values: bool, progress: Progress | None
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    if not values:
        return [_row(info) for info in checkpoint.infos()[:_TENSORS]]
    known: dict[Any, dict[str, Any] | None] = {}
    for info, arrays, same in each_tensor(checkpoint, progress):
        row = _row(info)
        if same is not None:
            row["stats"] = known[same.name]
        elif isinstance(arrays, Expanded):
            row["note"] = printable(str(arrays), _NAME_WIDTH)
        else:
            row["stats"] = _stats(statistics(arrays[0])) if arrays else None
        known[info.name] = row.get("stats")
        rows.append(row)
        if len(rows) == _TENSORS:
            break
    return rows


def _row(info: TensorInfo) -> dict[str, Any]:
    return {
        "name": _safe(label(info)) or "(the object itself)",
        "kind": info.kind,
        "dtype": info.dtype,
        "shape": [str(size) for size in info.shape],
        "elements": info.numel if info.numel < 2**53 else float(info.numel),
        "nbytes": info.nbytes,
        "storage": None if info.storage is None else _safe(info.storage),
        "storageBytes": info.storage_nbytes,
        "device": _safe(info.device),
        "grad": info.requires_grad,
    }


def _stats(found: Statistics | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "min": _number(found.minimum),
        "max": _number(found.maximum),
        "mean": _number(found.mean),
        "std": _number(found.deviation),
        "nan": found.nan,
        "inf": found.infinite,
        "zeros": found.zeros,
        "hist": list(found.histogram),
    }


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


# --- structure


def _tree(checkpoint: Checkpoint) -> list[list[Any]]:
    """[depth, key, kind, text] of each line."""
    lines = outline(checkpoint.tree(), checkpoint.infos(), budget=_LINES)
    return [[line.depth, _safe(line.key), line.kind, _safe(line.text)] for line in lines]
