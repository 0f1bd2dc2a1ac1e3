# SPDX-License-Identifier: Apache-2.0
"""ptio.merge: the average of several checkpoints."""

from __future__ import annotations

import functools
import math
import operator
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ptio._names import joined
from ptio._progress import Progress, reporting
from ptio._rewrite.cast import FLOATS, Cast, float_name
from ptio._rewrite.convert import kept_metadata, open_stored, tree_of
from ptio._rewrite.flat_state import find_state, tensors_of
from ptio._rewrite.new_checkpoint import format_of, require_new, write_pt, write_state
from ptio._rewrite.stored import Stored, lie_in_storage
from ptio._rewrite.tree import entries
from ptio._source import display_path
from ptio._text import count, printable, size
from ptio._types.arrays import Array
from ptio._types.dtypes import numpy_dtype

if TYPE_CHECKING:
    from ptio._limits import Limits

_SHOWN = 10
_ELEMENTS = 1 << 18  # that are averaged at once
_AVERAGED = (*FLOATS, "complex64", "complex128")
_INSTEAD = "; merge into a .pt, and convert that"

Tensors = dict[str, Stored]


@dataclass
class MergeReport:
    """What `merge` did.

    Attributes:
        srcs, dst: as they were given.
        weights: of the sources.
        files: that were written.
        tensors: how many there are.
        averaged: how many of them are averages.
        from_first: names of those that were taken from the first source.
        nbytes: of all storages.
        overflows: {name: how many elements became infinite}, where the dtype was changed.
    """

    srcs: list[str]
    dst: str
    weights: list[float]
    files: list[str] = field(default_factory=list)
    tensors: int = 0
    averaged: int = 0
    from_first: list[str] = field(default_factory=list)
    nbytes: int = 0
    overflows: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        text = f"{printable(self.dst)}: {count(self.averaged, 'tensor')} averaged"
        if self.from_first:
            text += f", {len(self.from_first):,} from the first"
        text += f", {size(self.nbytes)}"
        if self.overflows:
            text += f"\nbecame infinite: {count(sum(self.overflows.values()), 'element')}"
        return text


class MismatchError(ValueError):
    """The checkpoints cannot be averaged.

    Attributes:
        problems: one text for each tensor that does not fit.
    """

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        shown = "; ".join(problems[:_SHOWN])
        more = len(problems) - _SHOWN
        super().__init__(shown + (f"; and {more:,} more" if more > 0 else ""))


def merge(
    srcs: Sequence[Any],
    dst: Any,
    *,
    weights: Sequence[float] | None = None,
    dtype: Any = None,
    ints: str = "equal",
    to: str | None = None,
    overwrite: bool = False,
    verify: bool | None = None,
    durable: bool | None = None,
    encoding: str = "utf-8",
    limits: Limits | None = None,
    progress: bool | Progress | None = None,
) -> MergeReport:
    """Write the average of checkpoints that have the same tensors: a model soup.

    All else - containers, numbers, texts, dtypes - is that of the first. Sums are taken in
    float64, a few MiB at a time. Tensors that are the same memory in all sources still are.

    Args:
        srcs: two or more of whatever `ptio.open` opens.
        dst: the name of the new file.
        weights: a factor for each source. They are taken as they are, and need not add up to
            1. Default: 1 / number of sources.
        dtype: of the averages: "bf16", "fp16", "fp32" or "fp64", or such a dtype of torch or
            NumPy. Default: that of each tensor in the first source.
        ints: what becomes of tensors that are no floats or complex numbers: "equal": they have to
            be equal in all sources. "first": they are taken from the first.
        to: "pt" or "safetensors". Default: by the name of dst.
        overwrite, verify, durable, encoding, limits, progress: as for `convert`.

    Returns:
        A `MergeReport`.

    Raises:
        MismatchError: a ValueError that lists what does not fit: names, shapes, integers.
        As `convert` else.
    """
    factors, divisor = _factors(srcs, weights)
    wanted = None if dtype is None else float_name(dtype)
    if ints not in ("equal", "first"):
        raise ValueError(f"ints must be 'equal' or 'first', not {ints!r}")
    target = format_of(dst, to)
    require_new(list(srcs), dst, overwrite)
    names = [display_path(src) or repr(src) for src in srcs]
    with ExitStack() as stack, reporting(progress, "merging") as tick:
        trees: list[Any] = []
        metadata: dict[str, str] = {}
        for src in srcs:
            container = open_stored(src, verify=verify, encoding=encoding, limits=limits)
            stack.callback(container.close)
            trees.append(tree_of(container))
            if len(trees) == 1:
                metadata = kept_metadata(container, trees[0])
        inputs = [_tensors(tree) for tree in trees]
        _require_same(inputs, names, ints)
        report = MergeReport(names, display_path(dst) or "", [f / divisor for f in factors])
        _average(inputs, functools.partial(_weighted_sum, factors, divisor), wanted, report)
        if target == "safetensors":
            state = tensors_of(find_state(trees[0], instead=_INSTEAD), ())
            written = write_state(state, dst, metadata, durable=durable, progress=tick)
        else:
            written = write_pt(trees[0], dst, compact=True, durable=durable, progress=tick)
    report.files, report.nbytes = written.files, written.nbytes
    for name, stored in inputs[0].items():
        if stored.cast is not None and stored.cast.overflows:
            report.overflows[name] = stored.cast.overflows
    return report


