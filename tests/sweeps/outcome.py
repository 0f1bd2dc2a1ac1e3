# SPDX-License-Identifier: Apache-2.0
"""What a changed file becomes: the identical object, another one, or one of ptio's errors."""

import io
import pickle
import types
from collections import deque

import numpy as np
import ptio

IDENTICAL, DIFFERENT, REFUSED = range(3)
_CONTAINERS = (list, tuple, set, frozenset, deque)
_MOST = 10_000  # values that are looked at


class Judge:
    """Knows what a seed holds."""

    def __init__(self, seed):
        self._seed = seed
        self._expected = _form(self.load(seed.data))

    def load(self, data):
        file = io.BytesIO(self._seed.wrap(data))
        return ptio.load(file, verify=True, threads=1, **self._seed.options)

    def of(self, data):
        """Raises whatever is none of the three; AssertionError for a change that nobody noticed."""
        try:
            loaded = self.load(data)
        except ptio.Error:
            return REFUSED
        touch(loaded)
        if _form(loaded) == self._expected:
            return IDENTICAL
        assert not self._seed.covered, f"another object: {loaded!r:.300}"
        return DIFFERENT


def _form(obj):
    """Types, values and identity, as bytes."""
    return pickle.dumps(obj, 4) if _is_small(obj) else b"large"


def _is_small(obj):
    return all(array.size < 1 << 16 for array in _arrays(obj))


def touch(obj):
    """Reads the first and the last element of each array: what lies outside the file would end
    the process under a sanitizer."""
    for array in _arrays(obj):
        if array.size and not array.dtype.hasobject:
            array[(0,) * array.ndim].tobytes(), array[(-1,) * array.ndim].tobytes()


def _arrays(obj):
    seen, todo = set(), [obj]
    while todo and len(seen) < _MOST:
        value = todo.pop()
        if isinstance(value, np.ndarray):
            yield value
        elif id(value) not in seen:
            seen.add(id(value))
            todo += _parts(value)


def _parts(value):
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if isinstance(value, _CONTAINERS):
        return list(value)
    if isinstance(value, ptio.Opaque):
        return [value.args, value.kwargs, value.state, value.items, value.mapping]
    if type(value).__module__.startswith("ptio") or isinstance(value, types.SimpleNamespace):
        return list(getattr(value, "__dict__", {}).values())
    return []
