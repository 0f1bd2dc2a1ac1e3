# SPDX-License-Identifier: Apache-2.0
"""Saved on one device, loaded on another, with every form of map_location."""

import torch
from torch import nn

torch.manual_seed(0)
HAS_CUDA = torch.cuda.is_available()
model = nn.Linear(3, 2)
torch.save(model.state_dict(), "cpu.pt")


def show(state):
    for name, value in state.items():
        print("  ", name, value.device, tuple(value.shape), value.dtype, value.stride())


def save_as_if_on(tag, state, path):
    """A file as another machine writes it, whose devices this one may not have."""
    package = (0, lambda storage: tag, lambda storage, location: None)
    torch.serialization.register_package(*package)
    torch.save(state, path)
    torch.serialization._package_registry.remove(package)


print("--- every form of map_location")
FORMS = {
    "None": None,
    "str": "cpu",
    "device": torch.device("cpu"),
    "dict": {"cuda:0": "cpu"},
    "dict of others": {"cuda:1": "cuda:0"},
    "callable": lambda storage, location: storage,
    "callable that leaves it": lambda storage, location: None,
    "meta": "meta",
    "meta device": torch.device("meta"),
    "callable to meta": lambda storage, _: torch.UntypedStorage(storage.nbytes(), device="meta"),
}
for name, form in FORMS.items():
    for weights_only in (True, False):
        print(name, weights_only)
        show(torch.load("cpu.pt", map_location=form, weights_only=weights_only))
show(torch.load("cpu.pt", "cpu", mmap=True))

print("--- what a callable is given")
seen = []


def remember(storage, location):
    seen.append((type(storage).__name__, storage.device.type, storage.nbytes(), location))
    return storage


torch.load("cpu.pt", map_location=remember)
print(seen)

print("--- a file from a machine with GPUs")
save_as_if_on("cuda:1", model.state_dict(), "gpu.pt")
for form in ("cpu", torch.device("cpu"), {"cuda:1": "cpu"}, lambda storage, location: storage):
    state = torch.load("gpu.pt", map_location=form)
    print(torch.equal(state["weight"], model.weight), state["weight"].device)
show(torch.load("gpu.pt", map_location="meta"))
for form in (None, "cuda:0", {"cuda:1": "cuda:0"}, {"cuda:0": "cpu"}):
    try:
        show(torch.load("gpu.pt", map_location=form))
    except RuntimeError as error:
        print(error)
for form in ("nowhere", {"cuda:1": "nowhere:0"}, "cpu:x", torch.device("cpu", 0)):
    try:
        show(torch.load("gpu.pt", map_location=form))
    except (RuntimeError, AttributeError) as error:
        print(type(error).__name__, error)

print("--- a device of one's own")
torch.serialization.register_package(
    5,
    lambda storage: "shelf:3" if storage.nbytes() == 8 else None,
    lambda storage, location: storage if location.startswith("shelf") else None,
)
torch.save(model.state_dict(), "shelf.pt")
torch.load("shelf.pt", map_location=lambda storage, location: print(location))
show(torch.load("shelf.pt"))
show(torch.load("shelf.pt", map_location={"cpu": "meta", "shelf:3": "cpu"}))

print("--- models on meta")
with torch.device("meta"):
    empty = nn.Linear(3, 2)
    show(torch.load("cpu.pt"))
print(empty.weight.is_meta, empty.load_state_dict(torch.load("cpu.pt"), assign=True))
print(empty.weight.device, torch.equal(empty(torch.ones(1, 3)), model(torch.ones(1, 3))))
with torch.device("meta"):
    empty = nn.Linear(3, 2)
torch.save(empty.state_dict(), "meta.pt")
show(torch.load("meta.pt"))
show(torch.load("meta.pt", map_location="cpu"))
print(empty.load_state_dict(torch.load("cpu.pt", map_location="meta"), assign=True))
print(empty.to_empty(device="cpu").weight.shape)

if HAS_CUDA:
    print("--- on a GPU")
    state = torch.load("cpu.pt", map_location="cuda")
    show(state)
    print(torch.equal(state["weight"].cpu(), model.weight))
    torch.save(model.cuda().state_dict(), "cuda.pt")
    for form in (None, "cpu", "cuda:0", torch.device("cuda"), {"cuda:0": "cpu"}):
        show(torch.load("cuda.pt", map_location=form))
    show(torch.load("cuda.pt", map_location=lambda storage, location: storage.cuda(0)))
