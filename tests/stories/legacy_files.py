# SPDX-License-Identifier: Apache-2.0
"""Files in the format before torch 1.6, alone and several in one stream."""

import io
import pickle
from pathlib import Path

import torch
from torch import nn

torch.manual_seed(0)


def save(obj, file):
    torch.save(obj, file, _use_new_zipfile_serialization=False)


print("--- a state dict")
model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
save(model.state_dict(), "model.pth")
for options in ({}, {"weights_only": False}, {"map_location": "cpu"}):
    other = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    print(other.load_state_dict(torch.load("model.pth", **options)))
    print(torch.equal(other[0].weight, model[0].weight))
print({value.device.type for value in torch.load("model.pth", map_location="meta").values()})

print("--- views of one storage")
numbers = torch.arange(6)
save([numbers, numbers[2:4], numbers.view(2, 3).T], "views.pth")
numbers, part, turned = torch.load("views.pth")
part.zero_()
print(numbers, turned, turned.stride())

print("--- several objects in one stream")
stream = io.BytesIO()
for obj in (torch.ones(2), {"epoch": 1, "loss": torch.tensor(0.5)}, "the end", model):
    save(obj, stream)
stream.write(b"trailer")
stream.seek(0)
print(torch.load(stream), torch.load(stream), torch.load(stream))
print(torch.load(stream, weights_only=False))
print(stream.read())

print("--- several in one file")
with open("several.pth", "wb") as file:
    for i in range(3):
        save(torch.full((i + 1,), i), file)
with open("several.pth", "rb") as file:
    print([torch.load(file).tolist() for _ in range(3)], file.read())

print("--- a whole model")
save(model, "whole.pth")
print(torch.load("whole.pth", weights_only=False))
try:
    torch.load("whole.pth")
except pickle.UnpicklingError as error:
    print("Weights only load failed" in str(error))

print("--- cannot be mapped")
try:
    torch.load("model.pth", mmap=True)
except RuntimeError as error:
    print(error)

print("--- what is neither of the formats")
Path("empty.pth").touch()
Path("text.pth").write_text("no checkpoint")
for name in ("empty.pth", "text.pth"):
    try:
        torch.load(name)
    except (EOFError, pickle.UnpicklingError) as error:
        print(isinstance(error, EOFError), isinstance(error, pickle.UnpicklingError))

print("--- the same in both formats")
torch.save(model.state_dict(), "model.pt")
old, new = torch.load("model.pth"), torch.load("model.pt")
print([torch.equal(old[name], new[name]) for name in new], old._metadata == new._metadata)
