# SPDX-License-Identifier: Apache-2.0
"""Everything that can be wrong with a file, as one tree of exceptions.

Each class is also the standard exception that programs around torch.load already catch. The C
extension raises them with the same arguments as Python code does.
"""

from __future__ import annotations

from pickle import UnpicklingError

from ptio._text import printable

_PATH_WIDTH = 160


class Error(Exception):
    """The file cannot be read as a checkpoint. Base of all errors that are about a file.

    Attributes:
        path: the file, where the caller gave one by name.
        record: the member of the archive, e.g. "model/data.pkl"; None for the file as a whole.
        offset: the byte inside the pickle, for errors about what it says; inside the file, for
            errors about the archive; or None.
        hint: what can be done about it, or None.
        kind: what is wrong in one word, such as "CHECKSUM"; the same as `Problem.kind`.
    """

    path: str | None
    record: str | None
    offset: int | None
    hint: str | None
    kind: str | None

    _offset_is_in_file = False

    def __init__(
        self,
        message: str = "",
        *,
        path: str | None = None,
        record: str | None = None,
        offset: int | None = None,
        hint: str | None = None,
        kind: str | None = None,
    ) -> None:
        super().__init__(message)
        self.path = path
        self.record = record
        self.offset = offset
        self.hint = hint
        self.kind = kind

    def __str__(self) -> str:
        """What is wrong, where, and what to do about it: one line."""
        where = []
        if self.path is not None:
            where.append(printable(self.path, _PATH_WIDTH))
        if self.record:
            where.append(f"member {printable(self.record)}")
        if self.offset is not None:
            # The pickle names the record that is missing.
            in_file = self._offset_is_in_file and self.kind != "RECORD_MISSING"
            where.append(f"byte {self.offset}{' of the file' if in_file else ''}")
        text = str(self.args[0]) if self.args else ""
        if where:
            text += f" ({', '.join(where)})"
        if self.hint:
            text += f"; {self.hint}"
        return text


class FormatError(Error, RuntimeError):
    """The archive is malformed."""

    _offset_is_in_file = True


class TruncatedError(FormatError, EOFError):
    """The file ends before what it declares."""


class AmbiguousError(FormatError):
    """Two readers could see two different contents in this file."""


class BoundsError(FormatError):
    """A tensor does not lie inside the bytes that are stored for it."""

    _offset_is_in_file = False


class ChecksumError(FormatError):
    """Stored bytes do not match their CRC32: they changed after they were written."""


class PickleFormatError(Error, UnpicklingError):
    """The pickle inside the file is malformed."""


class ForbiddenError(Error, UnpicklingError):
    """The file names classes or functions that are not allowed.

    Attributes:
        globals: all of them, as "module.name", in the order of the file.
    """

    globals: tuple[str, ...]

    def __init__(
        self,
        message: str = "",
        *,
        globals: tuple[str, ...] = (),
        path: str | None = None,
        record: str | None = None,
        offset: int | None = None,
        hint: str | None = None,
        kind: str | None = None,
    ) -> None:
        super().__init__(message, path=path, record=record, offset=offset, hint=hint, kind=kind)
        self.globals = tuple(globals)


class LimitError(Error, RuntimeError):
    """Reading the file would take more than `ptio.Limits` allows."""


class UnsupportedError(Error, RuntimeError, UnpicklingError):
    """The file is not a checkpoint, or holds something that ptio does not read."""
