# SPDX-License-Identifier: Apache-2.0
"""Objects with tensors of an open file, as they go into the pickle of a new one."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np

from ptio._rewrite.stored import Stored
from ptio._save.describe import _STORAGE, Describer, _Description, _dtypes, contiguous_stride
from ptio._save.rebuild import Call, StorageOf
from ptio._types import RawTensor
from ptio._types.opaque import Opaque

_MULTIARRAY = "numpy.core.multiarray"  # a name that every version of NumPy knows


class StoredDescriber(Describer):
    """Describes what `stored_tree` gives; what NumPy itself had pickled stays NumPy's."""

    def __init__(self) -> None:
        super().__init__(compact=True)  # which tensors share a storage has been planned
        self._numpy: dict[int, tuple[Any, Opaque]] = {}
        self._torchs: set[int] = set()  # arrays that are parts of tensors

    def _describe(self, value: Any, address: int | None) -> _Description:
        if type(value) is Stored:
            return self._describe_stored(value)
        if address is not None and id(value) not in self._torchs:
            return self._describe_opaque(self._numpy_opaque(value))
        if isinstance(value, np.generic) and value.dtype.kind in "?biufcSUmM":
            return self._describe_opaque(self._numpy_opaque(value))
        return super()._describe(value, address)

    def _describe_stored(self, stored: Stored) -> _Description:
        if not stored.is_plain:
            return self._describe_whole(stored)
        if stored.row.path[-2:-1] == ("_parameters",):  # of a torch.nn.Module
            return self._describe_parameter(stored)
        return self._describe_plain(stored)

    def _describe_parameter(self, stored: Stored) -> _Description:
        row = stored.row._replace(path=(), requires_grad=False)
        data = Stored(stored.container, row, stored.cast, stored.plan)
        call: tuple[Any, ...] = (data, stored.row.requires_grad, OrderedDict())
        return self._describe_call(Call("torch._utils", "_rebuild_parameter", *call))

    def _describe_plain(self, stored: Stored) -> _Description:
        assert stored.plan is not None  # storages are planned before they are described
        plan, dtype = stored.plan, _dtypes()[stored.dtype]
        if stored.row.kind == "storage":
            numel = plan.storage.nbytes // dtype.unit
            return _STORAGE, self._number(plan.storage), dtype.storage, numel
        if not stored.row.requires_grad:
            return self._tensor(plan, dtype, stored.shape)
        if dtype.named is not None:  # torch fails to load such a tensor that is no parameter
            return self._describe_parameter(stored)
        stride = contiguous_stride(stored.shape) if plan.stride is None else plan.stride
        storage = StorageOf(plan.storage, stored.dtype)
        call: tuple[Any, ...] = (storage, plan.offset, stored.shape, stride, True, OrderedDict())
        return self._describe_call(Call("torch._utils", "_rebuild_tensor_v2", *call))

    def _describe_whole(self, stored: Stored) -> _Description:
        if stored.value is None:  # which is kept: the memo knows its parts by address
            stored.value = stored.read()
        if isinstance(stored.value, RawTensor):
            return self._describe_raw(stored.value)
        self._torchs.update(id(part) for part in vars(stored.value).values())
        return self._describe_rebuilt(stored.value)

    def _numpy_opaque(self, value: Any) -> Opaque:
        """The call that NumPy pickles an array or a scalar with."""
        known = self._numpy.get(id(value))
        if known is None:
            call, args, *state = value.__reduce__()
            args = tuple(self._plain_part(part) for part in args)
            contents = tuple(self._plain_part(part) for part in state[0]) if state else None
            opaque = Opaque(_MULTIARRAY, call.__name__, args, state=contents)
            known = self._numpy[id(value)] = value, opaque  # an id is valid while it is kept
        return known[1]

    def _plain_part(self, part: Any) -> Any:
        if part is np.ndarray:
            return Opaque("numpy", "ndarray")
        if not isinstance(part, np.dtype):
            return part
        if part.names is not None or part.subdtype is not None or part.hasobject:
            raise self._cannot(part, f"a NumPy array of dtype {part}")
        made: tuple[Any, ...] = part.__reduce__()  # type: ignore[assignment]
        return Opaque("numpy", "dtype", made[1], state=made[2])
