# SPDX-License-Identifier: Apache-2.0
"""ptio.open(framework="torch"): tensors of every kind as torch.load makes them."""

import io
import threading
import warnings

import numpy as np
import ptio
import pytest
from support import checkpoints


def assert_same(ours, theirs, compact=False):
    from support import torch_compare

    # What is a small part of its storage may come without the rest of it.
    same = torch_compare.assert_same_but_for_size if compact else torch_compare.assert_same_objects
    same(ours, theirs)


@pytest.fixture
def kinds(tmp_path, torch):
    """Path, and the object that it holds, of tensors that torch makes in ways of their own."""
    from support import torch_corpus

    base = torch.arange(24.0).reshape(4, 6)
    obj = {
        "plain": base,
        "transposed": base.t(),
        "part": base[1:3, ::2],
        "expanded": torch.ones(1).expand(5, 3),
        "scalar": torch.tensor(1.5),
        "empty": torch.empty(0, 3),
        "bf16": torch.randn(5).bfloat16(),
        "fp8": torch.randn(5).to(torch.float8_e4m3fn),
        "half complex": torch.randn(5, dtype=torch.complex32),
        "bool": torch.tensor([True, False]),
        "conj": torch.randn(3, dtype=torch.complex64).conj(),
        "neg": torch._neg_view(torch.randn(3)),
        "grad": torch.ones(3, requires_grad=True),
        "parameter": torch.nn.Parameter(torch.randn(3)),
        "frozen": torch.nn.Parameter(torch.ones(2), requires_grad=False),
        "buffer": torch.nn.Buffer(torch.ones(2)) if hasattr(torch.nn, "Buffer") else base,
        "meta": torch.empty(3, 4, device="meta"),
        "quantized": torch.quantize_per_tensor(torch.randn(4), 0.1, 2, torch.quint8),
        "nested": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    }
    obj |= {f"sparse {name}": value for name, value in torch_corpus.sparse_tensors().items()}
    path = tmp_path / "kinds.pt"
    torch.save(obj, path)
    return path, obj


@pytest.mark.parametrize("mmap", [True, False, "auto"])
def test_tensors_are_torchs(kinds, torch, mmap):
    path, obj = kinds
    expected = torch.load(path)
    with ptio.open(path, framework="torch", mmap=mmap) as ckpt:
        assert list(ckpt) == list(obj)
        for name in ckpt:
            assert_same(ckpt[name], expected[name], compact=name == "part" and mmap is False)
            assert type(ckpt[name]) is type(expected[name])
        assert_same(ckpt.load(), expected)


def test_file_objects(kinds, torch):
    path, _ = kinds
    expected = torch.load(path)
    with open(path, "rb") as file, ptio.open(file, framework="pt") as ckpt:
        for name in ckpt:
            assert_same(ckpt[name], expected[name], compact=name == "part")
    with ptio.open(io.BytesIO(path.read_bytes()), "pt") as ckpt:
        assert_same(ckpt["parameter"], expected["parameter"])


@pytest.mark.parametrize("mmap", [True, False])
def test_slices_need_no_gradient(kinds, torch, mmap):
    path, _ = kinds
    expected = torch.load(path)
    with ptio.open(path, framework="torch", mmap=mmap) as ckpt:
        for name in ("plain", "grad", "parameter", "frozen", "buffer", "bf16", "expanded"):
            part = ckpt.get_slice(name)[1:]
            assert type(part) is torch.Tensor
            assert not part.requires_grad
            assert torch.equal(part, expected[name].detach()[1:])


def test_storages_pickled_by_themselves(tmp_path, torch):
    path = tmp_path / "storage.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(
            {"s": torch.arange(4.0).storage(), "u": torch.arange(3.0).untyped_storage()}, path
        )
        expected = torch.load(path)
        for mmap in (True, False):
            with ptio.open(path, framework="torch", mmap=mmap) as ckpt:
                assert ckpt["s"].tolist() == expected["s"].tolist()
                assert ckpt["s"].dtype == torch.float32
                assert ckpt.get_slice("s")[1:3].tolist() == [1, 2]
                assert bytes(ckpt["u"].tolist()) == bytes(expected["u"].tolist())


def test_on_meta_nothing_is_read(kinds, torch):
    path, obj = kinds
    with ptio.open(path, framework="torch", device="meta") as ckpt:
        for name in ("plain", "transposed", "part", "parameter", "bf16", "meta"):
            value = ckpt[name]
            assert value.device.type == "meta"
            assert (value.shape, value.dtype) == (obj[name].shape, obj[name].dtype)
            assert value.stride() == obj[name].stride()
        part = ckpt.get_slice("plain")[1:, ::2]
        assert (part.device.type, part.shape) == ("meta", (3, 3))


@pytest.mark.parametrize("mmap", [True, False])
def test_on_a_gpu(kinds, torch, mmap):
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    path, _ = kinds
    for device in ("cuda", "cuda:0", 0, torch.device("cuda", 0)):
        expected = torch.load(path, map_location="cuda:0")
        with ptio.open(path, framework="torch", device=device, mmap=mmap) as ckpt:
            for name in ("plain", "transposed", "part", "conj", "parameter", "bf16"):
                assert_same(ckpt[name], expected[name], compact=name == "part" and not mmap)
            part = ckpt.get_slice("plain")[1:, ::2]
            assert part.device == torch.device("cuda:0")
            assert torch.equal(part, expected["plain"][1:, ::2])


def test_devices_that_are_not_there(kinds, torch):
    path, _ = kinds
    with pytest.raises(RuntimeError, match="nonsense"):
        ptio.open(path, framework="torch", device="nonsense")
    if not torch.cuda.is_available():
        with pytest.raises((RuntimeError, AssertionError), match="CUDA"):
            ptio.open(path, framework="torch", device="cuda")


