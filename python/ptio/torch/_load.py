# SPDX-License-Identifier: Apache-2.0
"""ptio.torch.load: the arguments and the order of work of torch.load."""

from __future__ import annotations

import io
import os
import pickle
import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NoReturn

import torch

from ptio._api import _threads_setting, _verify_setting
from ptio._checkpoint import open_checkpoint
from ptio._core import Checkpoint, Source, sniff
from ptio._errors import Error, ForbiddenError, FormatError, TruncatedError, UnsupportedError
from ptio._limits import Limits
from ptio._progress import Progress, reporting
from ptio._source import display_path, is_path
from ptio.torch import _compat
from ptio.torch._patch import original
from ptio.torch._ring import Ring
from ptio.torch._rules import DataRules, ExactRules, Rules
from ptio.torch._unpickle import unpickle
from ptio.torch._words import in_torchs_words, without_advice

_KINDS = ("zip", "legacy", "tar")  # that torch.save has written
_TRUE = ("1", "y", "yes", "true")


def load(
    f: Any,
    map_location: Any = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
    verify: bool | None = None,
    threads: int | None = None,
    allow: Iterable[Any] = (),
    limits: Limits | None = None,
    progress: bool | Progress | None = None,
    **pickle_load_args: Any,
) -> Any:
    """Load a checkpoint as torch.load does: the same arguments, the same objects, faster.

    With weights_only=True, which is the default, no code runs that the file names: torch's own
    classes are made by hand-written rules, every tensor is proven to lie inside the file first,
    and other classes come only from what was registered with
    `torch.serialization.add_safe_globals` or is in `allow`.

    Args:
        f: a path, or a seekable binary file object, read from its current position on.
        map_location: where storages go: None (where they were saved), a device or its name, a
            dict of location tags, or a callable(storage, tag), as for torch.load.
        pickle_module: whose Unpickler reads the pickle; only with weights_only=False.
        weights_only: False imports and calls whatever the file names: only for files that you
            trust. Default: True, or False where a pickle_module is given; the environment
            variables TORCH_FORCE_WEIGHTS_ONLY_LOAD and TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD apply.
        mmap: True: tensors view a private, copy-on-write map of the file, which must be given
            by name. Default: torch.utils.serialization.config.load.mmap, which is False.
        verify: as for `ptio.load`: None (default) checks the CRC32 of what is copied.
        threads: as for `ptio.load`.
        allow: for this call: classes and functions, as if they were registered with torch;
            "module.name", which becomes a `ptio.Opaque`; the groups "numpy" and "stdlib", whose
            plain data ptio makes itself.
        limits: as for `ptio.load`.
        progress: as for `ptio.load`.
        pickle_load_args: encoding and errors, for pickles of Python 2.

    Returns:
        The object that was saved.

    Raises:
        ForbiddenError: the file names globals that are not allowed; it is a
            pickle.UnpicklingError, and its message has torch's words for each.
        Error: the file is malformed, truncated or damaged; see `ptio.load` for its subclasses.
        RuntimeError, ValueError: the arguments contradict each other, or a device is missing,
            in torch's words.
        OSError: the file cannot be opened or read.
    """
    weights_only, pickle_module = _choose_unpickler(weights_only, pickle_module)
    mmap = _compat.default_mmap() if mmap is None else mmap
    verify, workers = _verify_setting(verify), _threads_setting(threads)
    by_name = is_path(f)
    if by_name and os.fsdecode(f).endswith(".safetensors"):
        return _load_safetensors(os.fsdecode(f), map_location)
    if not by_name:
        _require_seekable(f)
    kind, words = _sniffed(f)
    if _is_torchs_to_load(kind, mmap, weights_only):
        arguments = {"weights_only": weights_only, "mmap": mmap, **pickle_load_args}
        return _load_by_torch(f, map_location, pickle_module, arguments)
    if weights_only and pickle_load_args:
        warnings.warn("pickle_load_args only works if `weights_only=False`.", stacklevel=2)
        unknown = [name for name in pickle_load_args if name != "encoding"]
        if unknown:
            raise TypeError(f"load() got an unexpected keyword argument {unknown[0]!r}")
    if kind == "tar" and weights_only:
        raise UnsupportedError(
            "Cannot use ``weights_only=True`` with files saved in the legacy .tar format.",
            kind="FORMAT_UNSUPPORTED",
            hint="ptio.load reads it safely, as NumPy arrays",
        )
    if mmap and not by_name:
        raise ValueError("f must be a file path in order to use the mmap argument")
    encoding = pickle_load_args.setdefault("encoding", "utf-8")
    request = Request(f, map_location, mmap, verify, workers, limits, progress)
    with in_torchs_words(weights_only, archive=kind == "zip"), _tls_map_location(map_location):
        try:
            if words == "an empty file":
                request.refuse_empty()
            if kind not in _KINDS:
                request.refuse(Rules(allow), encoding)
            if weights_only:
                return request.build(Rules(allow), encoding)
            return _load_anything(request, kind, pickle_module, pickle_load_args)
        except UnsupportedError as e:
            if e.kind != "TORCHSCRIPT":
                raise
    return _load_torchscript(request, weights_only)


