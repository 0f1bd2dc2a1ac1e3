# SPDX-License-Identifier: Apache-2.0
"""What ptio made beside what another reader made of the same stream."""

from support import checkpoints, tensors, torch_values
from support.compare import Comparison

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


def difference(ours, theirs):
    """The first difference, in words; None if there is none."""
    try:
        Beside().run(ours, theirs)
    except AssertionError as e:
        return str(e) or "an assertion without words"
    return None
