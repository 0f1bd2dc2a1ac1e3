# SPDX-License-Identifier: Apache-2.0
"""How NumPy's values look in a pickle of torch: what `_core.collect` asks for each."""

from __future__ import annotations

import _codecs
import collections
import gc
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from ptio import _core
from ptio._key_path import contains, path_to
from ptio._save.array_plan import Placed, StoragePlan, TensorPlan, plan_alone, plan_shared
from ptio._save.deferred import Deferred
from ptio._save.rebuild import Call, Named, StorageOf, rebuild_call
from ptio._save.reduced import opaque_made, standard_made
from ptio._types import NestedTensor, QuantizedTensor, RawTensor, SparseTensor, TorchDtype
from ptio._types.arrays import Array
from ptio._types.opaque import Opaque

# Kinds of descriptions, see csrc/py/collect_described.c.
_GLOBAL, _CALL, _REDUCED, _VALUE, _STORAGE, _TENSOR, _OPAQUE = range(7)
_Description = tuple[Any, ...]

# What the collector itself names.
_NAMES: dict[Any, tuple[str, str]] = {
    **{kind: ("__builtin__", kind.__name__) for kind in (set, frozenset, bytes, bytearray)},
    _codecs.encode: ("_codecs", "encode"),  # what protocol 2 makes bytes with
}
_ORDERED_DICT = Named("collections", "OrderedDict")
_COUNTER = Named("collections", "Counter")


@dataclass(frozen=True, slots=True)
class _Dtype:
    """How torch stores elements of a type."""

    name: str  # torch's
    size: int  # bytes of an element
    storage: tuple[str, str]  # class of storages
    unit: int  # bytes that a storage's length counts
    named: tuple[str, str] | None  # where the class does not tell the dtype

    @property
    def is_quantized(self) -> bool:
        return "Storage" in self.storage[1] and self.name.startswith("q")


@cache
def _dtypes() -> dict[Any, _Dtype]:
    """By torch's name, and by NumPy's dtype."""
    import ml_dtypes

    known: dict[Any, _Dtype] = {}
    for name, size, storage, numpy_name in _core.dtypes():
        if storage:
            dtype = _Dtype(name, size, ("torch", f"{storage}Storage"), size, None)
        else:
            untyped = ("torch.storage", "UntypedStorage")
            dtype = _Dtype(name, size, untyped, 1, ("torch", name))
        known[name] = dtype
        numpy_name = name if name.endswith("complex32") else numpy_name  # ml_dtypes >= 0.6
        kind = getattr(ml_dtypes, numpy_name, None) if len(numpy_name) > 3 else numpy_name
        if kind and not dtype.is_quantized:
            known[np.dtype(kind)] = dtype
    return known