def test_a_file_of_another_machine_s_gpu_goes_to_the_cpu(tmp_path, torch):
    tensor = checkpoints.Tensor(
        checkpoints.Storage("float32", np.arange(3, dtype=np.float32).tobytes(), "cuda:1"),
        (3,),
        (1,),
    )
    path = tmp_path / "cuda.pt"
    path.write_bytes(checkpoints.save({"t": tensor}))
    with ptio.open(path, framework="torch") as ckpt:
        assert ckpt.info("t").device == "cuda:1"
        assert ckpt["t"].device.type == "cpu"
        assert ckpt["t"].tolist() == [0, 1, 2]


# --- what the file may name


class Registered:
    def __setstate__(self, state):
        self.__dict__.update(state)


def test_what_torch_allows_is_allowed(tmp_path, torch):
    one = Registered()
    one.weight = torch.ones(3)
    path = tmp_path / "registered.pt"
    torch.save({"object": one, "p": torch.nn.Parameter(torch.ones(2))}, path)
    with pytest.raises(ptio.ForbiddenError, match="Registered"):
        ptio.open(path, framework="torch")
    with ptio.open(path, framework="torch", allow=[Registered]) as ckpt:
        assert list(ckpt) == ["object/weight", "p"]
        assert torch.equal(ckpt["object/weight"], torch.ones(3))
        assert type(ckpt["p"]) is torch.nn.Parameter
        assert type(ckpt.load()["object"]) is Registered
    with (
        torch.serialization.safe_globals([Registered]),
        ptio.open(path, framework="torch") as ckpt,
    ):
        assert torch.equal(ckpt.load()["object"].weight, torch.ones(3))
    with ptio.open(path, framework="torch", unknown="inert") as ckpt:
        assert torch.equal(ckpt["object/weight"], torch.ones(3))
        assert type(ckpt.load()["object"]) is ptio.Opaque


def test_single_tensors_need_no_leave_for_what_is_around_them(tmp_path, torch):
    import argparse

    path = tmp_path / "arguments.pt"
    obj = {"args": argparse.Namespace(lr=0.1), "p": torch.nn.Parameter(torch.ones(2))}
    torch.save(obj, path)
    with ptio.open(path, framework="torch") as ckpt:
        assert type(ckpt["p"]) is torch.nn.Parameter
        with pytest.raises(ptio.ForbiddenError, match=r"argparse\.Namespace"):
            ckpt.load()


def test_subclasses_need_leave(tmp_path, torch):
    path = tmp_path / "subclass.pt"
    value = torch.ones(3).as_subclass(Subclass(torch))
    torch.save({"t": value, "plain": torch.ones(1)}, path)
    with ptio.open(path, framework="torch", allow=[Subclass(torch)]) as ckpt:
        assert type(ckpt["t"]) is Subclass(torch)
        assert type(ckpt.get_slice("t")[:2]) is torch.Tensor
        assert ckpt["t"].tolist() == [1, 1, 1]
    with ptio.open(path, framework="torch", unknown="inert") as ckpt:
        assert ckpt["plain"].tolist() == [1]
        assert type(ckpt["t"]) is torch.Tensor
        assert ckpt["t"].tolist() == ckpt.load()["t"].tolist() == [1, 1, 1]


def Subclass(torch, made={}):  # noqa: B006 - one class, made when torch is there
    if not made:
        made["it"] = type("TensorOfMine", (torch.Tensor,), {"__module__": __name__})
        globals()["TensorOfMine"] = made["it"]
    return made["it"]


# --- porting


def test_what_is_written_for_safetensors_works(tmp_path, torch):
    pytest.importorskip("safetensors")
    from safetensors import safe_open
    from safetensors.torch import save_file

    tensors = {"b": torch.arange(12.0).reshape(3, 4), "a": torch.ones(2).bfloat16()}
    torch.save(tensors, tmp_path / "t.pt")
    save_file(tensors, tmp_path / "t.safetensors")
    for framework in ("pt", "np"):
        if framework == "np":
            tensors.pop("a", None)  # safetensors has no bfloat16 there
        with (
            safe_open(tmp_path / "t.safetensors", framework=framework, device="cpu") as theirs,
            ptio.open(tmp_path / "t.pt", framework=framework, device="cpu") as ours,
        ):
            assert set(ours.keys()) == set(theirs.keys())
            assert set(ours.offset_keys()) == set(theirs.offset_keys())
            assert ours.metadata() == theirs.metadata()
            for name in tensors:
                assert type(ours.get_tensor(name)) is type(theirs.get_tensor(name))
                assert (ours.get_tensor(name) == theirs.get_tensor(name)).all()
                part, other = ours.get_slice(name), theirs.get_slice(name)
                assert part.get_shape() == other.get_shape()
                assert part.get_dtype() == other.get_dtype()
                for index in (0, slice(1, 2), ..., (slice(None),), (..., 0)):
                    found, expected = part[index], other[index]
                    assert found.shape == expected.shape
                    assert (found == expected).all()


# --- threads


def test_the_first_reads_may_be_those_of_many_threads(kinds, torch):
    path, _ = kinds
    expected = torch.load(path)
    with ptio.open(path, framework="torch", mmap=False) as ckpt:
        failures = []

        def work(name):
            try:
                assert_same(ckpt[name], expected[name], compact=name == "part")
            except BaseException as e:
                failures.append((name, e))

        threads = [threading.Thread(target=work, args=(name,)) for name in expected]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
