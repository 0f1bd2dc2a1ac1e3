# SPDX-License-Identifier: Apache-2.0
"""Training that is interrupted and goes on from its checkpoint as if nothing had happened."""

import pickle
import random

import numpy as np
import torch
from torch import nn


class Training:
    """A model with all that decides its next step."""

    def __init__(self, optimizer):
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 1))
        self.optimizer = OPTIMIZERS[optimizer](self.model.parameters())
        self.scheduler = torch.optim.lr_scheduler.SequentialLR(
            self.optimizer,
            [
                torch.optim.lr_scheduler.LinearLR(self.optimizer, 0.5, total_iters=2),
                torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=8),
            ],
            milestones=[2],
        )
        self.scaler = torch.amp.GradScaler("cpu", init_scale=256.0, growth_interval=3)
        self.epoch = 0
        self.loss = None

    def run(self, epochs):
        losses = []
        for _ in range(epochs):
            x = torch.randn(32, 8) + random.random() + np.random.rand()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                self.loss = nn.functional.mse_loss(self.model(x).float(), x.sum(1, keepdim=True))
            self.optimizer.zero_grad()
            self.scaler.scale(self.loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.scheduler.step()
            self.epoch += 1
            losses.append(f"{self.loss.item():.6f} {self.scheduler.get_last_lr()[0]:.6f}")
        return losses

    def save(self, path):
        torch.save(
            {
                "epoch": self.epoch,
                "model_state_dict": self.model.state_dict(),
                "optimizer_state_dict": self.optimizer.state_dict(),
                "scheduler_state_dict": self.scheduler.state_dict(),
                "scaler_state_dict": self.scaler.state_dict(),
                "loss": self.loss,
                "rng": {
                    "torch": torch.get_rng_state(),
                    "numpy": np.random.get_state(),
                    "python": random.getstate(),
                },
            },
            path,
        )

    def resume(self, checkpoint):
        self.model.load_state_dict(checkpoint["model_state_dict"])
        self.optimizer.load_state_dict(checkpoint["optimizer_state_dict"])
        self.scheduler.load_state_dict(checkpoint["scheduler_state_dict"])
        self.scaler.load_state_dict(checkpoint["scaler_state_dict"])
        self.epoch, self.loss = checkpoint["epoch"], checkpoint["loss"]
        torch.set_rng_state(checkpoint["rng"]["torch"])
        np.random.set_state(checkpoint["rng"]["numpy"])
        random.setstate(checkpoint["rng"]["python"])
        self.model.train()


OPTIMIZERS = {
    "SGD": lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9),
    "AdamW": lambda parameters: torch.optim.AdamW(parameters, lr=0.01, amsgrad=True),
    "Adagrad": lambda parameters: torch.optim.Adagrad(parameters, lr=0.01),
}
reconstruct = np.ndarray(0).__reduce__()[0]
NUMPY_STATE = [
    np.ndarray,
    np.dtype,
    type(np.dtype(np.uint32)),
    (reconstruct, "numpy.core.multiarray._reconstruct"),
    (reconstruct, "numpy._core.multiarray._reconstruct"),
]

for name in OPTIMIZERS:
    print("---", name)
    path = f"{name}.tar"
    training = Training(name)
    print(training.run(3))
    training.save(path)
    expected = training.run(4)
    print(expected)

    with torch.serialization.safe_globals(NUMPY_STATE):
        for options in ({}, {"mmap": True}, {"map_location": "cpu"}, {"weights_only": False}):
            resumed = Training(name)
            resumed.resume(torch.load(path, **options))
            print(options, resumed.epoch, resumed.loss, resumed.run(4) == expected)

print("--- what the checkpoint holds")
checkpoint = torch.load("AdamW.tar", weights_only=False)
print(list(checkpoint), checkpoint["loss"].requires_grad, checkpoint["scaler_state_dict"])
print(checkpoint["scheduler_state_dict"]["_milestones"], checkpoint["rng"]["numpy"][0])
print(type(checkpoint["rng"]["numpy"][1]), checkpoint["rng"]["numpy"][1].dtype)
for key, value in checkpoint["optimizer_state_dict"]["state"][0].items():
    print(key, tuple(value.shape), value.dtype)
print(checkpoint["optimizer_state_dict"]["param_groups"])

print("--- NumPy's state needs leave")
try:
    torch.load("AdamW.tar")
except pickle.UnpicklingError as error:
    print("Weights only load failed" in str(error), "_reconstruct" in str(error))
print(np.ndarray in torch.serialization.get_safe_globals())
torch.serialization.add_safe_globals(NUMPY_STATE)
print(torch.load("AdamW.tar")["epoch"])
