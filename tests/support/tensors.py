# SPDX-License-Identifier: Apache-2.0
"""What a tensor is, in plain terms, whoever made it: one description for torch's tensors, for
the stand-ins of checkpoints.py, and for what ptio returns.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import checkpoints


@dataclass
class Facts:
    dtype: str  # torch's name without "torch."
    shape: tuple
    stride: tuple | None  # in elements; None: any
    data: bytes | None  # the elements in C order; None for a tensor without data
    memory: tuple | None = None  # (which storage, byte offset in it, its bytes); None: private
    owner: Any = None  # kept alive, so that ids stay unique


def elements(memory, itemsize, offset, shape, stride):
    """The bytes of a strided view, in C order. offset and stride are in elements."""
    if 0 in shape:
        return b""
    whole = np.frombuffer(memory, np.uint8)
    steps = [step * itemsize for step in stride]
    last = offset * itemsize + sum((n - 1) * s for n, s in zip(shape, steps, strict=True))
    assert 0 <= last <= len(whole) - itemsize, "the view leaves its memory"
    view = np.lib.stride_tricks.as_strided(
        whole[offset * itemsize :], (*shape, itemsize), (*steps, 1), writeable=False
    )
    return view.tobytes()


def of_torch(tensor):
    """Facts of a strided tensor that torch.load returned, conj and neg bits resolved."""
    import torch

    name = str(tensor.dtype).removeprefix("torch.")
    shape, stride = tuple(tensor.shape), tuple(tensor.stride())
    if tensor.device.type == "meta":
        return Facts(name, shape, stride, None)
    lazy = tensor.is_conj() or tensor.is_neg()
    plain = tensor.detach()
    plain = plain.resolve_conj().resolve_neg() if lazy else plain
    storage = plain.untyped_storage()
    memory = torch.empty(0, dtype=torch.uint8).set_(storage).numpy()
    itemsize = tensor.dtype.itemsize
    data = elements(memory, itemsize, plain.storage_offset(), shape, plain.stride())
    place = (storage.data_ptr(), tensor.storage_offset() * itemsize, storage.nbytes())
    # What is resolved becomes a copy, whose strides are its own affair.
    return Facts(name, shape, *((None, data) if lazy else (stride, data, place, storage)))


def of_stand_in(tensor):
    """Facts of a checkpoints.Tensor on a little-endian machine."""
    storage, itemsize = tensor.storage, checkpoints.ITEMSIZE[tensor.dtype]
    data = elements(storage.data, itemsize, tensor.offset, tensor.shape, tensor.stride)
    place = (id(storage), tensor.offset * itemsize, len(storage.data))
    return Facts(tensor.dtype, tensor.shape, tensor.stride, data, place, storage)


def of_array(array):
    """Facts of an ndarray that ptio returned for a tensor."""
    step = array.dtype.itemsize
    assert all(stride % step == 0 for stride in array.strides)
    stride = tuple(stride // step for stride in array.strides)
    address = array.__array_interface__["data"][0]
    memory = (address, 0, array.nbytes)
    return Facts(array.dtype.name, array.shape, stride, array.tobytes(), memory, array)


def of_raw(raw, itemsize):
    """Facts of a ptio.RawTensor: its data begins with the first element."""
    name = dtype_name(raw.dtype)
    shape, stride = tuple(raw.shape), tuple(raw.stride)
    if raw.data is None:
        return Facts(name, shape, stride, None)
    memory = np.frombuffer(memoryview(raw.data).cast("B"), np.uint8)
    data = elements(memory, itemsize, 0, shape, stride)
    address = memory.__array_interface__["data"][0]
    return Facts(name, shape, stride, data, (address, 0, len(memory)), raw)


def dtype_name(dtype):
    """torch's name of a dtype, from numpy.dtype, ptio.TorchDtype or str."""
    return str(getattr(dtype, "name", dtype)).removeprefix("torch.")
