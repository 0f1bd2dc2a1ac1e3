# SPDX-License-Identifier: Apache-2.0
"""A checkpoint with tensors in several places, for tests of ptio.open."""

import collections

import numpy as np

from . import checkpoints

T = checkpoints.tensor
WEIGHT = np.arange(12, dtype=np.float32).reshape(3, 4)


def nested():
    base = T("float32", WEIGHT)
    return {
        "model": collections.OrderedDict(weight=base, bias=T("bfloat16", [1, 2, 3])),
        "optimizer": {"state": {0: {"exp_avg": T("float64", [0.5])}}, "lr": 0.1},
        "views": [checkpoints.view(base, (4, 3), (1, 4)), checkpoints.view(base, (2,), (5,), 1)],
        "epoch": 3,
        "half": T("complex32", bytes(range(8))),
    }


NAMES = [
    "model/weight",
    "model/bias",
    "optimizer/state/0/exp_avg",
    "views/0",
    "views/1",
    "half",
]
