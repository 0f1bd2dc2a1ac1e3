# SPDX-License-Identifier: Apache-2.0
"""Errors in torch's words: ours with the phrases that programs look for, and torch's own without
terminal codes and without advice to switch safety off."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pickle import UnpicklingError

from ptio._errors import (
    BoundsError,
    ForbiddenError,
    FormatError,
    PickleFormatError,
    UnsupportedError,
)
from ptio._text import printable
from ptio.torch._rules import forbidden

# What torch's reader of archives says, by the kind of our error.
_OF_ARCHIVES = {
    "RECORD_MISSING": "failed locating file: file not found",
    "TRUNCATED": "failed reading zip archive: failed finding central directory",
}


@contextmanager
def in_torchs_words(weights_only: bool, archive: bool = True) -> Iterator[None]:
    """Our errors, with the phrases that programs look for in torch's."""
    try:
        yield
    except (ForbiddenError, PickleFormatError, UnsupportedError) as e:
        if not weights_only:
            raise
        if isinstance(e, ForbiddenError) and e.globals:
            raise forbidden(e) from None
        e.args = (f"Weights only load failed. {e.args[0]}",)  # as each UnpicklingError of torch's
        raise
    except BoundsError:
        raise  # the archive itself is fine
    except FormatError as e:
        if not archive:
            raise
        words = _OF_ARCHIVES.get(e.kind or "", "failed reading zip archive")
        e.args = (f"PytorchStreamReader {words}: {e.args[0]}",)
        raise


_WIDTH = 900
# Where the advice of torch's messages begins.
_ADVICE = ("In PyTorch 2.6", "This file can still be loaded", "Check the documentation")
_GLOBAL = re.compile(r"GLOBAL (\S+) was not an allowed global")


@contextmanager
def without_advice(weights_only: bool) -> Iterator[None]:
    """Around torch's own load, of formats that ptio leaves to it."""
    try:
        yield
    except UnpicklingError as e:
        if not weights_only:
            raise
        message = f"Weights only load failed. {_fact(str(e))}"
        names = tuple(_GLOBAL.findall(message))
        if names:
            raise ForbiddenError(message, globals=names, kind="GLOBAL_FORBIDDEN") from None
        raise PickleFormatError(message, kind="PICKLE_MALFORMED") from None
    except RuntimeError as e:
        if not weights_only or _cut(str(e)) == str(e):
            raise
        raise UnsupportedError(_cut(str(e)), kind="FORMAT_UNSUPPORTED") from None


def _fact(text: str) -> str:
    """The last paragraph of an UnpicklingError, before the pointer to the documentation, as one
    line: it may quote whatever the file holds."""
    text = text.partition("Check the documentation")[0].strip()
    text = text.rpartition("Unpickler error:")[2].strip().rpartition("\n\n")[2].strip()
    return printable(text, _WIDTH)


def _cut(text: str) -> str:
    ends = [text.find(advice) for advice in _ADVICE if advice in text]
    return text[: min(ends)].strip() if ends else text
