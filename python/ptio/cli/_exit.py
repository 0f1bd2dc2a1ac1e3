# SPDX-License-Identifier: Apache-2.0
"""The exit statuses of the ptio command."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Of several files, the largest status wins."""

    FINE = 0
    FINDING = 1
    UNREADABLE = 2
    NOTHING_TO_DO = 3
    USAGE = 4
