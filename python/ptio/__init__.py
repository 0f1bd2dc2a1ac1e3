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
    from ptio._inspect.inspect import Inspection, inspect
    from ptio._open import Checkpoint, TensorInfo, open
    from ptio._report import Problem, VerifyReport
    from ptio._rewrite.convert import ConvertReport, convert
    from ptio._rewrite.merge import MergeReport, MismatchError, merge
    from ptio._rewrite.repair import RepairReport, repair
    from ptio._rewrite.slim import SlimReport, slim
    from ptio._save.deferred import Deferred
    from ptio._save.save import save
    from ptio._save.writer import Writer
    from ptio._scan import FileScan, ScanReport, scan
    from ptio._state_dict import load_state_dict
    from ptio._types import (
        NestedTensor,
        Opaque,
        QuantizedTensor,
        RawTensor,
        SparseTensor,
        TorchDtype,
    )

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
    "convert": "ptio._rewrite.convert",
    "ConvertReport": "ptio._rewrite.convert",
    "Deferred": "ptio._save.deferred",
    "inspect": "ptio._inspect.inspect",
    "Inspection": "ptio._inspect.inspect",
    "merge": "ptio._rewrite.merge",
    "MergeReport": "ptio._rewrite.merge",
    "MismatchError": "ptio._rewrite.merge",
    "Checkpoint": "ptio._open",
    "open": "ptio._open",
    "TensorInfo": "ptio._open",
    "repair": "ptio._rewrite.repair",
    "RepairReport": "ptio._rewrite.repair",
    "Problem": "ptio._report",
    "VerifyReport": "ptio._report",
    "save": "ptio._save.save",
    "scan": "ptio._scan",
    "FileScan": "ptio._scan",
    "ScanReport": "ptio._scan",
    "slim": "ptio._rewrite.slim",
    "SlimReport": "ptio._rewrite.slim",
    "load_state_dict": "ptio._state_dict",
    "NestedTensor": "ptio._types",
    "Opaque": "ptio._types",
    "QuantizedTensor": "ptio._types",
    "RawTensor": "ptio._types",
    "SparseTensor": "ptio._types",
    "TorchDtype": "ptio._types",
    "Writer": "ptio._save.writer",
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
