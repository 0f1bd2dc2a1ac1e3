# SPDX-License-Identifier: Apache-2.0
"""What a benchmark gives back: one row for each tool, and the targets that it is held to."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import median


@dataclass
class Row:
    """One tool: seconds (or bytes) of each run, in order."""

    tool: str
    values: list[float] = field(default_factory=list)
    note: str = ""

    @property
    def median(self) -> float:
        return median(self.values)


@dataclass
class Target:
    """`ratio` must be at least (or at most) `bound`."""

    text: str
    ratio: float
    bound: float
    at_least: bool = True

    @property
    def met(self) -> bool:
        return self.ratio >= self.bound if self.at_least else self.ratio <= self.bound


@dataclass
class Case:
    letter: str
    title: str
    unit: str = "s"
    rows: list[Row] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def row(self, tool: str) -> Row | None:
        return next((row for row in self.rows if row.tool == tool and row.values), None)

    def faster(self, tool: str, bound: float, ours: str = "ptio") -> None:
        """Target: the other tool takes at least `bound` times as long as we do."""
        self._compare(f"{tool} / {ours} >= {bound:g}", tool, ours, bound, at_least=True)

    def at_most(self, tool: str, bound: float, ours: str = "ptio") -> None:
        """Target: we take at most `bound` times as long as the other tool."""
        self._compare(f"{ours} / {tool} <= {bound:g}", ours, tool, bound, at_least=False)

    def _compare(self, text: str, above: str, below: str, bound: float, at_least: bool) -> None:
        one, other = self.row(above), self.row(below)
        if one is None or other is None:
            self.notes.append(f"{text}: not measured")
        else:
            ratio = one.median / max(other.median, 1e-12)
            self.targets.append(Target(text, ratio, bound, at_least))

    def absolute(self, text: str, value: float, bound: float) -> None:
        """Target: a value of at most `bound`."""
        self.targets.append(Target(text, value, bound, at_least=False))

    def to_dict(self) -> dict:
        told = asdict(self)
        for target, one in zip(told["targets"], self.targets, strict=True):
            target["met"] = one.met
        return told
