# SPDX-License-Identifier: Apache-2.0
"""docs/security.md says what the logs and the sources say."""

import csv
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text()


def log(name):
    with (ROOT / "tests" / name).open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def total(rows, *columns):
    return sum(int(row[column]) for row in rows for column in columns)


def test_the_table_of_the_fuzzing_campaign_is_that_of_its_log():
    sys.path.insert(0, str(ROOT / "tests" / "fuzz"))
    import campaign

    assert campaign.table() in PAGE


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("differential/log.tsv", ("cases",)),
        ("differential/log.tsv", ("accepted",)),
        ("sweeps/log.tsv", ("cases",)),
        ("sweeps/log.tsv", ("identical",)),
        ("sweeps/log.tsv", ("different",)),
        ("sweeps/log.tsv", ("refused",)),
    ],
)
def test_totals_are_those_of_the_logs(name, columns):
    assert f"{total(log(name), *columns):,}" in PAGE


def test_no_log_holds_a_failure():
    assert total(log("fuzz/campaign.tsv"), "failures") == 0
    assert total(log("differential/log.tsv"), "disagreements") == 0


def test_what_the_page_names_is_there():
    for path in re.findall(r"`(tests/[\w./]+)`", PAGE):
        assert (ROOT / path).exists(), path
    for name in re.findall(r"`(test_\w+\.(?:py|c))`", PAGE):
        assert list((ROOT / "tests").glob(f"**/{name}")), name
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([\w-]+)", PAGE):
        assert f"\n{target}:" in makefile, target
    sources = "".join(path.read_text() for path in (ROOT / "csrc" / "core").glob("*.[ch]"))
    for check in re.findall(r"\b[A-Z]\d*\.[a-z][\w-]+", PAGE):
        assert f'"{check}' in sources, check
