# SPDX-License-Identifier: Apache-2.0
"""Every kind of file that holds tensors, behind one interface; chosen by content, not by name."""

from __future__ import annotations

from typing import Any

from ptio._containers._base import Container, Options, Tick
from ptio._containers._pickled import Pickled
from ptio._source import display_path, open_source

__all__ = ["Container", "Options", "Tick", "open_container"]


def open_container(f: Any, options: Options) -> Container:
    """What is in `f`, a path or a file object."""
    path = display_path(f)
    source = open_source(f, options.mmap)
    return Pickled(source, options, path=path)
