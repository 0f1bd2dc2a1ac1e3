# SPDX-License-Identifier: Apache-2.0
"""Tensors of every dtype in every layout, for torch.save. Imports torch: ask for its fixture."""

import collections
import random

import torch
from torch import nn

from . import checkpoints

DTYPES = [getattr(torch, name) for name in checkpoints.ITEMSIZE]

LAYOUTS = {
    "contiguous": ((2, 3, 4), (12, 4, 1), 0),
    "transposed": ((4, 3, 2), (1, 4, 12), 0),
    "offset view": ((2, 4), (12, 1), 5),
    "expanded": ((5, 3), (0, 2), 1),
    "scalar": ((), (), 7),
    "empty": ((0, 3), (3, 1), 0),
    "empty at the end": ((2, 0), (1, 1), 24),
    "channels last": ((1, 3, 2, 2), (12, 1, 6, 3), 0),
    "overlapping windows": ((6, 4), (3, 1), 2),
    "one element, odd strides": ((1, 1), (100, 7), 3),
    "last element": ((1,), (1,), 23),
}


def memory(dtype, seed):
    """24 elements of a dtype with random bytes: NaNs with payloads, subnormals and all."""
    generator = torch.Generator().manual_seed(seed)
    high = 2 if dtype is torch.bool else 256
    size = 24 * dtype.itemsize
    return torch.randint(high, (size,), dtype=torch.uint8, generator=generator).untyped_storage()


def tensor(dtype, layout, storage=None, seed=0):
    shape, stride, offset = LAYOUTS[layout]
    storage = memory(dtype, seed) if storage is None else storage
    return torch.empty(0, dtype=dtype).set_(storage, offset, shape, stride)


def every_layout(dtype, seed=0):
    """Once over one shared storage, once each over its own."""
    storage = memory(dtype, seed)
    return {
        "shared": {name: tensor(dtype, name, storage) for name in LAYOUTS},
        "own": {name: tensor(dtype, name, seed=seed + i) for i, name in enumerate(LAYOUTS)},
        "no memory": torch.empty(0, dtype=dtype),
    }


def sparse_tensors():
    dense = torch.zeros(4, 6)
    dense[0, 1], dense[2, 3], dense[3, 5] = 1.5, -2.0, float("inf")
    indices = torch.tensor([[0, 0, 2], [1, 1, 3]])
    return {
        "coo": dense.to_sparse(),
        "coo uncoalesced": torch.sparse_coo_tensor(indices, torch.tensor([1.0, 2.0, 3.0]), (4, 6)),
        "coo hybrid": torch.sparse_coo_tensor([[0, 2]], torch.ones(2, 3), (4, 3)),
        "coo empty": torch.zeros(2, 3).to_sparse(),
        "coo ints": dense.nan_to_num(0, 9).long().to_sparse(),
        "csr": dense.to_sparse_csr(),
        "csc": dense.to_sparse_csc(),
        "bsr": dense.to_sparse_bsr((2, 3)),
        "bsc": dense.to_sparse_bsc((2, 3)),
        "csr batched": torch.stack([dense, dense]).to_sparse_csr(),
    }


def quantized_tensors():
    x = torch.linspace(-2, 2, 12).reshape(3, 4)
    scales, points = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.0, 1.0, 2.0])
    per_channel = torch.quantize_per_channel
    return {
        "qint8": torch.quantize_per_tensor(x, 0.05, 3, torch.qint8),
        "quint8": torch.quantize_per_tensor(x, 0.05, 100, torch.quint8),
        "qint32": torch.quantize_per_tensor(x, 0.001, 0, torch.qint32),
        "transposed": torch.quantize_per_tensor(x, 0.05, 3, torch.qint8).t(),
        "view": torch.quantize_per_tensor(x, 0.05, 3, torch.qint8)[1:, 1:3],
        "per channel": per_channel(x, scales.double(), points.long(), 0, torch.qint8),
        "float zero points": per_channel(x, scales, points, 0, torch.quint8),
        "quint4x2": per_channel(x, scales, points, 0, torch.quint4x2),
        "quint2x4": per_channel(x, scales, points, 0, torch.quint2x4),
    }


def modules():
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


_OPTIMIZERS = {
    "SGD": {"lr": 0.1, "momentum": 0.9},
    "Adam": {"amsgrad": True},
    "AdamW": {"weight_decay": 0.01},
    "RMSprop": {},
    "Adagrad": {},
}


