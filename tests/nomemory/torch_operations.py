# SPDX-License-Identifier: Apache-2.0
"""As operations.py, for ptio.torch. Between C code and C code of ours runs torch's, which has
errors of many kinds for memory that it cannot get."""

import functools
import io

import ptio.torch
import torch
from support import small_files

from .operations import Operation

_LOADED = ("plain", "tensors", "legacy")


def all_operations(folder):
    torch.set_num_threads(1)
    files = small_files.all_files()
    state = {"w": torch.ones(2, 3), "t": torch.ones(2, 3).t(), "plain": [1, "x", {"k": (2,)}]}
    work = {f"load {name}": functools.partial(_load, files[name]) for name in _LOADED}
    work["save"] = functools.partial(_save, state)
    return [Operation(*item, in_python=True, any_error=True) for item in work.items()]


def _load(data):
    loaded = ptio.torch.load(io.BytesIO(data))
    if "w" not in loaded:
        return loaded
    return [loaded["w"].tolist(), loaded["t"].tolist(), loaded["t"].stride()]


def _save(state):
    file = io.BytesIO()
    ptio.torch.save(state, file)
    return file.getvalue()
