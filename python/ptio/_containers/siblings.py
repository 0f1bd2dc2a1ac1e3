# SPDX-License-Identifier: Apache-2.0
"""Files that a file names: only regular files of its own directory (invariant X1).

The caches of huggingface_hub keep the files of a model as symbolic links,
snapshots/<revision>/<name> -> ../../blobs/<hash>. Links into that one folder are followed, too;
all others have to stay inside the directory.
"""

from __future__ import annotations

import os
from pathlib import Path

from ptio._errors import ForbiddenError, FormatError
from ptio._text import printable

_SNAPSHOTS, _BLOBS = "snapshots", "blobs"
_KIND = "SIBLING"


class Siblings:
    """The files that an index in `directory` may name."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._root = Path(os.path.realpath(directory))

    def resolve(self, name: str) -> str:
        """The path of the file `name`, links followed.

        Raises:
            ForbiddenError: it is not in the directory.
            FormatError: there is no such file.
        """
        shown = repr(printable(name))
        parts = name.split("/")
        if not name or "\0" in name or "\\" in name or ":" in parts[0] or os.path.isabs(name):
            raise ForbiddenError(f"{shown} is no name of a file in the directory", kind=_KIND)
        if any(part in ("", ".", "..") for part in parts):
            raise ForbiddenError(f"{shown} leads out of the directory", kind=_KIND)
        try:
            path = Path(os.path.realpath(self._root / name))
        except (OSError, ValueError) as e:
            raise FormatError(f"{shown}: {printable(str(e))}", kind=_KIND) from None
        if not self._allows(path):
            raise ForbiddenError(
                f"{shown} is a symbolic link out of the directory",
                kind=_KIND,
                hint="open a directory that holds the files themselves",
            )
        if not os.path.exists(path):  # nor where the name is too long to be one
            raise FormatError(
                f"the file {shown} is missing",
                kind="FILE_MISSING",
                hint="copy or download the whole directory again",
            )
        return str(path)

    def _allows(self, path: Path) -> bool:
        if path.is_relative_to(self._root):
            return True
        return any(
            parent.name == _SNAPSHOTS and path.is_relative_to(parent.parent / _BLOBS)
            for parent in self._root.parents
        )
