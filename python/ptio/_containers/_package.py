# SPDX-License-Identifier: Apache-2.0
"""Archives of torch.package: any number of pickles, and the source code that they need.

No code is run. A ScriptModule is a call that names its own two pickles below .data/ts_code/.
"""

from __future__ import annotations

from dataclasses import replace

from ptio._containers._base import Options
from ptio._containers._parts import Parts, closing_all
from ptio._containers._pickled import Pickled
from ptio._containers._torchscript import ALWAYS
from ptio._core import Checkpoint, Source

_SCRIPTED = "torch.jit._script.unpackage_script_module"
_SCRIPTS = ".data/ts_code/"
_STORAGES = ".data/"


def open_package(source: Source, index: Checkpoint, options: Options, path: str | None) -> Parts:
    options = replace(options, allow=(*options.allow, _SCRIPTED))
    scripts = replace(options, allow=(*options.allow, *ALWAYS))
    with closing_all() as parts:
        for record in index.records():
            name = record.name.partition("/")[2]
            if not name.endswith(".pkl"):
                continue
            scripted = name.startswith(_SCRIPTS)
            members = (name, _STORAGES, "" if scripted else ".storage")
            whole = source.part(0, source.size)
            rules = scripts if scripted else options
            parts.append(((name,), Pickled(whole, rules, path=path, members=members)))
        return Parts("package", parts, one_file=True)
