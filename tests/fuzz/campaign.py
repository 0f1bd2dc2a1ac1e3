# SPDX-License-Identifier: Apache-2.0
"""The log of the fuzzing campaign: campaign.tsv, to which every run adds its counts."""

import csv
import datetime
import subprocess
from pathlib import Path

LOG = Path(__file__).with_name("campaign.tsv")
COLUMNS = ("date", "commit", "target", "sanitizer", "seconds", "executions", "edges", "failures")
# Executions that the campaign aims at, in all: more where an input takes microseconds.
GOALS = {
    "zip_index": 20_000_000,
    "pickle": 16_000_000,
    "objects": 5_000_000,
    "roundtrip": 3_500_000,
    "legacy": 3_000_000,
    "tar": 3_000_000,
    "file": 2_500_000,
    "salvage": 2_100_000,
    "glue": 2_100_000,
}


def furthest_behind(but=frozenset()):
    """The target that has had the smallest part of its goal."""
    rows = _read()
    return min(
        set(GOALS) - but, key=lambda target: _sum(rows, "executions", target=target) / GOALS[target]
    )


def note(target, sanitizer, seconds, executions, edges, failures):
    """Adds counts: there is one line for each day, commit, target and sanitizer."""
    key = (datetime.date.today().isoformat(), _commit(), target, sanitizer)
    rows = {tuple(row[name] for name in COLUMNS[:4]): row for row in _read()}
    row = rows.setdefault(key, dict(zip(COLUMNS, (*key, 0, 0, 0, 0), strict=True)))
    row["seconds"] = int(row["seconds"]) + seconds
    row["executions"] = int(row["executions"]) + executions
    row["edges"] = max(int(row["edges"]), edges)
    row["failures"] = int(row["failures"]) + failures
    with LOG.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows.values())


def table():
    """What the log adds up to, in Markdown."""
    rows = _read()
    lines = [
        "| target | executions | with MemorySanitizer | hours | failures |",
        "|---|---:|---:|---:|---:|",
    ]
    for name in [*sorted({row["target"] for row in rows}), None]:
        of = {"target": name} if name else {}
        memory = _sum(rows, "executions", sanitizer="memory", **of)
        hours = _sum(rows, "seconds", **of) / 3600
        count, failures = (_sum(rows, column, **of) for column in ("executions", "failures"))
        lines.append(f"| {name or '**all**'} | {count:,} | {memory:,} | {hours:.1f} | {failures} |")
    return "\n".join(lines)


def _read():
    if not LOG.exists():
        return []
    with LOG.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def _sum(rows, column, **of):
    return sum(int(row[column]) for row in rows if all(row[key] == of[key] for key in of))


def _commit():
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, cwd=LOG.parent, capture_output=True, text=True, check=True)
    return done.stdout.strip()
