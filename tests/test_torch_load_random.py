# SPDX-License-Identifier: Apache-2.0
"""Random nested objects saved by torch.save: ptio.torch.load gives what torch.load gives."""

import collections
import io

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support import checkpoints

TEXTS = st.text(st.characters(codec=None, exclude_categories=()), max_size=8)
INTS = st.one_of(st.integers(-300, 300), st.integers(-(2**63), 2**63 - 1))
KEY_LEAVES = st.one_of(
    *(st.none(), st.booleans(), INTS, st.floats(width=64), TEXTS, st.complex_numbers()),
    st.binary(min_size=1, max_size=8),  # torch's unpickler for weights cannot read b""
)
KEYS = st.recursive(KEY_LEAVES, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=3)
DTYPES = sorted(set(checkpoints.ITEMSIZE) - {"bool"})  # torch makes no other bytes than 0 and 1
FLAGS = st.sampled_from(["tensor", "tensor", "requires_grad", "parameter", "frozen", "attribute"])
FEW = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # no shrinking: it takes minutes, and nothing of it can be printed
    suppress_health_check=list(HealthCheck),
)


def make_storage(dtype, data):
    import torch

    numel = max(1, len(data) // getattr(torch, dtype).itemsize)
    size = numel * getattr(torch, dtype).itemsize
    raw = torch.frombuffer(bytearray(data.ljust(size, b"?")[:size]), dtype=torch.uint8)
    return dtype, raw.clone().untyped_storage()


@st.composite
def layouts(draw, numel):
    """(offset, shape, stride) that stay inside so many elements."""
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    stride = draw(st.lists(st.integers(0, 5), min_size=len(shape), max_size=len(shape)))
    offset = draw(st.integers(0, numel - 1))
    last = offset + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))
    if 0 not in shape and last >= numel:
        shape, stride = [numel - offset], [1]
    return offset, shape, stride


@st.composite
def tensors(draw, storages):
    """Any view of one of the storages, as each of the kinds of tensors that torch knows."""
    import torch

    name, storage = draw(st.sampled_from(storages))
    dtype = getattr(torch, name)
    offset, shape, stride = draw(layouts(storage.nbytes() // dtype.itemsize))
    tensor = torch.empty(0, dtype=dtype).set_(storage, offset, shape, stride)
    kind = draw(FLAGS)
    differentiable = dtype.is_floating_point or dtype.is_complex
    if kind == "requires_grad" and name not in checkpoints.LEGACY:
        return tensor  # torch saves it, and fails to load it
    if kind in ("requires_grad", "parameter") and not differentiable:
        return tensor
    if kind == "attribute":
        tensor.note = ["attribute", draw(INTS)]
    elif kind in ("parameter", "frozen"):
        return torch.nn.Parameter(tensor, requires_grad=kind == "parameter")
    return tensor.requires_grad_() if kind == "requires_grad" else tensor


def bits(tensor):
    """The same memory, conjugated or negated without a copy."""
    import torch

    if tensor.dtype in (torch.complex64, torch.complex128):
        return tensor.detach().conj()
    negatable = tensor.dtype in (torch.float16, torch.float32, torch.float64, torch.bfloat16)
    return torch._neg_view(tensor.detach()) if negatable else tensor


def torch_leaves():
    import torch

    dtypes = sorted({d for d in vars(torch).values() if isinstance(d, torch.dtype)}, key=str)
    return st.one_of(
        st.lists(st.integers(0, 2**40), max_size=4).map(torch.Size),
        st.sampled_from(dtypes),
        st.sampled_from(["cpu", "cuda:1", "meta"]).map(torch.device),
        st.sampled_from([torch.strided, torch.sparse_coo, torch.per_tensor_affine]),
    )


def with_attributes(pairs, attributes):
    result = collections.OrderedDict(pairs)
    result.__dict__.update(attributes)
    return result


def containers(inner):
    lists = st.lists(inner, max_size=4)
    items = st.lists(st.tuples(KEYS, inner), max_size=4)
    names = st.dictionaries(st.sampled_from(["_metadata", "note"]), inner, max_size=2)
    return st.one_of(
        *(lists, lists.map(tuple), items.map(dict), st.sets(KEYS, max_size=4)),
        items.map(collections.OrderedDict),
        st.builds(with_attributes, items, names),
        st.lists(KEYS, max_size=6).map(collections.Counter),
        st.tuples(inner).map(lambda one: [one[0], one[0], {"again": one[0]}]),
        inner.map(lambda one: (lambda cycle: cycle.append(cycle) or cycle)([one])),
    )


LEAVES = st.one_of(KEY_LEAVES, st.integers(-(2**70), 2**70), st.binary(max_size=8).map(bytearray))


class Drawn:
    """Keeps hypothesis from printing tensors: torch cannot for some of these dtypes."""

    def __init__(self, obj):
        self.obj = obj


@st.composite
def objects(draw):
    """Nested containers around tensors that share a few storages."""
    made = st.builds(make_storage, st.sampled_from(DTYPES), st.binary(min_size=1, max_size=64))
    storages = draw(st.lists(made, min_size=1, max_size=3))
    some = tensors(storages)
    rest = st.one_of(LEAVES, torch_leaves())
    kinds = {"tensor": some, "again": some, "lazy": some.map(bits), "other": rest}
    leaves = st.sampled_from(list(kinds)).flatmap(kinds.get)
    nested = st.recursive(leaves, containers, max_leaves=12)
    return Drawn(draw(st.lists(nested, min_size=2, max_size=4)))


@st.composite
def plain(draw):
    leaves = st.one_of(LEAVES, torch_leaves())
    return draw(st.recursive(leaves, containers, max_leaves=25))


@pytest.fixture(scope="module")
def check(torch, tmp_path_factory):
    """Saves, and compares each way of loading with the same way of torch."""
    import ptio.torch
    from support.torch_compare import assert_same_objects

    path = tmp_path_factory.mktemp("random") / "model.pt"

    def run(obj, protocol):
        torch.save(obj, path, pickle_protocol=protocol)
        for mmap in (False, True):
            every = torch.load(path, weights_only=False, mmap=mmap)
            for only in (True, False):
                ours = ptio.torch.load(path, weights_only=only, mmap=mmap)
                weights = only and protocol == 2  # all that torch's unpickler for weights reads
                theirs = torch.load(path, mmap=mmap) if weights else every
                assert_same_objects(ours, theirs)
        ours = ptio.torch.load(io.BytesIO(path.read_bytes()))
        assert_same_objects(ours, torch.load(path, weights_only=False))

    return run


@FEW
@given(objects())
def test_objects_with_tensors(torch, check, drawn):
    check(drawn.obj, 2)


@FEW
@given(objects(), st.sampled_from([1, 3, 4, 5]))
def test_objects_with_tensors_in_other_protocols(torch, check, drawn, protocol):
    check(drawn.obj, protocol)


@FEW
@given(plain(), st.sampled_from(range(6)))
def test_objects_without_tensors_in_every_protocol(torch, check, obj, protocol):
    check(obj, protocol)
