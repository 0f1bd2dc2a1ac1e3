# SPDX-License-Identifier: Apache-2.0
"""Embeddings, sparse and quantized modules, recurrent ones, and modules with their own state."""

import pickle
import warnings

import torch
from torch import nn

torch.manual_seed(0)

print("--- the weights of an embedding")
embedding = nn.Embedding(10, 4, padding_idx=0)
torch.save(embedding.weight, "weight.pt")
torch.save(embedding.state_dict(), "embedding.pt")
words = torch.tensor([[1, 2, 0], [3, 9, 9]])
weight = torch.load("weight.pt")
print(type(weight).__name__, weight.requires_grad)
pretrained = nn.Embedding.from_pretrained(weight, padding_idx=0)
print(torch.equal(pretrained(words), embedding(words)), pretrained.weight.requires_grad)
tuned = nn.Embedding.from_pretrained(torch.load("embedding.pt")["weight"], freeze=False)
tuned(words).sum().backward()
print(tuned.weight.grad.sum(1).tolist())
print(nn.Embedding(10, 4, padding_idx=0).load_state_dict(torch.load("embedding.pt")))
bag = nn.EmbeddingBag.from_pretrained(torch.load("weight.pt", mmap=True), mode="sum")
print(torch.allclose(bag(words), embedding(words).sum(1)))

print("--- tied weights")
model = nn.ModuleDict({"embed": nn.Embedding(10, 4), "head": nn.Linear(4, 10, bias=False)})
model["head"].weight = model["embed"].weight
torch.save(model.state_dict(), "tied.pt")
state = torch.load("tied.pt")
print(state["embed.weight"].data_ptr() == state["head.weight"].data_ptr())
print(model.load_state_dict(state), model["head"].weight is model["embed"].weight)

print("--- sparse gradients")
sparse = nn.Embedding(10, 4, sparse=True)
sparse(words).sum().backward()
torch.save(sparse.weight.grad, "gradient.pt")
gradient = torch.load("gradient.pt")
print(gradient.is_coalesced(), gradient.coalesce())
with torch.no_grad():
    sparse.weight.add_(gradient, alpha=-0.1)

print("--- sparse tensors and buffers")


class Graph(nn.Module):
    def __init__(self, adjacency):
        super().__init__()
        self.register_buffer("adjacency", adjacency)

    def forward(self, x):
        return self.adjacency @ x


dense = torch.tensor([[0.0, 1.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 3.0]])
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for layout in (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc):
        graph = Graph(dense.to_sparse(layout=layout))
        torch.save(graph.state_dict(), "graph.pt")
        loaded = torch.load("graph.pt")["adjacency"]
        print(loaded.layout, loaded.shape, torch.equal(loaded.to_dense(), dense))
        torch.save(graph, "graph.pt")
        print(torch.load("graph.pt", weights_only=False)(torch.ones(3, 1)).flatten().tolist())

print("--- quantized modules")
net = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
x = torch.randn(2, 8)


def quantized(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    int8 = quantized(net)
    torch.save(int8.state_dict(), "int8.pt")
    state = torch.load("int8.pt")
    print(list(state), state["0._packed_params.dtype"])
    other = quantized(nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)).eval())
    print(other.load_state_dict(state), torch.equal(other(x), int8(x)))
    torch.save(int8, "int8-model.pt")
    print(torch.equal(torch.load("int8-model.pt", weights_only=False)(x), int8(x)))
    tensor = torch.quantize_per_channel(
        net[0].weight.detach(), torch.full((4,), 0.01), torch.zeros(4), 0, torch.qint8
    )
    torch.save([tensor, torch.quantize_per_tensor(x, 0.1, 3, torch.quint8)], "tensors.pt")
    channels, whole = torch.load("tensors.pt")
    print(channels.qscheme(), channels.q_per_channel_axis(), torch.equal(channels, tensor))
    print(whole.q_scale(), whole.q_zero_point(), whole.int_repr().tolist())

print("--- recurrent, normalising and parametrised modules")
modules = {
    "lstm": nn.LSTM(4, 3, num_layers=2, bidirectional=True),
    "attention": nn.MultiheadAttention(4, 2),
    "spectral": nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)),
    "weight norm": nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)),
    "batch norm": nn.SyncBatchNorm(4),
}
for name, module in modules.items():
    torch.save(module.state_dict(), "module.pt")
    loaded = torch.load("module.pt")
    print(name, module.load_state_dict(loaded), len(loaded), sorted(loaded)[:2])

lazy = nn.LazyLinear(3)
torch.save(lazy.state_dict(), "lazy.pt")
loaded = torch.load("lazy.pt", weights_only=False)
print(type(loaded["weight"]).__name__, nn.LazyLinear(3).load_state_dict(loaded))
try:
    torch.load("lazy.pt")
except pickle.UnpicklingError as error:
    print("GLOBAL torch.nn.parameter.UninitializedParameter" in str(error))

print("--- state of one's own")


class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = {}

    def get_extra_state(self):
        return {"seen": self.seen, "shape": torch.Size([1, 2])}

    def set_extra_state(self, state):
        self.seen = state["seen"]


counter = Counter()
counter.seen = {"cat": 2, (1, "dog"): torch.tensor(3)}
torch.save(counter.state_dict(), "counter.pt")
other = Counter()
print(other.load_state_dict(torch.load("counter.pt")), other.seen)

print("--- tensors with names of their own")
named = torch.ones(2)
named.note = "measured"
torch.save(nn.ParameterDict({"a": named, "b": nn.Parameter(torch.zeros(1))}).state_dict(), "p.pt")
torch.save(named, "named.pt")
print(torch.load("p.pt"), torch.load("named.pt").note)
