# SPDX-License-Identifier: Apache-2.0
"""Names of tensors: the way from the root of a checkpoint, as one string."""

from __future__ import annotations

from typing import Any


def joined(path: tuple[Any, ...]) -> str:
    """("optimizer", "state", 0, "exp_avg") is "optimizer/state/0/exp_avg"; the root is ""."""
    return "/".join([part if type(part) is str else str(part) for part in path])
