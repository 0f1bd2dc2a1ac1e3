# SPDX-License-Identifier: Apache-2.0
"""Classes for checkpoints whose code is missing: importable as `gone` by support.gone alone."""

import collections
import dataclasses
import enum

import torch
from torch import nn


class Task(enum.Enum):
    DETECT = "detect"


@dataclasses.dataclass
class Config:
    depth: float = 0.33
    names: list = dataclasses.field(default_factory=lambda: ["person", "car"])


class Bottleneck(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x):
        return torch.relu(self.norm(self.conv(x))) + x


class Detect(nn.Module):
    """Its anchors are in the file, and not in the state dict."""

    def __init__(self):
        super().__init__()
        self.register_buffer("anchors", torch.rand(3), persistent=False)
        self.register_buffer("stride", torch.tensor([8.0, 16.0]))
        self.register_buffer("grid", None)
        self.register_parameter("unused", None)
        self.scale = nn.Parameter(torch.rand(()))
        self.cache = torch.ones(2)

    def forward(self, x):
        return x * self.scale


class DetectionModel(nn.Module):
    class Mode(enum.Enum):
        TRAIN = 1

    def __init__(self):
        super().__init__()
        self.yaml = {"nc": 2, "backbone": [[-1, 1, "Conv"]]}
        self.names = {0: "person", 1: "car"}
        self.task, self.mode, self.config = Task.DETECT, self.Mode.TRAIN, Config()
        block = Bottleneck(3)
        self.model = nn.Sequential(nn.Conv2d(1, 3, 1), block, nn.Dropout(), block, Detect())

    def forward(self, x):
        return self.model(x)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embedding.weight


class WithExtraState(nn.Linear):
    def get_extra_state(self):
        return {"scale": torch.ones(1)}

    def set_extra_state(self, state):
        pass


class ModelEMA:
    """Not a module: it has one."""

    def __init__(self, model):
        self.ema, self.updates = model, 5


class StateDict(dict):
    pass


class Subclass(torch.Tensor):
    pass


# --- no modules -------------------------------------------------------------------------------

Point = collections.namedtuple("Point", "x y")


class Items(list):
    pass


class Attributes(dict):
    """Lightning's and EasyDict's way: keys are attributes."""

    def __getattr__(self, name):
        if name not in self:
            raise AttributeError(name)
        return self[name]


class Members(set):
    pass


class Slots:
    __slots__ = ("left", "right")


class SlotsAndDict(Slots):
    pass


class Keywords:
    """Made by NEWOBJ_EX."""

    def __new__(cls, a, *, b):
        made = super().__new__(cls)
        made.given = a, b
        return made

    def __getnewargs_ex__(self):
        return self.given[:1], {"b": self.given[1]}


class Reduced:
    """Made by a call, then filled in every way there is."""

    def __init__(self, a):
        self.a, self.list, self.dict, self.state = a, [], {}, None

    def append(self, item):
        self.list.append(item)

    def __setitem__(self, key, value):
        self.dict[key] = value

    def __setstate__(self, state):
        self.state = state

    def __reduce__(self):
        return Reduced, (self.a,), self.state, iter(self.list), iter(self.dict.items())


class Node:
    def __init__(self, *others):
        self.others = list(others)


def maker(value):
    """Its results are called in turn."""
    return Caller(value)


class Caller:
    def __init__(self, value):
        self.value = value

    def __call__(self, *more):
        return (self.value, *more)

    def __reduce__(self):
        return maker, (self.value,)


class Called:
    """Made by a call of what a call returned."""

    def __reduce__(self):
        return Caller(1), (2, 3)
