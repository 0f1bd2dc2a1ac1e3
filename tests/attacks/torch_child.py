# SPDX-License-Identifier: Apache-2.0
"""As child.py, through ptio.torch.load."""

import encodings.unicode_escape  # noqa: F401  names in messages are quoted with it
import os
import warnings

import child
import ptio.torch as pt

MODES = {
    "copied": {"mmap": False},
    "mapped": {"mmap": True, "allow": ("numpy", "stdlib")},  # by name as long a list as ptio.load's
}
path_now = None


def _mode(mode):
    def load(path, options):
        global path_now
        path_now = path
        theirs = {name: value for name, value in options.items() if name != "allow"}
        return pt.load(path, **mode, **theirs)

    return load


def watch(event, arguments):
    """Reading the file itself is no act."""
    writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    reads_it = event == "open" and arguments[0] == path_now and not arguments[2] & writes
    if not reads_it:
        watch_all(event, arguments)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    child.MODES = {name: _mode(mode) for name, mode in MODES.items()}
    child.watch, watch_all = watch, child.watch
    child.run()
