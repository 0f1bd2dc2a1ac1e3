# SPDX-License-Identifier: Apache-2.0
"""What a handle needs of a file, whatever kind of file it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from ptio._limits import Limits

if TYPE_CHECKING:
    from ptio._core import Finding, TensorInfo

Tick = Callable[[int, int], Any]
FREE = 64 << 20  # bytes that any file may need, however small


@dataclass(frozen=True)
class Options:
    """How files are read; the fields are those of `ptio.load` and `ptio.open`."""

    mmap: bool | str = "auto"
    verify: bool | None = None
    inert: bool = False  # unknown="inert"
    allow: tuple[Any, ...] = ()
    encoding: str = "utf-8"
    limits: Limits | None = None
    threads: int = 0  # automatic
    framework: str = "numpy"
    device: Any = "cpu"  # where tensors of torch go

    def share(self, free: int, size: int) -> Options:
        """For one of several archives, of `size` bytes, with its part of FREE: all together may
        need what one file may."""
        limits = self.limits or Limits()
        most = max(free + 32 * size, 1)
        objects, inflated = limits.object_bytes or most, limits.inflated_bytes or most
        return replace(self, limits=replace(limits, object_bytes=objects, inflated_bytes=inflated))


@dataclass
class Checked:
    """What checking a container found.

    Attributes:
        members, bytes, tensors: how many there are.
        findings: (file or None, finding, paths of the tensors that it touches).
    """

    members: int = 0
    bytes: int = 0
    tensors: int = 0
    findings: list[tuple[str | None, Finding, tuple[tuple[Any, ...], ...]]] = field(
        default_factory=list
    )

    def add(self, other: Checked) -> None:
        self.members += other.members
        self.bytes += other.bytes
        self.tensors += other.tensors
        self.findings += other.findings


class Container(Protocol):
    """A file (or several that belong together) that holds tensors.

    A tensor is named by its row of `tensors()`. Its `path` is the way to it in what `load`
    returns.
    """

    format: str

    def tensors(self) -> list[TensorInfo]: ...

    def get(self, info: TensorInfo) -> Any:
        """The whole tensor, as the framework's."""

    def get_slice(self, info: TensorInfo, index: tuple[Any, ...]) -> Any:
        """Elements by basic indexing; reads little else."""

    def read_into(self, info: TensorInfo, out: Any) -> None:
        """Copies a tensor into an array, tensor or writable buffer of its shape and dtype."""

    def place(self, info: TensorInfo) -> tuple[str | None, int] | None:
        """The file (None: the one that was opened) and the byte where its storage begins."""

    def advise(self, info: TensorInfo, needed: bool) -> None:
        """Tells the system that the bytes will be needed soon, or no longer."""

    def load(self, progress: Tick | None) -> Any:
        """The whole object."""

    def tree(self, infos: dict[int, Any]) -> Any:
        """What `load` returns, with infos[info.node] in the place of each tensor."""

    def leaves(self, limit: int) -> list[tuple[tuple[Any, ...], Any]]:
        """The first values that are no tensors, with their paths."""

    def check(self, threads: int, progress: Tick | None) -> Checked:
        """Proves every member and every checksum."""

    def metadata(self) -> dict[str, str] | None: ...

    def close(self) -> None: ...
