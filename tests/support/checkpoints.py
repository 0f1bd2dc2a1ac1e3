# SPDX-License-Identifier: Apache-2.0
"""Checkpoints as torch.save writes them, made without torch.

`dumps` pickles any object in which `Tensor`s stand for tensors; `archive` puts a pickle and its
storages into a zip. `save` does both.
"""

import collections
import io
import pickle
import sys
from dataclasses import dataclass, field

import numpy as np

from . import zip_files

# torch's legacy storage classes; every other dtype goes through UntypedStorage and v3.
LEGACY = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
    "bfloat16": "BFloat16Storage",
    "complex128": "ComplexDoubleStorage",
    "complex64": "ComplexFloatStorage",
}
# bytes of one element
ITEMSIZE = {
    **dict.fromkeys(("float64", "int64", "complex64", "uint64"), 8),
    **dict.fromkeys(("float32", "int32", "uint32", "complex32"), 4),
    **dict.fromkeys(("float16", "int16", "uint16", "bfloat16", "bits16"), 2),
    **dict.fromkeys(("int8", "uint8", "bool", "bits8", "bits1x8", "bits2x4", "bits4x2"), 1),
    **dict.fromkeys(("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"), 1),
    **dict.fromkeys(("float8_e8m0fnu", "float4_e2m1fn_x2"), 1),
    "complex128": 16,
}
# what NumPy and ml_dtypes cannot express: read as ptio.RawTensor
RAW = frozenset(
    ("complex32", "bits8", "bits16", "bits1x8", "bits2x4", "bits4x2", "float4_e2m1fn_x2")
)


def numpy_dtype(name):
    """The NumPy dtype that stands for a torch dtype."""
    if name.startswith(("bfloat", "float8")):
        ml_dtypes = __import__("ml_dtypes")
        return np.dtype(getattr(ml_dtypes, name))
    return np.dtype(name)


@dataclass(frozen=True)
class Global:
    """A global that is written by name and never imported."""

    module: str
    name: str

    def __call__(self, *_):
        raise AssertionError("the writer calls no global")


@dataclass(eq=False)
class Storage:
    """The bytes of one storage, in the order of the writing machine."""

    dtype: str
    data: bytes
    location: str = "cpu"

    @property
    def numel(self):
        return len(self.data) // (ITEMSIZE[self.dtype] if self.dtype in LEGACY else 1)


@dataclass(eq=False)
class Tensor:
    """A view of a storage: what pickles as a torch.Tensor or Parameter."""

    storage: Storage
    shape: tuple
    stride: tuple
    offset: int = 0
    requires_grad: bool = False
    parameter: bool = False
    metadata: dict = field(default_factory=dict)

    @property
    def dtype(self):
        return self.storage.dtype


def contiguous_stride(shape):
    stride, step = [], 1
    for size in reversed(shape):
        stride.append(step)
        step *= max(size, 1)
    return tuple(reversed(stride))


def tensor(dtype, data, shape=None, **fields):
    """A tensor over a storage of its own; data is bytes or whatever np.array takes."""
    if not isinstance(data, bytes):
        array = np.array(data, numpy_dtype(dtype))
        shape = array.shape if shape is None else shape
        data = array.tobytes()
    if shape is None:
        shape = (len(data) // ITEMSIZE[dtype],)
    return Tensor(Storage(dtype, data), shape, contiguous_stride(shape), **fields)


def view(of, shape, stride, offset=0):
    """Another tensor over the storage of a tensor."""
    return Tensor(of.storage, shape, stride, offset)


class Pickler(pickle._Pickler):
    """Python's own pickler, which writes Globals by name and Storages as torch does."""

    dispatch = pickle._Pickler.dispatch.copy()

    def __init__(self, file, protocol):
        super().__init__(file, protocol)
        self.storages = {}

    def persistent_id(self, obj):
        if not isinstance(obj, Storage):
            return None
        key = self.storages.setdefault(id(obj), (str(len(self.storages)), obj))[0]
        return ("storage", storage_class(obj), key, obj.location, obj.numel)

    def save_pers(self, pid):
        self.save(pid, save_persistent_id=False)
        self.write(pickle.BINPERSID)  # in text protocols too: torch reads no PERSID

    def save_named(self, obj):
        if self.proto >= 4:
            self.save(obj.module)
            self.save(obj.name)
            self.write(pickle.STACK_GLOBAL)
        else:
            self.write(f"c{obj.module}\n{obj.name}\n".encode())
        self.memoize(obj)

    dispatch[Global] = save_named

    def reducer_override(self, obj):
        return rebuild(obj) if isinstance(obj, Tensor) else NotImplemented


_CLASSES = {name: Global("torch", name) for name in LEGACY.values()}
_UNTYPED = Global("torch.storage", "UntypedStorage")
_DTYPES = {name: Global("torch", name) for name in ITEMSIZE}
_REBUILD_V2 = Global("torch._utils", "_rebuild_tensor_v2")
_REBUILD_V3 = Global("torch._utils", "_rebuild_tensor_v3")
_PARAMETER = Global("torch._utils", "_rebuild_parameter")


def storage_class(storage):
    return _CLASSES[LEGACY[storage.dtype]] if storage.dtype in LEGACY else _UNTYPED


def rebuild(obj):
    """What Tensor.__reduce_ex__ returns for it."""
    if obj.parameter:
        data = Tensor(obj.storage, obj.shape, obj.stride, obj.offset, False)
        return _PARAMETER, (data, obj.requires_grad, collections.OrderedDict())
    arguments = (obj.storage, obj.offset, obj.shape, obj.stride, obj.requires_grad)
    arguments += (collections.OrderedDict(),)
    if obj.dtype not in LEGACY:
        arguments += (_DTYPES[obj.dtype],)
    if obj.metadata:
        arguments += (obj.metadata,)
    return (_REBUILD_V2 if obj.dtype in LEGACY else _REBUILD_V3), arguments


def dumps(obj, protocol=2):
    """The pickle of an object, and its storages by key."""
    file = io.BytesIO()
    pickler = Pickler(file, protocol)
    pickler.dump(obj)
    return file.getvalue(), {key: storage.data for key, storage in pickler.storages.values()}


def entries(pickled, storages=None, *, stem="archive", byteorder=sys.byteorder, records=True):
    """The members in torch's order. records=False leaves the records of torch >= 2.1 out,
    byteorder=None that one alone."""
    parts = {"data.pkl": pickled}
    if records:
        parts |= {".format_version": b"1", ".storage_alignment": b"64"}
    if byteorder is not None:
        parts["byteorder"] = byteorder.encode()
    parts |= {f"data/{key}": data for key, data in (storages or {}).items()}
    parts["version"] = b"3\n"
    if records:
        parts[".data/serialization_id"] = b"0" * 40
    return [zip_files.Entry(f"{stem}/{name}".encode(), data) for name, data in parts.items()]


def archive(pickled, storages=None, **options):
    """The bytes of a checkpoint file from a pickle and its storages."""
    return zip_files.write(entries(pickled, storages, **options))


def save(obj, *, protocol=2, **options):
    """The bytes of a checkpoint file."""
    pickled, storages = dumps(obj, protocol)
    return archive(pickled, storages, **options)
