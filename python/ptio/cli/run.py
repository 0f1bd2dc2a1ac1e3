# SPDX-License-Identifier: Apache-2.0
"""ptio run: a program as python runs it, with torch.load replaced.

python itself runs the program: this process becomes `python script.py ...`. So everything is as
without ptio - __main__, tracebacks, signals, the exit status, and that neither NumPy nor torch is
imported before the program does it. The replacement gets in by the door that python has for such
things, a sitecustomize module, found by PYTHONPATH. Child processes inherit that: torch.load is
replaced in workers that multiprocessing spawns and in what torchrun starts, too.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from ptio.cli._exit import Exit

_STARTUP = Path(__file__).resolve().with_name("_startup")


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "run",
        usage="ptio run [-h] (SCRIPT | -m MODULE) [ARGUMENT ...]",
        description="Run a program as python runs it, but with torch.load replaced by "
        "ptio.torch.load, in its child processes too. The exit status is the program's. Options "
        "of python itself go into `python OPTIONS -m ptio run ...`.",
        add_help=False,
        prefix_chars="\0",  # nothing is an option here: what follows is the program's
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.set_defaults(run=run, parser=parser)


def run(arguments: Any) -> int:
    """Becomes the program; returns only where a process cannot do that."""
    command, parser = arguments.command, arguments.parser
    if command[:1] in (["-h"], ["--help"]):
        parser.print_help()
        return Exit.FINE
    is_module = command[:1] == ["-m"] and len(command) > 1
    if not command or (command[0].startswith("-") and not is_module):
        parser.error("expected SCRIPT or -m MODULE")
    options = _python_options()
    if options and (sys.flags.ignore_environment or sys.flags.no_site):
        parser.error("python with -E, -I or -S cannot replace torch.load")
    return _become([sys.executable, *options, *command])


def _python_options() -> list[str]:
    """OPTIONS of `python OPTIONS -m ptio run ...`. Those in the first line of an installed
    script are its own: they must not change how the program runs."""
    options = sys.orig_argv[1 : -len(sys.argv)]
    if not options or options[-1][:1] != "-" or options[-1][-1:] != "m":
        return []
    last = options.pop()[:-1]  # of -m, or -um
    return options if last == "-" else [*options, last]


def _become(command: list[str]) -> int:
    path = os.environ.get("PYTHONPATH")
    paths = [str(_STARTUP), path] if path else [str(_STARTUP)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    if os.name == "nt":  # where the shell would not wait for what exec starts
        import subprocess

        return subprocess.run(command, env=environment).returncode
    return os.execve(command[0], command, environment)
