# SPDX-License-Identifier: Apache-2.0
"""torch's functions replaced by ptio's: in a with block, or in the whole process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch

# (module, name): the function of that name in ptio.torch takes the place of the one there.
_REPLACED = (
    ("torch", "load"),
    ("torch", "save"),
    ("torch.serialization", "load"),
    ("torch.serialization", "save"),
)

# For whoever puts our functions there by other ways than the ones below.
_TORCHS_OWN = {"load": torch.serialization.load, "save": torch.serialization.save}

_lock = threading.Lock()  # for all that follows; no import may happen under it (see _change)
_open_blocks = 0
_installed = False
_originals: dict[tuple[str, str], Any] = {}  # empty while nothing is replaced


class patch:
    """Inside `with ptio.torch.patch():`, torch.load and torch.save are those of ptio.torch.

    So are torch.serialization.load and save; a function that was taken from torch before, as by
    `from torch import load`, stays what it is. The replacement is seen by all threads. Blocks may
    be nested, overlap in several threads, and use one object more than once; what was there
    before comes back when the last of them ends, unless `install` is in force.
    """

    def __enter__(self) -> None:
        _change(blocks=+1)

    def __exit__(self, *exception: object) -> None:
        _change(blocks=-1)


def install() -> None:
    """Replace torch.load and torch.save by ptio's in this process, until `uninstall`.

    Installing twice is the same as once.
    """
    _change(installed=True)


def uninstall() -> None:
    """Undo `install`: they are again what they were, once no block of `patch` is open.

    Nothing happens where nothing was installed.
    """
    _change(installed=False)


def original(name: str) -> Callable[..., Any]:
    """torch's own function of that name, "load" or "save", also while it is replaced."""
    with _lock:
        function: Callable[..., Any] = _originals.get(
            ("torch.serialization", name), getattr(torch.serialization, name)
        )
    put_by_hand = function is getattr(import_module("ptio.torch"), name)
    return _TORCHS_OWN[name] if put_by_hand else function


def _change(blocks: int = 0, installed: bool | None = None) -> None:
    """Notes who wants the replacement, and makes or undoes it."""
    global _open_blocks, _installed
    # Before the lock is taken: a thread that imports torch may be waiting for it (ptio run).
    ours = import_module("ptio.torch")
    modules = {module: import_module(module) for module, _ in _REPLACED}
    with _lock:
        _open_blocks += blocks
        if installed is not None:
            _installed = installed
        wanted = _installed or _open_blocks > 0
        if wanted and not _originals:
            _originals.update({(m, name): getattr(modules[m], name) for m, name in _REPLACED})
            for module, name in _REPLACED:
                setattr(modules[module], name, getattr(ours, name))
        elif not wanted:
            for (module, name), original in _originals.items():
                setattr(modules[module], name, original)
            _originals.clear()
