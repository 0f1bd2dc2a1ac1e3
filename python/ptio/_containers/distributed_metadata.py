# SPDX-License-Identifier: Apache-2.0
"""What .metadata of torch.distributed.checkpoint says, proven.

It is a pickle of dataclasses. Nothing of it is imported: our parser gives their fields.

  Metadata.state_dict_metadata  {name: TensorStorageMetadata(properties, size, chunks) or
                                 BytesStorageMetadata()}
  Metadata.storage_data         {MetadataIndex(fqn, offset): _StorageInfo(relative_path, offset,
                                 length)}
  Metadata.planner_data         {name: the way to it in the nested object}
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from ptio._containers.base import FREE, Options
from ptio._containers.json import require, require_sizes
from ptio._containers.pickled import Pickled
from ptio._core import Source, dtypes
from ptio._errors import AmbiguousError, BoundsError, FormatError, LimitError, UnsupportedError
from ptio._limits import Limits
from ptio._text import printable
from ptio._types import Opaque, TorchDtype
from ptio._types.dtypes import item_bytes, numpy_dtype

_METADATA = "torch.distributed.checkpoint.metadata"
_OLD = "torch.distributed._shard.sharded_tensor.metadata"
ALLOWED = (
    *(
        f"{_METADATA}.{name}"
        for name in (
            "Metadata",
            "MetadataIndex",
            "StorageMeta",
            "BytesStorageMetadata",
            "TensorStorageMetadata",
            "ChunkStorageMetadata",
            "TensorProperties",
            "_MEM_FORMAT_ENCODING",
        )
    ),
    f"{_OLD}.TensorProperties",
    f"{_OLD}.MEM_FORMAT_ENCODING",
    "torch.distributed.checkpoint.filesystem._StorageInfo",
)
_MOST_PAIRS = 2_000_000  # of chunks that are compared
_CONTAINER, _SLOT = 240, 9  # bytes of a dict, the largest of CPython, and of an item of a list
_KIND = "DCP"
Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Place:
    """Bytes of a file of the directory."""

    file: str
    offset: int
    length: int


@dataclass(frozen=True)
class Chunk:
    """A block of a tensor, and the archive that holds it."""

    offsets: Sizes
    sizes: Sizes
    place: Place


@dataclass(frozen=True)
class TensorItem:
    dtype: str
    shape: Sizes
    chunks: tuple[Chunk, ...]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * item_bytes(self.dtype)


@dataclass(frozen=True)
class BytesItem:
    """An object of torch.save."""

    place: Place


@dataclass(frozen=True)
class Contents:
    """`items` by their names; `ways` to them in the nested object, or None, and the `most` bytes
    that its containers may take."""

    items: dict[str, TensorItem | BytesItem]
    ways: dict[str, tuple[str | int, ...]] | None
    most: int


def read_metadata(source: Source, options: Options, path: str) -> Contents:
    """The proven contents of .metadata; takes the source over."""
    limits = options.limits or Limits()
    options = replace(
        options,
        allow=(*(a for a in options.allow if isinstance(a, str)), *ALLOWED),
        framework="numpy",
    )
    most = limits.object_bytes or max(FREE, 32 * source.size)
    container = Pickled(source, options, path=path)
    try:
        root = container.load(None)
    finally:
        container.close()
    try:
        return _contents(root, limits, most)
    except (FormatError, LimitError, UnsupportedError) as e:
        e.path = path
        raise


def _contents(root: Any, limits: Limits, most: int) -> Contents:
    state = _state(root, "Metadata")
    places = _places(require(state.get("storage_data"), dict, "storage_data"))
    items = {}
    for name, entry in require(
        state.get("state_dict_metadata"), dict, "state_dict_metadata"
    ).items():
        require(name, str, "a name in state_dict_metadata")
        try:
            items[name] = _item(name, entry, places)
        except (FormatError, LimitError, UnsupportedError) as e:
            e.record = name
            raise
    _require_apart(items)
    planned = state.get("planner_data")
    if planned is None:
        return Contents(items, None, most)
    require(planned, dict, "planner_data")
    ways = {name: _way(planned[name], len(items), limits) for name in items if name in planned}
    return Contents(items, ways, most)


def _state(value: Any, name: str) -> dict[Any, Any]:
    """The fields of an instance of the dataclass `name`."""
    if not isinstance(value, Opaque) or value.name != name or value.args is None:
        found = value.name if isinstance(value, Opaque) else type(value).__name__
        raise FormatError(f"{printable(found)} in the place of {name}", kind=_KIND)
    if value.state is None:
        return {}
    fields: dict[Any, Any] = require(value.state, dict, f"the state of {name}")
    return fields


def _places(storage_data: dict[Any, Any]) -> dict[tuple[str, Sizes | None], Place]:
    places: dict[tuple[str, Sizes | None], Place] = {}
    for index, info in storage_data.items():
        fields = _state(index, "MetadataIndex")
        name = require(fields.get("fqn"), str, "the name of an index")
        offset = fields.get("offset")
        key = name, None if offset is None else _sizes(offset, "an offset")
        if key in places:
            raise AmbiguousError("there are two places for it", record=name, kind=_KIND)
        places[key] = _place(info)
    return places


def _place(info: Any) -> Place:
    fields = _state(info, "_StorageInfo")
    transforms = fields.get("transform_descriptors")
    if transforms:
        text = f"the tensors are transformed by {printable(repr(transforms))}"
        raise UnsupportedError(text, kind=_KIND, hint="load it with torch.distributed.checkpoint")
    offset, length = _sizes((fields.get("offset"), fields.get("length")), "a place")
    return Place(require(fields.get("relative_path"), str, "relative_path"), offset, length)


def _sizes(value: Any, what: str) -> Sizes:
    return require_sizes(list(require(value, tuple, what)), what)


def _item(
    name: str, entry: Any, places: dict[tuple[str, Sizes | None], Place]
) -> TensorItem | BytesItem:
    if isinstance(entry, Opaque) and entry.name == "BytesStorageMetadata":
        return BytesItem(_known(places, name, None))
    fields = _state(entry, "TensorStorageMetadata")
    shape = _sizes(fields.get("size"), "the size")
    chunks = []
    for one in require(fields.get("chunks"), list, "chunks"):
        chunk = _state(one, "ChunkStorageMetadata")
        offsets = _sizes(chunk.get("offsets"), "the offsets of a chunk")
        sizes = _sizes(chunk.get("sizes"), "the sizes of a chunk")
        chunks.append(Chunk(offsets, sizes, _known(places, name, offsets)))
    _check_chunks(shape, chunks)
    item = TensorItem(_dtype(fields.get("properties")), shape, tuple(chunks))
    _require_room(item)
    return item


def _known(places: dict[tuple[str, Sizes | None], Place], name: str, offset: Sizes | None) -> Place:
    try:
        return places[name, offset]
    except KeyError:
        at = "" if offset is None else f" at {offset}"
        raise FormatError(f"storage_data has no place for it{at}", kind=_KIND) from None


def _require_apart(items: dict[str, TensorItem | BytesItem]) -> None:
    """No bytes are those of two: a small file would become as much as its metadata can list."""
    spans = []
    for item in items.values():
        places = [item.place] if isinstance(item, BytesItem) else [c.place for c in item.chunks]
        spans += [(place.file, place.offset, place.length) for place in places]
    for (file, begin, size), (other, after, _) in pairwise(sorted(spans)):
        if file == other and begin + size > after:
            text = f"two places in {printable(file)!r} overlap at byte {after}"
            raise AmbiguousError(text, kind=_KIND)


def _require_room(item: TensorItem) -> None:
    """Memory for a tensor of several chunks is made before they are read."""
    for chunk in item.chunks if len(item.chunks) > 1 else ():
        nbytes = math.prod(chunk.sizes) * item_bytes(item.dtype)
        if nbytes > chunk.place.length:
            text = f"a chunk of {nbytes} bytes in an archive of {chunk.place.length}"
            raise BoundsError(text, kind=_KIND)


@lru_cache(maxsize=1)
def _names_of_dtypes() -> dict[Any, str]:
    """torch's name of each NumPy dtype."""
    names: dict[Any, str] = {}
    for name, *_ in dtypes():
        names.setdefault(numpy_dtype(name), name)
    return names


