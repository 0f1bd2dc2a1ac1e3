# SPDX-License-Identifier: Apache-2.0
"""Code that must run in a process of its own: fresh imports, its own memory, audit hooks."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

# Freed memory waits in a sanitizer's quarantine: it always grows.
unless_sanitized = pytest.mark.skipif(
    "asan" in os.environ.get("LD_PRELOAD", ""), reason="a sanitizer keeps freed memory"
)

HERE = pathlib.Path(__file__).resolve().parent.parent


def run(code, *arguments, timeout=120, **environment):
    """Runs code with `python -c`; it prints JSON, which is returned."""
    done = run_raw(code, *arguments, timeout=timeout, **environment)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout.splitlines()[-1])


def run_raw(code, *arguments, timeout=120, **environment):
    # not -I: a package installed in development mode may be on PYTHONPATH
    command = [sys.executable, "-c", code, *map(str, arguments)]
    settings = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, env=settings, cwd=HERE
    )
