# SPDX-License-Identifier: Apache-2.0
"""What differs between two checkpoints: structure, plain values, elements of tensors.

The two may be files of different formats. Elements are compared a piece at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ptio._inspect.outline import brief, label, outline
from ptio._inspect.values import Expanded, arrays_of, check_size
from ptio._names import joined
from ptio._open import Checkpoint, TensorInfo
from ptio._text import count, printable

if TYPE_CHECKING:
    from ptio._progress import Progress

    Array = np.ndarray[Any, Any]

_PIECE = 1 << 18  # elements
_VALUES = 100_000  # plain values that are compared
_TEXT_OF_NAMES = 16 << 20  # characters


@dataclass(frozen=True)
class Tolerance:
    """Elements are equal where |a - b| <= absolute + relative * |b|, as in numpy.isclose."""

    relative: float = 0.0
    absolute: float = 0.0
    equal_nan: bool = True


@dataclass(frozen=True)
class Change:
    """One difference.

    Attributes:
        kind: "added" or "removed"; "dtype", "shape" or "kind" of a tensor; "elements"; "value"
            of what is no tensor; "unread" for what could not be compared.
        name: of the tensor or value, without the prefixes that were stripped.
        before, after: what it is in the first and in the second file, in words.
        differing: of "elements": how many differ,
        elements: of how many.
        largest: the largest absolute difference; infinite where one of two elements is NaN.
        relative: the largest difference divided by the element of the second file.
        at: index of the first element with the largest difference.
    """

    kind: str
    name: str
    before: str | None = None
    after: str | None = None
    differing: int | None = None
    elements: int | None = None
    largest: float | None = None
    relative: float | None = None
    at: tuple[int, ...] | None = None

    def __str__(self) -> str:
        name = printable(self.name) or "the object itself"
        if self.kind == "elements":
            at = ", ".join(map(str, self.at or ()))
            share = f"{self.differing:,} of {count(self.elements or 0, 'element')}"
            text = f"{name}: {share} differ, by up to {self.largest:.6g} at [{at}]"
            return f"{text} ({self.before} -> {self.after})"
        if self.kind == "added":
            return f"{name}: added ({self.after})"
        if self.kind == "removed":
            return f"{name}: removed ({self.before})"
        return f"{name}: {self.kind} {self.before} -> {self.after}"


@dataclass(frozen=True)
class Difference:
    """All differences of two checkpoints.

    Attributes:
        changes: structure first, then tensors, those that differ most first.
        compared: tensors whose elements were compared.
        equal: of these, how many are equal.
    """

    changes: tuple[Change, ...]
    compared: int
    equal: int


def diff(
    a: Checkpoint,
    b: Checkpoint,
    *,
    tolerance: Tolerance = Tolerance(),
    structure: bool = False,
    prefixes: Sequence[str] = (),
    progress: Progress | None = None,
) -> Difference:
    """Compare two open checkpoints.

    Args:
        tolerance: for the elements of tensors and for floats.
        structure: do not look at elements, and at values only whether they are there.
        prefixes: the first of them that a name begins with is taken off.
        progress: called with (done_bytes, total_bytes).
    """
    ours, theirs = _named(a, prefixes), _named(b, prefixes)
    changes = _structural(ours, theirs)
    changes += _plain(a, b, prefixes, tolerance, structure)
    both = [(name, info, theirs[name]) for name, info in ours.items() if name in theirs]
    same = [
        pair for pair in both if pair[1].shape == pair[2].shape and pair[1].kind == pair[2].kind
    ]
    if structure:
        return Difference(tuple(changes), 0, 0)
    elements = []
    done, total = 0, sum(info.nbytes for _, info, _ in same)
    for name, one, other in same:
        change = _compare(a, b, name, one, other, tolerance)
        if change is not None:
            elements.append(change)
        done += one.nbytes
        if progress is not None:
            progress(done, total)
    elements.sort(key=lambda change: -(change.largest or 0.0))
    return Difference((*changes, *elements), len(same), len(same) - len(elements))


def _stripped(name: str, prefixes: Sequence[str]) -> str:
    return next((name[len(p) :] for p in prefixes if p and name.startswith(p)), name)


def _named(checkpoint: Checkpoint, prefixes: Sequence[str]) -> dict[str, TensorInfo]:
    named: dict[str, TensorInfo] = {}
    for info in checkpoint.infos():
        name = label(info)
        short = _stripped(name, prefixes)
        name = name if short in named else short
        named[name if name not in named else f"{name}~{len(named)}"] = info
    return named


def _words(info: TensorInfo) -> str:
    return f"{info.dtype} {' x '.join(map(str, info.shape)) or 'scalar'}"


def _structural(ours: dict[str, TensorInfo], theirs: dict[str, TensorInfo]) -> list[Change]:
    gone = [Change("removed", n, before=_words(i)) for n, i in ours.items() if n not in theirs]
    new = [Change("added", n, after=_words(i)) for n, i in theirs.items() if n not in ours]
    changed = []
    for name, info in ours.items():
        other = theirs.get(name)
        if other is None:
            continue
        for kind in ("kind", "dtype", "shape"):
            before, after = getattr(info, kind), getattr(other, kind)
            if before != after:
                text = (lambda v: " x ".join(map(str, v)) or "scalar") if kind == "shape" else str
                changed.append(Change(kind, name, text(before), text(after)))
    return [*gone, *new, *changed]


# --- plain values


def _plain(
    a: Checkpoint,
    b: Checkpoint,
    prefixes: Sequence[str],
    tolerance: Tolerance,
    structure: bool,
) -> list[Change]:
    """Differences of what is no tensor."""
    if a.metadata() is not None or b.metadata() is not None:
        return []  # safetensors: there is no place for such values
    (ours, all_ours), (theirs, all_theirs) = _values(a, prefixes), _values(b, prefixes)
    changes = []
    if not (all_ours and all_theirs):  # of some it is not known whether the other file has them
        changes.append(
            Change("unread", "other values", "too many, or too long names", "not compared")
        )
        ours = {name: value for name, value in ours.items() if all_theirs or name in theirs}
        theirs = {name: value for name, value in theirs.items() if all_ours or name in ours}
    equal: dict[tuple[int, int], bool] = {}  # one long text may stand in many places
    for name, value in ours.items():
        if name not in theirs:
            changes.append(Change("removed", name, before=brief(value)))
            continue
        pair = id(value), id(theirs[name])
        if not structure and pair not in equal:
            equal[pair] = _equal(value, theirs[name], tolerance)
        if not structure and not equal[pair]:
            changes.append(Change("value", name, brief(value), brief(theirs[name])))
    changes += [
        Change("added", name, after=brief(value))
        for name, value in theirs.items()
        if name not in ours
    ]
    return changes


def _values(checkpoint: Checkpoint, prefixes: Sequence[str]) -> tuple[dict[str, Any], bool]:
    """By name, and whether these are all of them."""
    lines = outline(checkpoint.tree(), (), everything=True, budget=_VALUES)
    values: dict[str, Any] = {}
    room = _TEXT_OF_NAMES
    for line in lines:
        if line.kind == "more":
            return values, False
        # The versions of modules are torch's own notes, which a conversion drops.
        if line.kind == "value" and "_metadata" not in line.path:
            name = _stripped(joined(line.path), prefixes)
            room -= len(name)
            if room < 0:
                return values, False
            values[name if name not in values else f"{name}~{len(values)}"] = line.value
    return values, True


def _equal(a: Any, b: Any, tolerance: Tolerance) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        alike = isinstance(a, np.ndarray) and isinstance(b, np.ndarray)
        return alike and a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
    if isinstance(a, float) and isinstance(b, (int, float)):
        if math.isnan(a) and math.isnan(b):
            return tolerance.equal_nan
        allowed = tolerance.absolute + tolerance.relative * abs(b)
        return a == b or abs(a - b) <= allowed
    if type(a) is not type(b):
        return False
    try:
        return bool(a == b)
    except (TypeError, ValueError):
        return brief(a) == brief(b)


# --- elements


def _compare(
    a: Checkpoint,
    b: Checkpoint,
    name: str,
    one: TensorInfo,
    other: TensorInfo,
    tolerance: Tolerance,
) -> Change | None:
    try:
        check_size(one)
        check_size(other)
        ours, theirs = arrays_of(a.get_tensor(one.name)), arrays_of(b.get_tensor(other.name))
    except Expanded as e:
        return Change("unread", name, str(e), "not compared")
    change = None
    for left, right in zip(ours, theirs, strict=False):
        if left.shape != right.shape:
            change = Change("shape", name, str(left.shape), str(right.shape))
        else:
            change = _compare_arrays(name, left, right, tolerance)
        if change is not None:
            break
    a.release([one.name])
    b.release([other.name])
    return change


def _without_repeats(left: Array, right: Array) -> tuple[Array, Array, int]:
    """Both without the dimensions that are expanded in both of them."""
    dims = zip(left.shape, left.strides, right.strides, strict=True)
    repeated = [n > 1 and x == 0 and y == 0 for n, x, y in dims]
    if not any(repeated) or left.size == 0:
        return left, right, 1
    index = tuple(slice(1) if repeat else slice(None) for repeat in repeated)
    once = left[index]
    return once, right[index], left.size // once.size


def _compare_arrays(name: str, left: Array, right: Array, tolerance: Tolerance) -> Change | None:
    elements = left.size
    left, right, repeats = _without_repeats(left, right)
    differing, start = 0, 0
    worst = (-1.0, 0, 0.0, "", "")  # difference, position, relative, the two elements
    relative = 0.0
    for x, y in _pairs(left, right):
        bad = _unequal(x, y, tolerance)
        number = int(np.count_nonzero(bad))
        if number:
            differing += number
            gaps, ratios = _gaps(x[bad], y[bad])
            relative = max(relative, float(ratios.max()))
            i = int(gaps.argmax())
            if gaps[i] > worst[0]:
                where = int(np.flatnonzero(bad)[i])
                pair = (str(x[where]), str(y[where]))
                worst = (float(gaps[i]), start + where, float(ratios[i]), *pair)
        start += len(x)
    if differing == 0:
        return None
    at = tuple(int(i) for i in np.unravel_index(worst[1], left.shape))
    return Change(
        "elements",
        name,
        worst[3],
        worst[4],
        differing=differing * repeats,
        elements=elements,
        largest=worst[0],
        relative=relative,
        at=at,
    )


def _pairs(left: Array, right: Array) -> Iterator[tuple[Array, Array]]:
    """Pieces of both in C order. NumPy walks arrays of any strides."""
    if left.size == 0:
        return
    if left.flags.c_contiguous and right.flags.c_contiguous:
        x, y = left.reshape(-1), right.reshape(-1)
        for begin in range(0, x.size, _PIECE):
            yield x[begin : begin + _PIECE], y[begin : begin + _PIECE]
        return
    walk = np.nditer([left, right], ["external_loop", "buffered"], order="C", buffersize=_PIECE)
    for x, y in walk:
        yield np.asarray(x), np.asarray(y)


def _unequal(x: Array, y: Array, tolerance: Tolerance) -> Array:
    if tolerance.equal_nan and _same_bits(x, y):
        return np.zeros(len(x), bool)
    x, y = _comparable(x, y)
    with np.errstate(invalid="ignore", over="ignore"):
        equal = x == y
        if (tolerance.absolute or tolerance.relative) and x.dtype.kind != "b":
            near = np.abs(x - y) <= tolerance.absolute + tolerance.relative * np.abs(y)
            equal |= near & np.isfinite(y)
        if tolerance.equal_nan and x.dtype.kind in "fc":
            equal |= np.isnan(x) & np.isnan(y)
    result: Array = ~equal
    return result


def _same_bits(x: Array, y: Array) -> bool:
    """The fastest answer for elements that are equal."""
    if x.dtype != y.dtype or not (x.flags.c_contiguous and y.flags.c_contiguous):
        return False
    unit = np.dtype(f"u{min(x.dtype.itemsize, 8)}")
    return np.array_equal(x.view(unit), y.view(unit))


def _comparable(x: Array, y: Array) -> tuple[Array, Array]:
    """In a type that holds the elements of both: exactly, but for integers beyond 2**53 beside
    floats."""
    if x.dtype == y.dtype and x.dtype.kind in "biu" and x.dtype.itemsize < 8:
        return x.astype(np.int64), y.astype(np.int64)
    kinds = x.dtype.kind + y.dtype.kind
    if "c" in kinds:
        return x.astype(np.complex128), y.astype(np.complex128)
    if set(kinds) <= set("biu"):
        if "uint64" in (x.dtype.name, y.dtype.name):
            return x.astype(object), y.astype(object)
        return x.astype(np.int64), y.astype(np.int64)
    return x.astype(np.float64), y.astype(np.float64)


def _gaps(x: Array, y: Array) -> tuple[Array, Array]:
    """Absolute and relative differences; infinite where only one of two elements is finite."""
    x, y = (v.astype(np.complex128 if v.dtype.kind == "c" else np.float64) for v in (x, y))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        gaps = np.abs(x - y)
        gaps[np.isnan(gaps)] = np.inf
        ratios = gaps / np.abs(y)
        ratios[np.isnan(ratios)] = np.inf
    return gaps, ratios
