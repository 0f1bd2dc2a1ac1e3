# SPDX-License-Identifier: Apache-2.0
"""The other readers: Python's unpickler in Python and in C, and torch's weights_only unpickler.

For the first two, find_class knows exactly the names of ptio's allowlist, csrc/core/globals.def.
torch's values become stand-ins, everything else is Python's or NumPy's own.
"""

import _codecs
import _pickle
import argparse
import builtins
import collections
import copyreg
import datetime
import importlib
import io
import pathlib
import pickle
import re
import types

import numpy as np
from support import checkpoints

from .storages import STAND_INS, archive

_ROOT = pathlib.Path(__file__).parents[2]
_LARGEST_MEMO = 1 << 20  # CPython's C unpickler takes 16 bytes for each index below the largest


class Refused(Exception):
    """The name is not on ptio's allowlist."""


class Frozen(type):
    """Classes that a stream cannot change: BUILD of a class sets its attributes."""

    def __setattr__(cls, name, value):
        raise TypeError(f"{cls.__name__} stays as it is")


class Dtype(metaclass=Frozen):
    """A dtype of torch."""

    def __init__(self, name):
        object.__setattr__(self, "name", name)

    def __setattr__(self, name, value):
        raise TypeError("a dtype stays as it is")


class Marker(metaclass=Frozen):
    """A class or function that is only named."""

    def __init__(self, name):
        self.name = name


# --- stand-ins of torch's functions -------------------------------------------------------------


def _text(value):
    return value.decode("ascii") if isinstance(value, bytes) else value


def _same(value, *_):
    return value


def _size(sizes=()):
    return sizes


def _device(name, index=None):
    return name if index is None else f"{_text(name)}:{index}"


def _tensor(storage, offset, shape, stride, grad=False, *_):
    return checkpoints.Tensor(storage, shape, stride, offset, grad)


class TypedTensor(checkpoints.Tensor):
    """A tensor whose dtype is not its storage's."""

    dtype = None


def _tensor_v3(storage, offset, shape, stride, grad, hooks, dtype, *_):
    tensor = TypedTensor(storage, shape, stride, offset, grad)
    tensor.dtype = dtype.name
    return tensor


_TORCH = {
    ("torch", "Size"): _size,
    ("torch", "device"): _device,
    ("torch.serialization", "_get_layout"): _same,
    ("torch.jit._pickle", "restore_type_tag"): _same,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_v3,
    ("torch._utils", "_rebuild_parameter"): _same,
    ("torch._utils", "_rebuild_parameter_with_state"): _same,
    **{
        ("torch.jit._pickle", f"build_{kind}list"): _same
        for kind in ("bool", "double", "int", "tensor")
    },
}

# --- the allowlist -------------------------------------------------------------------------------

_PYTHON_2 = {"long": int, "unicode": str, "xrange": range}


def _real(module, name, role):
    """What ptio calls for one of its globals, or the stand-in for it."""
    if role == "DTYPE":
        return Dtype(name)
    if role == "NAMED":
        return f"{module}.{name}"
    if (module, name) in _TORCH:
        return _TORCH[module, name]
    if module.startswith("torch"):
        return Marker(f"{module}.{name}")
    if module in ("builtins", "__builtin__"):
        return _PYTHON_2.get(name) or getattr(builtins, name)
    if module.startswith("pathlib"):
        return pathlib.PureWindowsPath if "Windows" in name else pathlib.PurePosixPath
    if module.startswith("numpy."):
        module = module.replace("numpy.core", "numpy._core") if _NUMPY_2 else module
        return getattr(importlib.import_module(module), name)
    modules = (_codecs, argparse, collections, copyreg, datetime, types, np)
    known = {module.__name__: module for module in modules} | {"copy_reg": copyreg}
    return getattr(known[module], name)


_NUMPY_2 = hasattr(np, "_core")


