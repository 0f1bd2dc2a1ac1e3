# SPDX-License-Identifier: Apache-2.0
"""verify(second_opinion=True): what libzip sees in an archive, beside what ptio sees."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ptio._checkpoint import open_checkpoint
from ptio._errors import Error
from ptio._limits import Limits
from ptio._report import Problem, VerifyReport


def with_second_opinion(report: VerifyReport, f: Any, *, limits: Limits | None) -> VerifyReport:
    """The report, with a problem where libzip sees another archive, and a note where not."""
    with open_checkpoint(f, limits=limits, lenient=True) as checkpoint:
        if not checkpoint.records():
            note = Problem("SECOND_OPINION", "there is no archive that libzip could read")
            return replace(report, notes=(*report.notes, note))
        try:
            checkpoint.second_opinion()
        except Error as e:
            doubt = Problem(type(e).__name__, str(e.args[0]), e.record, e.offset)
            return replace(report, problems=(*report.problems, doubt))
    note = Problem("SECOND_OPINION", "libzip reads the same members")
    return replace(report, notes=(*report.notes, note))
