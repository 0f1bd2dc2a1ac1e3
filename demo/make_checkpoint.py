# SPDX-License-Identifier: Apache-2.0
"""Trains a small network to tell two spirals apart, and saves what one saves while training.

Needs torch. demo/spirals.tar was written by this script with torch 2.13.0:

    python demo/make_checkpoint.py [OUTPUT]
"""

import math
import sys
from pathlib import Path

import torch
from torch import nn

POINTS = 400
EPOCHS = 300


def two_spirals(generator):
    """POINTS points (x, y) on two arms that wind around each other, and the arm of each."""
    arm = torch.arange(POINTS) % 2
    distance = torch.rand(POINTS, generator=generator).sqrt()
    angle = distance * 3 * math.pi + arm * math.pi
    points = torch.stack([angle.cos(), angle.sin()], dim=1) * distance[:, None]
    noise = torch.randn(POINTS, 2, generator=generator) * 0.01
    return points + noise, arm


def make_model():
    return nn.Sequential(
        nn.Linear(2, 48),
        nn.BatchNorm1d(48),
        nn.SiLU(),
        nn.Linear(48, 48),
        nn.BatchNorm1d(48),
        nn.SiLU(),
        nn.Linear(48, 2),
    )


def main(output):
    torch.manual_seed(0)
    points, arm = two_spirals(torch.Generator().manual_seed(0))
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=EPOCHS)
    history = []
    for _ in range(EPOCHS):
        loss = nn.functional.cross_entropy(model(points), arm)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        history.append(loss.item())
    model.eval()
    accuracy = (model(points).argmax(dim=1) == arm).float().mean().item()
    torch.save(
        {
            "epoch": EPOCHS,
            "loss": history[-1],
            "accuracy": accuracy,
            "model_state_dict": model.state_dict(),
            "optimizer_state_dict": optimizer.state_dict(),
            "scheduler_state_dict": scheduler.state_dict(),
            "rng_state": torch.get_rng_state(),
            "history": history[:: EPOCHS // 20],
            "data": {"points": points, "arm": arm},
        },
        output,
    )
    print(f"{output}: {output.stat().st_size} bytes, loss {history[-1]:.4f}, accuracy {accuracy}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("spirals.tar"))