def training_checkpoint(optimizer_name):
    """What a training script saves after two steps."""
    torch.manual_seed(1)
    model = nn.Linear(3, 2)
    kind = getattr(torch.optim, optimizer_name)
    optimizer = kind(model.parameters(), **_OPTIMIZERS[optimizer_name])
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[1, 5, 5])
    for _ in range(2):
        loss = model(torch.randn(4, 3)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    scaler = {"scale": 65536.0, "growth_factor": 2.0, "growth_interval": 2000, "_growth_tracker": 0}
    return {
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


def parameters():
    """Parameters, buffers and tensors with attributes; one refers back to its dict."""
    weight = nn.Parameter(torch.arange(4.0))
    tagged = nn.Parameter(torch.ones(2))
    tagged.tag = {"group": [1, 2], "weight": weight}
    plain = torch.zeros(3)
    plain.note = "an attribute"
    obj = {
        "parameter": weight,
        "again": weight,
        "data": weight.data,
        "frozen": nn.Parameter(torch.ones(2), requires_grad=False),
        "tagged": tagged,
        "buffer": nn.Buffer(torch.ones(2)),
        "plain": plain,
        "needs grad": torch.ones(2, requires_grad=True),
        "list": nn.ParameterList([torch.ones(1)]).state_dict(),
        "named": dict(nn.TransformerEncoderLayer(8, 2, 16).named_parameters()),
    }
    tagged.owner = obj
    return obj


def bits():
    """Conjugate and negative bits over shared storages."""
    base = torch.tensor([[1 + 2j, 3 - 4j], [complex("nan+1j"), 0j]])
    negative = torch.tensor([1 + 2j, 3 - 4j]).conj().imag
    return [base, base.conj(), base.t().conj(), base.conj()[0, :1], negative]


def meta_tensors():
    return {
        "meta": torch.empty(3, 4, device="meta"),
        "view": torch.empty(3, 4, device="meta").t()[1:],
        "u16": torch.empty(5, dtype=torch.uint16, device="meta"),
        "parameter": nn.Parameter(torch.empty(2, device="meta")),
    }


def nested_tensors():
    parts = [torch.arange(6.0).reshape(2, 3), torch.ones(4, 3), torch.zeros(1, 3)]
    jagged = torch.nested.nested_tensor(parts, layout=torch.jagged)
    offsets, lengths = torch.tensor([0, 3, 5]), torch.tensor([2, 1])
    holes = torch.nested.nested_tensor_from_jagged(torch.rand(6, 2), offsets, lengths)
    return {"strided": torch.nested.nested_tensor(parts), "jagged": jagged, "with holes": holes}


def storages():
    base = torch.arange(6.0)
    return {
        "tensor": base[2:],
        "typed": base.storage(),
        "again": base.storage(),
        "bytes": torch.arange(4).untyped_storage(),
        "half": torch.arange(3, dtype=torch.float16).storage(),
        "empty": [torch.empty(0).storage(), torch.empty(0)],
    }


def plain_values():
    """Everything but tensors that torch's own unpickler for weights reads."""
    inner = collections.OrderedDict(a=1, b=[2])
    inner._metadata = collections.OrderedDict([("", {"version": 1})])
    shared = ["text", inner]
    shared.append(shared)
    dtypes = sorted({d for d in vars(torch).values() if isinstance(d, torch.dtype)}, key=str)
    return {
        "size": [torch.Size([]), torch.Size([2, 3])],
        "device": [torch.device("cpu"), torch.device("cuda", 1), torch.device("meta")],
        "dtypes": dtypes,
        "layouts": [torch.strided, torch.sparse_coo, torch.sparse_csr],
        "qschemes": [torch.per_tensor_affine, torch.per_channel_affine_float_qparams],
        "keys": {torch.float32: 1, torch.device("cuda:0"): 2, torch.Size([1]): 3, (1, "a"): 4},
        "numbers": [0, -1, 2**31, -(2**63), 2**64, 2**1000, True, 1.5, float("-inf"), -0.0, 1 - 2j],
        "texts": ["", "a", "n\u00e4\U0001f525", "\ud800", b"bytes \xff", bytearray(b"array")],
        "containers": [(), (1,), (1, 2, 3, 4), [], {}, set(), {1, "a", (2.5, None)}],
        "counter": collections.Counter("abca"),
        "shared": [shared, shared, inner, (shared,)],
    }


KINDS = {
    "layouts": lambda: {str(d): every_layout(d, i) for i, d in enumerate(DTYPES)},
    "plain": plain_values,
    "parameters": parameters,
    "sparse": sparse_tensors,
    "quantized": quantized_tensors,
    "nested": nested_tensors,
    "meta": meta_tensors,
    "bits": bits,
    "storages": storages,
    "modules": lambda: {name: module.state_dict() for name, module in modules().items()},
    **{name: lambda name=name: training_checkpoint(name) for name in _OPTIMIZERS},
}
