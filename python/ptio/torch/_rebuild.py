# SPDX-License-Identifier: Apache-2.0
"""The tensors that torch's own rebuild functions make, from arguments that are proven.

The C builder makes plain tensors and parameters by itself. The core has proven sizes, strides
and storages of these too; what only the bytes of their parts decide is proven here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ptio._errors import BoundsError
from ptio._types.nested import NestedTensor
from ptio._types.opaque import Opaque
from ptio._types.sparse import script_arguments


def _sparse(layout: Any, data: tuple[Any, ...], *script: Any) -> torch.Tensor:
    """Like torch._utils._rebuild_sparse_tensor, but the indices are always checked, at once.

    On the meta device there are none to check, and torch's own check fails.
    """
    if script:
        name, data = script_arguments(layout, data, *script)
        layout = getattr(torch, name.removeprefix("torch."))
    check = not all(part.is_meta for part in data if isinstance(part, torch.Tensor))
    try:
        if layout is torch.sparse_coo:
            indices, values, size, *coalesced = data
            return torch.sparse_coo_tensor(
                indices,
                values,
                size,
                is_coalesced=coalesced[0] if coalesced else None,
                check_invariants=check,
            )
        compressed, plain, values, size = data
        return torch.sparse_compressed_tensor(
            compressed, plain, values, size, layout=layout, check_invariants=check
        )
    except RuntimeError as e:
        raise BoundsError(f"a sparse tensor is malformed: {e}") from e


def _shape_only(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    return np.broadcast_to(np.uint8(0), tuple(tensor.shape))


def _nested(buffer: Any, sizes: Any, strides: Any, offsets: Any) -> Any:
    if not buffer.is_meta:
        parts = (part.numpy(force=True) for part in (sizes, strides, offsets))
        NestedTensor._from_rebuild(_shape_only(buffer), *parts)
    return torch._utils._rebuild_nested_tensor(buffer, sizes, strides, offsets)


def _jagged(state: dict[str, Any]) -> Any:
    from torch.nested._internal.nested_tensor import _rebuild_njt

    if not state["values"].is_meta:
        proof = dict(state)
        proof["values"] = _shape_only(state["values"])
        for name in ("offsets", "lengths"):
            if proof.get(name) is not None:
                proof[name] = proof[name].numpy(force=True)
        NestedTensor._from_jagged(proof)
    return _rebuild_njt(state)


def _from_type(function: Any, new_type: Any, args: tuple[Any, ...], state: Any) -> Any:
    """torch._tensor._rebuild_from_type_v2; the inner function is ours where we prove more."""
    ours = {"_rebuild_sparse_tensor": _sparse, "_rebuild_nested_tensor": _nested}
    ours["_rebuild_njt"] = _jagged
    module = getattr(function, "__module__", "")
    if module.startswith("torch."):
        function = ours.get(function.__name__, function)
    if isinstance(new_type, Opaque):
        return function(*args)  # without the class that is not there
    return torch._tensor._rebuild_from_type_v2(function, new_type, args, state)


# By the names of makers.def: what torch makes from arguments that are proven.
MAKERS = {
    "REBUILD_FROM_TYPE": _from_type,
    "REBUILD_QTENSOR": torch._utils._rebuild_qtensor,
    "REBUILD_SPARSE": _sparse,
    "REBUILD_NESTED": _nested,
    "REBUILD_JAGGED": _jagged,
    "REBUILD_META": torch._utils._rebuild_meta_tensor_no_storage,
    "REBUILD_WRAPPER": torch._utils._rebuild_wrapper_subclass,
    "REBUILD_DEVICE_NUMPY": torch._utils._rebuild_device_tensor_from_numpy,
    "REBUILD_DEVICE_CPU": getattr(torch._utils, "_rebuild_device_tensor_from_cpu_tensor", None),
    "SIZE": torch.Size,
    "DEVICE": torch.device,
    "LAYOUT": torch.serialization._get_layout,
}
