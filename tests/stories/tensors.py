# SPDX-License-Identifier: Apache-2.0
"""Tensors: saved to a file, into memory and behind other data, and loaded again."""

import io
from pathlib import Path

import torch

print("--- one tensor")
torch.save(torch.arange(6.0).view(2, 3), "tensor.pt")
print(torch.load("tensor.pt"))
print(torch.load(Path("tensor.pt"), weights_only=False))
with open("tensor.pt", "rb") as file:
    print(torch.load(file))

print("--- several, in lists, tuples and dicts")
several = {
    "list": [torch.ones(2), torch.zeros(0, 3)],
    "tuple": (torch.tensor(7), torch.tensor([True, False])),
    "bfloat16": torch.linspace(0, 1, 3, dtype=torch.bfloat16),
    "complex": torch.tensor([1 + 2j]).conj(),
    "name": "several",
    "size": torch.Size([2, 3]),
    "dtype": torch.float8_e5m2,
    "device": torch.device("cpu"),
}
torch.save(several, "several.pt")
loaded = torch.load("several.pt")
print(loaded)
print([loaded["complex"].is_conj(), type(loaded["size"]), loaded["dtype"], loaded["device"]])

print("--- views of one storage stay views of one storage")
numbers = torch.arange(10)
torch.save({"all": numbers, "even": numbers[::2], "end": numbers[7:]}, "views.pt")
for mmap in (False, True):
    views = torch.load("views.pt", mmap=mmap)
    views["even"].fill_(-1)
    print(views["all"], views["end"], views["even"].stride(), views["end"].storage_offset())
    print(len({view.untyped_storage().data_ptr() for view in views.values()}))
print(torch.load("views.pt")["all"], "in the file, still")

print("--- a small view brings its whole storage, a clone does not")
large = torch.zeros(1000)
for tensor in (large[:2], large[:2].clone()):
    torch.save(tensor, "part.pt")
    print(torch.load("part.pt").untyped_storage().nbytes())

print("--- through memory")
buffer = io.BytesIO()
torch.save(several["list"], buffer)
buffer.seek(0)
print(torch.load(buffer))
buffer.seek(0)
print(torch.load(buffer, weights_only=False))
print(torch.load(io.BytesIO(buffer.getvalue())))

print("--- behind a header of one's own")
with open("framed.bin", "wb") as file:
    file.write(b"HEADER")
    torch.save(torch.full((3,), 5), file)
with open("framed.bin", "rb") as file:
    print(file.read(6), torch.load(file))

print("--- gradients")
weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
frozen = torch.nn.Parameter(torch.tensor([3.0, 4.0]), requires_grad=False)
torch.save([weight, frozen, (weight * 2).detach()], "parameters.pt")
weight, frozen, plain = torch.load("parameters.pt")
print([type(value).__name__ for value in (weight, frozen, plain)])
print([(value.requires_grad, value.is_leaf, value.grad) for value in (weight, frozen, plain)])
(weight * frozen * plain).sum().backward()
print(weight.grad)
with torch.no_grad():
    weight -= 0.1 * weight.grad
print(weight)

print("--- what is loaded can be saved, copied and put into NumPy")
torch.save(torch.load("several.pt"), "again.pt")
print(str(torch.load("again.pt")) == str(several))
array = torch.load("tensor.pt", mmap=True).numpy()
array += 1
print(array, torch.load("tensor.pt").flatten().tolist())

print("--- what cannot be loaded")
try:
    torch.load("missing.pt")
except FileNotFoundError as error:
    print(error)
buffer.seek(0)
try:
    torch.load(buffer, mmap=True)
except ValueError as error:
    print(error)
