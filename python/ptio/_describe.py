# SPDX-License-Identifier: Apache-2.0
"""How NumPy's values look in a pickle of torch: what `_core.collect` asks for each."""

from __future__ import annotations

import _codecs
import collections
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from ptio import _core
from ptio._array_plan import Array, StoragePlan, TensorPlan, contiguous_stride, plan_arrays
from ptio._deferred import Deferred
from ptio._text import printable
from ptio._types import RawTensor, SparseTensor, TorchDtype

# Kinds of descriptions, see csrc/py/collect_described.c.
_GLOBAL, _CALL, _REDUCED, _VALUE, _STORAGE = range(5)

_UTILS = "torch._utils"
_CLASSES: dict[Any, tuple[str, str]] = {
    collections.OrderedDict: ("collections", "OrderedDict"),
    collections.Counter: ("collections", "Counter"),
    **{kind: ("__builtin__", kind.__name__) for kind in (set, bytes, bytearray, complex)},
}


class _Call:
    """A call in the pickle: no object of this program is its result."""

    def __init__(self, module: str, name: str, *args: Any) -> None:
        self.module, self.name, self.args = module, name, args


class _Storage:
    """A storage as an argument."""

    def __init__(self, plan: StoragePlan, dtype: str) -> None:
        self.plan, self.dtype = plan, dtype


@cache
def _dtypes() -> tuple[dict[Any, str], dict[str, tuple[int, str]]]:
    """NumPy dtype -> torch's name; that -> item size and storage class."""
    import ml_dtypes

    names, facts = {}, {}
    for name, size, storage_class, numpy_name in _core.dtypes():
        facts[name] = (size, storage_class)
        if not numpy_name or name.startswith("q"):
            continue
        kind = getattr(ml_dtypes, numpy_name, None) if len(numpy_name) > 3 else numpy_name
        if kind is not None:
            names[np.dtype(kind)] = name
    return names, facts


