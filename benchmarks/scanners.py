# SPDX-License-Identifier: Apache-2.0
"""Compares what `ptio scan` finds with picklescan and fickling, where those are installed.

    pip install picklescan fickling
    python -m benchmarks.scanners [--keep FOLDER] [--all]

The files are made here: the hostile ones of tests/attacks, pickles that call about a hundred
dangerous names (tests/support/malicious_pickles.py), and sound ones. None is ever unpickled. Each
tool runs in a process of its own, with a limit of time for each file. The exit status is 1 where
ptio is wrong about a file, or passes over one that another tool calls dangerous, unless that tool
calls sound files dangerous, too.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ("ptio", "picklescan", "fickling")
SECONDS = 20  # for each file
SLOW = ("20", "46")  # files of many megabytes

# What a tool says of a file: dangerous, broken, or clean.
FLAGGED, ERROR, CLEAN = "flagged", "error", "clean"


def corpus() -> Iterator[tuple[str, str, bytes]]:
    """Kind, name and bytes of each file. "hostile": it names what it must not; "broken": no
    reader should take it; "sound": nothing is wrong with it."""
    sys.path.insert(0, str(ROOT / "tests"))
    import attacks
    from support import malicious_pickles

    for name, _, data in malicious_pickles.files():
        yield "hostile", name, data
    for attack in attacks.load_all():
        kinds = set(attack.expects.split("|"))
        kind = "hostile" if kinds == {"Forbidden"} else "sound" if kinds == {"loads"} else "broken"
        if attack.number in SLOW or (kind == "broken" and "loads" in kinds):
            continue
        for name, data in attack.files():
            if attack.number != "39":  # hidden in a sound file: nobody loads it
                yield kind, f"{name}.pt", data
    yield from _sound()


def _sound() -> Iterator[tuple[str, str, bytes]]:
    from support import checkpoints, legacy_files

    tensors = {name: checkpoints.tensor(name, bytes(16)) for name in ("int8", "uint8", "bool")}
    values = {"step": 3, "lr": [0.1, None], "text": "x", "bytes": b"abc", "set": {1, 2}}
    floats = {"w": checkpoints.tensor("float32", range(64)), **values}
    for protocol in (2, 3, 4, 5):
        yield (
            "sound",
            f"zip-{protocol}.pt",
            checkpoints.save({**tensors, **floats}, protocol=protocol),
        )
        yield "sound", f"legacy-{protocol}.pt", legacy_files.save(floats, protocol)
    for path in sorted((ROOT / "tests" / "data").glob("*.pt")):
        yield "sound", path.name, path.read_bytes()


# --- the tools, each in a process of its own


def _ptio(path: str) -> str:
    import ptio

    (found,) = ptio.scan(path).files
    return FLAGGED if found.forbidden else CLEAN if found.ok else ERROR


def _picklescan(path: str) -> str:
    from picklescan.scanner import scan_file_path

    found = scan_file_path(path)
    return FLAGGED if found.issues_count else ERROR if found.scan_err else CLEAN


def _fickling(path: str) -> str:
    import zipfile

    from fickling.analysis import Severity
    from fickling.loader import scan_file, scan_zip_archive

    if zipfile.is_zipfile(path):
        parts = list(scan_zip_archive(path, graceful=True).values())
    else:
        parts = [scan_file(path, graceful=True)]
    worst = [result.severity for part in parts for result in part.results]
    if any(severity > Severity.SUSPICIOUS for severity in worst):
        return FLAGGED
    return ERROR if any(part.errors for part in parts) else CLEAN


def _work(tool: str, folder: Path) -> None:
    """Writes one line of JSON for each file, so that what ends the process is known."""
    judge: Callable[[str], str] = {"ptio": _ptio, "picklescan": _picklescan, "fickling": _fickling}[
        tool
    ]
    out = os.fdopen(os.dup(1), "w")
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1), os.dup2(sink, 2)
    signal.signal(signal.SIGALRM, _too_long)
    done = {line for line in sys.stdin.read().splitlines() if line}
    for path in sorted(folder.iterdir()):
        if path.name in done:
            continue
        start = time.process_time()
        signal.alarm(SECONDS)
        try:
            verdict = judge(str(path))
        except Exception as e:
            verdict = ERROR if not isinstance(e, TimeoutError) else "timeout"
        signal.alarm(0)
        row = [path.name, verdict, time.process_time() - start]
        out.write(json.dumps(row) + "\n")
        out.flush()


def _too_long(*_: Any) -> None:
    raise TimeoutError


def _run(tool: str, folder: Path) -> dict[str, tuple[str, float]]:
    names = sorted(path.name for path in folder.iterdir())
    found: dict[str, tuple[str, float]] = {}
    command = [sys.executable, "-m", "benchmarks.scanners", "--work", tool, str(folder)]
    while len(found) < len(names):
        done = subprocess.run(
            command, input="\n".join(found), capture_output=True, text=True, cwd=ROOT
        )
        for line in done.stdout.splitlines():
            name, verdict, seconds = json.loads(line)
            found[name] = verdict, seconds
        if len(found) < len(names):  # this one ended the process
            found[next(name for name in names if name not in found)] = "crash", 0.0
    return found


# --- what they say


def _table(kinds: dict[str, str], told: dict[str, dict[str, tuple[str, float]]]) -> None:
    head = ("tool", "hostile: found", "missed", "error", "sound: flagged", "error", "broken: clean")
    print("".join(f"{cell:>16}" for cell in (*head, "seconds")))
    for tool, rows in told.items():
        cells = [
            _count(kinds, rows, "hostile", FLAGGED),
            _count(kinds, rows, "hostile", CLEAN),
            _count(kinds, rows, "hostile", ERROR, "timeout", "crash"),
            _count(kinds, rows, "sound", FLAGGED),
            _count(kinds, rows, "sound", ERROR, "timeout", "crash"),
            _count(kinds, rows, "broken", CLEAN),
        ]
        seconds = sum(seconds for _, seconds in rows.values())
        print("".join(f"{cell:>16}" for cell in (tool, *cells, f"{seconds:.1f}")))


def _count(
    kinds: dict[str, str], rows: dict[str, tuple[str, float]], kind: str, *verdicts: str
) -> int:
    return sum(kinds[name] == kind and rows[name][0] in verdicts for name in rows)


def _passed_over(
    kinds: dict[str, str], told: dict[str, dict[str, tuple[str, float]]]
) -> dict[str, str]:
    """Files that ptio is wrong about, and why."""
    ours = {name: verdict for name, (verdict, _) in told["ptio"].items()}
    right = {"hostile": (FLAGGED,), "sound": (CLEAN,), "broken": (FLAGGED, ERROR)}
    wrong = {n: f"{kinds[n]}, but {v}" for n, v in ours.items() if v not in right[kinds[n]]}
    for tool in set(told) - {"ptio"}:
        if _count(kinds, told[tool], "sound", FLAGGED):
            continue  # it goes by names that all checkpoints have, too: no word on broken files
        for name, (verdict, _) in told[tool].items():
            if verdict == FLAGGED and ours[name] != FLAGGED:
                wrong.setdefault(name, f"{ours[name]}, but {tool} calls it dangerous")
    return wrong


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scanners", description=__doc__)
    parser.add_argument("--keep", metavar="FOLDER", help="where the files are written, to stay")
    parser.add_argument("--all", action="store_true", help="print each tool's word on each file")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.work:
        _work(arguments.work[0], Path(arguments.work[1]))
        return 0
    tools = [tool for tool in TOOLS if find_spec(tool)]
    missing = set(TOOLS) - set(tools)
    if missing:
        print(f"not installed, so not compared with: {', '.join(sorted(missing))}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.keep or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        kinds = {}
        for kind, name, data in corpus():
            kinds[name] = kind
            (folder / name).write_bytes(data)
        told = {tool: _run(tool, folder) for tool in tools}
    _table(kinds, told)
    if arguments.all:
        for name in sorted(kinds):
            print(kinds[name], name, *(f"{tool}={told[tool][name][0]}" for tool in tools))
    wrong = _passed_over(kinds, told)
    for name, why in sorted(wrong.items()):
        print(f"{name}: {why}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