def load_as_data(
    f: Any,
    map_location: Any,
    mmap: bool,
    verify: bool | None,
    threads: int | None,
    allow: Iterable[Any],
    limits: Limits | None,
    progress: bool | Progress | None,
) -> Any:
    """Like `load` with weights_only=True, but what is not allowed becomes a `ptio.Opaque`."""
    workers = _threads_setting(threads)
    request = Request(f, map_location, mmap, verify, workers, limits, progress)
    with in_torchs_words(True), _tls_map_location(map_location):
        return request.build(DataRules(allow), "utf-8")


class Request:
    """The arguments of one call that say what to read, and how."""

    def __init__(
        self,
        f: Any,
        map_location: Any,
        mmap: bool,
        verify: bool | None,
        threads: int,
        limits: Limits | None,
        progress: bool | Progress | None,
    ) -> None:
        self.f = f
        self.map_location = map_location
        self.threads = threads
        self.limits = limits
        self.progress = progress
        where = str(map_location) if isinstance(map_location, (str, torch.device)) else "cpu"
        device = where.partition(":")[0]
        # As for torch, "meta:0" is no name, but a device may have this index.
        self.on_meta = where == "meta" or (device == "meta" and not isinstance(map_location, str))
        if self.on_meta:
            self.map_location = "meta"
        # What goes to another device anyway is copied there from a map: memory for one storage
        # at a time. Copied bytes are checked.
        leaves = device not in ("cpu", "meta")
        self.mmap: bool | str = "auto" if leaves and not mmap else mmap
        self.private = not leaves and not mmap
        self.verify = True if leaves and verify is None and not mmap else verify
        self.start = None if is_path(f) else f.tell()

    def _open(self, rules: Rules, encoding: str) -> AbstractContextManager[Checkpoint]:
        return open_checkpoint(
            self.f,
            mmap=self.mmap,
            limits=self.limits,
            inert=rules.inert,
            encoding=encoding,
            judge=rules.judge,
            order=_compat.order_if_missing(),
            for_torch=True,
        )

    def build(self, rules: Rules, encoding: str) -> Any:
        opened = self._open(rules, encoding)
        with reporting(self.progress, "loading") as report, opened as checkpoint:
            return checkpoint.build_torch(
                Ring(self.map_location, rules),
                self.on_meta,
                None,
                verify=self.verify,
                private=self.private,
                threads=self.threads,
                progress=report,
            )

    def refuse(self, rules: Rules, encoding: str) -> NoReturn:
        """Files that are none of torch's. torch.load reads no pickle without tensors, either;
        what it names is told first."""
        why = "this is a pickle without tensors; ptio.load reads the plain data in it"
        try:
            with self._open(rules, encoding):
                pass
        except (ForbiddenError, UnsupportedError):
            raise
        except Error as e:
            why = str(e)
        words = f"Invalid magic number; corrupt file? {why}"
        raise UnsupportedError(words, kind="FORMAT_UNSUPPORTED")

    def refuse_empty(self) -> NoReturn:
        """As torch.load does: a program that waits for a checkpoint may catch EOFError."""
        words = "Ran out of input: this is an empty file"
        hint = "nothing was written to it: copy or download it again"
        raise TruncatedError(words, kind="TRUNCATED", path=display_path(self.f), hint=hint)

    def rewind(self) -> None:
        if self.start is not None:
            self.f.seek(self.start)


def _load_anything(
    request: Request, kind: str, pickle_module: Any, arguments: dict[str, Any]
) -> Any:
    """weights_only=False. Where the file holds only what the core makes exactly as Python's own
    unpickler would, it makes it; else that unpickler runs, with our storages, or for formats
    without an archive torch's own load."""
    encoding = arguments["encoding"]
    if pickle_module is pickle and len(arguments) == 1 and encoding in ("utf-8", "bytes"):
        try:
            return request.build(ExactRules(), encoding)
        except Error as e:
            if e.kind == "TORCHSCRIPT" or isinstance(e, FormatError):
                raise
        request.rewind()
    if kind == "zip":
        return unpickle(request, pickle_module, arguments)
    arguments = {"weights_only": False, "mmap": False, **arguments}
    return _load_by_torch(request.f, request.map_location, pickle_module, arguments)


