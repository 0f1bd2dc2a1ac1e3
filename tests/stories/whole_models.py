# SPDX-License-Identifier: Apache-2.0
"""Whole models and objects of one's own, which name classes: they need weights_only=False, or
leave for these classes."""

import dataclasses
import io
import pickle

import torch
from torch import nn

torch.manual_seed(0)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2, bias=False))
        self.register_buffer("mean", torch.tensor([0.5, 0.25, 0.125, 0.0]))
        self.scale = 2

    def forward(self, x):
        return self.layers(x - self.mean) * self.scale


print("--- a whole model")
x = torch.randn(3, 4)
model = Net().eval()
torch.save(model, "model.pt")
loaded = torch.load("model.pt", weights_only=False)
print(loaded, type(loaded) is Net, loaded.training)
print(torch.equal(loaded(x), model(x)))
loaded(x).sum().backward()
print(loaded.layers[0].weight.grad.shape, list(loaded.state_dict()))
print(torch.equal(torch.load("model.pt", weights_only=False, mmap=True)(x), model(x)))

print("--- is refused by default")
try:
    torch.load("model.pt")
except pickle.UnpicklingError as error:
    print("Weights only load failed" in str(error), "GLOBAL __main__.Net" in str(error))

print("--- unless its classes are registered")
allowed = [Net, nn.Sequential, nn.Linear, nn.Tanh, set, getattr]
with torch.serialization.safe_globals(allowed):
    print(torch.equal(torch.load("model.pt")(x), model(x)))

print("--- when its class is gone")
OldNet = Net
del Net
try:
    torch.load("model.pt", weights_only=False)
except AttributeError as error:
    print(error)
Net = OldNet

print("--- an object of one's own")


class MyObject:
    def __init__(self, name):
        self.name = name
        self.values = torch.arange(3)
        self.children = []

    def __repr__(self):
        return f"MyObject({self.name!r}, {self.values.tolist()}, {self.children})"


@dataclasses.dataclass
class Config:
    width: int = 3
    names: tuple = ("a", "b")
    extra: dict = dataclasses.field(default_factory=dict)


class Secret:
    """Decides by itself what is saved."""

    def __init__(self, key):
        self.key = key
        self.cache = object()

    def __getstate__(self):
        return {"key": self.key[::-1]}

    def __setstate__(self, state):
        self.key = state["key"][::-1]
        self.cache = None


parent = MyObject("parent")
parent.children += [MyObject("child"), parent.values]
torch.save({"object": parent, "config": Config(extra={"lr": 0.1})}, "objects.pt")
loaded = torch.load("objects.pt", weights_only=False)
print(loaded)
print(loaded["object"].children[1] is loaded["object"].values)
try:
    torch.load("objects.pt")
except pickle.UnpicklingError as error:
    print([name in str(error) for name in ("Weights only load failed", "MyObject")])
with torch.serialization.safe_globals([MyObject, Config]):
    print(torch.load("objects.pt"))

torch.save(Secret("key"), "secret.pt")
print(vars(torch.load("secret.pt", weights_only=False)))
torch.serialization.add_safe_globals([Secret])
print(vars(torch.load("secret.pt")))

print("--- functions, classes and a pickle module of one's own")
functions = [nn.functional.relu, nn.Linear, Config, len]
torch.save(functions, "functions.pt")
print(torch.load("functions.pt", weights_only=False) == functions)


class Renaming(pickle.Unpickler):
    """Finds what has another name now."""

    def find_class(self, module, name):
        return Config if name == "MyObject" else super().find_class(module, name)


class renaming_pickle:
    Unpickler = Renaming
    load = staticmethod(pickle.load)


renamed = torch.load("objects.pt", pickle_module=renaming_pickle, weights_only=False)
print(type(renamed["object"]).__name__, sorted(vars(renamed["object"])))
try:
    torch.load("objects.pt", pickle_module=renaming_pickle, weights_only=True)
except RuntimeError as error:
    print(error)

print("--- through memory, as copies are made")
buffer = io.BytesIO()
torch.save(model, buffer)
buffer.seek(0)
copy = torch.load(buffer, weights_only=False)
with torch.no_grad():
    copy.mean.fill_(0)
print(model.mean.tolist(), copy.mean.tolist())
