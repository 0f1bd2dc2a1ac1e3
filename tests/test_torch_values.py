# SPDX-License-Identifier: Apache-2.0
"""Torch's own kinds of values other than plain tensors, as ptio's contract maps them."""

import importlib

import numpy as np
import ptio
import pytest
from support import tensors
from support.compare import assert_same


@pytest.fixture
def check(torch_save, torch_load):
    """Saves, loads with both, compares, and returns ours."""

    def run(obj, **options):
        path = torch_save(obj, **options)
        for mmap in (True, False):
            ours = ptio.load(path, mmap=mmap)
            assert_same(ours, torch_load(path))
        return ours

    return run


def test_sizes_devices_dtypes(torch, check):
    dtypes = sorted({d for d in vars(torch).values() if isinstance(d, torch.dtype)}, key=str)
    obj = {
        "size": [torch.Size([]), torch.Size([2, 3])],
        "device": [torch.device("cpu"), torch.device("cuda", 1), torch.device("meta")],
        "dtypes": dtypes,
        "keys": {torch.float32: 1, torch.device("cuda:0"): 2, torch.Size([1]): 3},
    }
    ours = check(obj)
    assert ours["size"] == [(), (2, 3)]
    assert ours["device"] == ["cpu", "cuda:1", "meta"]
    assert np.dtype("float32") in ours["dtypes"]
    assert ptio.TorchDtype("qint8") in ours["dtypes"]
    assert ptio.TorchDtype("uint4") in ours["dtypes"]
    assert list(ours["keys"]) == [np.dtype("float32"), "cuda:0", (1,)]


def test_layouts_and_qschemes(torch, check):
    check([torch.strided, torch.sparse_coo, torch.per_tensor_affine])


def test_parameters_buffers_and_attributes(torch, check):
    weight = torch.nn.Parameter(torch.arange(4.0))
    tagged = torch.nn.Parameter(torch.ones(2))
    tagged.tag = {"group": [1, 2]}
    plain = torch.zeros(3)
    plain.note = "kept by torch, dropped with the class"
    obj = {
        "parameter": weight,
        "again": weight,
        "frozen": torch.nn.Parameter(torch.ones(2), requires_grad=False),
        "tagged": tagged,
        "buffer": torch.nn.Buffer(torch.ones(2)),
        "plain": plain,
        "needs grad": torch.ones(2, requires_grad=True),
        "list": torch.nn.ParameterList([torch.ones(1)]).state_dict(),
    }
    ours = check(obj)
    assert ours["parameter"] is ours["again"]


def test_a_parameter_whose_attribute_refers_back_to_its_dict(torch, check):
    obj = {}
    obj["p"] = torch.nn.Parameter(torch.ones(2))
    obj["p"].owner = obj
    assert list(check(obj)) == ["p"]


def test_storages_saved_by_themselves(torch, check):
    base = torch.arange(6.0)
    obj = {
        "tensor": base[2:],
        "typed": base.storage(),
        "bytes": torch.arange(4).untyped_storage(),
        "half": torch.arange(3, dtype=torch.float16).storage(),
        "empty": torch.empty(0).storage(),
    }
    ours = check(obj)
    assert ours["typed"].shape == (6,)
    assert np.shares_memory(ours["typed"], ours["tensor"])
    assert ours["bytes"].dtype == np.uint8


def test_conjugate_and_negative_bits_are_resolved(torch, check):
    base = torch.tensor([[1 + 2j, 3 - 4j], [float("nan") + 1j, 0j]])
    ours = check([base, base.conj(), base.t().conj(), base.conj()[0, :1]])
    assert ours[1][0, 0] == 1 - 2j
    negative = torch.tensor([1 + 2j, 3 - 4j]).conj().imag
    assert negative.is_neg()
    np.testing.assert_array_equal(check(negative), [-2, 4])


def test_meta_tensors_have_no_data(torch, check):
    obj = {
        "meta": torch.empty(3, 4, device="meta"),
        "view": torch.empty(3, 4, device="meta").t(),
        "u16": torch.empty(5, dtype=torch.uint16, device="meta"),
        "parameter": torch.nn.Parameter(torch.empty(2, device="meta")),
    }
    ours = check(obj)
    assert ours["meta"].data is None
    assert ours["view"].stride == (1, 4)