class Reference:
    """Stands for a tensor whose bytes a `Writer` has written already.

    Attributes:
        shape, dtype: of the array.
    """

    def __init__(
        self, writer: Describer, plan: TensorPlan, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self._writer = writer
        self._plan = plan
        self.shape = shape
        self.dtype = dtype

    def __repr__(self) -> str:
        return f"Reference({self.shape}, {self.dtype})"


class Describer:
    """Describes values; storages get their numbers as the pickle names them.

    Attributes:
        storages: that the pickle named and that are not written yet, in their order.
    """

    def __init__(self, compact: bool = False) -> None:
        self.storages: list[StoragePlan] = []
        self._share = not compact
        self._written = 0  # storages before those
        self._root: Any = None  # what is being described
        self._names_checked: set[Any] = set()
        self._names: dict[tuple[str, str], Named] = {}
        # By (torch's dtype, id of the array); an id is valid as long as the array is kept here.
        self._arrays: dict[tuple[str, int], Placed] = {}
        self._plans: dict[tuple[str, int], TensorPlan] = {}
        self._copies: dict[Any, TensorPlan] = {}  # of arrays that are views of the same elements
        self._raw_arrays: dict[int, Array] = {}  # by the id of the RawTensor

    def collect(self, root: Any) -> Array:
        """The pickle of an object."""
        with _without_garbage_collection():  # many small objects, none of them garbage
            return self._collect(root)

    def _collect(self, root: Any) -> Array:
        self._root = root
        data: Array = _core.collect(root, self._describe)
        if self._share and (shared := plan_shared(self._arrays)):
            self.storages.clear()
            self._plans = shared
            self._copies.clear()
            data = _core.collect(root, self._describe)
        self._arrays.clear()  # the storages keep what they need
        self._plans.clear()
        return data

    def refer(self, value: Any, name: str | None = None) -> tuple[Reference, StoragePlan]:
        """For an array that is written before the pickle: its storage has the next number."""
        self._root = value if name is None else {name: value}
        if isinstance(value, Deferred):
            array: Any = value
            plan = _plan_deferred(value)
        else:
            array = self._plain(np.asanyarray(value))
            plan = plan_alone(_placed(array))
        self._dtype_of(array.dtype, value)
        self._root = None  # nothing keeps the array from here on
        storage = plan.storage
        storage.number = self._written
        self._written += 1
        plan.storage = StoragePlan(storage.nbytes, number=storage.number)  # without the array
        return Reference(self, plan, array.shape, array.dtype), storage

    # --- what the collector asks

    def _describe(self, value: Any, address: int | None) -> _Description:
        if address is not None:
            return self._describe_array(value, address)
        describe = _DESCRIBE.get(type(value))
        if describe is not None:
            return describe(self, value)
        if isinstance(value, np.generic):
            return _VALUE, self._plain_scalar(value)
        if isinstance(value, np.dtype):
            return _GLOBAL, ("torch", self._dtype_of(value, value).name)
        if type(value) in (type, type(_codecs.encode)) and value in _NAMES:
            return self._describe_name(value)
        if made := standard_made(value, self._name):
            return _OPAQUE, *made
        raise self._cannot(value, f"a value of type {kind_name(value)}")

    def _describe_name(self, value: Any) -> _Description:
        """Of what the collector needs for its own calls, and nobody else."""
        if value not in self._names_checked:
            if contains(self._root, value):
                raise self._cannot(value, f"the class or function {value.__name__}")
            self._names_checked.add(value)
        return _GLOBAL, _NAMES[value]

    def _describe_array(self, array: Array, address: int) -> _Description:
        plain = array if type(array) is np.ndarray else self._plain(array)
        dtype = self._dtype_of(plain.dtype, array)
        return self._tensor(self._plan(array, Placed(plain, address), dtype), dtype, plain.shape)

    def _describe_deferred(self, value: Deferred) -> _Description:
        dtype = self._dtype_of(value.dtype, value)
        return self._tensor(_plan_deferred(value), dtype, value.shape)

    def _describe_reference(self, value: Reference) -> _Description:
        if value._writer is not self:
            raise self._cannot(value, "a reference of another Writer", ValueError)
        return self._tensor(value._plan, self._dtype_of(value.dtype, value), value.shape)

    def _describe_raw(self, raw: RawTensor) -> _Description:
        dtype = self._torch_dtype_of(raw.dtype, raw)
        if raw.data is None:
            arguments = (TorchDtype(dtype.name), tuple(raw.shape), tuple(raw.stride), False)
            return _CALL, ("torch._utils", "_rebuild_meta_tensor_no_storage"), arguments
        if dtype.is_quantized:
            raise self._cannot(raw, f"a RawTensor of dtype {dtype.name}")
        array = self._raw_arrays.get(id(raw))
        if array is None:
            strides = [step * dtype.size for step in raw.stride]
            try:
                array = np.ndarray(raw.shape, f"V{dtype.size}", raw.data, 0, strides)
            except (TypeError, ValueError) as e:
                raise self._cannot(raw, f"an invalid RawTensor ({e})", ValueError) from None
            self._raw_arrays[id(raw)] = array
        return self._tensor(self._plan(array, _placed(array), dtype), dtype, array.shape)

    def _describe_rebuilt(self, value: Any) -> _Description:
        try:
            call = rebuild_call(value, self._place)
        except ValueError as e:
            what = f"an invalid {type(value).__name__} ({e})"
            raise self._cannot(value, what, ValueError) from None
        return self._describe_call(call)

    def _describe_call(self, call: Call) -> _Description:
        return _CALL, call.name, call.args

    def _describe_named(self, named: Named) -> _Description:
        module, name = named.name
        outer, dot, inner = name.rpartition(".")
        if dot:  # protocol 2 has no name for a class in a class
            return _CALL, ("__builtin__", "getattr"), (self._name(module, outer), inner)
        return _GLOBAL, named.name

    def _name(self, module: str, name: str) -> Named:
        key = module, name
        return self._names.setdefault(key, Named(*key))  # the memo knows it by its address

    def _describe_opaque(self, value: Opaque) -> _Description:
        try:
            return _OPAQUE, *opaque_made(value, self._name)
        except ValueError as e:
            raise self._cannot(value, f"an invalid Opaque ({e})", ValueError) from None

    def _describe_torch_dtype(self, value: TorchDtype) -> _Description:
        return _GLOBAL, ("torch", self._torch_dtype_of(value, value).name)

    def _describe_storage(self, storage: StorageOf) -> _Description:
        plan, dtype = storage.plan, _dtypes()[storage.dtype]
        return _STORAGE, self._number(plan), dtype.storage, plan.nbytes // dtype.unit

    def _describe_ordered_dict(self, value: Any) -> _Description:
        return _REDUCED, (_ORDERED_DICT, *value.__reduce_ex__(2)[1:])

    def _describe_counter(self, value: Any) -> _Description:
        return _REDUCED, (_COUNTER, (dict(value),))

    def _describe_complex(self, value: complex) -> _Description:
        return _CALL, ("__builtin__", "complex"), (value.real, value.imag)

    # --- tensors

    def _tensor(self, plan: TensorPlan, dtype: _Dtype, shape: tuple[int, ...]) -> _Description:
        storage = plan.storage
        numel = storage.nbytes // dtype.unit
        number = self._number(storage)
        return _TENSOR, number, dtype.storage, numel, plan.offset, shape, plan.stride, dtype.named

    def _plan(self, array: Array, placed: Placed, dtype: _Dtype) -> TensorPlan:
        """array: what the plan is for; placed: the same without its subclass."""
        key = dtype.name, id(array)
        plan = self._plans.get(key)
        if plan is None:
            self._arrays[key] = placed
            plan = self._plans[key] = plan_alone(placed)
            if plan.storage.pieces and self._share:
                plain = placed.array
                view = dtype.name, plain.dtype, placed.address, plain.shape, plain.strides
                plan = self._plans[key] = self._copies.setdefault(view, plan)
        return plan

    def _place(self, array: Array, dtype: str) -> tuple[StorageOf, int, tuple[int, ...]]:
        plain = self._plain(array)
        plan = self._plan(array, _placed(plain), _dtypes()[dtype])
        stride = contiguous_stride(plain.shape) if plan.stride is None else plan.stride
        return StorageOf(plan.storage, dtype), plan.offset, stride

    def _number(self, plan: StoragePlan) -> int:
        if plan.number is None:
            plan.number = self._written + len(self.storages)
            self.storages.append(plan)
        return plan.number

    # --- values

    def _plain(self, array: Array) -> Array:
        """The array without its subclass."""
        if isinstance(array, np.ma.MaskedArray):
            raise self._cannot(array, "a masked array")
        return np.ndarray.view(array, np.ndarray)

    def _dtype_of(self, dtype: np.dtype[Any], value: Any) -> _Dtype:
        known = _dtypes().get(dtype)
        if known is None and not dtype.isnative:
            known = _dtypes().get(dtype.newbyteorder("="))
        if known is None:
            raise self._cannot(value, f"dtype {dtype}, which torch does not have")
        return known

    def _torch_dtype_of(self, dtype: Any, value: Any) -> _Dtype:
        if not isinstance(dtype, TorchDtype):
            return self._dtype_of(np.dtype(dtype), value)
        known = _dtypes().get(dtype.name)
        if known is None:
            raise self._cannot(value, f"dtype {dtype}, which torch does not have")
        return known

    def _plain_scalar(self, value: np.generic[Any]) -> Any:
        # Neither long doubles nor dates, whose item() is less than they are.
        plain = None if value.dtype.char in "gGmM" else value.item()
        if isinstance(plain, np.generic) and value.dtype in _dtypes():  # of ml_dtypes
            plain = float(plain)
        if not isinstance(plain, (bool, int, float, complex, str, bytes)):
            raise self._cannot(value, f"a NumPy scalar of dtype {value.dtype}")
        return plain

    def _cannot(self, value: Any, what: str, kind: type[Exception] = TypeError) -> Exception:
        path = path_to(self._root, value)
        where = f" at {path!r}" if path else ""
        return kind(f"{what} cannot be saved{where}: give arrays or plain data instead")


_DESCRIBE: dict[type, Callable[[Any, Any], _Description]] = {
    Call: Describer._describe_call,
    Named: Describer._describe_named,
    StorageOf: Describer._describe_storage,
    collections.OrderedDict: Describer._describe_ordered_dict,
    collections.Counter: Describer._describe_counter,
    complex: Describer._describe_complex,
    Deferred: Describer._describe_deferred,
    Reference: Describer._describe_reference,
    RawTensor: Describer._describe_raw,
    TorchDtype: Describer._describe_torch_dtype,
    SparseTensor: Describer._describe_rebuilt,
    QuantizedTensor: Describer._describe_rebuilt,
    NestedTensor: Describer._describe_rebuilt,
    Opaque: Describer._describe_opaque,
}


def kind_name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


def contiguous_stride(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Of a C array, in elements, as torch counts them."""
    return tuple(math.prod(max(n, 1) for n in shape[i + 1 :]) for i in range(len(shape)))


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _placed(array: Array) -> Placed:
    return Placed(array, array.__array_interface__["data"][0])


def _plan_deferred(deferred: Deferred) -> TensorPlan:
    return TensorPlan(StoragePlan(deferred.nbytes, pieces=deferred.pieces))
