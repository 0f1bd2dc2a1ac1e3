# SPDX-License-Identifier: Apache-2.0
"""torch's side of ptio: `load` and `save` in the place of torch's, and what builds on them.

    import ptio.torch as pt

    checkpoint = pt.load("checkpoint.tar", map_location="cpu")
    pt.load_model(model, "checkpoint.tar")
    pt.save({"model": model.state_dict(), "epoch": 3}, "checkpoint.tar")
    with pt.patch():  # torch.load and torch.save are ours here, also for code one cannot edit
        train()

Importing it imports torch; `import ptio` does not.
"""

from ptio.torch._load import load
from ptio.torch._model import load_model
from ptio.torch._patch import install, patch, uninstall
from ptio.torch._save import save

__all__ = ["install", "load", "load_model", "patch", "save", "uninstall"]
