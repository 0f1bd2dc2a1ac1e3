#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Switches every check of the core off in turn: each time a C test has to fail.

    CHECK_REMOVAL=1 tests/c/run.sh             builds the tests and calls this
    CHECK_REMOVAL=1 tests/c/run.sh P3.stop     of these checks only
    CHECK_REMOVAL=1 tests/c/run.sh --list      what each check refuses, and every test that notices

A test in which a check refuses nothing runs the same without that check. So the tests run once with
all checks on and say what refused what; then only those concerned run again.
"""

import collections
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
CORE = HERE.parents[1] / "csrc" / "core"
ENDS = ["failed", "crashed", "never ended"]  # what is best comes first
SECONDS = 10  # for one test: without a check it may never end
MEMORY = 8 << 30

ID = re.compile(r'"([A-Z][0-9]*\.[a-z][a-z0-9_-]*)"')
ASSERTION = re.compile(r"^\S+\.c:\d+: ", re.MULTILINE)  # that failed
TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')
TEXTS = re.compile(rf"(?:{TEXT.pattern}\s*)+")


class Check(NamedTuple):
    place: str
    text: str  # of its message, or of what its message begins with


def message_after(source: str, at: int) -> str:
    """The next literal, which the compiler may have to put together, that is no id."""
    literals = (found[0].strip() for found in TEXTS.finditer(source, at))
    message = next((text for text in literals if not ID.fullmatch(text)), "")
    return "".join(TEXT.findall(message))


def checks_of_source() -> dict[str, Check]:
    checks = {}
    for path in [*sorted(CORE.glob("*.c")), *sorted(CORE.glob("*.h"))]:
        source = path.read_text()
        for match in ID.finditer(source):
            line = source.count("\n", 0, match.start()) + 1
            found = Check(f"{path.name}:{line}", message_after(source, match.end()))
            checks.setdefault(match[1], found)
    return checks


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def run(program: str, *arguments: str, without: str | None = None) -> tuple[str, str]:
    """ "passed" or one of ENDS, and what the tests printed."""
    environment = {k: v for k, v in os.environ.items() if k != "PTIO_WITHOUT_CHECK"}
    if without is not None:
        environment["PTIO_WITHOUT_CHECK"] = without
    with tempfile.TemporaryFile() as output:
        try:
            code = subprocess.run(
                [program, *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=SECONDS if without else None,
                preexec_fn=limit_memory,
            ).returncode
        except subprocess.TimeoutExpired:
            return "never ended", ""
        output.seek(0)
        text = output.read().decode(errors="replace")
    if code == 0:
        return "passed", text
    return "failed" if ASSERTION.search(text) else "crashed", text


def tests_by_check(program: str) -> dict[str, list[str]]:
    """In which tests each check refuses something, those that try little else first."""
    end, output = run(program)
    if end != "passed":
        sys.exit(f"{output}\nthe tests fail with every check on")
    refusals = collections.defaultdict(dict)  # a set in the order of the tests
    test = ""
    for line in output.splitlines():
        if line.startswith("test "):
            test = line[len("test ") :]
        elif line.startswith("refused by "):
            refusals[test][line[len("refused by ") :]] = True
    tests = collections.defaultdict(list)
    for test in sorted(refusals, key=lambda test: len(refusals[test])):
        for check in refusals[test]:
            tests[check].append(test)
    return tests


def noticed_by(program: str, check: str, tests: list[str], all_of_them: bool) -> dict[str, str]:
    """The tests that notice that a check is off, and how each ended."""
    noticed = {}
    for test in tests:
        end, _ = run(program, test, without=check)
        if end != "passed":
            noticed[test] = end
        if end in ("failed", "never ended") and not all_of_them:
            break
    return noticed


def show(check: str, found: Check, noticed: dict[str, str]) -> None:
    print(f"{check}  {found.place}\n    {found.text}")
    for test, end in noticed.items():
        print(f"    - {test}{'' if end == 'failed' else f' ({end})'}")


def main() -> int:
    program, *arguments = sys.argv[1:]
    listing = "--list" in arguments
    began = time.monotonic()
    checks = checks_of_source()
    chosen = [a for a in arguments if a != "--list"] or sorted(checks)
    tests = tests_by_check(program)
    ends = collections.Counter()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        results = pool.map(lambda c: noticed_by(program, c, tests[c], listing), chosen)
        for check, noticed in zip(chosen, results, strict=True):
            if listing:
                show(check, checks[check], noticed)
            if not noticed:
                print(f"{check} can be off: {len(tests[check])} tests reach it, none fails")
            # Where a test fails as well as another crashes, the check is asserted.
            ends[min(noticed.values(), key=ENDS.index, default="nothing")] += 1
    print(
        f"{len(chosen)} checks; when one is off: {ends['failed']} times a test fails,"
        f" {ends['crashed']} times it crashes, {ends['never ended']} times it does not end,"
        f" {ends['nothing']} times nothing is noticed; {time.monotonic() - began:.0f} s"
    )
    return 1 if ends["nothing"] else 0


if __name__ == "__main__":
    sys.exit(main())
