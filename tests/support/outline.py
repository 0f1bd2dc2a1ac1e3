# SPDX-License-Identifier: Apache-2.0
"""An object as text: two loads of one file have the same, types, order and identity included."""

import collections

import numpy as np
import ptio

_PARTS = {
    ptio.RawTensor: ("dtype", "shape", "stride", "data"),
    ptio.QuantizedTensor: ("int_repr", "dtype", "qscheme", "scale", "zero_point", "axis"),
    ptio.SparseTensor: ("layout", "shape", "values", "indices", "crow_indices", "col_indices"),
    ptio.NestedTensor: ("layout", "values", "offsets", "sizes", "strides", "lengths"),
    ptio.Opaque: ("module", "name", "args", "kwargs", "state", "items", "mapping"),
}


def outline(obj):
    numbers, lines, todo = {}, [], [obj]
    while todo:
        value = todo.pop()
        if id(value) in numbers:
            lines.append(f"#{numbers[id(value)]}")
            continue
        parts, text = _parts(value)
        if parts or isinstance(value, (list, dict)):
            numbers[id(value)] = len(numbers)
        lines.append(f"{type(value).__qualname__} {text}")
        todo += reversed(parts)
    return "\n".join(lines)


def _parts(value):
    if isinstance(value, np.ndarray):
        return [], f"{value.dtype} {value.shape} {value.strides} {value.tobytes()!r}"
    if isinstance(value, dict):
        return [part for item in value.items() for part in item], f"{len(value)}"
    if isinstance(value, (set, frozenset)):
        return [], sorted(map(repr, value))
    if isinstance(value, (list, tuple, collections.deque)):
        return list(value), f"{len(value)}"
    if type(value) in _PARTS:
        return [getattr(value, name) for name in _PARTS[type(value)]], ""
    return [], repr(value)
