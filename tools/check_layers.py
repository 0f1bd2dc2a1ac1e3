# SPDX-License-Identifier: Apache-2.0
"""Checks the rules of the C sources that no compiler checks.

1. csrc/core compiles alone: it includes neither Python nor NumPy, nor anything of csrc/py.
2. Includes among the core's headers have no cycle.
3. Every extern symbol of the core begins with ptio_.
4. Every PTIO_CHECK (VET_CHECK, MACHINE_CHECK ...) has an id of its own.
"""

import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CORE = Path("csrc/core")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)
CHECK = re.compile(r'\b(?:PTIO|VET|MACHINE|ARGUMENT)_CHECK\s*\((?:[^";]|\\")*?"([^"]+)"')
FORBIDDEN = re.compile(r"^(Python\.h|structmember\.h|numpy/|datetime\.h|.*\bpy/)")


def sources(folder, *patterns):
    return sorted(path for pattern in patterns for path in folder.rglob(pattern))


def check_includes(problems):
    graph = {}
    for path in sources(CORE, "*.[ch]", "*.def"):
        text = path.read_text()
        includes = [name for _, name in INCLUDE.findall(text)]
        problems += [f"{path}: includes {n}" for n in includes if FORBIDDEN.match(n)]
        own = (Path(n).name for mark, n in INCLUDE.findall(text) if mark == '"')
        graph[path.name] = set(own)
    remove_leaves(graph)
    if graph:
        problems.append(f"these include each other: {', '.join(sorted(graph))}")


def remove_leaves(graph):
    """Takes out what includes nothing that is left, until only cycles remain."""
    while leaves := [name for name, includes in graph.items() if not includes & graph.keys()]:
        for name in leaves:
            del graph[name]


def check_symbols(problems):
    files = sources(CORE, "*.c")
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = [Path(folder, f"{i}.o") for i in range(len(files))]
        for path, found in zip(files, pool.map(symbols_of, files, objects), strict=True):
            if found is None:
                problems.append(f"{path}: does not compile with plain cc")
                continue
            problems += [f"{path}: extern symbol {s}" for s in found if not s.startswith("ptio_")]


def symbols_of(source, output):
    """Names of the extern symbols of a source that plain cc compiles, else None."""
    compiler = os.environ.get("CC", "cc")
    flags = ["-O0", "-pthread", "-Werror=implicit-function-declaration"]
    if subprocess.run([compiler, *flags, "-c", source, "-o", output]).returncode:
        return None
    listing = subprocess.run(
        ["nm", "-g", "--defined-only", output], check=True, capture_output=True, text=True
    )
    names = [line.split()[-1] for line in listing.stdout.splitlines() if line.strip()]
    return [name.lstrip("_") if sys.platform == "darwin" else name for name in names]


def check_ids(problems):
    seen = {}
    for path in sources(Path("csrc"), "*.[ch]"):
        text = path.read_text()
        for match in CHECK.finditer(text):
            place = f"{path}:{text.count(chr(10), 0, match.start()) + 1}"
            if match[1] in seen:
                problems.append(f"{place}: the id {match[1]} is also at {seen[match[1]]}")
            seen.setdefault(match[1], place)
    return len(seen)


def main():
    problems = []
    check_includes(problems)
    check_symbols(problems)
    checks = check_ids(problems)
    for problem in problems:
        print(problem)
    print(f"check_layers: {checks} checks, {len(problems)} problems")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
