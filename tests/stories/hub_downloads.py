# SPDX-License-Identifier: Apache-2.0
"""Weights by URL: torch.hub downloads them once, and loads them from its folder after that."""

import hashlib
import pickle
import zipfile
from pathlib import Path

import torch
from torch import nn

torch.manual_seed(0)
site = Path("site").resolve()
site.mkdir()
torch.hub.set_dir(str(Path("hub").resolve()))
model = nn.Linear(3, 2)
torch.save(model.state_dict(), site / "linear.pth")

print("--- from a URL")
url = (site / "linear.pth").as_uri()
state = torch.hub.load_state_dict_from_url(url, progress=False)
print(nn.Linear(3, 2).load_state_dict(state), torch.equal(state["weight"], model.weight))

print("--- from the folder, when the site is gone")
(site / "linear.pth").unlink()
state = torch.hub.load_state_dict_from_url(url, progress=False, map_location="cpu")
print(torch.equal(state["weight"], model.weight))
print(torch.hub.load_state_dict_from_url(url, map_location="meta")["weight"].device)
print(sorted(path.name for path in Path("hub/checkpoints").iterdir()))

print("--- with a hash in its name")
torch.save(model.state_dict(), site / "new.pth")
digest = hashlib.sha256((site / "new.pth").read_bytes()).hexdigest()
for name in (f"linear-{digest[:8]}.pth", "linear-00000000.pth"):
    (site / name).write_bytes((site / "new.pth").read_bytes())
    try:
        state = torch.hub.load_state_dict_from_url(
            (site / name).as_uri(), progress=False, check_hash=True, weights_only=True
        )
        print(torch.equal(state["bias"], model.bias))
    except RuntimeError as error:
        print(str(error).partition("(")[0])

print("--- packed into a zip")
with zipfile.ZipFile(site / "packed.zip", "w") as archive:
    archive.write(site / "new.pth", "new.pth")
state = torch.hub.load_state_dict_from_url(
    (site / "packed.zip").as_uri(), progress=False, file_name="packed.zip"
)
print(list(state))

print("--- a whole model")
torch.save(model, site / "whole.pth")
url = (site / "whole.pth").as_uri()
print(torch.hub.load_state_dict_from_url(url, progress=False, weights_only=False))
try:
    torch.hub.load_state_dict_from_url(url, weights_only=True)
except pickle.UnpicklingError as error:
    print("Weights only load failed" in str(error))
