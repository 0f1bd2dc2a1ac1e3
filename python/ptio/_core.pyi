"""The C extension. Private: use `ptio.load` and `ptio.verify`."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

class Source:
    """The bytes of one file. Closed with its last reference; arrays keep their own mapping."""

    size: int
    mapped: bool
    @staticmethod
    def from_path(path: bytes, mmap: str) -> Source: ...  # mmap: "auto" | "always" | "never"
    @staticmethod
    def from_fd(fd: int, base: int, mmap: str) -> Source: ...
    @staticmethod
    def from_bytes(data: bytes, base: int) -> Source: ...  # borrowed, never copied
    @staticmethod
    def from_file(file: Any, base: int, size: int) -> Source: ...  # seek(), readinto() or read()
    def part(self, offset: int, size: int) -> Source: ...  # of its own: may outlive this one
    def read(self, offset: int, size: int) -> bytes: ...
    def close(self) -> None: ...

class Record(NamedTuple):
    name: str  # whole member name, surrogateescape never needed: names are UTF-8
    offset: int  # of the payload in the file; -1 while its local header is not proven
    compressed_size: int
    size: int
    crc32: int
    method: int

class TensorInfo(NamedTuple):
    path: tuple[Any, ...]  # dict keys and list positions from the root; () for the root itself
    kind: str  # "tensor", "storage", "quantized", "raw", "sparse", "nested"
    dtype: str  # torch's name without "torch.", e.g. "bfloat16"
    shape: tuple[int, ...]
    stride: tuple[int, ...]  # in elements
    storage_offset: int  # in elements
    nbytes: int  # of the elements, aliases counted each time
    storage: str | None  # key of the storage; None for a tensor without data
    storage_nbytes: int
    location: str  # device tag, "cpu", "cuda:0" ...
    requires_grad: bool
    record: str | None  # member that holds the storage
    node: int  # by which the methods of Checkpoint find the tensor

class Finding(NamedTuple):
    exception: str  # class of ptio's tree, "ChecksumError" ...; "" for a note
    kind: str  # "CHECKSUM", "ZIP_AMBIGUOUS", ..., "CRC_NOT_COMPUTED"
    message: str
    record: str
    offset: int | None

class Checkpoint:
    """A parsed and vetted checkpoint: nothing of it has been built yet."""

    format: str  # "zip" | "legacy" | "tar" | "pickle"
    end: int | None  # of a legacy format: where it ends in the source, which may go on
    error: Exception | None  # why a lenient one has no tensors
    pickle: bytes
    byteorder: str  # "little" | "big"
    pickle_size: int
    has_composites: bool  # sparse or nested tensors, whose contents only build() proves
    has_wrappers: bool  # parameters or tensors of subclasses, which torch makes of plain ones
    def __new__(
        cls,
        source: Source,
        *,
        limits: tuple[int, int, int, int, int, int],  # the fields of Limits; 0 = automatic
        inert: bool,
        allow: Sequence[str],  # "module.name" or group names
        encoding: str,
        path: str | None,
        judge: Callable[[str, str, bool], tuple[int, Any]] | None,  # instead of inert and allow
        order: int,  # of files that do not say: 0 little-endian, 1 big, 2 this machine's
        for_torch: bool,  # for build_torch instead of build
        # (pickle, folder and suffix of storages), the pickle a member's name or bytes; or (pickle,
        # [(name, offset, size), ...]) for other files; None: torch.save's
        members: tuple[str | bytes, str, str] | tuple[bytes, list[tuple[str, int, int]]] | None,
        lenient: bool,  # what is wrong with the file is in .error
    ) -> Checkpoint: ...
    def build(
        self,
        node: int | None,  # of a TensorInfo; None: the whole object
        /,
        *,
        verify: bool | None,
        private: bool,  # no views of the mapping
        threads: int,  # 0 = automatic
        progress: Callable[[int, int], Any] | None,
    ) -> Any: ...
    def build_torch(
        self,
        ring: Any,  # ptio.torch._ring.Ring
        without_data: bool,  # storages go to the device "meta" and are not read
        node: int | None,
        /,
        *,
        verify: bool | None,
        private: bool,
        threads: int,
        progress: Callable[[int, int], Any] | None,
    ) -> Any: ...
    def build_tree(self, infos: dict[int, Any], /) -> Any: ...  # by node, in the place of tensors
    def place(self, node: int, /) -> tuple[int, bool, bool, bool, bool, bool]:
        """offset of the storage in the file; stored: gather() can read it; viewed: building it
        needs no copy; swapped: gather() needs a C-contiguous array; conj, neg: torch's bits."""

    def gather(
        self,
        node: int,
        begin: int,  # bytes of the storage before the first element
        strides: tuple[int, ...],  # bytes
        out: Any,  # a writable array of any strides
        verify: bool,  # check the CRC-32 where all of the storage is read
        threads: int,  # 0 = automatic
        /,
    ) -> None: ...
    def advise(self, node: int, needed: bool, /) -> None: ...  # a hint to the system
    # Other members, by their names below the top directory.
    def member(self, name: str, /) -> tuple[int, int] | None: ...  # offset, size; None: compressed
    def read_member(self, name: str, limit: int, /) -> bytes: ...
    def globals(
        self,
        allow: tuple[str, ...],  # as for Checkpoint: names that are data
        most_unknown: int,  # names that are told
        most_others: int,
        /,
    ) -> tuple[
        # module, name, "allowed" | "data" | "unknown", how often, offset of the first
        list[tuple[str, str, str, int, int]],
        int,  # unknown names that are left out
        int,  # other names that are
    ]: ...
    def records(self) -> list[Record]: ...
    def tensors(
        self, composites: bool, /
    ) -> list[TensorInfo]: ...  # a sparse or nested tensor as one, or its parts
    def gaps(self) -> list[tuple[int, int]]: ...  # offset, size: between members (of those that
    # are located), and last the end records with the comment
    def locate(self) -> None: ...  # the offsets of all members, as far as their headers are sound
    def second_opinion(self) -> None: ...  # raises what libzip sees otherwise
    def leaves(self, limit: int) -> list[tuple[tuple[Any, ...], Any]]: ...  # that are no tensors
    def check(
        self, *, threads: int, progress: Callable[[int, int], Any] | None
    ) -> list[Finding]: ...

