# SPDX-License-Identifier: Apache-2.0
"""Wrapped models, whose state dicts have prefixes: torch.compile, DataParallel, averaged ones."""

import copy

import torch
from torch import nn
from torch.optim.swa_utils import SWALR, AveragedModel, get_ema_multi_avg_fn, update_bn

torch.manual_seed(0)
x = torch.randn(8, 4)


def make():
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


def without(prefix, state):
    return {name.removeprefix(prefix): value for name, value in state.items()}


model = make().eval()
expected = model(x)

print("--- torch.compile")
compiled = torch.compile(model, backend="eager")
print(torch.equal(compiled(x), expected))
torch.save(compiled.state_dict(), "compiled.pt")
state = torch.load("compiled.pt")
print(list(state)[:2], list(state._metadata)[:3])
plain = make().eval()
try:
    plain.load_state_dict(state)
except RuntimeError as error:
    print(str(error)[:100])
print(plain.load_state_dict(without("_orig_mod.", state)), torch.equal(plain(x), expected))
again = torch.compile(make().eval(), backend="eager")
print(again.load_state_dict(torch.load("compiled.pt", mmap=True)), torch.equal(again(x), expected))

print("--- loaded tensors in a compiled function")
weights = torch.load("compiled.pt")
function = torch.compile(
    lambda x, weights: x @ weights["_orig_mod.0.weight"].T, backend="eager", fullgraph=True
)
print(torch.equal(function(x, weights), x @ model[0].weight.T))

print("--- DataParallel")
parallel = nn.DataParallel(model)
torch.save(parallel.state_dict(), "parallel.pt")
state = torch.load("parallel.pt", map_location=lambda storage, location: storage)
print(list(state)[:2])
plain = make().eval()
print(plain.load_state_dict(without("module.", state)), torch.equal(plain(x), expected))
nn.modules.utils.consume_prefix_in_state_dict_if_present(state, "module.")
print(list(state)[:2], list(state._metadata)[:3])
print(make().load_state_dict(state))
other = nn.DataParallel(make().eval())
print(other.load_state_dict(torch.load("parallel.pt")), torch.equal(other(x), expected))
print(make().load_state_dict(torch.load("parallel.pt"), strict=False).unexpected_keys[:2])

print("--- both")
both = torch.compile(nn.DataParallel(make()), backend="eager")
torch.save(both.state_dict(), "both.pt")
print(next(iter(torch.load("both.pt"))))
torch.save(parallel.module.state_dict(), "plain.pt")
print(next(iter(torch.load("plain.pt"))))

print("--- an exponential moving average by hand")
shadow = {name: value.clone() for name, value in model.state_dict().items()}
for value in model.parameters():
    value.data.mul_(0.5)
for name, value in model.state_dict().items():
    if value.is_floating_point():
        shadow[name].lerp_(value, 0.1)
torch.save({"model": model.state_dict(), "ema": shadow, "decay": 0.9}, "ema.pt")
checkpoint = torch.load("ema.pt")
plain = make().eval()
print(plain.load_state_dict(checkpoint["ema"]), f"{plain(x).sum().item():.6f}")
print(plain.load_state_dict(checkpoint["model"]), f"{plain(x).sum().item():.6f}")

print("--- averaged models")


def train(model, averaged, optimizer, scheduler, steps):
    torch.manual_seed(steps)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(8, 4)).pow(2).mean().backward()
        optimizer.step()
        averaged.update_parameters(model)
        scheduler.step()
    return f"{sum(value.sum().item() for value in averaged.module.parameters()):.6f}"


def averaging(kind):
    torch.manual_seed(3)
    model = make()
    options = {"multi_avg_fn": get_ema_multi_avg_fn(0.9)} if kind == "ema" else {}
    averaged = AveragedModel(model, use_buffers=kind == "ema", **options)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return model, averaged, optimizer, SWALR(optimizer, swa_lr=0.05, anneal_epochs=4)


for kind in ("swa", "ema"):
    parts = averaging(kind)
    print(kind, train(*parts, steps=3))
    torch.save([part.state_dict() for part in parts], f"{kind}.pt")
    expected = train(*parts, steps=4)
    parts = averaging(kind)
    for part, state in zip(parts, torch.load(f"{kind}.pt"), strict=True):
        part.load_state_dict(state)
    print(parts[1].n_averaged, parts[3].get_last_lr(), train(*parts, steps=4) == expected)
    update_bn([x, -x], parts[1])
    print(f"{parts[1](x).sum().item():.6f}", list(parts[1].state_dict())[:2])
    print(copy.deepcopy(parts[1]).n_averaged)