class Reference:
    """Stands for a tensor whose bytes `Writer` has written already.

    Attributes:
        shape, dtype: of the array.
    """

    def __init__(self, plan: TensorPlan, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._plan = plan
        self.shape = shape
        self.dtype = dtype

    def __repr__(self) -> str:
        return f"Reference({self.shape}, {self.dtype})"


class Describer:
    """Describes values; storages get their numbers as the pickle names them.

    Attributes:
        storages: in the order of their numbers.
    """

    def __init__(self, compact: bool = False) -> None:
        self._root: Any = None  # what is being described, for the paths in errors
        self._compact = compact
        self._plans: dict[int, TensorPlan] = {}
        self.storages: list[StoragePlan] = []

    def collect(self, root: Any) -> bytes:
        """The pickle of an object."""
        self._root = root
        self._plans = plan_arrays(_arrays_of(self._root), share=not self._compact)
        data, _ = _core.collect(self._root, self._describe)
        return data

    def _describe(self, value: Any) -> tuple[Any, ...]:
        kind = type(value)
        if kind is _Call:
            return _CALL, value.module, value.name, value.args
        if kind is _Storage:
            return self._describe_storage(value)
        if isinstance(value, np.ndarray):
            return self._describe_array(value)
        if isinstance(value, type) and value in _CLASSES:
            return _GLOBAL, *_CLASSES[value]
        if kind in (collections.OrderedDict, collections.Counter):
            return _REDUCED, value.__reduce_ex__(2)
        if kind is complex:
            return _CALL, "__builtin__", "complex", (value.real, value.imag)
        if value is _codecs.encode:  # what protocol 2 makes bytes with
            return _GLOBAL, "_codecs", "encode"
        return self._describe_rare(value)

    def _describe_rare(self, value: Any) -> tuple[Any, ...]:
        if isinstance(value, np.generic):
            return _VALUE, self._plain_scalar(value)
        if isinstance(value, np.dtype):
            return _GLOBAL, "torch", self._dtype_name(value, value)
        if isinstance(value, TorchDtype):
            return _GLOBAL, "torch", value.name
        if isinstance(value, Deferred):
            name = self._dtype_name(value.dtype, value)
            return self._tensor(_plan_deferred(value), name, value.shape)
        if isinstance(value, Reference):
            return self._tensor(value._plan, self._dtype_name(value.dtype, value), value.shape)
        if isinstance(value, RawTensor):
            return self._describe_raw(value)
        if isinstance(value, SparseTensor):
            return _CALL, _UTILS, "_rebuild_sparse_tensor", _sparse_arguments(value)
        if value is frozenset:  # its members come after it
            value = next(v for _, _, v in _walk(self._root) if type(v) is frozenset)
        raise self._cannot(value, f"a value of type {kind_name(value)}")

    # --- tensors

    def _describe_array(self, array: Array) -> tuple[Any, ...]:
        name = self._dtype_name(array.dtype, array)
        return self._tensor(self._plans[id(array)], name, array.shape)

    def _tensor(self, plan: TensorPlan, dtype: str, shape: tuple[int, ...]) -> tuple[Any, ...]:
        storage = _Storage(plan.storage, dtype)
        where: tuple[Any, ...] = (
            storage,
            plan.offset,
            tuple(shape),
            plan.stride,
            False,
            collections.OrderedDict(),
        )
        if _dtypes()[1][dtype][1]:
            return _CALL, _UTILS, "_rebuild_tensor_v2", where
        return _CALL, _UTILS, "_rebuild_tensor_v3", (*where, TorchDtype(dtype))

    def _describe_raw(self, raw: RawTensor) -> tuple[Any, ...]:
        dtype = raw.dtype
        name = dtype.name if isinstance(dtype, TorchDtype) else self._dtype_name(dtype, raw)
        if raw.data is None:
            arguments = (TorchDtype(name), tuple(raw.shape), tuple(raw.stride), False)
            return _CALL, _UTILS, "_rebuild_meta_tensor_no_storage", arguments
        data = np.ascontiguousarray(raw.data)
        address = data.__array_interface__["data"][0]
        plan = TensorPlan(StoragePlan(data.nbytes, address, data), 0, tuple(raw.stride))
        return self._tensor(plan, name, raw.shape)

    def refer(self, array: Any) -> tuple[Reference, StoragePlan]:
        """For an array that is written before the pickle: its storage has the next number."""
        if not isinstance(array, Deferred):
            array = np.asanyarray(array)
        self._root = array
        self._dtype_name(array.dtype, array)
        if isinstance(array, Deferred):
            plan = _plan_deferred(array)
        else:
            plan = plan_arrays([array])[id(array)]
        self._number(plan.storage)
        return Reference(plan, array.shape, array.dtype), plan.storage

    def _number(self, plan: StoragePlan) -> int:
        if plan.number is None:
            plan.number = len(self.storages)
            self.storages.append(plan)
        return plan.number

    def _describe_storage(self, storage: _Storage) -> tuple[Any, ...]:
        plan, number = storage.plan, self._number(storage.plan)
        item, storage_class = _dtypes()[1][storage.dtype]
        if not storage_class:
            return _STORAGE, number, "torch.storage", "UntypedStorage", plan.nbytes
        return _STORAGE, number, "torch", f"{storage_class}Storage", plan.nbytes // item

    # --- names and errors

    def _dtype_name(self, dtype: np.dtype[Any], value: Any) -> str:
        name = _dtypes()[0].get(dtype.newbyteorder("="))
        if name is None:
            raise self._cannot(value, f"dtype {dtype}, which torch does not have")
        return name

    def _plain_scalar(self, value: np.generic[Any]) -> Any:
        plain = None if value.dtype.char in "gG" else value.item()  # not long doubles
        if isinstance(plain, np.generic) and hasattr(plain, "__float__"):  # of ml_dtypes
            plain = float(plain)
        if not isinstance(plain, (bool, int, float, complex, str, bytes)):
            raise self._cannot(value, f"a NumPy scalar of dtype {value.dtype}")
        return plain

    def _cannot(self, value: Any, what: str) -> TypeError:
        path = _path_to(self._root, value)
        where = f" at {printable(path)}" if path else ""
        return TypeError(f"{what} cannot be saved{where}: give arrays or plain data instead")


def kind_name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


def _plan_deferred(deferred: Deferred) -> TensorPlan:
    storage = StoragePlan(deferred.nbytes, owner=deferred)
    return TensorPlan(storage, 0, contiguous_stride(deferred.shape))


def _sparse_arguments(sparse: SparseTensor) -> tuple[Any, ...]:
    layout = _Call("torch.serialization", "_get_layout", sparse.layout)
    size = _Call("torch", "Size", tuple(sparse.shape))
    if sparse.layout == "torch.sparse_coo":
        return layout, (sparse.indices, sparse.values, size)
    compressed = sparse.crow_indices if sparse.crow_indices is not None else sparse.ccol_indices
    plain = sparse.col_indices if sparse.col_indices is not None else sparse.row_indices
    return layout, (compressed, plain, sparse.values, size)


# --- walking -------------------------------------------------------------------------------------


def _children(value: Any) -> Iterator[tuple[Any, Any]]:
    """(step, child) of what may hold arrays."""
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, (list, tuple, set)):
        yield from enumerate(value)
    elif isinstance(value, SparseTensor):
        yield from vars(value).items()
    if isinstance(value, collections.OrderedDict):
        yield from vars(value).items()


def _walk(root: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Every container and value once: (the entry of its parent, the step from there, value)."""
    seen: set[int] = set()
    todo: list[Any] = [(None, None, root)]
    while todo:
        entry = todo.pop()
        value = entry[2]
        if id(value) in seen:
            continue
        seen.add(id(value))
        yield entry
        todo.extend((entry, step, child) for step, child in _children(value))


def _arrays_of(root: Any) -> Iterator[Array]:
    return (entry[2] for entry in _walk(root) if isinstance(entry[2], np.ndarray))


def _path_to(root: Any, value: Any) -> str:
    for entry in _walk(root):
        if entry[2] is value:
            steps = []
            while entry[0] is not None:
                steps.append(str(entry[1]))
                entry = entry[0]
            return "/".join(reversed(steps))
    return ""