class Archive:
    """A proven archive whose pickle somebody else reads."""

    pickle: bytes
    swap: bool  # the byte order is not this machine's
    def __new__(
        cls,
        source: Source,
        *,
        limits: tuple[int, int, int, int, int, int],
        order: int,
        path: str | None,
    ) -> Archive: ...
    def storages(
        self,
        *,
        verify: bool | None,
        private: bool,
        threads: int,
        progress: Callable[[int, int], Any] | None,
    ) -> dict[str, Storage]: ...  # by the key in persistent ids
    def offset(self, key: str, /) -> int | None: ...  # of a storage's bytes in the file

class Salvage:
    """What is intact in a damaged file: nothing is built from it."""

    pickle: bytes
    lost: bool  # a storage has no intact member
    mapped: bool  # payloads of stored members are views of a mapping
    directory: tuple[str, str] | None  # (class of ptio's tree, message) if it was of no use
    def __new__(
        cls,
        source: Source,
        *,
        limits: tuple[int, int, int, int, int, int],
        any_crc: bool,  # stored members whose CRC alone is wrong count as intact
        threads: int,
        progress: Callable[[int, int], Any] | None,
        path: str | None,
    ) -> Salvage: ...
    def records(self) -> list[Record]: ...  # the intact ones
    def tensors(self) -> list[TensorInfo]: ...  # the lost ones too (record None), until cut()
    def damaged(self) -> list[tuple[str, str, str, bool]]: ...  # member, class, message, kept
    def cut(self) -> None: ...  # takes what is lost out of the pickle
    def payload(self, number: int, /) -> Storage: ...  # of records()[number]

class Storage:
    """Keeps the bytes of one storage alive; the base of the arrays that view it."""

    nbytes: int
    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...

class ArchiveWriter:
    """A new archive, record by record."""

    size: int  # of the file with what was added so far
    def __new__(
        cls,
        target: Any,  # a file descriptor, or an object with write()
        stem: bytes,
        *,
        alignment: int,
        crc: bool,
        threads: int,  # 0 = automatic
        progress: Callable[[int, int], Any] | None,
        path: str | None,  # for errors
    ) -> ArchiveWriter: ...
    def add(self, name: str, data: Any, /) -> None: ...  # any contiguous buffer
    def add_memory(self, name: str, address: int, size: int, owner: Any, /) -> None: ...
    def add_storages(self, owners: tuple[Any, ...], places: bytes, /) -> None: ...  # data/0 ...
    def add_deferred(self, name: str, size: int, produce: Callable[[], Any], /) -> None: ...
    def write(self) -> None: ...  # what was added since the last time
    def id(self) -> bytes: ...  # 40 digits for all that has been written
    def finish(self) -> None: ...

def sniff(
    source: Source, /
) -> tuple[str, str]: ...  # "zip", "legacy", "tar", "pickle", "safetensors" or "other"; in words
def dtypes() -> list[
    tuple[str, int, str, str]
]: ...  # torch's name, item bytes, storage class ("" if untyped), NumPy's or ml_dtypes' name
def collect(
    obj: Any,
    describe: Callable[[Any, int | None], tuple[Any, ...]],  # see csrc/py/collect_described.c
    /,
) -> Any: ...  # the pickle, a NumPy array of uint8
def collect_torch(
    obj: Any,
    saver: Any,  # ptio.torch._saver.Saver
    /,
) -> tuple[Any, tuple[Any, ...], bytes | None] | None: ...  # ptio.torch._collect.Collected

# None: CPython's pickler has to

# What a judge answers for a global.
REFUSED: int
OURS: int  # our handler makes it
THEIRS: int  # the object that the judge gives is called
AS_DATA: int  # Opaque

def versions() -> dict[
    str, str
]: ...  # of the C libraries: {"libzip": ..., "zlib": ..., "libdeflate": ...}
