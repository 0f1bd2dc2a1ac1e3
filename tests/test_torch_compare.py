# SPDX-License-Identifier: Apache-2.0
"""The comparison that the tests of ptio.torch.load rest on sees every difference."""

import collections
import math
import struct

import pytest


def _shared(torch):
    base = torch.arange(6.0)
    return [base[:4], base[2:]]


def _apart(torch):
    return [torch.arange(6.0)[:4], torch.arange(6.0)[2:]]


def _viewing(torch):
    base = torch.arange(6.0)
    return [base, base[:]]


def _aliased(torch):
    base = torch.arange(6.0)
    return [base, torch.empty(0).set_(base.untyped_storage(), 0, (6,), (1,))]


def _with(torch, **attributes):
    tensor = torch.ones(2)
    vars(tensor).update(attributes)
    return tensor


def _nan(torch, payload):
    return torch.tensor([struct.unpack("<f", struct.pack("<I", 0x7FC00000 + payload))[0]])


def _ordered(**attributes):
    result = collections.OrderedDict(a=1)
    vars(result).update(attributes)
    return result


def _one_list():
    inner = [1]
    return [inner, inner]


DIFFERENT = {
    "values": lambda t: (t.ones(2), t.zeros(2)),
    "bits of zero": lambda t: (t.tensor([0.0]), t.tensor([-0.0])),
    "bits of NaN": lambda t: (_nan(t, 0), _nan(t, 1)),
    "dtype": lambda t: (t.ones(2), t.ones(2, dtype=t.float64)),
    "shape": lambda t: (t.ones(2), t.ones(2, 1)),
    "stride": lambda t: (t.ones(2, 2), t.ones(2, 2).t()),
    "offset": lambda t: (t.ones(4)[:2], t.ones(4)[2:]),
    "size of the storage": lambda t: (t.ones(4)[:2], t.ones(2)),
    "sharing": lambda t: (_shared(t), _apart(t)),
    "not sharing": lambda t: (_apart(t), _shared(t)),
    "views": lambda t: (_viewing(t), _aliased(t)),
    "requires_grad": lambda t: (t.ones(2), t.ones(2, requires_grad=True)),
    "leaf": lambda t: (t.ones(2, requires_grad=True), t.ones(2, requires_grad=True) + 0),
    "parameter": lambda t: (t.ones(2), t.nn.Parameter(t.ones(2), requires_grad=False)),
    "conj": lambda t: (t.ones(2) * 1j, (t.ones(2) * -1j).conj()),
    "attributes": lambda t: (_with(t), _with(t, a=1)),
    "value of an attribute": lambda t: (_with(t, a=[1]), _with(t, a=[2])),
    "one tensor or two": lambda t: ([t.ones(2)] * 2, [t.ones(2), t.ones(2)]),
    "two tensors or one": lambda t: ([t.ones(2), t.ones(2)], [t.ones(2)] * 2),
    "device": lambda t: (t.ones(2), t.ones(2, device="meta")),
    "layout": lambda t: (t.eye(2).to_sparse(), t.eye(2).to_sparse_csr()),
    "sparse values": lambda t: (t.eye(2).to_sparse(), (t.eye(2) * 2).to_sparse()),
    "sparse indices": lambda t: (t.eye(2).to_sparse(), t.eye(2).flip(0).to_sparse()),
    "quantization": lambda t: (_quantized(t, 1.0), _quantized(t, 2.0)),
    "dtype of a storage": lambda t: (t.ones(2).storage(), t.ones(2, dtype=t.int32).storage()),
    "values of a storage": lambda t: (t.ones(2).storage(), t.zeros(2).storage()),
    "size or tuple": lambda t: (t.Size([1]), (1,)),
    "dtypes": lambda t: (t.float32, t.float64),
    "order": lambda t: ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "class of a dict": lambda t: (_ordered(), {"a": 1}),
    "attributes of a dict": lambda t: (_ordered(), _ordered(note=1)),
    "number": lambda t: (1, True),
    "float": lambda t: (0.0, -0.0),
    "identity": lambda t: (_one_list(), [[1], [1]]),
    "attributes of an object": lambda t: (Plain(1), Plain(2)),
    "class of an object": lambda t: (Plain(1), Other(1)),
}


class Plain:
    def __init__(self, value):
        self.value = value


class Other(Plain):
    pass


def _quantized(torch, scale):
    return torch.quantize_per_tensor(torch.ones(2) * scale, scale, 0, torch.qint8)


@pytest.mark.parametrize("kind", DIFFERENT)
def test_every_difference_is_seen(torch, kind):
    from support.torch_compare import assert_same_objects

    ours, theirs = DIFFERENT[kind](torch)
    with pytest.raises(AssertionError):
        assert_same_objects(ours, theirs)
    with pytest.raises(AssertionError):
        assert_same_objects(theirs, ours)


@pytest.mark.parametrize("kind", ["plain", "parameters", "sparse", "quantized", "nested", "Adam"])
def test_two_loads_of_one_file_are_the_same(torch, torch_save, torch_load, kind):
    from support import torch_corpus
    from support.torch_compare import assert_same_objects

    path = torch_save([math.nan, torch_corpus.KINDS[kind]()])
    assert_same_objects(torch_load(path), torch_load(path))
