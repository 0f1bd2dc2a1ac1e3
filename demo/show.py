# SPDX-License-Identifier: Apache-2.0
"""Loads a checkpoint of a real training run with ptio, and shows what is in it.

Needs no torch; where torch is installed the times are compared.   python demo/show.py [FILE]
"""

import importlib.util
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import ptio

RUNS = 31


def main(path):
    checkpoint = ptio.load(path)
    torch = "has been" if "torch" in sys.modules else "has not been"
    print(f"{path.name}, {path.stat().st_size:,} bytes, is loaded; torch {torch} imported\n")
    for name, value in checkpoint.items():
        print_tree(value, name)
    print(f"\n{ptio.verify(path)}")
    print(f"\n{where_arrays_live(checkpoint)}")
    print(f"\n{what_the_network_says(checkpoint)}")
    print(f"\n{times(path)}")


def print_tree(value, name, depth=0):
    """One line for each tensor, and for what is neither tensor nor dict."""
    label = "  " * depth + name
    if isinstance(value, np.ndarray):
        shape = " x ".join(map(str, value.shape)) or "scalar"
        sample = ", ".join(f"{x:.4g}" for x in value.flat[:3])
        more = ", ..." if value.size > 3 else ""
        print(f"{label:<28} {value.dtype!s:<8} {shape:<8} {sample}{more}")
    elif isinstance(value, dict) and value:
        print(label)
        shown = list(value) if all(isinstance(key, str) for key in value) else list(value)[:2]
        for key in shown:
            print_tree(value[key], str(key), depth + 1)
        if len(shown) < len(value):
            print(f"{'  ' * (depth + 1)}... and {len(value) - len(shown)} more like these")
    else:
        text = repr(value)
        print(f"{label:<28} {text if len(text) < 60 else text[:56] + ' ...'}")


def where_arrays_live(checkpoint):
    weight = checkpoint["model_state_dict"]["0.weight"]
    owner = weight
    while isinstance(owner, np.ndarray) and owner.base is not None:
        owner = owner.base
    return (
        "Where the arrays are: each is a view of a private memory map of the file, kept alive by\n"
        f"its base, here a {type(owner).__name__}. They can be written to (writeable: "
        f"{weight.flags.writeable}); the file never changes."
    )


def what_the_network_says(checkpoint):
    """Runs the network with NumPy alone: the loaded numbers are the trained ones."""
    state = checkpoint["model_state_dict"]
    x = checkpoint["data"]["points"]
    for layer in ("0", "3", "6"):
        x = x @ state[f"{layer}.weight"].T + state[f"{layer}.bias"]
        if layer != "6":
            x = silu(batch_norm(x, state, str(int(layer) + 1)))
    accuracy = (x.argmax(axis=1) == checkpoint["data"]["arm"]).mean()
    return (
        f"The network, run by NumPy with these weights, gets {accuracy:.1%} of its "
        f"{len(x)} points right; torch had noted {checkpoint['accuracy']:.1%}."
    )


def batch_norm(x, state, name):
    scale = state[f"{name}.weight"] / np.sqrt(state[f"{name}.running_var"] + 1e-5)
    return (x - state[f"{name}.running_mean"]) * scale + state[f"{name}.bias"]


def silu(x):
    return x / (1 + np.exp(-x))


def times(path):
    ours = median_ms(lambda: ptio.load(path))
    text = f"Time to load it (median of {RUNS}, file in the page cache): ptio {ours:.2f} ms"
    if importlib.util.find_spec("torch") is None:
        return f"{text}. torch is not installed here, so there is no comparison."
    import torch

    theirs = median_ms(lambda: torch.load(path, weights_only=True))
    return (
        f"{text}, torch.load {theirs:.2f} ms: {theirs / ours:.0f} times as long.\n"
        "That is one small file on this machine: torch.load also copies the bytes and makes torch\n"
        'tensors of them. "make bench" measures more, side by side.'
    )


def median_ms(function):
    function()
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("spirals.tar"))
