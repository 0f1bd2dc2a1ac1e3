# SPDX-License-Identifier: Apache-2.0
"""The elements of tensors, a piece at a time: those that are no finite numbers, statistics."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ptio._inspect.outline import label, view_of
from ptio._open import Checkpoint, TensorInfo, open
from ptio._report import Problem, VerifyReport
from ptio._text import count, size
from ptio._types import NestedTensor, QuantizedTensor, SparseTensor
from ptio._types.arrays import memory_span

if TYPE_CHECKING:
    from ptio._limits import Limits
    from ptio._progress import Progress

    Array = np.ndarray[Any, Any]

_PIECE = 1 << 18  # elements
_ALWAYS_READ = 64 << 20  # bytes
_EXPANSION = 4  # views of more times their storage are not walked


class Expanded(ValueError):
    """The tensor shows a small storage so often that reading it would take forever."""


def arrays_of(value: Any) -> list[Array]:
    """The arrays that a tensor is made of, its elements first: none for one without data.

    Raises Expanded where a part of a sparse or nested tensor is not to be read as a whole.
    """
    if isinstance(value, QuantizedTensor):
        parts = [value.int_repr, value.scale, value.zero_point]
    elif isinstance(value, SparseTensor):
        indices = (value.crow_indices, value.ccol_indices, value.col_indices, value.row_indices)
        parts = [value.values, value.indices, *indices]
    elif isinstance(value, NestedTensor):
        parts = [value.values, value.offsets, value.sizes, value.strides, value.lengths]
    else:
        parts = [value] if isinstance(value, (np.ndarray, np.generic)) else []
    arrays = [np.asarray(part) for part in parts if part is not None]
    for array in arrays if isinstance(value, (SparseTensor, NestedTensor)) else ():
        _check_repeats(array.shape, array.strides, array.nbytes, memory_span(array))
    return arrays


def check_size(info: TensorInfo) -> None:
    """Raises Expanded for a tensor that is not to be read as a whole; `arrays_of` does for a sparse
    or nested one, of which too little is known before."""
    if info.kind not in ("sparse", "nested"):
        _check_repeats(info.shape, info.strides, info.nbytes, info.storage_nbytes)


def _check_repeats(
    shape: tuple[int, ...], strides: tuple[int, ...], nbytes: int, memory: int
) -> None:
    repeats = math.prod(n for n, step in zip(shape, strides, strict=True) if step == 0)
    distinct = nbytes // max(repeats, 1) if nbytes else 0
    if distinct > max(_ALWAYS_READ, _EXPANSION * memory):
        raise Expanded(f"its {size(nbytes)} show only {size(memory)} of storage again and again")


def distinct(array: Array) -> tuple[Array, int]:
    """Without the repetition of expanded dimensions, and how often each element is repeated."""
    repeated = [n > 1 and step == 0 for n, step in zip(array.shape, array.strides, strict=True)]
    if not any(repeated) or array.size == 0:
        return array, 1
    once = array[tuple(slice(1) if repeat else slice(None) for repeat in repeated)]
    return once, array.size // once.size


def pieces(array: Array, elements: int = _PIECE) -> Iterator[Array]:
    """The elements in C order, as one-dimensional arrays that are valid until the next one."""
    if array.size == 0:
        return
    if array.flags.c_contiguous:
        flat = array.reshape(-1)
        for begin in range(0, flat.size, elements):
            yield flat[begin : begin + elements]
        return
    walk = np.nditer(array, ["external_loop", "buffered"], order="C", buffersize=elements)
    for piece in walk:
        yield np.asarray(piece)


def each_tensor(
    checkpoint: Checkpoint, progress: Progress | None = None
) -> Iterator[tuple[TensorInfo, list[Array] | Expanded, TensorInfo | None]]:
    """(tensor, its arrays, None) one after the other; (tensor, [], other) for one that is the
    same view of the same storage as another one before. Asking for the next gives the memory of
    these back to the system. An exception stands for the arrays that are not to be read.
    """
    seen: dict[tuple[Any, ...], TensorInfo] = {}
    infos = checkpoint.infos()
    done, total = 0, sum(info.nbytes for info in infos)
    for info in infos:
        key = (info.storage, *view_of(info))
        if info.kind == "tensor" and info.storage is not None and key in seen:
            yield info, [], seen[key]
        else:
            seen[key] = info
            try:
                check_size(info)
                yield info, arrays_of(checkpoint.get_tensor(info.name)), None
            except Expanded as e:
                yield info, e, None
            checkpoint.release([info.name])
        done += info.nbytes
        if progress is not None:
            progress(done, total)


# --- what is no finite number


def non_finite(array: Array) -> tuple[int, int]:
    """The numbers of NaN and of infinite elements."""
    if array.dtype.kind in "biuSUO?" or array.size == 0:
        return 0, 0
    once, repeats = distinct(array)
    nan = infinite = 0
    for piece in pieces(once):
        finite = np.isfinite(piece)
        if not finite.all():
            bad = len(piece) - int(np.count_nonzero(finite))
            nans = int(np.count_nonzero(np.isnan(piece)))
            nan, infinite = nan + nans, infinite + bad - nans
    return nan * repeats, infinite * repeats


def with_values(
    report: VerifyReport, f: Any, *, limits: Limits | None, progress: Progress | None
) -> VerifyReport:
    """The report, with a problem for each tensor that is not finite everywhere."""
    problems, notes = [], []
    with open(f, unknown="inert", verify=False, limits=limits) as checkpoint:
        for info, arrays, same in each_tensor(checkpoint, progress):
            name = label(info)
            if same is not None:
                continue
            if isinstance(arrays, Expanded):
                notes.append(Problem("NOT_READ", f"values not looked at: {arrays}", info.member))
                continue
            bad = [non_finite(array) for array in arrays]
            nan, infinite = sum(n for n, _ in bad), sum(n for _, n in bad)
            if nan or infinite:
                text = f"{nan:,} NaN and {infinite:,} infinite"
                message = f"{text} of {count(arrays[0].size, 'element')}"
                problems.append(Problem("NON_FINITE", message, info.member, None, (name,)))
    return replace(
        report,
        problems=(*report.problems, *problems),
        notes=(*report.notes, *notes),
    )


# --- statistics


@dataclass(frozen=True)
class Statistics:
    """Of the finite elements of a tensor; None where there are none.

    Attributes:
        minimum, maximum, mean, deviation: of them; the deviation is that of the population.
        nan, infinite, zeros: numbers of such elements.
        histogram: numbers of elements in equal intervals from minimum to maximum.
    """

    minimum: float | None
    maximum: float | None
    mean: float | None
    deviation: float | None
    nan: int
    infinite: int
    zeros: int
    histogram: tuple[int, ...]


def statistics(array: Array, bins: int = 24) -> Statistics | None:
    """Of real numbers; None for complex ones and for what is no number. Reads the array twice."""
    if array.dtype.kind in "cSUOM" or array.dtype.fields is not None:
        return None
    array, repeats = distinct(array)
    n = nan = infinite = zeros = 0
    low, high, mean, squares = math.inf, -math.inf, 0.0, 0.0
    for values, nans, infinities in _finite_pieces(array):
        nan, infinite = nan + nans, infinite + infinities
        zeros += len(values) - int(np.count_nonzero(values))
        if len(values) == 0:
            continue
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        # Chan's update: mean and squares of the parts give those of the whole.
        with np.errstate(over="ignore"):
            part = float(values.mean())
            spread = float(((values - part) ** 2).sum())
        step, total = part - mean, n + len(values)
        mean += step * len(values) / total
        squares += spread + step * step * n * len(values) / total
        n = total
    if n == 0:
        return Statistics(None, None, None, None, nan * repeats, infinite * repeats, 0, ())
    counts = np.zeros(bins, np.int64)
    if high > low and math.isfinite(high - low):
        for values, _, _ in _finite_pieces(array):
            counts += np.histogram(values, bins, (low, high))[0]
    return Statistics(
        low,
        high,
        mean,
        math.sqrt(squares / n) if math.isfinite(squares) else math.inf,
        nan * repeats,
        infinite * repeats,
        zeros * repeats,
        tuple(int(c) * repeats for c in counts) if counts.any() else (),
    )


def _finite_pieces(array: Array) -> Iterator[tuple[Array, int, int]]:
    """(finite elements as float64, number of NaN, number of infinite ones) of each piece."""
    for piece in pieces(array):
        values = piece.astype(np.float64)
        finite = np.isfinite(values)
        if finite.all():
            yield values, 0, 0
        else:
            nan = int(np.count_nonzero(np.isnan(values)))
            good = values[finite]
            yield good, nan, len(values) - len(good) - nan
