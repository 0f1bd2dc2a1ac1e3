# SPDX-License-Identifier: Apache-2.0
"""Checkpoints as trainers such as Lightning's write them: loops, callbacks, hyper parameters; and
transfer learning from one."""

import argparse
import enum
import pathlib
import pickle
from collections import Counter, OrderedDict, defaultdict

import torch
from torch import nn

torch.manual_seed(0)


class Precision(enum.Enum):
    FULL = 32
    MIXED = "16-mixed"


class LitModel(nn.Module):
    """What a LightningModule does with its checkpoint, in short."""

    def __init__(self, width=4, lr=0.1):
        super().__init__()
        self.hparams = {"width": width, "lr": lr}
        self.net = nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, 1))

    @classmethod
    def load_from_checkpoint(cls, path, **options):
        checkpoint = torch.load(path, map_location=lambda storage, location: storage, **options)
        model = cls(**checkpoint["hyper_parameters"])
        model.load_state_dict(checkpoint["state_dict"])
        return model


def progress(total):
    return {"total": dict.fromkeys(("ready", "started", "completed"), total), "current": {}}


model = LitModel(width=6)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=10)
model.net(torch.randn(5, 2)).sum().backward()
optimizer.step()
scheduler.step()
checkpoint = {
    "epoch": 3,
    "global_step": 120,
    "pytorch-lightning_version": "2.5.0",
    "state_dict": model.state_dict(),
    "loops": {
        "fit_loop": {"state_dict": {}, "epoch_progress": progress(3)},
        "validate_loop": {"state_dict": {}, "batch_progress": progress(10)},
    },
    "callbacks": {
        "ModelCheckpoint{'monitor': 'val_loss', 'mode': 'min', 'every_n_epochs': 1}": {
            "monitor": "val_loss",
            "best_model_score": torch.tensor(0.25),
            "best_model_path": "epoch=2-step=90.ckpt",
            "kth_best_model_path": "",
            "best_k_models": {"epoch=2-step=90.ckpt": torch.tensor(0.25)},
        },
        "EarlyStopping": {"wait_count": 1, "patience": 3, "stopped_epoch": 0},
    },
    "optimizer_states": [optimizer.state_dict()],
    "lr_schedulers": [scheduler.state_dict()],
    "MixedPrecision": {"scale": 65536.0, "growth_factor": 2.0, "_growth_tracker": 7},
    "hparams_name": "kwargs",
    "hyper_parameters": OrderedDict(width=6, lr=0.1),
    "datamodule_hyper_parameters": {"batch_size": 32, "splits": [0.8, 0.2], "classes": {1, 2}},
}

print("--- plain")
torch.save(checkpoint, "epoch=3-step=120.ckpt")
print(str(torch.load("epoch=3-step=120.ckpt", weights_only=True)) == str(checkpoint))
x = torch.randn(2, 2)
for options in ({}, {"weights_only": True}, {"weights_only": False}, {"mmap": True}):
    loaded = LitModel.load_from_checkpoint("epoch=3-step=120.ckpt", **options)
    print(loaded.hparams, torch.equal(loaded.net(x), model.net(x)))
loaded = torch.load("epoch=3-step=120.ckpt")
optimizer.load_state_dict(loaded["optimizer_states"][0])
scheduler.load_state_dict(loaded["lr_schedulers"][0])
print(scheduler.get_last_lr(), scheduler.last_epoch, loaded["callbacks"])

print("--- the weights alone")
weights = {name.removeprefix("net."): value for name, value in loaded["state_dict"].items()}
torch.save(weights, "weights.pt")
print(model.net.load_state_dict(torch.load("weights.pt")))

print("--- transfer learning with a frozen backbone")
tuned = LitModel.load_from_checkpoint("epoch=3-step=120.ckpt").net
for parameter in tuned.parameters():
    parameter.requires_grad_(False)
tuned[2] = nn.Linear(6, 3)
optimizer = torch.optim.SGD(
    [parameter for parameter in tuned.parameters() if parameter.requires_grad], lr=0.1
)
for _ in range(3):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(tuned(x), torch.tensor([0, 2]))
    loss.backward()
    optimizer.step()
    print(f"{loss.item():.7f}")
torch.save(tuned.state_dict(), "tuned.pt")
before, after = torch.load("weights.pt"), torch.load("tuned.pt")
print([name for name in before if not before[name].equal(after[name])])

print("--- hyper parameters of other classes")
checkpoint["hyper_parameters"] = argparse.Namespace(
    width=6,
    precision=Precision.MIXED,
    root=pathlib.PurePosixPath("/data/train"),
    counts=Counter("abca"),
    groups=defaultdict(list),
)
torch.save(checkpoint, "rich.ckpt")
try:
    torch.load("rich.ckpt")
except pickle.UnpicklingError as error:
    print("Weights only load failed" in str(error), "argparse.Namespace" in str(error))
print(torch.load("rich.ckpt", weights_only=False)["hyper_parameters"])
needed = [argparse.Namespace, Precision, pathlib.PurePosixPath, defaultdict, list]
with torch.serialization.safe_globals(needed):
    print(torch.load("rich.ckpt")["hyper_parameters"])
print(len(torch.serialization.get_safe_globals()))
