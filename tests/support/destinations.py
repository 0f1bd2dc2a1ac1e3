# SPDX-License-Identifier: Apache-2.0
"""What the tests of where a save goes share: contents, listings, processes without NumPy."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from support import children, saving

OLD = b"old" * 1000
NEW = b"new!" * 50_000  # more than one piece

linux = pytest.mark.skipif(sys.platform != "linux", reason="a feature of Linux")


def in_child(code, *arguments, kind="nameless", tool=()):
    """The `result` that code computes in a process without NumPy."""
    head = f"import os, sys, json\nfrom support import saving\nsaving.use({kind!r})\n"
    code = f"{head}{code}\nprint(json.dumps(result))"
    command = [*tool, sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=children.HERE)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def works(*tool):
    """Whether a tool that runs others is there and may do that."""
    found = shutil.which(tool[0]) is not None
    return found and subprocess.run([*tool, "true"], capture_output=True).returncode == 0


def failing(code):
    def call(*args, **kwargs):
        raise OSError(code, "of this test")

    return call


def names(folder):
    return sorted(os.listdir(folder))


def files(folder):
    return {name: saving.content(folder / name) for name in names(folder)}


def hidden(name):
    return bool(re.fullmatch(r"\.model\.pt\.[0-9]+\.ptio-tmp", name))