def _read_globals():
    row = re.compile(r'GLOBAL\("([^"]+)", "([^"]+)", (\w+), \w+\)')
    text = (_ROOT / "csrc" / "core" / "globals.def").read_text()
    return {(module, name): role for module, name, role in row.findall(text)}


ROLES = _read_globals()
EXACT = {key: _real(*key, role) for key, role in ROLES.items()}


# For streams that ptio refuses: nothing that is called may take long, or change a class.


class _Inert(metaclass=Frozen):
    def __init__(self, *arguments):
        pass


def _guarded(base):
    def check(cls, *arguments):
        if any(isinstance(argument, int) and abs(argument) > 1000 for argument in arguments):
            raise ValueError("a size that no test needs")
        return base.__new__(cls, *arguments)

    return Frozen(f"Guarded{base.__name__}", (base,), {"__new__": check})


def _encode(text, codec="utf-8", *errors):
    if codec not in ("latin1", "latin-1", "utf-8", "ascii"):
        raise LookupError(codec)
    return _codecs.encode(text, codec, *errors)


def _harmless(key, found):
    if key[0].startswith(("numpy", "torch")) or key[1] in ("range", "xrange"):
        return found if ROLES[key] in ("DTYPE", "NAMED") else _Inert
    if found in (bytes, bytearray):
        return _guarded(found)
    if found is _codecs.encode:
        return _encode
    if isinstance(found, type) and not found.__flags__ & (1 << 8):  # not immutable
        return Frozen(f"Guarded{found.__name__}", (found,), {})
    return found


GUARDED = {key: _harmless(key, found) for key, found in EXACT.items()}


# --- the readers ---------------------------------------------------------------------------------


class _Names:
    """find_class and persistent_load of both of Python's unpicklers."""

    allowed = EXACT

    def find_class(self, module, name):
        found = self.allowed.get((module, name))
        if found is None:
            raise Refused(f"{module}.{name}")
        if type(found) is str:
            return "".join(list(found))  # one of its own each time, as ptio's
        return found

    def persistent_load(self, pid):
        if not isinstance(pid, tuple) or len(pid) != 5 or _text(pid[0]) != "storage":
            raise pickle.UnpicklingError("a persistent id that is no storage")
        return STAND_INS[_text(pid[2])]


class InPython(_Names, pickle._Unpickler):
    pass


class InC(_Names, _pickle.Unpickler):
    pass


class Harmless(_Names, pickle._Unpickler):
    """For streams that ptio refuses: whether Python's unpickler would read them."""

    allowed = GUARDED
    dispatch = pickle._Unpickler.dispatch.copy()

    def load_bytearray8(self):
        data = self.read(
            int.from_bytes(self.read(8), "little") % (1 << 40)
        )  # allocates what is there
        self.append(bytearray(data))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8


def read_in_python(stream, encoding):
    unpickler = InPython(io.BytesIO(stream), encoding=encoding)
    value = unpickler.load()
    return value, max(unpickler.memo, default=0) < _LARGEST_MEMO


def read_in_c(stream, encoding):
    return InC(io.BytesIO(stream), encoding=encoding).load()


def read_harmlessly(stream, encoding):
    return Harmless(io.BytesIO(stream), encoding=encoding).load()


class Torch:
    """torch's weights_only unpickler. `knows`: it has the opcodes and globals of a stream."""

    def __init__(self):
        import torch
        from torch import _weights_only_unpickler as module

        self.torch = torch
        self.module = module
        self.errors = (module.UnpicklingError,)
        self.unknown = re.compile(r"Unsupported operand|not an allowed global|Unsupported global")

    def read(self, stream, encoding):
        if b"Q" in stream and b"storage" in stream:
            file = io.BytesIO(archive(stream))
            return self.torch.load(file, weights_only=True, map_location="cpu", encoding=encoding)
        return self.module.Unpickler(io.BytesIO(stream), encoding=encoding).load()

    def is_unknown(self, error):
        """Whether the stream has what torch does not know."""
        return self.unknown.search(str(error)) is not None
