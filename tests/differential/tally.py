# SPDX-License-Identifier: Apache-2.0
"""What ptio refuses and Python's unpickler reads, by the check that refuses it."""

import functools
import pathlib
import re

_CORE = pathlib.Path(__file__).parents[2] / "csrc" / "core"
_CHECK = re.compile(r'"([A-Z]\w*\.[\w.-]+)"((?:[^;"]|"(?:[^"\\]|\\.)*")*);')
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')
_FIELD = re.compile(r"%[-0-9.*]*(?:ll|z)?[a-z]")


@functools.cache
def _checks():
    """(id, pattern of its message), the longest messages first."""
    found = []
    for path in sorted(_CORE.glob("*.[ch]")):
        for identifier, rest in _CHECK.findall(path.read_text()):
            parts = _TEXT.findall(rest)
            if parts:
                message = max(parts, key=len).replace('\\"', '"')
                fields = [re.escape(piece) for piece in _FIELD.split(message)]
                found.append((identifier, re.compile(".*".join(fields), re.DOTALL), len(message)))
    return sorted(found, key=lambda check: -check[2])


@functools.lru_cache(maxsize=4096)
def check_of(message):
    """The id of the check that says this."""
    for identifier, pattern, _ in _checks():
        if pattern.match(message):
            return identifier
    return "?"


def add(total, beyond):
    """Adds counts and shortest examples of one part to those of all."""
    for (kind, message), (count, example) in beyond.items():
        key = check_of(message), kind
        old = total.get(key, (0, message, example))
        shortest = (message, example) if len(example) <= len(old[2]) else old[1:]
        total[key] = (old[0] + count, *shortest)


def table(total):
    rows = [f"{'count':>8}  {'check':<22} {'exception':<18} message, shortest stream"]
    for (check, kind), (count, message, example) in sorted(total.items(), key=lambda i: -i[1][0]):
        rows.append(f"{count:>8}  {check:<22} {kind:<18} {message:.70}  {example!r:.90}")
    return "\n".join(rows)
