# SPDX-License-Identifier: Apache-2.0
"""What wrote a checkpoint: told from the traits that torch's versions and zip tools leave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ptio._text import printable

if TYPE_CHECKING:
    from ptio._core import Checkpoint, Record

_SMALL = 64  # bytes of a member that holds a setting


@dataclass(frozen=True)
class Writer:
    """What wrote a file.

    Attributes:
        program: "torch.save" (ptio.save writes the same), "torch.jit.save", "a zip tool" for an
            archive that was unpacked and zipped again, or "unknown".
        torch: versions that write this, e.g. "2.7 or newer"; None where it does not show.
        stem: the top directory of the archive, which torch takes from the name of the file.
        protocol: of the pickle.
        byteorder: "little" or "big"; None where the file does not say.
        alignment: of the storages in the file, or None.
        version: what the member `version` says.
    """

    program: str
    torch: str | None = None
    stem: str | None = None
    protocol: int | None = None
    byteorder: str | None = None
    alignment: int | None = None
    version: str | None = None

    def __str__(self) -> str:
        parts = [self.program]
        if self.torch is not None:
            parts.append(f"torch {self.torch}")
        if self.protocol is not None:
            parts.append(f"pickle protocol {self.protocol}")
        if self.byteorder is not None:
            parts.append(f"{self.byteorder}-endian")
        if self.alignment is not None:
            parts.append(f"aligned to {self.alignment}")
        if self.stem is not None:
            parts.append(f"as {printable(self.stem)!r}")
        return ", ".join(parts)


def written_by(
    form: str, core: Checkpoint, read: Callable[[Record, int], bytes | None]
) -> Writer | None:
    """What wrote the file; None where nothing tells. read(record, most) is a small member."""
    records = core.records()
    protocol = _protocol(core.pickle)
    if not records:
        programs = {"legacy": "torch.save", "tar": "torch.save", "pickle": "pickle.dump"}
        versions = {"legacy": "0.2 to 1.5, or with its old format", "tar": "0.1"}
        if form not in programs:
            return None
        return Writer(programs[form], versions.get(form), protocol=protocol)
    stem = records[0].name.partition("/")[0]
    below = {record.name.partition("/")[2]: record for record in records}

    def text(name: str) -> str | None:
        data = read(below[name], _SMALL) if name in below else None
        return None if data is None else data.decode("latin-1").strip()

    alignment = text(".storage_alignment") or ""
    return Writer(
        program=_program(below, records),
        torch=_torch_version(below),
        stem=stem,
        protocol=protocol,
        byteorder=text("byteorder"),
        alignment=int(alignment) if alignment.isdecimal() and alignment.isascii() else None,
        version=text("version"),
    )


def _protocol(pickle: bytes) -> int | None:
    if not pickle:
        return None
    return pickle[1] if pickle[:1] == b"\x80" and len(pickle) > 1 else 0


def _program(below: dict[str, Record], records: Sequence[Record]) -> str:
    if "constants.pkl" in below:
        program = "torch.jit.save"
    elif "data.pkl" in below:
        program = "torch.save"
    else:
        return "unknown"
    # torch's writer aligns all that it writes, and compresses nothing but code.
    offsets = [record.offset for record in records if record.offset >= 0 and record.size]
    aligned = all(offset % 64 == 0 for offset in offsets)
    packed = any(r.method for r in records if "/code/" not in r.name)
    zipped_again = packed or not aligned
    return f"a zip tool, after {program}" if zipped_again else program


def _torch_version(below: dict[str, Record]) -> str | None:
    """By the members that torch began to write over time."""
    if "version" not in below or "data.pkl" not in below or "constants.pkl" in below:
        return None
    if ".format_version" in below or ".storage_alignment" in below:
        return "2.7 or newer"
    if "byteorder" in below or ".data/serialization_id" in below:
        return "2.0 to 2.6"
    return "1.6 to 1.13"