def _factors(srcs: Sequence[Any], weights: Sequence[float] | None) -> tuple[list[float], int]:
    """Factors of the terms, and the divisor of their sum."""
    if isinstance(srcs, (str, bytes)) or len(srcs) < 2:
        raise ValueError("there must be two or more checkpoints to merge")
    if weights is None:
        return [1.0] * len(srcs), len(srcs)
    factors = [float(weight) for weight in weights]
    if len(factors) != len(srcs):
        raise ValueError(f"there are {len(factors)} weights for {len(srcs)} checkpoints")
    if not all(map(math.isfinite, factors)):
        raise ValueError("weights must be finite numbers")
    return factors, 1


def _tensors(tree: Any) -> Tensors:
    """By name, or by the text of the path where names are equal; in all places."""
    found = [(e.path, e.value) for e in entries(tree) if type(e.value) is Stored]
    times = Counter(joined(path) for path, _ in found)
    return {
        joined(path) if times[joined(path)] == 1 else repr(path): stored for path, stored in found
    }


# --- what does not fit ---------------------------------------------------------------------------


def _require_same(inputs: list[Tensors], sources: list[str], ints: str) -> None:
    problems: list[str] = []
    first = inputs[0]
    for i, other in enumerate(inputs[1:], 1):
        here, there = printable(sources[i]), printable(sources[0])
        problems += [f"{printable(n)} is not in {here}" for n in first if n not in other]
        problems += [f"{printable(n)} is not in {there}" for n in other if n not in first]
        for name in first:
            if name in other:
                problems += _differences(name, first[name], other[name], here)
    if not problems:
        problems += _untied(inputs, sources)
    if not problems and ints == "equal":
        for name, stored in first.items():
            same = [other[name] for other in inputs[1:]]
            if not _is_averaged(stored) and not all(_are_equal(stored, each) for each in same):
                problems.append(
                    f"{printable(name)} ({stored.row.dtype}) is not equal in all; ints='first' "
                    "takes it from the first"
                )
    if problems:
        raise MismatchError(problems)


def _differences(name: str, one: Stored, other: Stored, source: str) -> Iterator[str]:
    if one.shape != other.shape:
        yield (f"{printable(name)} has shape {one.shape}, in {source} {other.shape}")
    elif _is_averaged(one) != _is_averaged(other) or _is_complex(one) != _is_complex(other):
        yield f"{printable(name)} is {one.type_name}, in {source} {other.type_name}"


def _untied(inputs: list[Tensors], sources: list[str]) -> Iterator[str]:
    """Names of one object in the first source that are different tensors in another."""
    seen: dict[int, str] = {}
    for name, stored in inputs[0].items():
        known = seen.setdefault(id(stored), name)
        for other, source in zip(inputs[1:], sources[1:], strict=True):
            if known != name and other[known].view != other[name].view:
                yield (
                    f"{printable(known)} and {printable(name)} are one tensor in "
                    f"{printable(sources[0])}, and not in {printable(source)}"
                )


