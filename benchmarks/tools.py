# SPDX-License-Identifier: Apache-2.0
"""The tools that ptio is compared with. What is not installed is left out, with a note."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

OTHERS = ("torch", "safetensors", "ztensor", "ptloader")


def installed(*names: str) -> bool:
    """Whether all of them can be imported."""
    for name in names:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module(name)
        except ImportError:
            return False
    return True


def missing() -> list[str]:
    return [name for name in OTHERS if not installed(name)]


def torch_load(path: Any, **options: Any) -> Callable[[], Any]:
    import torch

    return lambda: torch.load(path, **options)


def c_pickle(path: Any, **options: Any) -> Callable[[], Any]:
    """torch's fastest: Python's own unpickler, which imports and calls what the file names."""
    return torch_load(path, weights_only=False, **options)


def safetensors_numpy(path: Any) -> Callable[[], Any]:
    from safetensors.numpy import load_file

    return lambda: load_file(path)


def safetensors_torch(path: Any) -> Callable[[], Any]:
    from safetensors.torch import load_file

    return lambda: load_file(path)


def ztensor_numpy(path: Any) -> Callable[[], Any]:
    """All tensors of a .pt as arrays, in the way its documentation shows."""
    import numpy as np
    import ztensor

    def load() -> Any:
        source = ztensor.open(str(path))
        return {tensor.name: np.from_dlpack(tensor) for tensor in source.values()}

    return load


def ptloader(path: Any) -> Callable[[], Any]:
    import ptloader as package

    return lambda: package.load(str(path))


def ptio(path: Any, **options: Any) -> Callable[[], Any]:
    import ptio as package

    return lambda: package.load(path, **options)


def ptio_torch(path: Any, **options: Any) -> Callable[[], Any]:
    import ptio.torch as package

    return lambda: package.load(path, **options)


def present(tools: dict[str, tuple[tuple[str, ...], Callable[[], Callable]]]) -> dict:
    """Name -> work, of those whose modules are there: {name: (modules, make)}."""
    return {name: make() for name, (needs, make) in tools.items() if installed(*needs)}
