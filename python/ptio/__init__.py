# SPDX-License-Identifier: Apache-2.0
"""Reads PyTorch checkpoints: safely, without importing torch, as NumPy arrays.

    import ptio

    checkpoint = ptio.load("checkpoint.pt")      # arrays over a memory map of the file
    print(ptio.verify("checkpoint.pt"))          # structure and checksums
    ptio.save(checkpoint, "copy.pt")             # torch.load reads it

No code that a file names is ever imported or called. Everything that can go wrong with a file
is a `ptio.Error`; each of its classes is also the standard exception that torch's users catch.
"""

from typing import TYPE_CHECKING

from ptio._api import load, verify
from ptio._errors import (
    AmbiguousError,
    BoundsError,
    ChecksumError,
    Error,
    ForbiddenError,
    FormatError,
    LimitError,
    PickleFormatError,
    TruncatedError,
    UnsupportedError,
)
from ptio._limits import Limits

if TYPE_CHECKING:
    from ptio._convert import ConvertReport, convert
    from ptio._deferred import Deferred
    from ptio._inspect import Inspection, inspect
    from ptio._merge import MergeReport, MismatchError, merge
    from ptio._open import Checkpoint, TensorInfo, open
    from ptio._repair import RepairReport, repair
    from ptio._report import Problem, VerifyReport
    from ptio._save import save
    from ptio._scan import FileScan, ScanReport, scan
    from ptio._slim import SlimReport, slim
    from ptio._state_dict import load_state_dict
    from ptio._types import (
        NestedTensor,
        Opaque,
        QuantizedTensor,
        RawTensor,
        SparseTensor,
        TorchDtype,
    )
    from ptio._writer import Writer

__version__ = "0.1.0"

__all__ = [
    # functions
    "convert",
    "inspect",
    "load",
    "load_state_dict",
    "merge",
    "open",
    "repair",
    "save",
    "scan",
    "slim",
    "verify",
    # what they take and give back
    "Checkpoint",
    "ConvertReport",
    "Deferred",
    "FileScan",
    "Inspection",
    "Limits",
    "MergeReport",
    "Problem",
    "RepairReport",
    "ScanReport",
    "SlimReport",
    "TensorInfo",
    "VerifyReport",
    "Writer",
    "NestedTensor",
    "Opaque",
    "QuantizedTensor",
    "RawTensor",
    "SparseTensor",
    "TorchDtype",
    # errors
    "Error",
    "AmbiguousError",
    "BoundsError",
    "ChecksumError",
    "ForbiddenError",
    "FormatError",
    "LimitError",
    "MismatchError",
    "PickleFormatError",
    "TruncatedError",
    "UnsupportedError",
]

# Classes that few programs need are imported when they are first used.
_LAZY = {
    "convert": "ptio._convert",
    "ConvertReport": "ptio._convert",
    "Deferred": "ptio._deferred",
    "inspect": "ptio._inspect",
    "Inspection": "ptio._inspect",
    "merge": "ptio._merge",
    "MergeReport": "ptio._merge",
    "MismatchError": "ptio._merge",
    "Checkpoint": "ptio._open",
    "open": "ptio._open",
    "TensorInfo": "ptio._open",
    "repair": "ptio._repair",
    "RepairReport": "ptio._repair",
    "Problem": "ptio._report",
    "VerifyReport": "ptio._report",
    "save": "ptio._save",
    "scan": "ptio._scan",
    "FileScan": "ptio._scan",
    "ScanReport": "ptio._scan",
    "slim": "ptio._slim",
    "SlimReport": "ptio._slim",
    "load_state_dict": "ptio._state_dict",
    "NestedTensor": "ptio._types",
    "Opaque": "ptio._types",
    "QuantizedTensor": "ptio._types",
    "RawTensor": "ptio._types",
    "SparseTensor": "ptio._types",
    "TorchDtype": "ptio._types",
    "Writer": "ptio._writer",
}


if not TYPE_CHECKING:  # type checkers know the names, and should refuse others

    def __getattr__(name: str) -> object:
        if name not in _LAZY:
            raise AttributeError(f"module 'ptio' has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(_LAZY[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
