# SPDX-License-Identifier: Apache-2.0
"""What torch calls to make the tensors that consist of several: sparse, quantized, nested."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from ptio._errors import Error
from ptio._save.array_plan import StoragePlan
from ptio._types import RawTensor
from ptio._types.arrays import Array
from ptio._types.nested import NestedTensor
from ptio._types.quantized import QuantizedTensor
from ptio._types.sparse import SparseTensor

_INTEGERS = {"qint8": np.int8, "quint8": np.uint8, "qint32": np.int32}
_PACKED = {"quint4x2": 2, "quint2x4": 4}  # elements of a byte
_PER_CHANNEL = ("per_channel_affine", "per_channel_affine_float_qparams")
_NJT = "torch.nested._internal.nested_tensor"


class Named:
    """A class or function, by its name alone."""

    def __init__(self, module: str, name: str) -> None:
        self.name = module, name


class Call:
    """The result of a call, which the reader of the pickle makes."""

    def __init__(self, module: str, name: str, *args: Any) -> None:
        self.name, self.args = (module, name), args


class StorageOf:
    """A storage as an argument, with torch's name for the type of its elements."""

    def __init__(self, plan: StoragePlan, dtype: str) -> None:
        self.plan, self.dtype = plan, dtype


# (array, torch's name of its dtype) -> (its storage, offset, stride)
Place = Callable[[Array, str], tuple[StorageOf, int, tuple[int, ...]]]


def rebuild_call(value: SparseTensor | QuantizedTensor | NestedTensor, place: Place) -> Call:
    """The call that makes a tensor again.

    Raises:
        ValueError: its parts do not fit each other.
    """
    try:
        if isinstance(value, SparseTensor):
            return _sparse(value)
        if isinstance(value, QuantizedTensor):
            return _quantized(value, place)
        return _nested(value)
    except Error as e:  # what the reader would say
        raise ValueError(e.args[0]) from None


def _sparse(value: SparseTensor) -> Call:
    shape = tuple(value.shape)
    if value.layout == "torch.sparse_coo":
        parts: tuple[Any, ...] = (value.indices, value.values)
    elif value.layout in ("torch.sparse_csr", "torch.sparse_bsr"):
        parts = (value.crow_indices, value.col_indices, value.values)
    else:
        parts = (value.ccol_indices, value.row_indices, value.values)
    SparseTensor._from_rebuild(value.layout, (*parts, shape))
    known = () if value.is_coalesced is None else (value.is_coalesced,)
    layout = Call("torch.serialization", "_get_layout", value.layout)
    arguments = (*parts, Call("torch", "Size", shape), *known)
    return Call("torch._utils", "_rebuild_sparse_tensor", layout, arguments)


def _quantized(value: QuantizedTensor, place: Place) -> Call:
    dtype = value.dtype.removeprefix("torch.")
    scheme = value.qscheme.removeprefix("torch.")
    QuantizedTensor._from_rebuild(
        value.int_repr, dtype, scheme, value.scale, value.zero_point, value.axis
    )
    if scheme in _PER_CHANNEL and value.axis is not None:
        parameters: tuple[Any, ...] = (value.scale, value.zero_point, value.axis)
    elif scheme == "per_tensor_affine" and value.axis is None:
        parameters = (float(value.scale), int(value.zero_point))
    else:
        raise ValueError(f"qscheme {value.qscheme} with the channel axis {value.axis}")
    array = value.int_repr if dtype in _INTEGERS else _packed(value.int_repr, dtype)
    if not isinstance(array, np.ndarray) or array.dtype != _INTEGERS.get(dtype, np.uint8):
        raise ValueError(f"int_repr is not what {dtype} consists of")
    storage, offset, stride = place(array, dtype)
    return Call(
        "torch._utils",
        "_rebuild_qtensor",
        storage,
        offset,
        tuple(value.shape),
        tuple(value.int_repr.stride) if dtype in _PACKED else stride,
        (Named("torch", scheme), *parameters),
        False,
        OrderedDict(),
    )


def _packed(raw: Any, dtype: str) -> Array:
    """The bytes of a tensor whose elements have less than 8 bits."""
    name = getattr(getattr(raw, "dtype", None), "name", None)
    if dtype not in _PACKED or not isinstance(raw, RawTensor) or name != dtype:
        raise ValueError(f"int_repr is not what {dtype} consists of")
    if raw.data is None:
        raise ValueError("int_repr has no data")
    last = sum((n - 1) * step for n, step in zip(raw.shape, raw.stride, strict=True))
    nbytes = last // _PACKED[dtype] + 1 if 0 not in raw.shape else 0
    if min((0, *raw.shape, *raw.stride)) < 0 or nbytes > raw.data.nbytes:
        raise ValueError("int_repr leaves its data")
    return raw.data[:nbytes]


def _nested(value: NestedTensor) -> Call:
    if value.layout == "torch.strided":
        parts = (value.values, value.sizes, value.strides, value.offsets)
        NestedTensor._from_rebuild(*parts)
        return Call("torch._utils", "_rebuild_nested_tensor", *parts)
    if value.layout != "torch.jagged":
        raise ValueError(f"nested tensors have no layout {value.layout}")
    state: dict[str, Any] = {
        "values": value.values,
        "offsets": value.offsets,
        "lengths": value.lengths,
        "_ragged_idx": value.ragged_dim,
        "_metadata_cache": {},
        "requires_grad": False,
    }
    NestedTensor._from_jagged(state)
    rebuild, kind = Named(_NJT, "_rebuild_njt"), Named(_NJT, "NestedTensor")
    return Call("torch._tensor", "_rebuild_from_type_v2", rebuild, kind, (state,), {})
