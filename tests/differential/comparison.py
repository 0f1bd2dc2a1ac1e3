# SPDX-License-Identifier: Apache-2.0
"""What ptio made beside what another reader made of the same stream."""

import collections

import numpy as np
import ptio
from support import checkpoints, tensors, torch_values
from support.compare import Comparison, bits

from .oracles import Dtype, TypedTensor


class Beside(Comparison):
    """A comparison that knows the stand-ins of oracles.py, too."""

    def _is_known(self, ours, theirs, path):
        if isinstance(theirs, Dtype | checkpoints.Storage):
            return False  # ptio views a storage anew at each reference
        return super()._is_known(ours, theirs, path)

    def _compare(self, ours, theirs, path):
        if isinstance(theirs, Dtype):
            torch_values.compare_dtype(ours, theirs.name, path)
        elif isinstance(theirs, TypedTensor):
            self.tensor(ours, tensors.of_stand_in(theirs), path)
        elif isinstance(theirs, checkpoints.Storage):
            count = len(theirs.data) // checkpoints.ITEMSIZE[theirs.dtype]
            whole = checkpoints.Tensor(theirs, (count,), (1,))
            self.tensor(ours, tensors.of_stand_in(whole), path)
        else:
            super()._compare(ours, theirs, path)

    def _equal(self, ours, theirs, path):
        if isinstance(theirs, set | frozenset):
            assert members(ours) == members(theirs), f"{path}: members of a set"
        else:
            super()._equal(ours, theirs, path)


def members(found):
    return collections.Counter(map(member, found))


def member(value):
    """A member of a set in a form that is equal for what must look alike."""
    if isinstance(value, tuple):  # torch.Size is one
        return tuple, tuple(map(member, value))
    if isinstance(value, frozenset):
        return frozenset, frozenset(members(value).items())
    if isinstance(value, Dtype | ptio.TorchDtype):
        return "dtype", value.name
    if isinstance(value, np.dtype):
        return "dtype", value.newbyteorder("=").name
    if isinstance(value, np.generic):
        return type(value), value.dtype.newbyteorder("="), value.tobytes()
    if torch_values.is_torch(value):
        text = str(value)
        is_dtype = type(value).__name__ == "dtype"
        return ("dtype", text.removeprefix("torch.")) if is_dtype else (str, text)
    return bits(value)


def difference(ours, theirs):
    """The first difference, in words; None if there is none."""
    try:
        Beside().run(ours, theirs)
    except AssertionError as e:
        return str(e) or "an assertion without words"
    except Exception as e:
        return f"values that cannot be compared: {type(e).__name__}: {e}"
    return None
