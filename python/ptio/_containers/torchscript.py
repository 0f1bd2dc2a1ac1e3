# SPDX-License-Identifier: Apache-2.0
"""TorchScript archives: the objects of a program, of which no code is ever run.

torch.jit.save writes two pickles: data.pkl, the tree of modules, and constants.pkl, the tensors
that the code mentions. Their classes are those of the code in the archive.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ptio._containers.base import Options
from ptio._containers.index import Index
from ptio._containers.parts import Parts, closing_all
from ptio._containers.pickled import Pickled

# Names of the archive's own code, which is data to us; and what C++ says beside torch.save.
ALWAYS = (
    "__torch__",
    "torch.jit._pickle",
    "torch.Bits16Storage",
    "torch.Bits1x8Storage",
    "torch.Bits2x4Storage",
    "torch.Bits4x2Storage",
    "torch.Bits8Storage",
    "torch.ComplexHalfStorage",
    "torch.Float4_e2m1fn_x2Storage",
    "torch.Float8_e4m3fnStorage",
    "torch.Float8_e4m3fnuzStorage",
    "torch.Float8_e5m2Storage",
    "torch.Float8_e5m2fnuzStorage",
    "torch.Float8_e8m0fnuStorage",
    "torch.UInt16Storage",
    "torch.UInt32Storage",
    "torch.UInt64Storage",
)


def pickles(index: Index, options: Options) -> Iterator[tuple[tuple[str, str, str], Options]]:
    """Its pickles: where each and its storages are, and how it is read."""
    options = replace(options, allow=(*options.allow, *ALWAYS))
    for name in ("data", "constants"):
        if f"{name}.pkl" in index.sizes:
            rules = index.rules(options, f"{name}.pkl")
            yield (f"{name}.pkl", f"{name}/", ""), rules


def open_torchscript(index: Index, options: Options) -> Parts:
    with closing_all() as parts:
        for members, rules in pickles(index, options):
            part = Pickled(index.whole(), rules, path=index.path, members=members)
            parts.append(((members[0].removesuffix(".pkl"),), part))
        return Parts("torchscript", parts, index=index)
