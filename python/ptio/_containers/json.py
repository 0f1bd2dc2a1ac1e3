# SPDX-License-Identifier: Apache-2.0
"""JSON of a file that nobody trusts."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from ptio._errors import AmbiguousError, FormatError, LimitError
from ptio._text import printable

_MOST_SIZES = 64
_TOO_LARGE = 2**63


def parse_json(text: bytes, what: str) -> dict[str, Any]:
    """The object that `text` holds.

    Raises:
        FormatError: it holds none; AmbiguousError: it gives a name twice.
    """
    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=_distinct)
    except FormatError:
        raise
    except (ValueError, RecursionError) as e:
        raise FormatError(f"{what} is no JSON: {printable(str(e))}", kind="JSON") from None
    result: dict[str, Any] = require(value, dict, what)
    return result


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = sorted(name for name, _ in pairs)
        twice = next(one for one, other in pairwise(names) if one == other)
        raise AmbiguousError(f"the name {printable(twice)!r} is there twice", kind="JSON")
    return result


def require(value: Any, kind: type, what: str) -> Any:
    """`value`, an instance of `kind`; a bool is no int."""
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise FormatError(f"{what} is a {type(value).__name__}, not a {kind.__name__}", kind="JSON")
    return value


def require_sizes(value: Any, what: str) -> tuple[int, ...]:
    """A list of at most 64 ints from 0 to 2^63 - 1."""
    if len(require(value, list, what)) > _MOST_SIZES:
        raise LimitError(f"{what} has {len(value)} numbers", kind="LIMIT")
    for number in value:
        if type(number) is not int or not 0 <= number < _TOO_LARGE:
            raise FormatError(f"{what} holds {_shown(number)}", kind="JSON")
    return tuple(value)


def _shown(value: Any) -> str:
    return str(value) if type(value) is int and abs(value) < 2**64 else f"a {type(value).__name__}"