def test_sparse_tensors(torch, check):
    from support import torch_corpus

    ours = check(torch_corpus.sparse_tensors())
    assert all(type(value) is ptio.SparseTensor for value in ours.values())


def _coo(torch, indices, values):
    return torch.sparse_coo_tensor(indices, values, (3,), check_invariants=False)


@pytest.mark.parametrize("kind", ["outside", "complex32"])
def test_sparse_tensors_that_are_refused(torch, torch_save, kind):
    """What only the bytes of tensors tell; through torch, too, where torch would check nothing."""
    zero = torch.zeros(1, 1, dtype=torch.int64)
    sparse, error, words = {
        "outside": (_coo(torch, zero + 9, torch.ones(1)), ptio.BoundsError, ""),
        "complex32": (
            _coo(torch, zero, torch.ones(1, dtype=torch.complex32)),
            ptio.UnsupportedError,
            "NumPy has no such array",
        ),
    }[kind]
    path = torch_save(sparse)
    with pytest.raises(error, match=words):
        ptio.load(path)
    if kind == "outside":
        load = importlib.import_module("ptio.torch").load
        with pytest.raises(ptio.BoundsError, match="a sparse tensor is malformed"):
            load(path)


class Repeated:
    """A nested tensor whose offsets are one number many times: 2**40 would cost nothing."""

    def __init__(self, torch, n):
        sizes = torch.ones(n, 1, dtype=torch.int64)
        offsets = torch.zeros(1, dtype=torch.int64).expand(n)
        self._made = torch._utils._rebuild_nested_tensor, (torch.ones(n), sizes, sizes, offsets)

    def __reduce__(self):
        return self._made


def test_offsets_that_share_their_memory(torch, torch_save):
    with pytest.raises(ptio.UnsupportedError, match="offsets of a nested tensor overlap in memory"):
        ptio.load(torch_save(Repeated(torch, 5)))


def test_a_dense_array_has_a_limit(torch, torch_save):
    sparse = ptio.load(torch_save(torch.eye(3).to_sparse()))
    with pytest.raises(ptio.LimitError, match="would take 36 B, the limit is 35 B"):
        sparse.to_dense(max_bytes=35)


def test_quantized_tensors(torch, check):
    from support import torch_corpus

    ours = check(torch_corpus.quantized_tensors())
    assert all(type(value) is ptio.QuantizedTensor for value in ours.values())


@pytest.mark.parametrize("layout", ["strided", "jagged"])
def test_nested_tensors(torch, check, layout):
    parts = [torch.arange(6.0).reshape(2, 3), torch.ones(4, 3), torch.zeros(1, 3)]
    ours = check(torch.nested.nested_tensor(parts, layout=getattr(torch, layout)))
    assert [part.shape for part in ours.unbind()] == [(2, 3), (4, 3), (1, 3)]


def test_a_tensor_subclass_is_forbidden_by_name_and_plain_in_inert_mode(torch, torch_save):
    path = torch_save({"x": torch.arange(3.0).as_subclass(_subclass(torch))})
    with pytest.raises(ptio.ForbiddenError) as caught:
        ptio.load(path)
    assert caught.value.globals == (f"{__name__}.Sub",)
    ours = ptio.load(path, unknown="inert")
    np.testing.assert_array_equal(ours["x"], np.arange(3, dtype=np.float32))
    assert type(ours["x"]) is np.ndarray


def _subclass(torch):
    global Sub

    class Sub(torch.Tensor):
        pass

    Sub.__qualname__ = "Sub"
    return Sub


def test_tensors_of_other_devices_load_as_arrays(torch, save):
    """A checkpoint from a GPU needs none: the location is a tag."""
    from support import checkpoints

    stand_in = checkpoints.tensor("float32", [1.0, 2.0])
    stand_in.storage.location = "cuda:3"
    path = save({"w": stand_in})
    assert_same(ptio.load(path), {"w": stand_in})
    assert tensors.of_array(ptio.load(path)["w"]).shape == (2,)
