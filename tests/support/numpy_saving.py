# SPDX-License-Identifier: Apache-2.0
"""What ptio.save wrote, read back: the values that were saved, and what torch makes of them."""

import io

import numpy as np
import ptio

from . import checkpoints, compare, tensors

_PARTS = (ptio.SparseTensor, ptio.QuantizedTensor, ptio.NestedTensor)


def assert_saved(loaded, saved):
    """Fails with the path of the first difference between what was saved and what ptio.load gave.

    Arrays are equal in dtype (but for the byte order), shape and bytes, scalars of NumPy are
    Python's; all else is as assert_same says.
    """
    _Saved().run(loaded, saved)


class _Saved(compare.Comparison):
    def _compare(self, ours, theirs, path):
        if isinstance(theirs, np.ndarray):
            self._array(ours, theirs, path)
        elif isinstance(theirs, np.generic):
            self._compare(ours, plain(theirs), path)
        elif isinstance(theirs, ptio.TorchDtype):
            assert ours == theirs, path
        elif isinstance(theirs, ptio.Deferred):
            self._array(ours, theirs.produce(), path)
        elif isinstance(theirs, np.dtype):
            assert ours == theirs.newbyteorder("="), path
        elif isinstance(theirs, ptio.RawTensor):
            self._raw(ours, theirs, path)
        elif isinstance(theirs, _PARTS):
            assert type(ours) is type(theirs), path
            for name, part in vars(theirs).items():
                self._part(vars(ours)[name], part, f"{path}.{name}")
        else:
            super()._compare(ours, theirs, path)

    def _part(self, ours, theirs, path):
        if isinstance(theirs, np.ndarray):
            self._array(ours, theirs, path)
        else:
            assert (type(ours), ours) == (type(theirs), theirs), path

    def _raw(self, ours, theirs, path):
        size = checkpoints.ITEMSIZE[tensors.dtype_name(theirs.dtype)]
        one, other = tensors.of_raw(ours, size), tensors.of_raw(theirs, size)
        assert (one.dtype, one.shape, one.stride) == (other.dtype, other.shape, other.stride), path
        assert one.data == other.data, f"{path}: values"

    def _array(self, ours, theirs, path):
        assert type(ours) is np.ndarray, f"{path}: {type(ours)}"
        dtype = theirs.dtype.newbyteorder("=")
        assert ours.dtype == dtype, f"{path}: {ours.dtype} instead of {dtype}"
        assert ours.dtype.isnative, path
        assert ours.shape == theirs.shape, f"{path}: {ours.shape} instead of {theirs.shape}"
        assert ours.tobytes() == np.asarray(theirs, dtype).tobytes(), f"{path}: values"


def plain(scalar):
    value = scalar.item()
    return float(value) if isinstance(value, np.generic) else value


def shares_memory(one, other):
    """Whether two arrays have memory in common. Not for huge ones."""
    return np.shares_memory(one, other)


def saved_bytes(obj, **options):
    file = io.BytesIO()
    ptio.save(obj, file, **options)
    return file.getvalue()


class Sink:
    """Something with write() and nothing else, which takes at most `most` bytes at a time."""

    def __init__(self, most=None):
        self.data = bytearray()
        self._most = most

    def write(self, data):
        taken = len(data) if self._most is None else min(len(data), self._most)
        self.data += data[:taken]
        return taken
