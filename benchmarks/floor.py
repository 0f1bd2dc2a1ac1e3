# SPDX-License-Identifier: Apache-2.0
"""Compiles floor.c, the least that any implementation pays, and imports it."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import subprocess
import sysconfig
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np


@cache
def module() -> ModuleType:
    folder = tempfile.mkdtemp(prefix="ptio-floor-")
    path = Path(folder) / f"floor{sysconfig.get_config_var('EXT_SUFFIX')}"
    try:
        _compile(path)
        loader = importlib.machinery.ExtensionFileLoader("floor", str(path))
        spec = importlib.util.spec_from_loader("floor", loader)
        assert spec is not None
        loaded = importlib.util.module_from_spec(spec)
        loader.exec_module(loaded)
        return loaded
    finally:
        path.unlink(missing_ok=True)
        os.rmdir(folder)


def _compile(path: Path) -> None:
    source = Path(__file__).with_name("floor.c")
    compiler = os.environ.get("CC", "cc")
    abi = source.parent.parent / "csrc" / "py"
    includes = [f"-I{path}" for path in (sysconfig.get_path("include"), np.get_include(), abi)]
    command = [compiler, "-O2", "-shared", "-fPIC", *includes, str(source), "-o", str(path)]
    command += ["-ldeflate", "-lpthread"]
    if os.uname().sysname == "Darwin":
        command += ["-undefined", "dynamic_lookup"]
    subprocess.run(command, check=True)
