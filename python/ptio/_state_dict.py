# SPDX-License-Identifier: Apache-2.0
"""Which part of a file is the state dict that is meant, and the names in it."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ptio._api import load
from ptio._limits import Limits
from ptio._module_tree import Budget, Values, children_of, state_of
from ptio._names import joined
from ptio._progress import Progress
from ptio._text import count, printable, size
from ptio._types.opaque import Opaque

_SEARCH_DEPTH = 3
_CHOICES_SHOWN = 10

# Tensors below such keys are no weights: random states, best scores, moments of optimizers.
_BOOKKEEPING = (
    *("optim", "sched", "scaler", "rng", "random_state", "callback", "loops", "metric", "loss"),
    *("constants", "hyper_param", "hparam", "sampler", "loader", "history"),
)

State = Mapping[str, Any]
Path = tuple[Any, ...]


def load_state_dict(
    f: Any,
    select: str | tuple[Any, ...] | None = None,
    strip_prefix: str | Iterable[str] = (),
    *,
    mmap: bool | str = "auto",
    verify: bool | None = None,
    encoding: str = "utf-8",
    limits: Limits | None = None,
    threads: int | None = None,
    progress: bool | Progress | None = None,
) -> dict[str, Any]:
    """Load the weights in a file, whatever is around them: {name: array}.

    From a state dict, a training checkpoint, a Lightning .ckpt, or a model that was saved whole
    (torch.save(model), Ultralytics), whose classes need not be there: their names in the file
    become data, nothing is imported. A whole model gives the names that its state_dict() has;
    tied weights are two views of the same memory.

    Args:
        f: a path or a seekable binary file object, as for `load`.
        select: where in the file the weights are: a key, or a way of keys and attributes as a
            tuple or joined by "/", e.g. "ema" or "state/model"; "" is the whole. None (default):
            the only part that can be meant. Random states, scores and optimizers are not.
        strip_prefix: parts of names to leave out wherever they are in a name, e.g. "module."
            (DataParallel), "_orig_mod." (torch.compile), "model." (Lightning).
        mmap, verify, encoding, limits, threads, progress: as for `load`.

    Returns:
        Arrays, or the tensor classes of ptio, by name. A state dict is given as it is in the
        file, with what else it holds, such as the extra state of modules.

    Raises:
        ValueError: the file holds no weights; or several that may be meant: the message lists
            them with what to `select`; or stripping makes two names equal.
        LimitError: modules contain each other so often that there is no end of names.
        Error, OSError: the file cannot be read, as for `load`.
    """
    names = Names(strip_prefix)
    root = load(
        f,
        mmap=mmap,
        verify=verify,
        unknown="inert",
        encoding=encoding,
        limits=limits,
        threads=threads,
        progress=progress,
    )
    finder = Finder(root, Values())
    state = finder.find() if select is None else finder.select(select)
    if names.has_prefixes:
        return names.rename(state)
    return state if isinstance(state, dict) else dict(state)


# --- where it is ------------------------------------------------------------------------------


class Candidate(NamedTuple):
    """What may be a state dict, and the way there."""

    path: Path
    state: State


Stage = Callable[[list[Candidate]], list[Candidate]]  # those of them that fit


class Finder:
    """Finds the state dict in what a file holds."""

    def __init__(self, root: Any, values: Values) -> None:
        self._root = root
        self._values = values
        self._budget = Budget()

    def find(self, stages: Iterable[Stage] = (), purpose: str = "") -> State:
        """The only one that fits: by the first stage that any fits.

        Raises:
            ValueError: there is none, or there are several.
        """
        candidates = list(self._candidates())
        for stage in (*stages, self._likely, self._mostly_tensors):
            fitting = stage(candidates)
            if len(fitting) == 1:
                return fitting[0].state
            if fitting:
                raise ValueError(
                    f"the file holds {len(fitting)} state dicts that may be meant{purpose}: "
                    f"choose by {self._choices(fitting)}"
                )
        raise ValueError(f"the file holds no state dict: it is {_description(self._root)}")

    def select(self, select: str | tuple[Any, ...]) -> State:
        """The one at a way of keys."""
        if isinstance(select, str):
            is_key = isinstance(self._root, Mapping) and select in self._root
            path: Path = (select,) if is_key else tuple(select.split("/") if select else ())
        elif isinstance(select, (tuple, list)):
            path = tuple(select)
        else:
            raise TypeError(f"select must be a str or a tuple of keys, not {select!r}")
        value = self._root
        for key in path:
            ways = {str(way): child for way, child in children_of(value, self._values)}
            value = ways.get(str(key))
        if self._values.is_module(value):
            return state_of(value, self._values, self._budget)
        table = _table(value)
        if table is not None and self._is_selectable(table):
            return table
        candidates = list(self._candidates())
        there_is = self._choices(candidates)
        shown = repr(printable(joined(path)))
        raise ValueError(
            f"select={shown} is no state dict of the file; there is "
            f"{there_is or f'none: it is {_description(self._root)}'}"
        )

    def _candidates(self) -> Iterator[Candidate]:
        """Near ones first. Each object once, and no optimizers."""
        seen = {id(self._root)}
        todo: list[tuple[Path, Any]] = [((), self._root)]
        for path, value in todo:
            if self._values.is_module(value):
                state = state_of(value, self._values, self._budget)
                if state or not path:
                    yield Candidate(path, state)
                continue
            table = _table(value)
            if table is not None and not self._may_hold_one(table):
                continue
            if table is not None and self._is_state(table, path):
                yield Candidate(path, table)
            if len(path) >= _SEARCH_DEPTH:
                continue
            for key, child in children_of(value, self._values):
                skipped = isinstance(key, str) and key.endswith("_extra_state")
                if not skipped and id(child) not in seen and not self._values.is_tensor(child):
                    seen.add(id(child))
                    todo.append(((*path, key), child))

    def _may_hold_one(self, table: Mapping[Any, Any]) -> bool:
        return "param_groups" not in table and all(isinstance(key, str) for key in table)

    def _is_selectable(self, table: Mapping[Any, Any]) -> bool:
        named = all(isinstance(name, str) for name in table)
        return named and (not table or self._is_state(table, ()))

    def _is_state(self, table: Mapping[Any, Any], path: Path) -> bool:
        if any(self._values.is_tensor(child) for child in table.values()):
            return True
        return not path and all(key.endswith("_extra_state") for key in table)

    # --- stages

    def _likely(self, candidates: list[Candidate]) -> list[Candidate]:
        """What is no bookkeeping, and holds no other such one."""
        known = [
            each for each in self._mostly_tensors(candidates) if not _is_bookkeeping(each.path)
        ]
        around = {each.path[:end] for each in known for end in range(len(each.path))}
        return [each for each in known if each.path not in around]

    def _mostly_tensors(self, candidates: list[Candidate]) -> list[Candidate]:
        return [each for each in candidates if 2 * self._tensors(each.state) >= len(each.state)]

    # --- words

    def _tensors(self, state: State) -> int:
        return sum(map(self._values.is_tensor, state.values()))

    def _choices(self, candidates: list[Candidate]) -> str:
        texts = [self._choice(each) for each in candidates[:_CHOICES_SHOWN]]
        more = len(candidates) - len(texts)
        return " or ".join(texts) + (f" or {more} more" if more else "")

    def _choice(self, candidate: Candidate) -> str:
        path, state = candidate
        tensors = [value for value in state.values() if self._values.is_tensor(value)]
        nbytes = sum(getattr(tensor, "nbytes", 0) for tensor in tensors)
        shown = repr(printable(joined(path)))
        if len(path) > 1 and any("/" in str(key) for key in path):
            shown = printable(repr(path))
        return f"select={shown} ({count(len(tensors), 'tensor')}, {size(nbytes)})"


def _table(value: Any) -> Mapping[Any, Any] | None:
    """A dict; an object of a subclass of dict is one, too."""
    if type(value) is Opaque:
        return value.mapping
    return value if isinstance(value, Mapping) else None


def _is_bookkeeping(path: Path) -> bool:
    return any(word in str(key).lower() for key in path for word in _BOOKKEEPING)


def _description(root: Any) -> str:
    if type(root) is Opaque:
        return repr(root)
    if not isinstance(root, Mapping):
        return f"a {type(root).__name__}"
    keys = [repr(printable(str(key))) for key in list(root)[:_CHOICES_SHOWN]]
    return f"a dict of {', '.join(keys)}{', ...' if len(root) > len(keys) else ''}"


# --- its names --------------------------------------------------------------------------------


class Names:
    """The names in a model's state dict, and what a file may call them.

    A wrapper such as DataParallel adds a part to names: "module.fc.weight". Such parts, the
    prefixes, stay where the model has a module of this name, and are ignored elsewhere. Without a
    model they are left out everywhere.
    """

    def __init__(
        self,
        prefixes: str | Iterable[str],
        known: Collection[str] = (),
        modules: Iterable[str] = (),
    ) -> None:
        prefixes = (prefixes,) if isinstance(prefixes, str) else tuple(prefixes)
        if not all(isinstance(prefix, str) for prefix in prefixes):
            raise TypeError(
                f"strip_prefix takes parts of names such as 'module.', not {prefixes!r}"
            )
        self._prefixes = [prefix.rstrip(".").split(".") for prefix in prefixes]
        self._known = known
        self._modules = set(modules)

    @property
    def has_prefixes(self) -> bool:
        return bool(self._prefixes)

    def rename(self, state: State) -> OrderedDict[str, Any]:
        """The state dict, and its metadata, with the names of the model."""
        result: OrderedDict[str, Any] = OrderedDict()
        origin: dict[str, str] = {}
        for old, value in state.items():
            new = self.in_model(old)
            if new in origin:
                first, second, both = (repr(printable(n)) for n in (origin[new], old, new))
                raise ValueError(
                    f"{first} and {second} of the file are both {both} without prefixes; "
                    "strip_prefix=() takes the names as they are"
                )
            origin[new] = old
            result[new] = value
        metadata = getattr(state, "_metadata", None)
        if metadata is not None:
            renamed = list(result) != list(state)
            result._metadata = (  # type: ignore[attr-defined]
                self._rename_metadata(metadata) if renamed else metadata
            )
        return result

    def in_model(self, name: str) -> str:
        if name in self._known:
            return name
        owners = self._by_bare.get(self._strip(name), [])
        return owners[0] if len(owners) == 1 else self._strip(name, keep=self._modules)

    def _rename_metadata(self, metadata: Any) -> Any:
        """Where a wrapper and what it wraps become one, the latter's counts: it comes later."""
        if not isinstance(metadata, Mapping) or not all(isinstance(name, str) for name in metadata):
            return metadata
        by_bare = {self._strip_module(name): value for name, value in metadata.items()}
        if not self._modules:
            return by_bare
        bare = {name: self._strip_module(name) for name in self._modules}
        ours = {name: by_bare[text] for name, text in bare.items() if text in by_bare}
        return {**metadata, **ours}

    @functools.cached_property
    def _by_bare(self) -> dict[str, list[str]]:
        result: dict[str, list[str]] = {}
        for name in self._known:
            result.setdefault(self._strip(name), []).append(name)
        return result

    def _strip_module(self, name: str) -> str:
        return self._strip(f"{name}.").removesuffix(".") if name else ""

    def _strip(self, name: str, keep: Container[str] = ()) -> str:
        """The name without prefixes; those that lead to a module of `keep` stay."""
        *path, last = name.split(".")
        kept: list[str] = []
        for part in path:
            kept.append(part)
            for prefix in self._prefixes:
                if kept[-len(prefix) :] == prefix and ".".join(kept) not in keep:
                    del kept[-len(prefix) :]
        return ".".join([*kept, last])