def _dtype(properties: Any) -> str:
    state = properties.state if isinstance(properties, Opaque) else None
    dtype = state[0] if isinstance(state, tuple) and state else None
    if not isinstance(dtype, (np.dtype, TorchDtype)) or dtype not in _names_of_dtypes():
        raise FormatError("the properties of a tensor name no dtype", kind=_KIND)
    return _names_of_dtypes()[dtype]


# --- chunks --------------------------------------------------------------------------------------


def _check_chunks(shape: Sizes, chunks: list[Chunk]) -> None:
    """They lie inside the tensor, cover all of it, and do not overlap."""
    covered = 0
    for chunk in chunks:
        if not len(shape) == len(chunk.offsets) == len(chunk.sizes) or any(
            begin + size > whole
            for begin, size, whole in zip(chunk.offsets, chunk.sizes, shape, strict=True)
        ):
            raise BoundsError(
                f"a chunk of sizes {chunk.sizes} at {chunk.offsets} does not lie inside {shape}",
                kind=_KIND,
            )
        covered += math.prod(chunk.sizes)
    whole = math.prod(shape)
    if covered > whole or (len(chunks) > 1 and _overlap(chunks)):
        raise AmbiguousError("its chunks overlap", kind=_KIND)
    if covered < whole:
        text = f"its chunks have {covered} of {whole} elements"
        raise FormatError(text, kind=_KIND, hint="the checkpoint was not written to the end")


