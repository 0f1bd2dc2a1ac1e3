# SPDX-License-Identifier: Apache-2.0
"""Prints how much of the core its C tests run; called by run.sh with the folder of the objects.

Fails where a line never ran. A line that no test can reach says why in a comment,
`GCOV_EXCL_LINE: reason`; such a line that does run is a failure, too.
"""

import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

EXCLUSION = re.compile(r"GCOV_EXCL_LINE: \w+")


def measure(objects, core):
    """({line: runs}, {(line, number of the branch): times taken}) of each file of the core."""
    names = sorted(path.name for path in objects.glob("*.gcda"))
    command = [os.environ.get("GCOV", "gcov"), "-b", "--json-format", "--stdout"]
    done = subprocess.run(command + names, cwd=objects, capture_output=True, text=True, check=True)
    found = defaultdict(lambda: (Counter(), Counter()))
    for report in map(json.loads, filter(None, done.stdout.splitlines())):
        for file in report["files"]:
            path = Path(report["current_working_directory"], file["file"]).resolve()
            if path.parent != core:
                continue
            lines, branches = found[path.name]
            for line in file["lines"]:
                number = line["line_number"]
                lines[number] += line["count"]
                for i, branch in enumerate(line["branches"]):
                    branches[number, i] += branch["count"]
    return found


def share(counts):
    return 100 * sum(n > 0 for n in counts.values()) / len(counts) if counts else 100


def row(name, lines, branches):
    print(f"{name:24}{len(lines):7}{share(lines):8.2f} %{len(branches):8}{share(branches):8.2f} %")


def main(objects, core):
    found = measure(objects, core)
    all_lines, all_branches, problems, excluded = {}, {}, [], []
    print(f"{'file':24}{'lines':>7}{'run':>10}{'branches':>8}{'taken':>10}")
    for name, (lines, branches) in sorted(found.items()):
        text = (core / name).read_text().splitlines()
        for number, runs in sorted(lines.items()):
            place = f"{name}:{number}: {text[number - 1].strip()}"
            if EXCLUSION.search(text[number - 1]):
                excluded.append(place)
                if runs:
                    problems.append(f"excluded, but it runs: {place}")
                del lines[number]
            elif not runs:
                problems.append(f"never runs: {place}")
        row(name, lines, branches)
        all_lines |= {(name, key): runs for key, runs in lines.items()}
        all_branches |= {(name, key): runs for key, runs in branches.items()}
    row("total", all_lines, all_branches)
    print(*[f"excluded: {place}" for place in excluded], *problems, sep="\n")
    return 1 if problems or not found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]).resolve()))
