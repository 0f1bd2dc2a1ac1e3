# SPDX-License-Identifier: Apache-2.0
"""What training scripts save: state dicts of real modules, optimizers, schedulers, RNG state."""

import collections

import ptio
import pytest
from support.compare import assert_same


@pytest.fixture
def modules(torch):
    from support import torch_corpus

    torch.manual_seed(0)
    return torch_corpus.modules()


def test_state_dicts_of_modules(modules, torch_save, torch_load):
    path = torch_save({name: module.state_dict() for name, module in modules.items()})
    ours, theirs = ptio.load(path), torch_load(path)
    assert_same(ours, theirs)
    assert ours["linear"]._metadata == collections.OrderedDict({"": {"version": 1}})


def test_state_dict_whose_values_are_parameters(modules, torch_save, torch_load):
    obj = dict(modules["transformer"].named_parameters())
    path = torch_save(obj)
    assert_same(ptio.load(path), torch_load(path))


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_training_checkpoint(torch, torch_save, torch_load, name):
    from support import torch_corpus

    path = torch_save(torch_corpus.training_checkpoint(name))
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
