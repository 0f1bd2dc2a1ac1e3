# SPDX-License-Identifier: Apache-2.0
"""Names of tensors: the way from the root of a checkpoint, as one string."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

# A name of several parts that is longer loses its middle: a small file can nest one long key a
# thousand times, and have ten thousand tensors below.
LONGEST = 4096
_HALF = LONGEST // 2 - 2


def joined(path: tuple[Any, ...]) -> str:
    """("optimizer", "state", 0, "exp_avg") is "optimizer/state/0/exp_avg"; the root is ""."""
    if len(path) == 1:  # a state dict's names
        return path[0] if type(path[0]) is str else str(path[0])
    parts = [part if type(part) is str else str(part) for part in path]
    if sum(map(len, parts)) + len(parts) > LONGEST:
        head = _beginning(parts)
        tail = _beginning(part[: -_HALF - 1 : -1] for part in reversed(parts))
        return f"{head}...{tail[::-1]}"
    return "/".join(parts)


def _beginning(parts: Iterable[str]) -> str:
    text = ""
    for part in parts:
        text += part[:_HALF] + "/"
        if len(text) > _HALF:
            break
    return text[:_HALF]
