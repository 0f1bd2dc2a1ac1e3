# SPDX-License-Identifier: Apache-2.0
"""Everything that differs between the versions of torch (2.4 and later) that ptio works with."""

from __future__ import annotations

import mmap
import sys
from typing import Any

import torch

_VERSION = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])

# Before 2.14, only to list itself.
APPENDS_TO_REGISTERED_LISTS = _VERSION >= (2, 14)


def default_mmap() -> bool:
    """torch.utils.serialization.config.load.mmap; torch < 2.5 has no such setting."""
    return bool(_load_config("mmap", False))


def wants_calculated_offsets() -> bool:
    return bool(_load_config("calculate_storage_offsets", False))


def computes_crc32() -> bool:
    """torch.serialization.set_crc32_options, new in torch 2.5."""
    options = getattr(torch.serialization, "get_crc32_options", None)
    return options is None or bool(options())


def storage_alignment() -> int:
    """torch.utils.serialization.config.save.storage_alignment, new in torch 2.8."""
    alignment = getattr(torch.serialization, "_get_storage_alignment", None)
    return 64 if alignment is None else int(alignment())


def _load_config(name: str, default: Any) -> Any:
    try:
        from torch.utils.serialization import config
    except ImportError:
        return default
    return getattr(config.load, name, default)


def maps_shared() -> bool:
    """Whether the user asked torch for maps whose changes go to the file."""
    if sys.platform == "win32":
        return False
    return bool(torch.serialization.get_default_mmap_options() == mmap.MAP_SHARED)


def order_if_missing() -> int:
    """The byte order of files that do not say: 0 little, 1 big, 2 this machine's."""
    order = torch.serialization.get_default_load_endianness()
    if order is None:
        return 0
    kinds = torch.serialization.LoadEndianness
    return {kinds.LITTLE: 0, kinds.BIG: 1, kinds.NATIVE: 2}[order]


def skips_data() -> bool:
    """Inside `with torch.serialization.skip_data():`, new in torch 2.6."""
    return bool(getattr(torch.serialization._serialization_tls, "skip_data", False))


def is_faking() -> bool:
    """Whether a FakeTensorMode is active."""
    return torch._guards.detect_fake_mode(None) is not None
