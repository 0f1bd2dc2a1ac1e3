# SPDX-License-Identifier: Apache-2.0
"""scan: what files of unknown origin name, and what in them no load looks at."""

from ptio._scan.paths import scan
from ptio._scan.report import FileScan, ScanReport

__all__ = ["FileScan", "ScanReport", "scan"]
