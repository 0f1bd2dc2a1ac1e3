# SPDX-License-Identifier: Apache-2.0
"""Where an oracle may refuse what ptio reads, each with its reason. Everything else is a defect.

Text of Python 2 (STRING, BINSTRING, SHORT_BINSTRING) is decoded by CPython as the caller says,
whatever it is for. ptio decodes what becomes text of the result, and takes names and data as the
bytes that they are.
"""

import re

from .mutations import boundaries

_OLD_TEXT = frozenset(b"STU")
_NAMES = re.compile(r"must be str, not bytes|requires str|must be string|not 'bytes'")
_DEVICE = re.compile(r"Invalid device string|Expected one of cpu, cuda")


def may_refuse(case, oracle, error):
    """Why this oracle refuses what ptio reads; None if it must not."""
    if oracle == "torch":
        # With NumPy a device is a text; which ones there are, torch knows.
        return "names of devices" if _DEVICE.search(str(error)) else None
    old = any(case.stream[at] in _OLD_TEXT for at in boundaries(case.stream))
    if old and isinstance(error, UnicodeDecodeError):
        return "text of Python 2 that nobody needs as text"
    if old and case.encoding == "bytes" and _NAMES.search(str(error)):
        return "names of Python 2 as bytes"
    return None
