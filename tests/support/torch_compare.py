# SPDX-License-Identifier: Apache-2.0
"""Deep comparison of what ptio.torch.load returned with what torch.load returned.

Compared are types, values to the bit, order, identity, attributes, which tensors share a
storage, and all that can be asked of a tensor. Imports torch: ask for its fixture.
"""

import copyreg
import pathlib

import numpy as np
import torch

from . import tensors
from .compare import Comparison

_STORAGES = (torch.storage.TypedStorage, torch.storage.UntypedStorage)
_VALUES = (torch.dtype, torch.device, torch.layout, torch.qscheme, torch.memory_format, torch.Size)
_PARTS = {  # of a sparse tensor, by its layout
    torch.sparse_coo: ("_indices", "_values"),
    torch.sparse_csr: ("crow_indices", "col_indices", "values"),
    torch.sparse_csc: ("ccol_indices", "row_indices", "values"),
    torch.sparse_bsr: ("crow_indices", "col_indices", "values"),
    torch.sparse_bsc: ("ccol_indices", "row_indices", "values"),
}
_FACTS = {
    "shape": lambda t: _shape(t),
    "dtype": lambda t: t.dtype,
    "device": lambda t: t.device,
    "layout": lambda t: t.layout,
    "requires_grad": lambda t: t.requires_grad,
    "is_leaf": lambda t: t.is_leaf,
    "grad": lambda t: t.grad if t.is_leaf else None,
    "grad_fn": lambda t: type(t.grad_fn),
    "is_conj": lambda t: t.is_conj(),
    "is_neg": lambda t: t.is_neg(),
    "is_view": lambda t: t._is_view(),
    "is_inference": lambda t: t.is_inference(),
    "is_nested": lambda t: t.is_nested,
    "is_quantized": lambda t: t.is_quantized,
    "hooks": lambda t: bool(t._backward_hooks),
}
_STRIDED_FACTS = {
    "stride": lambda t: t.stride(),
    "storage_offset": lambda t: t.storage_offset(),
    "is_contiguous": lambda t: t.is_contiguous(),
    "channels_last": lambda t: t.dim() == 4 and t.is_contiguous(memory_format=torch.channels_last),
    "is_shared": lambda t: t.is_shared(),
    "resizable": lambda t: t.untyped_storage().resizable(),
    "storage bytes": lambda t: t.untyped_storage().nbytes(),
    "address": lambda t: bool(t.data_ptr()) or t.numel() == 0,
}
_UNSIZED_FACTS = {name: ask for name, ask in _STRIDED_FACTS.items() if name != "resizable"}


def assert_same_objects(ours, theirs):
    """Fails with the path of the first difference. `theirs` is torch's result."""
    _TorchComparison().run(ours, theirs)


def assert_same_but_for_size(ours, theirs):
    """The same, but for storages of which ours hold only what tensors view."""
    _CompactComparison().run(ours, theirs)


def assert_same_but_for_resizing(ours, theirs):
    """The same, but for storages that torch could resize: those of files before torch 1.6."""
    _LegacyComparison().run(ours, theirs)


