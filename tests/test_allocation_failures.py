# SPDX-License-Identifier: Apache-2.0
"""Every allocation of Python's fails once: MemoryError or the right result, and nothing is lost.

Each operation runs with its k-th allocation failing, alone and with all that come after it, for
every k, in a process of its own. The allocations of the core are those of tests/c.
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest

pytest.importorskip("_testcapi", reason="this Python cannot make its allocations fail")

HERE = pathlib.Path(__file__).resolve().parent
THOROUGH = os.environ.get("PTIO_SWEEP", "0") not in ("", "0")

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs memfd_create"),
    pytest.mark.skipif("LD_PRELOAD" in os.environ, reason="a sanitizer counts other memory"),
]


def sweep(folder, module, rounds, *parts):
    """operation -> (allocations, what was wrong)"""
    command = [sys.executable, str(HERE / "nomemory/child.py"), folder, module, rounds, *parts]
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    settings = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=900, env=settings
    )
    now = (folder / "now").read_text().strip()
    assert done.returncode == 0, f"exit {done.returncode} at {now}\n{done.stderr[-3000:]}"
    found = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))
    return {name: (count, wrong) for name, count, wrong in found}


def _wrong(found):
    return {name: wrong for name, (_, wrong) in found.items() if wrong}


def test_every_allocation_may_fail(tmp_path):
    found = sweep(tmp_path, "nomemory.operations", 0)
    assert not _wrong(found)
    assert len(found) > 80
    assert found["build containers"][0] > 30, "allocations did not fail"


@pytest.mark.skipif(not THOROUGH, reason="takes minutes: PTIO_SWEEP=1 runs it")
def test_nothing_is_left_behind_where_an_allocation_fails(tmp_path):
    found = sweep(tmp_path, "nomemory.operations", 12)
    # The tuple of arguments that CPython makes for numpy.dtype.__setstate__, where that finds no
    # memory for a subarray: no code of ptio ever sees this tuple.
    found.pop("build numpy")
    assert not _wrong(found)


@pytest.mark.slow
def test_every_allocation_may_fail_beside_torch(torch, tmp_path):
    found = sweep(tmp_path, "nomemory.torch_operations", 0)
    assert not _wrong(found)
    assert found["load tensors"][0] > 100