def _is_averaged(stored: Stored) -> bool:
    return stored.row.kind == "tensor" and stored.row.dtype in _AVERAGED


def _is_complex(stored: Stored) -> bool:
    return stored.row.dtype.startswith("complex")


def _are_equal(one: Stored, other: Stored) -> bool:
    """By bytes; what is no plain array is never known to be equal."""
    if not (one.is_plain and other.is_plain) or one.row.dtype != other.row.dtype:
        return False
    left, right = _Elements(one, np.dtype(np.uint8)), _Elements(other, np.dtype(np.uint8))
    for first in range(0, one.row.nbytes, _ELEMENTS):
        n = min(_ELEMENTS, one.row.nbytes - first)
        if not np.array_equal(left.take(n), right.take(n)):
            return False
    return left.finish() and right.finish()


# --- averages ------------------------------------------------------------------------------------


def _average(
    inputs: list[Tensors],
    weighted_sum: Callable[..., Iterator[Array]],
    wanted: str | None,
    report: MergeReport,
) -> None:
    """Gives the tensors of the first input the averages as their elements."""
    done: set[int] = set()
    owners: dict[Any, Stored] = {}
    report.tensors = len(inputs[0])
    for name, stored in inputs[0].items():
        each = [tensors[name] for tensors in inputs]
        if not _is_averaged(stored):
            report.from_first.append(name)
            continue
        report.averaged += 1
        if id(stored) in done:
            continue
        done.add(id(stored))
        if wanted is not None and wanted != stored.row.dtype and not _is_complex(stored):
            stored.cast = Cast(stored.row.dtype, wanted)
        view = tuple((one.view, lie_in_storage([one])) for one in each)
        owner = owners.setdefault(view, stored)
        if owner is stored:
            sources = [_source_of(one) for one in each]
            stored.made = functools.partial(weighted_sum, sources, stored)
        else:  # tied in all of them
            stored.of = owner
        row = stored.row
        stored.row = row._replace(storage_offset=0, stride=_contiguous(row.shape))


def _source_of(stored: Stored) -> Stored:
    """The tensor as it is in its file, whatever becomes of the other."""
    return Stored(stored.container, stored.row, of=stored.of)


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(max(n, 1) for n in shape[i + 1 :]) for i in range(len(shape)))


def _weighted_sum(
    factors: list[float], divisor: int, sources: Iterable[Stored], result: Stored
) -> Iterator[Array]:
    """Pieces of the elements, as bytes."""
    wide = np.dtype(np.complex128 if _is_complex(result) else np.float64)
    inputs = [_Elements(source, numpy_dtype(source.row.dtype)) for source in sources]
    cast = Cast(str(wide), result.dtype) if result.cast is None else result.cast
    numel = math.prod(result.shape)
    for first in range(0, numel, _ELEMENTS):
        n = min(_ELEMENTS, numel - first)
        with np.errstate(over="ignore", invalid="ignore"):
            terms = (
                elements.take(n).astype(wide).view(np.float64) * factor
                for elements, factor in zip(inputs, factors, strict=True)
            )
            total = functools.reduce(operator.iadd, terms)  # from 0 it would make 0.0 of -0.0
            total /= divisor
        yield cast.array(total.view(wide)).view(np.uint8)
    for elements in inputs:
        elements.finish()


class _Elements:
    """The elements of a stored tensor, as many at a time as are asked for."""

    def __init__(self, stored: Stored, dtype: np.dtype[Any]) -> None:
        self._pieces, self._dtype = stored.elements(), dtype
        self._rest: Array = np.empty(0, dtype)

    def take(self, n: int) -> Array:
        """The next n elements; valid until the next call."""
        if self._rest.size >= n:
            taken, self._rest = self._rest[:n], self._rest[n:]
            return taken
        out, filled = np.empty(n, self._dtype), 0
        while filled < n:
            if not self._rest.size:
                self._rest = next(self._pieces).reshape(-1).view(self._dtype)
            part = self._rest[: n - filled]
            out[filled : filled + part.size] = part
            filled += part.size
            self._rest = self._rest[part.size :]
        return out

    def finish(self) -> bool:
        """Lets the reader end: it may have something to say about the whole."""
        return not self._rest.size and next(self._pieces, None) is None