class _TorchComparison(Comparison):
    facts = _STRIDED_FACTS

    def _compare(self, ours, theirs, path):
        kind = type(theirs)
        assert type(ours) is kind, f"{path}: {type(ours)} instead of {kind}"
        if isinstance(theirs, torch.Tensor):
            self._tensor(ours, theirs, path)
        elif isinstance(theirs, _STORAGES):
            self._typed_storage(ours, theirs, path)
        elif isinstance(theirs, (*_VALUES, pathlib.PurePath)):
            assert ours == theirs, f"{path}: {ours!r} instead of {theirs!r}"
        elif kind.__module__ in ("builtins", "collections", "numpy", "datetime", "types"):
            self._plain(ours, theirs, path)
        else:
            self._object(ours, theirs, path)

    def _plain(self, ours, theirs, path):
        if isinstance(theirs, np.ndarray | np.generic):
            assert ours.dtype == theirs.dtype, f"{path}: {ours.dtype} instead of {theirs.dtype}"
            self._numpy(ours, theirs, path)
        elif callable(theirs):
            assert ours is theirs, f"{path}: {ours!r} instead of {theirs!r}"
        else:
            self._same_type(ours, theirs, path)

    def _object(self, ours, theirs, path):
        """Of a class that the user wrote: items of the containers it extends, and attributes."""
        if isinstance(theirs, dict):
            self._mapping(ours, theirs, path)
        elif isinstance(theirs, list | tuple):
            self._sequence(ours, theirs, path)
        state, slots = _state(theirs)
        assert _state(ours)[1].keys() == slots.keys(), f"{path}: slots"
        if not isinstance(theirs, dict) and state is not None:
            self._attributes(ours, theirs, path)
        for name, value in slots.items():
            self.todo.append((getattr(ours, name), value, f"{path}.{name}"))
        empty = state is None and not slots and not isinstance(theirs, dict | list | tuple)
        assert not empty or ours == theirs, f"{path}: {ours!r} instead of {theirs!r}"

    # --- tensors

    def _tensor(self, ours, theirs, path):
        self._facts(_FACTS, ours, theirs, path)
        attributes = dict(vars(theirs))
        if hasattr(theirs, "__tensor_flatten__"):
            names, _ = theirs.__tensor_flatten__()
            self._parts(names, ours, theirs, path)
            for name in ("_size", "_strides", *names):  # symbols of one object
                attributes.pop(name, None)
        elif theirs.layout in _PARTS:
            self._sparse(ours, theirs, path)
        elif theirs.is_nested:
            names = ("_nested_tensor_size", "_nested_tensor_strides")
            names += ("_nested_tensor_storage_offsets", "values")
            self._parts(names, ours, theirs, path)
        else:
            self._strided(ours, theirs, path)
        assert list(vars(ours)) == list(vars(theirs)), f"{path}: attributes"
        for name, value in attributes.items():
            self.todo.append((vars(ours)[name], value, f"{path}.{name}"))
        for name, value in _state(theirs)[1].items():
            self.todo.append((getattr(ours, name), value, f"{path}.{name}"))

    def _facts(self, facts, ours, theirs, path):
        for name, ask in facts.items():
            one, other = ask(ours), ask(theirs)
            assert one == other, f"{path}: {name} is {one} instead of {other}"

    def _parts(self, names, ours, theirs, path):
        for name in names:
            one, other = getattr(ours, name), getattr(theirs, name)
            pair = (one(), other()) if callable(other) else (one, other)
            self.todo.append((*pair, f"{path}.{name}"))

    def _sparse(self, ours, theirs, path):
        if theirs.layout is torch.sparse_coo:
            assert ours.is_coalesced() == theirs.is_coalesced(), f"{path}: is_coalesced"
            assert ours.sparse_dim() == theirs.sparse_dim(), f"{path}: sparse_dim"
        self._parts(_PARTS[theirs.layout], ours, theirs, path)

    def _strided(self, ours, theirs, path):
        self._facts(self.facts, ours, theirs, path)
        self._storage(ours.untyped_storage(), theirs.untyped_storage(), path)
        if theirs.is_quantized:
            self._quantized(ours, theirs, path)
        elif theirs.is_conj() or theirs.is_neg():
            values = tensors.of_torch(ours).data, tensors.of_torch(theirs).data
            assert values[0] == values[1], f"{path}: values"

    def _quantized(self, ours, theirs, path):
        assert ours.qscheme() == theirs.qscheme(), f"{path}: qscheme"
        if theirs.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
            names = ("q_scale", "q_zero_point")
        else:
            names = ("q_per_channel_scales", "q_per_channel_zero_points", "q_per_channel_axis")
        packed = theirs.dtype in (torch.quint4x2, torch.quint2x4)
        self._parts(names if packed else (*names, "int_repr"), ours, theirs, path)

    # --- storages

    def _typed_storage(self, ours, theirs, path):
        dtypes = [getattr(storage, "dtype", None) for storage in (ours, theirs)]
        assert dtypes[0] == dtypes[1], f"{path}: {dtypes[0]} instead of {dtypes[1]}"
        assert self.ours_of.setdefault(id(theirs), ours) is ours, f"{path}: one became two"
        assert self.theirs_of.setdefault(id(ours), theirs) is theirs, f"{path}: two became one"
        self.alive.append((ours, theirs))
        self._storage(*(getattr(s, "_untyped_storage", s) for s in (ours, theirs)), path)

    def _storage(self, ours, theirs, path):
        assert ours.nbytes() == theirs.nbytes(), f"{path}: size of the storage"
        assert ours.device == theirs.device, f"{path}: device of the storage"
        offsets = [getattr(storage, "_checkpoint_offset", None) for storage in (ours, theirs)]
        assert offsets[0] == offsets[1], f"{path}: _checkpoint_offset {offsets}"
        if theirs.nbytes() == 0 or theirs.device.type == "meta":
            return
        known = theirs._cdata in self.storages
        place = ours.data_ptr(), ours.nbytes()
        self.alive.append((ours, theirs))
        expected = self.storages.setdefault(theirs._cdata, (*place, ours._cdata))
        assert expected == (*place, ours._cdata), f"{path}: not the storage that others view"
        assert known or _bytes(ours) == _bytes(theirs), f"{path}: values"

    def _storages_lie_apart(self):
        self.storages = {key: place[:2] for key, place in self.storages.items()}
        super()._storages_lie_apart()


