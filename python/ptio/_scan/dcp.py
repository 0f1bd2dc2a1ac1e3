# SPDX-License-Identifier: Apache-2.0
"""scan: the files of a directory of torch.distributed.checkpoint (DCP).

Each file of data is archives one behind the other; only .metadata says where they begin.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial

from ptio import _core
from ptio._containers.distributed import Archives
from ptio._containers.distributed_metadata import (
    ALLOWED,
    Chunk,
    Contents,
    Place,
    TensorItem,
    read_metadata,
)
from ptio._containers.siblings import Siblings
from ptio._errors import Error
from ptio._report import Problem
from ptio._scan.file import PickleScan, scan_source
from ptio._scan.findings import Findings, Rules
from ptio._scan.report import FileScan
from ptio._source import open_source

METADATA = ".metadata"

Piece = tuple[Place, str, TensorItem | None, Chunk | None]


class DistributedFiles:
    """What .metadata says of the files beside it.

    Attributes:
        files: by their names, the archives in them.
    """

    def __init__(self, folder: str, rules: Rules) -> None:
        self._rules = rules
        self._siblings = Siblings(folder)
        self._problems: list[Problem] = []
        self.files: dict[str, list[Piece]] = {}
        path = os.path.join(folder, METADATA)
        try:
            source = open_source(path, False)
            self._take(read_metadata(source, rules.options(), path))
        except Error as e:
            self._problems.append(Problem(type(e).__name__, str(e.args[0]), e.record, e.offset))
        except OSError:
            pass  # scanning the file itself says it

    def _take(self, contents: Contents) -> None:
        for name, item in contents.items.items():
            if isinstance(item, TensorItem):
                pieces: list[Piece] = [(c.place, name, item, c) for c in item.chunks]
            else:
                pieces = [(item.place, name, None, None)]
            for piece in pieces:
                file = piece[0].file
                if file not in self.files:
                    self._resolve(file)
                self.files.setdefault(file, []).append(piece)

    def _resolve(self, file: str) -> None:
        try:
            self._siblings.resolve(file)
        except Error as e:
            self._problems.append(Problem(type(e).__name__, str(e.args[0])))

    def scan_metadata(self, source: _core.Source, path: str) -> FileScan:
        found = scan_source(source, self._rules, path, None, *ALLOWED)
        known = {problem.kind for problem in found.problems}
        more = tuple(problem for problem in self._problems if problem.kind not in known)
        words = "the metadata of torch.distributed.checkpoint"
        return replace(found, description=words, problems=found.problems + more)

    def scan_file(self, source: _core.Source, path: str, name: str) -> FileScan:
        found = Findings()
        end = 0
        for place, label, item, chunk in sorted(
            self.files[name], key=lambda piece: (piece[0].offset, piece[0].length, piece[1])
        ):
            if place.offset > end:
                self._leave(source, found, end, place.offset - end)
            end = max(end, place.offset + place.length)
            try:
                self._piece(source, found, place, label, item, chunk)
            except Error as e:
                found.add_error(e, f"{label}: ")
        if end < source.size:
            self._leave(source, found, end, source.size - end)
        words = "a part of a directory of torch.distributed.checkpoint"
        return found.result(path, "dcp", words, source.size)

    def _piece(
        self,
        source: _core.Source,
        found: Findings,
        place: Place,
        label: str,
        item: TensorItem | None,
        chunk: Chunk | None,
    ) -> None:
        part = source.part(place.offset, place.length)
        try:
            scan = PickleScan(part, self._rules.options(), found, f"{label}: ")
            scan.whole()
            if scan.view is not None and item is not None and chunk is not None:
                Archives.require_chunk(scan, item, chunk)
        finally:
            part.close()

    def _leave(self, source: _core.Source, found: Findings, offset: int, length: int) -> None:
        scan = PickleScan(source, self._rules.options(), found)
        content = scan.content(partial(source.part, offset, length), 0)
        found.leave("bytes that belong to no archive", None, offset, length, content)