def _overlap(chunks: list[Chunk]) -> bool:
    filled = [chunk for chunk in chunks if 0 not in chunk.sizes]
    if len(filled) < 2 or not filled[0].sizes:
        return len(filled) > 1
    if any(_apart(filled, axis) for axis in range(len(filled[0].sizes))):
        return False
    begins = np.array([chunk.offsets for chunk in filled], np.int64)
    ends = begins + np.array([chunk.sizes for chunk in filled], np.int64)
    axis = int(np.argmax([len(np.unique(column)) for column in begins.T]))
    order = np.argsort(begins[:, axis], kind="stable")
    begins, ends = begins[order], ends[order]
    # Behind each chunk, those that begin before it ends along the axis that tells most apart.
    behind = np.searchsorted(begins[:, axis], ends[:, axis], side="left")
    pairs = int(np.maximum(behind - np.arange(len(filled)) - 1, 0).sum())
    if pairs > _MOST_PAIRS:
        raise LimitError(f"{pairs} pairs of chunks would have to be compared", kind="LIMIT")
    for i, stop in enumerate(behind):
        near = slice(i + 1, stop)
        if ((begins[near] < ends[i]) & (begins[i] < ends[near])).all(axis=1).any():
            return True
    return False


def _apart(chunks: list[Chunk], axis: int) -> bool:
    """Whether they are one behind the other along an axis, as most are."""
    spans = sorted((chunk.offsets[axis], chunk.sizes[axis]) for chunk in chunks)
    return all(begin + size <= after for (begin, size), (after, _) in pairwise(spans))


# --- the nested object ---------------------------------------------------------------------------


def _way(way: Any, count: int, limits: Limits) -> tuple[str | int, ...]:
    """The way to an item: names of dicts and positions in lists."""
    steps: tuple[Any, ...] = tuple(require(way, tuple, "an entry of planner_data"))
    if not 1 <= len(steps) <= limits.depth:
        raise LimitError(f"an object is nested {len(steps)} deep (limit depth)", kind="LIMIT")
    require(steps[0], str, "the first step of a way")
    for step in steps:
        if not isinstance(step, str) and not 0 <= require(step, int, "a step of a way") < count:
            raise FormatError(f"position {step} in a list of {count} at most", kind=_KIND)
    return steps


class Nested:
    """The nested object, which grows by what is put into it; `most` bytes of containers."""

    def __init__(self, most: int) -> None:
        self.root: dict[str, Any] = {}
        self._most = self._left = most

    def put(self, way: tuple[str | int, ...], value: Any) -> None:
        """Sets a value, as torch.distributed.checkpoint does.

        Raises:
            FormatError: another value is in the way.
            LimitError: lists with holes, and dicts for one value, would take too much memory.
        """
        here: Any = self.root
        for step, following in zip(way, (*way[1:], None), strict=True):
            there = self._at(here, step)
            if following is not None and there is None:
                self._charge(_CONTAINER)
                there = [] if isinstance(following, int) else {}
                here[step] = there
            elif following is None and there is not None:
                raise FormatError("two ways in planner_data contradict each other", kind=_KIND)
            elif following is None:
                here[step] = value
            here = there

    def _at(self, container: Any, step: str | int) -> Any:
        """What is at `step`, which a list grows to have; None for nothing."""
        if not isinstance(container, list if isinstance(step, int) else dict):
            raise FormatError("two ways in planner_data contradict each other", kind=_KIND)
        if isinstance(container, dict):
            return container.get(step)
        position = int(step)
        missing = position + 1 - len(container)
        self._charge(max(missing, 0) * _SLOT)
        container.extend([None] * missing)
        return container[position]

    def _charge(self, nbytes: int) -> None:
        self._left -= nbytes
        if self._left < 0:
            text = f"the nested object needs more than {self._most} bytes (limit object_bytes)"
            raise LimitError(text, kind="LIMIT")
