# SPDX-License-Identifier: Apache-2.0
"""Makes the files of this folder with an old torch; README.md says which, and how.

Each file gets a .json beside it with what it holds, written from torch's own objects, so that
the tests need no torch.
"""

import collections
import io
import json
import pathlib
import sys

import torch

FOLDER = pathlib.Path(__file__).resolve().parent


def describe(value):
    """A value as JSON: tensors by dtype, shape, stride, offset and bytes in hex."""
    if isinstance(value, torch.Tensor):
        flat = value.detach().clone().contiguous().view(-1)
        data = bytes(flat.view(torch.uint8).tolist()) if flat.numel() else b""
        return {
            "tensor": str(value.dtype).replace("torch.", ""),
            "shape": list(value.shape),
            "stride": list(value.stride()),
            "data": data.hex(),
        }
    if isinstance(value, dict):
        pairs = [[describe(k), describe(v)] for k, v in value.items()]
        return {"dict": type(value).__name__, "items": pairs}
    if isinstance(value, (list, tuple)):
        return {"sequence": type(value).__name__, "items": [describe(v) for v in value]}
    return {"value": value}


def dtypes():
    names = (
        "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex64 complex128"
    )
    return {n: torch.tensor([0, 1, 2]).to(getattr(torch, n)) for n in names.split()}


def views():
    base = torch.arange(12, dtype=torch.float32)
    return {
        "base": base,
        "transposed": base.view(3, 4).t(),
        "offset": base[5:7],
        "expanded": base[:1].expand(2, 3),
        "scalar": torch.tensor(5),
        "empty": torch.empty(0, 3),
    }


def training():
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "history": [0.5, float("inf")],
        "name": "run \u00fc",
        "milestones": collections.Counter([30, 80, 80]),
    }


def parameters():
    weight = torch.nn.Parameter(torch.ones(2))
    return collections.OrderedDict(
        weight=weight, again=weight, frozen=torch.nn.Parameter(torch.zeros(1), requires_grad=False)
    )


FILES = {"dtypes": dtypes, "views": views, "training": training, "parameters": parameters}


def save(obj, version, name, **options):
    file = io.BytesIO()
    torch.save(obj, file, **options)
    stem = f"torch-{version}-{name}"
    (FOLDER / f"{stem}.pt").write_bytes(file.getvalue())
    told = {"torch": torch.__version__, "python": sys.version.split()[0], "object": describe(obj)}
    (FOLDER / f"{stem}.json").write_text(json.dumps(told, separators=(",", ":")) + "\n")


def main(version):
    for name, make in FILES.items():
        save(make(), version, name)
    save(training(), version, "legacy", _use_new_zipfile_serialization=False)


if __name__ == "__main__":
    main(sys.argv[1])
