# SPDX-License-Identifier: Apache-2.0
"""Models of torch.jit: their own save and load, and what torch.load says of their files."""

import io
import pickle
import warnings

import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(2, 4)


class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool(x.sum() > 0):
            return self.fc(x)
        return -self.fc(x)


gate = Gate()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    scripted = torch.jit.script(gate)
    traced = torch.jit.trace(gate, x)
    torch.jit.save(scripted, "scripted.pt")
    scripted.save("saved.pt")
    traced.save("traced.pt")

    print("--- torch.jit.load")
    for name in ("scripted.pt", "saved.pt", "traced.pt"):
        loaded = torch.jit.load(name)
        print(loaded.original_name, torch.equal(loaded(x), gate(x)), list(loaded.state_dict()))

    print("--- of an open file")
    with open("scripted.pt", "rb") as file:
        print(torch.equal(torch.jit.load(file, map_location="cpu")(-x), gate(-x)))

print("--- torch.load of such a file")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    loaded = torch.load("scripted.pt", weights_only=False)
    print(type(loaded).__name__, torch.equal(loaded(x), gate(x)))
    with open("scripted.pt", "rb") as file:
        print(torch.equal(torch.load(io.BytesIO(file.read()), weights_only=False)(x), gate(x)))
    try:
        torch.load("scripted.pt")
    except (RuntimeError, pickle.UnpicklingError) as error:
        text = str(error)
        print("Cannot use ``weights_only=True`` with TorchScript archives" in text)
print([str(warning.message) for warning in caught if "TorchScript" in str(warning.message)])
print({warning.filename == __file__ for warning in caught if "torch.load" in str(warning.message)})

print("--- the state dict of a scripted model")
torch.save(scripted.state_dict(), "state.pt")
plain = Gate()
print(plain.load_state_dict(torch.load("state.pt")), torch.equal(plain(x), gate(x)))
print(scripted.load_state_dict(torch.load("state.pt")))
