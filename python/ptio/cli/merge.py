# SPDX-License-Identifier: Apache-2.0
"""ptio merge: the average of checkpoints."""

from __future__ import annotations

import argparse
import math
from typing import Any

from ptio._rewrite.merge import merge
from ptio.cli import _writing
from ptio.cli._exit import Exit

_EXAMPLES = """\
examples:
  ptio merge -o soup.pt run1.pt run2.pt run3.pt
  ptio merge -o ema.pt old.pt new.pt --weights 0.9,0.1
  ptio merge -o soup.safetensors a.safetensors b.safetensors --dtype bf16
"""


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "merge",
        description="Write the average of checkpoints that have the same tensors, as floating "
        "and complex numbers; all else is that of the first.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("srcs", nargs="+", metavar="SRC")
    parser.add_argument("-o", "--output", required=True, metavar="DST")
    parser.add_argument(
        "--weights", type=_weights, metavar="W,W...", help="factors; taken as they are"
    )
    parser.add_argument("--dtype", type=_writing.dtype, help=f"of the averages: {_writing.DTYPES}")
    parser.add_argument(
        "--ints",
        choices=("equal", "first"),
        default="equal",
        help="integers must be equal in all (default), or are taken from the first",
    )
    _writing.add_arguments(parser)
    parser.set_defaults(run=run)


def _weights(text: str) -> list[float]:
    try:
        weights = [float(part) for part in text.split(",")]
    except ValueError:
        weights = []
    if not weights or not all(map(math.isfinite, weights)):
        raise argparse.ArgumentTypeError(f"must be numbers like 0.5,0.3,0.2, not {text!r}")
    return weights


def run(arguments: Any) -> int:
    srcs, weights = arguments.srcs, arguments.weights
    if len(srcs) < 2:
        arguments.parser.error("there must be two or more checkpoints to merge")
    if weights is not None and len(weights) != len(srcs):
        arguments.parser.error(f"there are {len(weights)} weights for {len(srcs)} checkpoints")
    _writing.require_format(arguments, arguments.output)
    report = _writing.attempt(
        arguments,
        arguments.output,
        lambda: merge(
            srcs,
            arguments.output,
            weights=weights,
            dtype=arguments.dtype,
            ints=arguments.ints,
            to=arguments.to,
            overwrite=arguments.force,
            progress=_writing.wants_bar(arguments),
        ),
    )
    if isinstance(report, int):
        return report
    _writing.show(arguments, report)
    return Exit.FINDING if report.overflows else Exit.FINE