def _load_by_torch(f: Any, map_location: Any, pickle_module: Any, arguments: dict[str, Any]) -> Any:
    """torch's own load, with the caller's own settings."""
    with without_advice(arguments["weights_only"]):
        path_or_file = os.fsdecode(f) if isinstance(f, bytes) else f
        return original("load")(path_or_file, map_location, pickle_module, **arguments)


def _load_torchscript(request: Request, weights_only: bool) -> Any:
    warnings.warn(
        "'torch.load' received a zip file that looks like a TorchScript archive dispatching to "
        "'torch.jit.load' (call 'torch.jit.load' directly to silence this warning)",
        UserWarning,
        stacklevel=3,
    )
    if weights_only:
        raise UnsupportedError(
            "Cannot use ``weights_only=True`` with TorchScript archives passed to ``torch.load``. "
            "It holds a program: open it with torch.jit.load",
            kind="TORCHSCRIPT",
        )
    request.rewind()
    f = os.fsdecode(request.f) if isinstance(request.f, bytes) else request.f
    return torch.jit.load(f, map_location=request.map_location)


# --- arguments ------------------------------------------------------------------------------------


def _choose_unpickler(weights_only: bool | None, pickle_module: Any) -> tuple[bool, Any]:
    """weights_only and pickle_module as torch understands them, with its environment variables."""
    chosen = pickle_module is None if weights_only is None else bool(weights_only)
    force = os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "0").lower() in _TRUE
    force_not = os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "0").lower() in _TRUE
    if force and force_not:
        raise RuntimeError(
            "Only one of `TORCH_FORCE_WEIGHTS_ONLY_LOAD` or `TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD` "
            "should be set, but both were set."
        )
    if force:
        chosen = True
    elif force_not and weights_only is None:
        warnings.warn(
            "Environment variable TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD detected, since the "
            "`weights_only` argument was not explicitly passed to `torch.load`, forcing "
            "weights_only=False.",
            UserWarning,
            stacklevel=3,
        )
        chosen = False
    if chosen and pickle_module is not None:
        raise RuntimeError("Can not safely load weights when explicit pickle_module is specified")
    torch.serialization._check_dill_version(pickle_module)
    return chosen, pickle if pickle_module is None and not chosen else pickle_module


def _require_seekable(f: Any) -> None:
    try:
        f.seek(f.tell())
    except (io.UnsupportedOperation, AttributeError) as e:
        missing = [name for name in ("seek", "tell") if not hasattr(f, name)]
        what = f"{type(f).__name__!r} object has no attribute {missing[0]!r}" if missing else str(e)
        raise type(e)(
            f"{what}. You can only torch.load from a file that is seekable. Please pre-load the "
            "data into a buffer like io.BytesIO and try to load from it instead."
        ) from None


_HEAD = 2048  # as much as says what a file is


def _kind_of(f: Any) -> str:
    """What the file is by its first bytes: "zip", "legacy", "tar" ..."""
    return _sniffed(f)[0]


def _sniffed(f: Any) -> tuple[str, str]:
    """The same, and in words."""
    if is_path(f):
        with open(f, "rb", buffering=0) as file:
            head = file.read(_HEAD)
    else:
        start, head = f.tell(), b""
        while len(head) < _HEAD and (more := f.read(_HEAD - len(head))):
            head += more
        f.seek(start)
    return sniff(Source.from_bytes(head, 0))


def _is_torchs_to_load(kind: str, mmap: bool, weights_only: bool) -> bool:
    """Formats and modes that torch's own load handles, with the caller's settings."""
    if _compat.is_faking() or _compat.skips_data():
        return True
    if mmap and (_compat.maps_shared() or _compat.wants_calculated_offsets()):
        return True
    if kind not in _KINDS:
        return not weights_only  # what is none of torch's is told by us, whatever is in it
    return mmap and kind != "zip"


def _load_safetensors(path: str, map_location: Any) -> Any:
    try:
        import safetensors.torch
    except ImportError as e:
        raise RuntimeError(
            "Attempting to load a safetensors file but safetensors is not installed. "
            "Please install safetensors with: pip install safetensors"
        ) from e
    if map_location is not None and not isinstance(map_location, (str, bytes, torch.device)):
        kind = "dict" if isinstance(map_location, dict) else "callable"
        raise RuntimeError(
            f"Loading safetensors file with {kind} map_location is not supported. "
            "Use a device string or torch.device instead."
        )
    device = "cpu" if map_location is None else str(map_location)
    return safetensors.torch.load_file(path, device=device)


# --- around the work ------------------------------------------------------------------------------


@contextmanager
def _tls_map_location(map_location: Any) -> Iterator[None]:
    """Some of torch's rebuild functions look there for it."""
    tls = torch.serialization._serialization_tls
    before = getattr(tls, "map_location", None)
    tls.map_location = map_location
    try:
        yield
    finally:
        tls.map_location = before
