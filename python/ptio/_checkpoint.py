# SPDX-License-Identifier: Apache-2.0
"""The one way in which everything in this package opens a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ptio._core import Checkpoint
from ptio._errors import Error
from ptio._limits import Limits
from ptio._source import display_path, open_source

_DEFAULT_LIMITS = Limits()


@contextmanager
def open_checkpoint(
    f: Any,
    *,
    mmap: bool | str = "auto",
    limits: Limits | None = None,
    inert: bool = True,
    allow: tuple[str, ...] = (),
    encoding: str = "utf-8",
) -> Iterator[Checkpoint]:
    """The parsed and vetted checkpoint in `f`. Errors inside carry the name of the file."""
    if limits is None:
        limits = _DEFAULT_LIMITS
    elif not isinstance(limits, Limits):
        raise TypeError(f"limits must be a ptio.Limits, not {limits!r}")
    path = display_path(f)
    source = open_source(f, mmap)
    try:
        yield Checkpoint(
            source,
            limits=limits._for_core(),
            inert=inert,
            allow=allow,
            encoding=encoding,
            path=path,
        )
    except Error as e:
        if e.path is None:
            e.path = path
        raise
    finally:
        source.close()
