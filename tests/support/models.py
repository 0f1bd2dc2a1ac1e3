# SPDX-License-Identifier: Apache-2.0
"""Models to load into, and what must hold after it. Imports torch: ask for its fixture."""

import contextlib
import copy

import ptio.torch as pt
import pytest
import torch
from torch import nn


def net():
    """A model with parameters, buffers and modules in modules; other values each time."""
    encoder = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
    return nn.ModuleDict({"encoder": encoder, "head": nn.Linear(8, 2)})


def tied():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    return model


def tensors_of(model):
    return [*model.parameters(), *model.buffers()]


def assert_same_state(ours, theirs):
    """Bit for bit. `theirs` is a model or a state dict."""
    ours = ours.state_dict()
    theirs = theirs.state_dict() if isinstance(theirs, nn.Module) else theirs
    assert list(ours) == list(theirs)
    for name, value in theirs.items():
        if isinstance(value, torch.Tensor) and not nn.parameter.is_lazy(value):
            assert type(ours[name]) is type(value), name
            torch.testing.assert_close(ours[name], value, rtol=0, atol=0, equal_nan=True)


@contextlib.contextmanager
def unchanged(model):
    """The model has the same tensors with the same bytes afterwards."""
    before = [(id(tensor), tensor._version) for tensor in tensors_of(model)]
    values = [tensor.data.clone() for tensor in tensors_of(model)]
    yield
    assert [(id(tensor), tensor._version) for tensor in tensors_of(model)] == before
    for tensor, value in zip(tensors_of(model), values, strict=False):
        if not (nn.parameter.is_lazy(tensor) or value.is_meta or value.layout != torch.strided):
            assert torch.equal(tensor.data, value)


def load_both(model, path, strict=True, *, state=None, **options):
    """Loads with torch into a copy of the model, with ptio into the model: the same happens.

    Args:
        state: what torch shall load, where it is not the whole file.

    Returns:
        What both returned or raised; in the latter case the model has not changed.
    """
    theirs = copy.deepcopy(model)
    state = torch.load(path) if state is None else state
    assign = {"assign": True} if options.get("assign") else {}
    error = None
    try:
        expected = theirs.load_state_dict(state, strict=strict, **assign)
    except Exception as e:
        error = e
    if error is not None:
        with unchanged(model), pytest.raises(type(error)) as caught:
            pt.load_model(model, path, strict, **options)
        assert str(caught.value) == str(error)
        return caught.value
    result = pt.load_model(model, path, strict, **options)
    assert type(result) is type(expected)
    assert result == expected
    assert_same_state(model, theirs)
    return result
