# SPDX-License-Identifier: Apache-2.0
"""State dicts: one model, two in one file, warm starts from another model."""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)


class Net(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.norm = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 32)
        self.fc2 = nn.Linear(32, classes)

    def features(self, x):
        x = F.max_pool2d(F.relu(self.norm(self.conv1(x))), 2)
        return F.max_pool2d(F.relu(self.conv2(x)), 2).flatten(1)

    def forward(self, x):
        return self.fc2(F.relu(self.fc1(self.features(x))))


images = torch.randn(4, 3, 32, 32)
model = Net()
model(images)
model.eval()
expected = model(images)

print("--- one model")
torch.save(model.state_dict(), "model.pt")
for options in ({}, {"weights_only": True}, {"weights_only": False}, {"mmap": True}):
    other = Net()
    print(other.load_state_dict(torch.load("model.pt", **options)))
    other.eval()
    print(torch.equal(other(images), expected))
state = torch.load("model.pt")
print(type(state).__name__, state._metadata["norm"], len(state._metadata))
for name, value in state.items():
    print(f"{name:25} {tuple(value.shape)!s:16} {value.dtype} {value.sum().item():.6f}")

print("--- two models in one file")
torch.manual_seed(1)
generator, discriminator = nn.Linear(4, 8), nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 1))
torch.save(
    {
        "modelA_state_dict": generator.state_dict(),
        "modelB_state_dict": discriminator.state_dict(),
    },
    "gan.tar",
)
checkpoint = torch.load("gan.tar", weights_only=True)
noise = torch.randn(2, 4)
expected_score = discriminator(generator(noise))
generator, discriminator = nn.Linear(4, 8), nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 1))
generator.load_state_dict(checkpoint["modelA_state_dict"])
discriminator.load_state_dict(checkpoint["modelB_state_dict"])
print(list(checkpoint), torch.equal(discriminator(generator(noise)), expected_score))


print("--- a warm start from another model")


class WithAttention(Net):
    def __init__(self):
        super().__init__()
        self.attention = nn.Linear(32, 32)
        del self.conv2


warm = WithAttention()
keys = warm.load_state_dict(torch.load("model.pt"), strict=False)
print(keys.missing_keys, keys.unexpected_keys)
print(torch.equal(warm.conv1.weight, model.conv1.weight))
try:
    warm.load_state_dict(torch.load("model.pt"))
except RuntimeError as error:
    print(error)

print("--- renamed keys")


class Renamed(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.ModuleDict({"stem": nn.Conv2d(3, 6, 5)})
        self.head = nn.Linear(32, 10)


names = {"conv1.": "backbone.stem.", "fc2.": "head."}
state = OrderedDict(
    (new + name.removeprefix(old), value)
    for name, value in torch.load("model.pt").items()
    for old, new in names.items()
    if name.startswith(old)
)
renamed = Renamed()
print(renamed.load_state_dict(state))
print(torch.equal(renamed.head.weight, model.fc2.weight))

print("--- a size mismatch")
try:
    Net(classes=5).load_state_dict(torch.load("model.pt"))
except RuntimeError as error:
    print(error)
state = torch.load("model.pt")
fitting = {name: value for name, value in state.items() if not name.startswith("fc2.")}
print(Net(classes=5).load_state_dict(fitting, strict=False))
