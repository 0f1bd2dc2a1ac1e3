# SPDX-License-Identifier: Apache-2.0
"""The stories of tests/stories: programs as users write them do the same under `ptio run`.

torch itself says whether its own torch.load was entered, in any process of a program: a line in
the log of its API usage. Under ptio there is none, and what a story shows was loaded by ptio.
"""

import os
import pathlib
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

pytestmark = pytest.mark.slow

STORIES = pathlib.Path(__file__).resolve().parent / "stories"
PYTHON = [sys.executable]
PTIO_RUN = [sys.executable, "-m", "ptio", "run"]

# A line of torch's log. Processes write theirs in three pieces, which may come between each other.
LOGGED = re.compile(r"(?:PYTORCH_API_USAGE |[\w.])*")

# Those with something that ptio leaves to torch: whole models in the format before torch 1.6.
LEFT_TO_TORCH = {"legacy_files"}


@pytest.fixture(autouse=True)
def _torch_of_today(torch):
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6):
        pytest.skip("weights_only=True is the default since torch 2.6")


def run(command, story, folder):
    """The status, what was printed, and whether torch's own load was used."""
    folder.mkdir()
    done = subprocess.run(
        [*command, str(STORIES / f"{story}.py")],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=folder,
        env={
            **os.environ,
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "PYTORCH_API_USAGE_STDERR": "1",
        },
    )
    lines = done.stderr.splitlines()
    log = {line for line in lines if LOGGED.fullmatch(line)}
    err = [line for line in lines if line not in log]
    shown = [done.returncode, *done.stdout.splitlines(), "--- stderr", *err]
    shown = [str(line).replace(str(folder), "FOLDER") for line in shown]
    # Names with a hash of the file: a saved file has an id of its own.
    shown = [re.sub(r"-(?!00000000)[0-9a-f]{8}\.pth", "-HASH.pth", line) for line in shown]
    return shown, any("torch.load" in line for line in log)


@pytest.mark.parametrize("story", sorted(path.stem for path in STORIES.glob("*.py")))
def test_a_story_is_the_same_under_ptio(story, tmp_path):
    with ThreadPoolExecutor() as pool:
        torchs = pool.submit(run, PYTHON, story, tmp_path / "torch")
        ours = pool.submit(run, PTIO_RUN, story, tmp_path / "ptio")
    expected, used_torch = torchs.result()
    assert expected[0] == "0", "\n".join(expected)
    assert used_torch
    shown, used_torch = ours.result()
    assert shown == expected
    assert used_torch == (story in LEFT_TO_TORCH)
