# SPDX-License-Identifier: Apache-2.0
"""Each system call fails once, end to end: an error or the right result, and no file is harmed."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
COMPILER = shutil.which("cc")

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs LD_PRELOAD and Linux's calls"),
    pytest.mark.skipif(COMPILER is None, reason="needs a C compiler"),
    pytest.mark.skipif("LD_PRELOAD" in os.environ, reason="something else is preloaded"),
]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """operation -> (system calls that failed, what was wrong)"""
    folder = tmp_path_factory.mktemp("shim")
    shim = folder / "shim.so"
    source = HERE / "shim/shim.c"
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", shim, source, "-ldl"], check=True)
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    settings = {**os.environ, "PYTHONPATH": path, "LD_PRELOAD": str(shim)}
    command = [sys.executable, HERE / "shim/child.py", shim, folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=settings)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stderr[-3000:]}"
    return json.loads(done.stdout)


def test_reading_says_so_or_gives_the_same(told):
    for name in ("load mapped", "load copied", "open", "verify", "scan"):
        count, wrong = told[name]
        assert not wrong, name
        assert count > 10, f"{name}: no call failed"


@pytest.mark.parametrize("durable", [False, True])
def test_a_save_leaves_the_old_file_or_the_new_one_and_nothing_else(told, durable):
    count, wrong = told[f"save, durable={durable}"]
    assert not wrong
    assert count > 10
