# SPDX-License-Identifier: Apache-2.0
"""Runs the benchmarks and prints what they found.

python -m benchmarks [--quick] [--only A,F] [--save NAME] [--picture]
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from benchmarks import files, report, tools

HERE = Path(__file__).resolve().parent
SCRIPTS = {
    "A": "small_tensors",
    "B": "torch_small_tensors.run_mapped",
    "C": "torch_small_tensors.run_copied",
    "D": "torch_training",
    "Ds": "torch_saving.run_training",
    "E": "plain_objects",
    "F": "copying_load",
    "Ft": "torch_large.run_copied",
    "G": "mapped_load",
    "Gt": "torch_large.run_mapped",
    "H": "torch_saving.run_small",
    "I": "torch_saving.run_large",
    "J": "torch_saving.run_stream",
    "K": "verify",
    "Kd": "scanning",
    "L": "handle.run_row",
    "Lo": "handle.run_open",
    "Lg": "handle.run_each",
    "Li": "handle.run_into",
    "M": "listing",
    "N": "growth",
    "Ng": "saving_growth",
    "O": "import_time",
    "memory": "memory",
    "load_model": "load_model_memory",
    "convert": "converting.run_convert",
    "merge": "converting.run_merge",
    "dcp": "distributed",
}


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    told = report.machine()
    report.print_machine(told)
    if tools.missing():
        print(f"not installed, so not compared with: {', '.join(tools.missing())}\n")
    cases = []
    with files.folder() as folder:
        for letter in arguments.only:
            script, _, name = SCRIPTS[letter].partition(".")
            run = getattr(importlib.import_module(f"benchmarks.{script}"), name or "run")
            cases.append(run(Path(folder), arguments.quick))
            report.print_case(cases[-1])
    name = arguments.save or "latest"
    target = HERE / ("saved" if arguments.save else "results") / f"{name}.json"
    report.write_json(target, told, cases)
    if arguments.picture:
        report.write_picture(target.with_suffix(".png"), cases)
    failed = [f"{case.letter}: {t.text}" for case in cases for t in case.targets if not t.met]
    print(f"{len(failed)} targets missed" if failed else "all targets reached")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller files and fewer runs")
    parser.add_argument("--only", type=_letters, default=list(SCRIPTS), metavar="A,F")
    parser.add_argument("--save", metavar="NAME", help="keep the results in benchmarks/saved")
    parser.add_argument("--picture", action="store_true", help="draw the times (matplotlib)")
    return parser


def _letters(text: str) -> list[str]:
    letters = text.split(",")
    unknown = sorted(set(letters) - set(SCRIPTS))
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: choose from {', '.join(SCRIPTS)}")
    return letters


if __name__ == "__main__":
    if str(HERE.parent) not in sys.path:
        sys.path.insert(0, str(HERE.parent))
    sys.exit(main())
