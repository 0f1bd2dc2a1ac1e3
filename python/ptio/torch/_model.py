# SPDX-License-Identifier: Apache-2.0
"""load_model: from a file straight into the parameters of a model, or not at all."""

from __future__ import annotations

import copy
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.nn.modules.module import _IncompatibleKeys

from ptio._api import _threads_setting, _verify_setting
from ptio._checkpoint import open_archive
from ptio._containers import Options, open_container
from ptio._errors import Error, ForbiddenError, PickleFormatError, UnsupportedError
from ptio._key_path import holds_type
from ptio._limits import Limits
from ptio._progress import Progress, reporting
from ptio._source import is_path
from ptio._state_dict import State
from ptio._types.opaque import Opaque
from ptio.torch._load import _kind_of, _require_seekable, load, load_as_data
from ptio.torch._shadow import Shadow, empty_like, rehearse
from ptio.torch._state_dict import ModelNames, select_from


def load_model(
    model: torch.nn.Module,
    f: Any,
    strict: bool = True,
    *,
    strip_prefix: str | Iterable[str] = ("module.", "_orig_mod."),
    select: str | tuple[Any, ...] | None = None,
    assign: bool = False,
    map_location: Any = None,
    allow: Iterable[Any] = (),
    limits: Limits | None = None,
    threads: int | None = None,
    progress: bool | Progress | None = None,
    verify: bool | None = None,
) -> _IncompatibleKeys:
    """Load the parameters and buffers of a model from a checkpoint, without a second copy.

    As `model.load_state_dict(torch.load(f))`, with its hooks and messages, but names, shapes and
    checksums are checked before the first parameter changes: when this raises, the model is as
    it was. For that, load_state_dict runs twice: on a shadow of the model whose tensors have no
    memory, then on the model. A hook that reaches the model by other ways than its arguments or
    its own `self` acts twice.

    The file may be a state dict, a checkpoint with one in it, or a model that was saved whole
    (torch.save(model), Ultralytics), whose classes need not be there: what the file names beside
    its tensors becomes data, and is neither imported nor called.

    Args:
        model: where the values go; they are converted to the dtype and device of its parameters.
            A parameter or buffer on the meta device gets memory first if the file has a value
            for it; else it stays there.
        f: a path or a seekable binary file object, as for `load`.
        strict: True (default): the names in the file and in the model must be the same. False:
            what differs is only returned; shapes must fit even so.
        strip_prefix: parts of names that DataParallel and torch.compile add, on any level. They
            are ignored on both sides for a name of the file that the model does not have; ()
            turns that off.
        select: where in the file the state dict or model is: a key, or a way of keys and
            attributes as a tuple or joined by "/"; "" is the whole. None (default): the only part
            that fits the model.
        assign: True: the tensors of the file become the parameters, with their dtype. False
            (default): the parameters stay the objects they are and get the values.
        map_location: the device for parameters that were on the meta device (default "cpu");
            with assign, as for `load`.
        allow, limits, threads, progress: as for `load`.
        verify: True (default): check the CRC32 of all tensors first. False: do not. The
            environment variable PTIO_VERIFY (0 or 1) replaces the default.

    Returns:
        The named tuple (missing_keys, unexpected_keys) of load_state_dict.

    Raises:
        RuntimeError: the state dict does not fit; the message is load_state_dict's.
        ValueError: there is no state dict at `select`; or, without it, none, or several that may
            be meant; or stripping makes two names equal.
        TypeError: `model` is no torch.nn.Module, or map_location is no device.
        ForbiddenError: the values of the state dict need classes that are not allowed; or the
            file names something of os or sys.
        ptio.Error, OSError: the file cannot be read, as for `load`.
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, not {type(model).__name__}")
    by_name = is_path(f)
    if not by_name:
        _require_seekable(f)
    start = None if by_name else f.tell()
    names = ModelNames(model, strip_prefix)

    def find(root: Any) -> State:
        return names.find(root) if select is None else select_from(root, select)

    def read(verify: bool, progress: bool | Progress | None) -> OrderedDict[str, Any]:
        arguments = {
            "map_location": map_location if assign else "cpu",
            "mmap": by_name and not assign and not os.path.isdir(f) and _kind_of(f) == "zip",
            "verify": verify,
            "threads": threads,
            "allow": allow,
            "limits": limits,
            "progress": progress,
        }
        return names.rename(_load_state(f, start, find, arguments))

    options = {"strict": strict, **({"assign": True} if assign else {})}
    grad = torch.is_grad_enabled()
    with torch.inference_mode(False), torch.set_grad_enabled(grad):  # inference hides versions
        state = read(_verify_setting(verify) is not False, progress)
        versions = _versions(state)
        shadow = rehearse(model, _fresh(state), options)
        if versions is None or versions != _versions(state):
            del state  # before the next one: it may be as large
            if not by_name:
                f.seek(start)
            state = read(False, None)
        _materialize(model, shadow, map_location)
        del shadow
    result: _IncompatibleKeys = model.load_state_dict(_fresh(state), **options)
    return result


def _load_state(
    f: Any, start: int | None, find: Callable[[Any], State], arguments: dict[str, Any]
) -> State:
    """The state dict of a file. What else the file holds may be of unknown classes."""
    if _is_other_container(f, start, arguments["limits"]):
        return find(_load_container(f, arguments))
    try:
        return find(load(f, weights_only=True, **arguments))
    except ForbiddenError as e:
        error = e.with_traceback(None)  # which would keep what is read from here on
    if start is not None:
        f.seek(start)
    try:
        root = load_as_data(f, **arguments)
    except (ForbiddenError, PickleFormatError, UnsupportedError):
        raise error from None  # data is not enough, or not read for this format
    state = find(root)
    if holds_type(state, Opaque):
        raise error
    return state


def _is_other_container(f: Any, start: int | None, limits: Limits | None) -> bool:
    """Whether it is none that torch.load reads: TorchScript, safetensors, shards ..."""
    if start is None and os.path.isdir(f):
        return True
    kind = _kind_of(f)
    if kind != "zip":
        return kind == "safetensors" or (start is None and os.fsdecode(f).endswith(".json"))
    try:
        with open_archive(f, mmap="auto", limits=limits):
            return False
    except UnsupportedError as e:
        return e.kind in ("TORCHSCRIPT", "TORCH_PACKAGE", "TORCH_EXPORT")
    except Error:
        return False  # `load` says it in torch's words
    finally:
        if start is not None:
            f.seek(start)


def _load_container(f: Any, arguments: dict[str, Any]) -> Any:
    location = arguments["map_location"]
    if location is not None and not isinstance(location, (str, torch.device)):
        raise TypeError(f"map_location must be a device for this kind of file, not {location!r}")
    options = Options(
        verify=arguments["verify"],
        inert=True,
        allow=tuple(arguments["allow"]),
        limits=arguments["limits"],
        threads=_threads_setting(arguments["threads"]),
        framework="torch",
        device="cpu" if location is None else location,
    )
    container = open_container(f, options)
    try:
        with reporting(arguments["progress"], "loading") as report:
            return container.load(report)
    finally:
        container.close()


def _versions(state: OrderedDict[str, Any]) -> list[int] | None:
    """Of the tensors: they grow with each change. None: a change of other values would not show."""
    unchanging = (torch.Tensor, torch.dtype, tuple, str, bytes, int, float, complex, type(None))
    if not all(isinstance(value, unchanging) for value in state.values()):
        return None
    return [value._version for value in state.values() if isinstance(value, torch.Tensor)]


def _fresh(state: OrderedDict[str, Any]) -> OrderedDict[str, Any]:
    """A copy for one load_state_dict, which may change the dict and its metadata."""
    result = OrderedDict(state)
    if hasattr(state, "_metadata"):
        result._metadata = copy.deepcopy(state._metadata)  # type: ignore[attr-defined]
    return result


def _materialize(model: torch.nn.Module, shadow: Shadow, map_location: Any) -> None:
    """Gives memory to what is on the meta device and will get a value; ties stay ties."""
    places = [
        (module, name, tensor)
        for module in model.modules()
        for group in (module._parameters, module._buffers)
        for name, tensor in group.items()
        if tensor is not None and tensor.is_meta and shadow.was_written(tensor)
    ]
    if not places:
        return
    if map_location is not None and not isinstance(map_location, (str, int, torch.device)):
        raise TypeError(f"map_location must be a device, not {map_location!r}, without assign=True")
    device = torch.device("cpu" if map_location is None else map_location)
    made = {tensor: empty_like(tensor, device) for tensor in {t for _, _, t in places}}
    for module, name, tensor in places:
        setattr(module, name, made[tensor])
