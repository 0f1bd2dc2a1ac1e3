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
EXCEPTIONS = HERE / "untestable_checks.txt"
SECONDS = 10  # for one test: without a check it may never end
MEMORY = 8 << 30

ID = re.compile(r'"([A-Z][0-9]*\.[a-z][a-z0-9_-]*)"')
ASSERTION = re.compile(r"^\S+\.c:\d+: ", re.MULTILINE)  # that failed
TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')


class Check(NamedTuple):
    place: str
    text: str  # of its message, or of what its message begins with


def checks_of_source() -> dict[str, Check]:
    checks = {}
    for path in sorted(CORE.glob("*.[ch]")):
        source = path.read_text()
        for match in ID.finditer(source):
            line = source.count("\n", 0, match.start()) + 1
            rest = source[match.end() : source.find(";", match.end())]
            text = "".join(t for t in TEXT.findall(rest) if not ID.fullmatch(f'"{t}"'))
            checks[match[1]] = Check(f"{path.name}:{line}", text)
    return checks


def read_exceptions() -> dict[str, str]:
    lines = (line.split("#")[0].strip() for line in EXCEPTIONS.read_text().splitlines())
    return dict(line.split(maxsplit=1) for line in lines if line)


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def run(program: str, *arguments: str, without: str | None = None) -> tuple[str, str]:
    """How the tests ended - "passed", "failed", "crashed", "never ended" - and what they printed."""
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
    wanted = [a for a in arguments if not a.startswith("--")]
    listing = "--list" in arguments
    began = time.monotonic()
    checks, exceptions = checks_of_source(), read_exceptions()
    problems = [f"{check} is an exception, but no check" for check in exceptions.keys() - checks]
    tests = tests_by_check(program)
    chosen = wanted or sorted(checks)

    def one(check: str) -> dict[str, str]:
        return noticed_by(program, check, tests[check], listing or check in exceptions)

    crashes = 0
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for check, noticed in zip(chosen, pool.map(one, chosen), strict=True):
            if listing:
                show(check, checks[check], noticed)
            if noticed and check in exceptions:
                problems.append(f"{check} is an exception, but {next(iter(noticed))} notices it")
            elif not noticed and check not in exceptions:
                tried = (
                    f"{len(tests[check])} tests reach it" if tests[check] else "no test reaches it"
                )
                problems.append(f"{check} ({checks[check].place}) can be off: {tried}")
            elif noticed and "failed" not in noticed.values():
                crashes += 1
    print("\n".join(problems + [f"exception: {c}: {why}" for c, why in exceptions.items()]))
    print(
        f"{len(chosen)} checks, {len(chosen) - len(exceptions)} noticed by a test when they are off"
        f" ({crashes} of them only by a crash), {len(exceptions)} exceptions,"
        f" {time.monotonic() - began:.0f} s"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
