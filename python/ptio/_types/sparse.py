# SPDX-License-Identifier: Apache-2.0
"""Sparse tensors of torch: COO, and the compressed layouts CSR, CSC, BSR, BSC."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ptio._errors import UnsupportedError
from ptio._types.arrays import Array, check, distinct, index_array, require_array, require_budget

_COMPRESSED_LAYOUTS = {
    # layout: (rows are compressed, values are blocks)
    "torch.sparse_csr": (True, False),
    "torch.sparse_csc": (False, False),
    "torch.sparse_bsr": (True, True),
    "torch.sparse_bsc": (False, True),
}


@dataclass(eq=False)
class SparseTensor:
    """A sparse tensor, with the parts that torch gives it. All indices are inside the shape.

    Attributes:
        layout: "torch.sparse_coo", "torch.sparse_csr", "..._csc", "..._bsr" or "..._bsc".
        shape: of the whole tensor.
        values: the stored elements: (nnz, *dense dimensions) for COO, (*batch, nnz, *dense) for
            CSR and CSC, (*batch, nnz, rows of a block, columns of a block, *dense) for BSR, BSC.
        indices: COO only: (sparse dimensions, nnz).
        crow_indices, col_indices: CSR and BSR only: (*batch, rows + 1) and (*batch, nnz).
        ccol_indices, row_indices: CSC and BSC only: (*batch, columns + 1) and (*batch, nnz).
        is_coalesced: COO only: what torch.save recorded; None where it recorded nothing.
    """

    layout: str
    shape: tuple[int, ...]
    values: Array
    indices: Array | None = None
    crow_indices: Array | None = None
    col_indices: Array | None = None
    ccol_indices: Array | None = None
    row_indices: Array | None = None
    is_coalesced: bool | None = None

    @classmethod
    def _from_rebuild(cls, layout: Any, args: Any, *script: Any) -> SparseTensor:
        """From the arguments of torch._utils._rebuild_sparse_tensor, which it proves."""
        if script:
            layout, args = script_arguments(layout, args, *script)
        if layout == "torch.sparse_coo":
            return cls._coo(*args)
        if layout in _COMPRESSED_LAYOUTS:
            return cls._compressed(layout, *args)
        raise UnsupportedError(f"sparse tensors of layout {layout} are not supported")

    @classmethod
    def _coo(
        cls, indices: Any, values: Any, size: Any, is_coalesced: bool | None = None
    ) -> SparseTensor:
        indices = index_array(indices, "indices of a sparse tensor", ndim=2, expanded=True)
        values = require_array(values, "values of a sparse tensor")
        shape = tuple(size)
        sparse_ndim, nnz = indices.shape
        check(values.ndim >= 1, "values of a sparse tensor have no dimension")
        check(
            sparse_ndim + values.ndim - 1 == len(shape),
            f"{sparse_ndim} sparse and {values.ndim - 1} dense dimensions do not make the "
            f"{len(shape)} of the shape",
        )
        check(
            values.shape[0] == nnz,
            f"a sparse tensor has {nnz} indices but {values.shape[0]} values",
        )
        check(
            values.shape[1:] == shape[sparse_ndim:],
            f"values of shape {values.shape} do not fit a sparse tensor of shape {shape}",
        )
        if nnz and sparse_ndim:
            known = distinct(indices)
            check(known.min() >= 0, "a sparse tensor has a negative index")
            check(
                (known.max(axis=1) < np.array(shape[:sparse_ndim])).all(),
                f"a sparse tensor has an index outside its shape {shape}",
            )
        return cls("torch.sparse_coo", shape, values, indices, is_coalesced=is_coalesced)

    @classmethod
    def _compressed(
        cls, layout: str, compressed: Any, plain: Any, values: Any, size: Any
    ) -> SparseTensor:
        by_row, blocked = _COMPRESSED_LAYOUTS[layout]
        compressed = index_array(compressed, "compressed indices of a sparse tensor", expanded=True)
        plain = index_array(plain, "plain indices of a sparse tensor", expanded=True)
        values = require_array(values, "values of a sparse tensor")
        shape = tuple(size)
        counts = _compressed_counts(compressed, plain, values, shape, blocked)
        _check_compressed_indices(compressed, plain, *(counts if by_row else counts[::-1]))
        if by_row:
            return cls(layout, shape, values, crow_indices=compressed, col_indices=plain)
        return cls(layout, shape, values, ccol_indices=compressed, row_indices=plain)

    def to_dense(self, *, max_bytes: int = 2**30) -> Array:
        """The tensor as an array of `shape`; values with equal indices are added up.

        Raises:
            LimitError: the array, or the work to fill it, would be larger than `max_bytes`.
        """
        itemsize = self.values.dtype.itemsize
        require_budget(prod(self.shape) * itemsize, max_bytes, "the dense array")
        require_budget(self.values.size * itemsize, max_bytes, "the values")
        dense = np.zeros(self.shape, self.values.dtype)
        if dense.size == 0 or self.values.size == 0:
            return dense
        if self.indices is not None:
            # With no sparse dimension all values add up to the one dense block.
            target = dense[np.newaxis] if len(self.indices) == 0 else dense
            indices = tuple(self.indices) or (np.zeros(len(self.values), np.int64),)
            np.add.at(target, indices, self.values)
        else:
            self._add_compressed(dense)
        return dense

    def _add_compressed(self, dense: Array) -> None:
        by_row, blocked = _COMPRESSED_LAYOUTS[self.layout]
        compressed = self.crow_indices if by_row else self.ccol_indices
        plain = self.col_indices if by_row else self.row_indices
        assert compressed is not None and plain is not None
        batch_ndim = compressed.ndim - 1
        block = self.values.shape[batch_ndim + 1 : batch_ndim + 3] if blocked else (1, 1)
        for batch in np.ndindex(compressed.shape[:-1]):
            matrix, values = dense[batch], self.values[batch]
            if not blocked:
                values = values[:, np.newaxis, np.newaxis]
            rows, columns = matrix.shape[0] // block[0], matrix.shape[1] // block[1]
            grid = matrix.reshape(rows, block[0], columns, block[1], *matrix.shape[2:])
            counts = np.diff(compressed[batch]).astype(np.intp)
            outer = np.repeat(np.arange(len(counts)), counts)
            where = (outer, plain[batch]) if by_row else (plain[batch], outer)
            np.add.at(grid.swapaxes(1, 2), where, values)


def _compressed_counts(
    compressed: Array, plain: Array, values: Array, shape: tuple[int, ...], blocked: bool
) -> tuple[int, int]:
    """Proves that the parts fit each other; returns the numbers of block rows and columns."""
    check(compressed.dtype == plain.dtype, "indices of a sparse tensor differ in dtype")
    batch_ndim = compressed.ndim - 1
    dense_ndim = values.ndim - (batch_ndim + 3 if blocked else batch_ndim + 1)
    check(
        batch_ndim >= 0 and dense_ndim >= 0 and len(shape) == batch_ndim + 2 + dense_ndim,
        f"indices of shape {compressed.shape} and values of shape {values.shape} do not fit a "
        f"sparse tensor of shape {shape}",
    )
    batch = shape[:batch_ndim]
    nnz = values.shape[batch_ndim]
    check(
        compressed.shape[:-1] == batch
        and plain.shape == (*batch, nnz)
        and values.shape[:batch_ndim] == batch,
        f"the batch dimensions or the number of values of a sparse tensor of shape {shape} differ",
    )
    check(
        values.shape[values.ndim - dense_ndim :] == shape[batch_ndim + 2 :],
        f"values of shape {values.shape} do not fit a sparse tensor of shape {shape}",
    )
    rows, columns = shape[batch_ndim : batch_ndim + 2]
    if not blocked:
        return rows, columns
    height, width = values.shape[batch_ndim + 1 : batch_ndim + 3]
    check(
        height > 0 and width > 0 and rows % height == 0 and columns % width == 0,
        f"blocks of {height} x {width} do not tile a sparse tensor of shape {shape}",
    )
    return rows // height, columns // width


def _check_compressed_indices(compressed: Array, plain: Array, outer: int, inner: int) -> None:
    """outer: rows of CSR, columns of CSC; inner: the other."""
    nnz = plain.shape[-1]
    check(
        compressed.shape[-1] == outer + 1,
        f"a sparse tensor has {compressed.shape[-1]} compressed indices where {outer + 1} belong",
    )
    if compressed.size:
        known = distinct(compressed)
        check((known[..., 0] == 0).all(), "compressed indices do not begin with 0")
        check((known[..., -1] == nnz).all(), f"compressed indices do not end with {nnz}")
        lower, upper = known[..., :-1], known[..., 1:]
        check((lower <= upper).all(), "compressed indices of a sparse tensor decrease")
        check((upper - lower <= inner).all(), f"more than {inner} values in a row")
    if plain.size:
        known = distinct(plain)
        check(known.min() >= 0, "a sparse tensor has a negative index")
        check(known.max() < inner, f"a sparse tensor has an index that is not below {inner}")


def script_arguments(
    layout: int, size: tuple[int, ...], requires_grad: bool, *parts: Any
) -> tuple[str, tuple[Any, ...]]:
    """TorchScript's arguments of _rebuild_sparse_tensor in the order of torch.save's."""
    *tensors, _hooks = parts
    return f"torch.{'sparse_coo' if layout == 1 else 'sparse_csr'}", (*tensors, size)
