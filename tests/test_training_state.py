# SPDX-License-Identifier: Apache-2.0
"""What training scripts save: state dicts of real modules, optimizers, schedulers, RNG state."""

import collections
import random

import ptio
import pytest
from support.compare import assert_same


def _modules(torch):
    nn = torch.nn
    tied = nn.Sequential(nn.Embedding(7, 5), nn.Linear(5, 7, bias=False))
    tied[1].weight = tied[0].weight
    return {
        "linear": nn.Linear(3, 2),
        "conv": nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
        "conv channels last": nn.Conv2d(4, 4, 3).to(memory_format=torch.channels_last),
        "lstm": nn.LSTM(4, 3, num_layers=2, bidirectional=True),
        "embedding": nn.Embedding(10, 4, padding_idx=0),
        "transformer": nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
        "tied": tied,
        "half": nn.Linear(3, 2).half(),
        "bfloat16": nn.Linear(3, 2).bfloat16(),
        "no parameters": nn.ReLU(),
    }


@pytest.fixture
def modules(torch):
    torch.manual_seed(0)
    return _modules(torch)


def test_state_dicts_of_modules(modules, torch_save, torch_load):
    path = torch_save({name: module.state_dict() for name, module in modules.items()})
    ours, theirs = ptio.load(path), torch_load(path)
    assert_same(ours, theirs)
    assert ours["linear"]._metadata == collections.OrderedDict({"": {"version": 1}})


def test_state_dict_whose_values_are_parameters(modules, torch_save, torch_load):
    obj = dict(modules["transformer"].named_parameters())
    path = torch_save(obj)
    assert_same(ptio.load(path), torch_load(path))


def _train(torch, model, optimizer, scheduler):
    for _ in range(2):
        loss = model(torch.randn(4, 3)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    return loss


_OPTIMIZERS = {
    "SGD": {"lr": 0.1, "momentum": 0.9},
    "Adam": {"amsgrad": True},
    "AdamW": {"weight_decay": 0.01},
    "RMSprop": {},
    "Adagrad": {},
}


@pytest.mark.parametrize("name", _OPTIMIZERS)
def test_training_checkpoint(torch, torch_save, torch_load, name):
    torch.manual_seed(1)
    model = torch.nn.Linear(3, 2)
    optimizer = getattr(torch.optim, name)(model.parameters(), **_OPTIMIZERS[name])
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[1, 5, 5])
    loss = _train(torch, model, optimizer, scheduler)
    scaler = {"scale": 65536.0, "growth_factor": 2.0, "growth_interval": 2000, "_growth_tracker": 0}
    obj = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "scaler": scaler,
        "epoch": 3,
        "loss": loss.detach(),
        "best": float("-inf"),
        "history": [("train", 0.5), ("val", float("nan"))],
        "rng": torch.get_rng_state(),
        "python rng": random.getstate(),
        "args": {"lr": 1e-3, "name": "run", "resume": None, "amp": True},
    }
    path = torch_save(obj)
    ours, theirs = ptio.load(path), torch_load(path)
    assert_same(ours, theirs)
    assert ours["rng"].dtype == "uint8"


def test_the_counter_of_a_scheduler(torch, torch_save, torch_load):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[30, 80, 80])
    path = torch_save(scheduler.state_dict())
    ours = ptio.load(path)
    assert_same(ours, torch_load(path))
    assert type(ours["milestones"]) is collections.Counter


def test_seeds_beyond_64_bit(torch, torch_save, torch_load):
    obj = {"seed": 2**64, "initial": torch.Generator().initial_seed(), "big": -(2**1000)}
    path = torch_save(obj)
    assert_same(ptio.load(path), torch_load(path))
