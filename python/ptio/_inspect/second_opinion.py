# SPDX-License-Identifier: Apache-2.0
"""verify(second_opinion=True): what libzip sees in an archive, beside what ptio sees."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from ptio._checkpoint import open_checkpoint
from ptio._errors import Error
from ptio._limits import Limits
from ptio._report import Problem, VerifyReport
from ptio._source import is_path


def with_second_opinion(report: VerifyReport, f: Any, *, limits: Limits | None) -> VerifyReport:
    """The report, with a problem where libzip sees another archive, and a note where not."""
    none = Problem("SECOND_OPINION", "there is no archive that libzip could read")
    if is_path(f) and os.path.isdir(f):
        return replace(report, notes=(*report.notes, none))
    with open_checkpoint(f, limits=limits, lenient=True) as checkpoint:
        if checkpoint.format != "zip" or not checkpoint.records():
            return replace(report, notes=(*report.notes, none))
        try:
            checkpoint.second_opinion()
        except Error as e:
            doubt = Problem(type(e).__name__, str(e.args[0]), e.record, e.offset)
            return replace(report, problems=(*report.problems, doubt))
    note = Problem("SECOND_OPINION", "libzip reads the same members")
    return replace(report, notes=(*report.notes, note))
