# SPDX-License-Identifier: Apache-2.0
"""torch's side of ptio: `load` in the place of torch.load, and what builds on it.

    import ptio.torch as pt

    checkpoint = pt.load("checkpoint.tar", map_location="cpu")
    pt.load_model(model, "checkpoint.tar")
    with pt.patch():  # torch.load is pt.load here, also for code that one cannot edit
        train()

Importing it imports torch; `import ptio` does not.
"""

from ptio.torch._load import load
from ptio.torch._model import load_model
from ptio.torch._patch import install, patch, uninstall

__all__ = ["install", "load", "load_model", "patch", "uninstall"]
