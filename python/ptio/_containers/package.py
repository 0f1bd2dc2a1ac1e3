# SPDX-License-Identifier: Apache-2.0
"""Archives of torch.package: any number of pickles, and the source code that they need.

No code is run. A ScriptModule is a call that names its own two pickles below .data/ts_code/.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ptio._containers.base import Options
from ptio._containers.index import Index
from ptio._containers.parts import Parts, closing_all
from ptio._containers.pickled import Pickled
from ptio._containers.torchscript import ALWAYS

_SCRIPTED = "torch.jit._script.unpackage_script_module"
_SCRIPTS = ".data/ts_code/"
_STORAGES = ".data/"


def pickles(index: Index, options: Options) -> Iterator[tuple[tuple[str, str, str], Options]]:
    """Its pickles: where each and its storages are, and how it is read."""
    options = replace(options, allow=(*options.allow, _SCRIPTED))
    scripts = replace(options, allow=(*options.allow, *ALWAYS))
    for name in index.sizes:
        if name.endswith(".pkl"):
            scripted = name.startswith(_SCRIPTS)
            members = (name, _STORAGES, "" if scripted else ".storage")
            yield members, index.rules(scripts if scripted else options, name)


def open_package(index: Index, options: Options) -> Parts:
    with closing_all() as parts:
        for members, rules in pickles(index, options):
            part = Pickled(index.whole(), rules, path=index.path, members=members)
            parts.append(((members[0],), part))
        return Parts("package", parts, index=index)
