# SPDX-License-Identifier: Apache-2.0
"""What python imports at startup under `ptio run`: it replaces torch.load as soon as a program
has imported torch.

A program that never imports torch pays nothing: until then this file imports only what python has
imported before. It also meets other Pythons, which the program may start and which may not have
ptio; so it needs nothing of ptio until then.
"""

import os
import sys

TYPE_CHECKING = False  # as in typing, which is not imported here
if TYPE_CHECKING:
    from typing import Any


class _Finder:
    """Finds torch where the other finders find it, and watches the end of its import.

    That of ptio.torch too: when a program imports ptio.torch first, torch is complete while there
    is no ptio.torch.load yet.
    """

    def find_spec(self, name: str, path: "Any" = None, target: "Any" = None) -> "Any":
        if name not in ("torch", "ptio.torch"):
            return None
        for finder in sys.meta_path:
            # not importlib.util.find_spec, which would come back here
            find_spec = None if finder is self else getattr(finder, "find_spec", None)
            spec = find_spec and find_spec(name, path, target)
            if spec is not None:
                _watch(spec.loader)
                return spec
        return None


def _watch(loader: "Any") -> None:
    """The loader stays the same object of the same class: others ask it for the source of torch."""
    execute = getattr(loader, "exec_module", None)
    if execute is None:  # a folder that only looks like a package
        return

    def exec_module(module: "Any") -> None:
        try:
            execute(module)
        except BaseException as error:
            if error.__traceback__ is not None:
                error.__traceback__ = error.__traceback__.tb_next  # without this frame
            raise
        _imported(module.__name__)

    loader.exec_module = exec_module


def _imported(name: str) -> None:
    try:
        if name == "torch":
            import ptio.torch  # noqa: F401  (its end, now or later, comes to the branch below)
        else:
            from ptio.torch._patch import install

            install()
    except Exception as error:  # the program runs as well with torch's own functions
        print("ptio: torch.load is not replaced: " + repr(error), file=sys.stderr)


sys.meta_path.insert(0, _Finder())
if "torch" in sys.modules:  # some package has python import it at startup
    _imported("torch")

# The program should see sys.path as it would be, and a sitecustomize of its own is next in line;
# python ignores that there is none.
_here = os.path.dirname(__file__)
sys.path[:] = [_entry for _entry in sys.path if _entry != _here]
sys.modules.pop("sitecustomize", None)
import sitecustomize  # type: ignore[import-not-found, unused-ignore]  # noqa: E402, F401