class _LegacyComparison(_TorchComparison):
    facts = _UNSIZED_FACTS


class _CompactComparison(_TorchComparison):
    """Tensors may lie over less memory than torch's, as far from each other as there."""

    def _strided(self, ours, theirs, path):
        facts = dict(_STRIDED_FACTS)
        del facts["storage_offset"], facts["storage bytes"]
        self._facts(facts, ours, theirs, path)
        storages = [tensor.untyped_storage() for tensor in (ours, theirs)]
        assert storages[0].nbytes() <= storages[1].nbytes(), f"{path}: size of the storage"
        if theirs.device.type == "meta" or theirs.numel() == 0:
            return
        self.alive.append(storages)
        place = (storages[0]._cdata, ours.data_ptr() - theirs.data_ptr())
        expected = self.storages.setdefault(storages[1]._cdata, place)
        assert expected == place, f"{path}: does not share memory as before"
        if theirs.is_quantized:
            self._quantized(ours, theirs, path)
        else:
            values = [tensors.of_torch(tensor).data for tensor in (ours, theirs)]
            assert values[0] == values[1], f"{path}: values"

    def _storage(self, ours, theirs, path):
        assert ours.nbytes() == theirs.nbytes(), f"{path}: size of the storage"
        assert _bytes(ours) == _bytes(theirs), f"{path}: values"

    def _storages_lie_apart(self):
        pass


def _shape(tensor):
    if tensor.is_nested and tensor.layout is torch.strided:
        return None  # it has none; its parts are compared
    return [size if isinstance(size, int) else "jagged" for size in tensor.shape]


def _bytes(storage):
    return torch.empty(0, dtype=torch.uint8).set_(storage).numpy().tobytes()


def _state(value):
    """(__dict__ or None, the slots that are set)."""
    names = copyreg._slotnames(type(value)) or ()
    slots = {name: getattr(value, name) for name in names if hasattr(value, name)}
    return getattr(value, "__dict__", None), slots


def assert_same_error(ours, theirs):
    """Both functions fail: ours with an error of torch's class, in the same words; returns it."""
    told = []
    for function in (theirs, ours):
        try:
            result = function()
        except Exception as error:
            told.append(error)
        else:
            raise AssertionError(f"returned {result!r:.80}, after {told!r}")
    assert isinstance(told[1], type(told[0])), f"{told[1]!r} instead of {told[0]!r}"
    assert str(told[1]) == str(told[0])
    return told[1]
