# SPDX-License-Identifier: Apache-2.0
"""ptio.merge: averages, what does not fit, and what is taken from the first."""

import os

import numpy as np
import ptio
import pytest
from support import checkpoints, children


@pytest.fixture
def files(torch):
    from support import checkpoint_files

    return checkpoint_files


@pytest.fixture
def merged(torch, torch_save, torch_load, tmp_path):
    """Merges objects; returns (report, what torch loads)."""

    def merge(*objects, **options):
        paths = [torch_save(obj, f"{i}.pt") for i, obj in enumerate(objects)]
        report = ptio.merge(paths, tmp_path / "out.pt", overwrite=True, **options)
        return report, torch_load(tmp_path / "out.pt")

    return merge


def averaged(torch, tensors, weights=None):
    """In float64; rounded once."""
    if tensors[0].is_complex():
        parts = [torch.view_as_real(tensor.resolve_conj()) for tensor in tensors]
        return torch.view_as_complex(averaged(torch, parts, weights))
    if weights is None:
        total = sum(tensor.double() for tensor in tensors) / len(tensors)
    else:
        total = sum(t.double() * w for t, w in zip(tensors, weights, strict=True))
    return total.to(tensors[0].dtype)


# --- averages -----------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [None, [0.5, 0.3, 0.2], [2, -1, 0.25]])
def test_averages_are_those_of_float64(torch, files, merged, weights):
    def state(seed):
        torch.manual_seed(seed)
        large = torch.randn(1300, 1700)  # several pieces
        return {
            "large": large,
            "transposed": torch.randn(5, 7).t(),
            "double": torch.randn(9).double(),
            "half": torch.randn(9).half(),
            "bfloat": torch.randn(9).bfloat16(),
            "complex": torch.randn(9, dtype=torch.complex64),
            "wide complex": torch.randn(9, dtype=torch.complex128),
            "scalar": torch.randn(()),
            "empty": torch.randn(0, 4),
            "parameter": torch.nn.Parameter(torch.randn(3)),
        }

    states = [state(seed) for seed in range(3)]
    report, result = merged(*states, weights=weights)
    assert list(result) == list(states[0])
    for name in states[0]:
        expected = averaged(torch, [each[name].detach() for each in states], weights)
        files.same(result[name], expected)
    assert result["parameter"].requires_grad
    assert report.averaged == report.tensors == 10
    assert report.weights == (weights or [1 / 3] * 3)
    assert report.from_first == []


def test_the_first_gives_all_else(torch, merged):
    def state(seed):
        return {"list": [torch.full((2,), float(seed)), seed], "name": f"run {seed}"}

    _, result = merged(state(1), state(3))
    assert result["list"][0].tolist() == [2, 2]
    assert (result["list"][1], result["name"]) == (1, "run 1")


def test_infinities_and_nan(torch, merged):
    one = torch.tensor([float("inf"), float("inf"), 1, 3e38])
    two = torch.tensor([1, float("-inf"), float("nan"), 3e38])
    _, result = merged({"w": one}, {"w": two})
    assert result["w"][0] == float("inf")
    assert result["w"][1:3].isnan().all()
    assert result["w"][3] == one[3]
    _, result = merged({"c": torch.complex(one, two)}, {"c": torch.complex(two, two)})
    assert result["c"].imag[:2].tolist() == [1, float("-inf")]
    assert result["c"].real[0] == float("inf")


def test_the_sign_of_zero(torch, files, merged):
    state = {"w": torch.tensor([-0.0, 0.0]), "c": torch.zeros(2, dtype=torch.complex64).conj()}
    _, result = merged(state, state)
    files.same(result["w"], state["w"])
    assert torch.signbit(result["c"].imag).all()


def test_dtypes_may_differ(torch, files, merged):
    one, two = torch.randn(3, 2_000_000), torch.randn(3, 2_000_000)
    _, result = merged({"w": one.bfloat16()}, {"w": two})
    expected = ((one.bfloat16().double() + two.double()) / 2).bfloat16()
    files.same(result["w"], expected)


def test_dtype_of_the_averages(torch, merged):
    one = {"w": torch.tensor([1e5, 1]), "n": torch.tensor(3), "c": torch.ones(1) * 1j}
    report, result = merged(one, one, dtype="fp16")
    assert result["w"].dtype == torch.float16
    assert result["w"].tolist() == [float("inf"), 1]
    assert report.overflows == {"w": 1}
    assert result["c"].dtype == torch.complex64


def test_integers(torch, merged):
    one = {"w": torch.ones(2), "n": torch.arange(5), "b": torch.tensor([True])}
    report, result = merged(one, {**one, "w": torch.zeros(2)})
    assert result["n"].tolist() == [0, 1, 2, 3, 4]
    assert report.from_first == ["n", "b"]
    assert report.averaged == 1
    other = {**one, "n": torch.tensor([0, 1, 2, 3, 5]), "b": torch.tensor([False])}
    with pytest.raises(ptio.MismatchError) as caught:
        merged(one, other)
    assert len(caught.value.problems) == 2
    assert "n (int64) is not equal in all" in str(caught.value)
    _, result = merged(one, other, ints="first")
    assert result["n"].tolist() == [0, 1, 2, 3, 4]
    assert result["b"].tolist() == [True]


def test_integers_of_several_pieces(torch, merged):
    one = torch.arange(3_000_000)
    two = one.clone()
    merged({"n": one}, {"n": two})
    two[-1] = 0
    with pytest.raises(ptio.MismatchError):
        merged({"n": one}, {"n": two})


def test_tied_weights_are_merged_once(torch, files, merged):
    def state(seed, tied=True):
        torch.manual_seed(seed)
        weight = torch.randn(3, 4)
        return {"in": weight, "out": weight.detach() if tied else torch.randn(3, 4)}

    report, result = merged(state(1), state(2))
    assert files.storages(result.values()) == [0, 0]
    assert report.nbytes == 48
    _, result = merged(state(1), state(2, tied=False))
    assert files.storages(result.values()) == [0, 1]
    for name in ("in", "out"):
        files.same(result[name], averaged(torch, [state(1)[name], state(2, tied=False)[name]]))


def test_one_tensor_in_two_places(torch, merged, torch_save, tmp_path):
    weight, other = torch.ones(3), torch.zeros(3)
    _, result = merged([weight, weight], [other, other])
    assert result[0] is result[1]
    assert result[0].tolist() == [0.5] * 3
    with pytest.raises(ptio.MismatchError, match="0 and 1 are one tensor in"):
        merged([weight, weight], [other, torch.ones(3)])


def test_a_tensor_and_its_conjugate(torch, files, merged):
    def state(seed):
        torch.manual_seed(seed)
        value = torch.randn(4, dtype=torch.complex64)
        return {"a": value, "b": value.conj()}

    _, result = merged(state(1), state(2))
    for name in ("a", "b"):
        files.same(result[name], averaged(torch, [state(1)[name], state(2)[name]]))


def test_views_of_a_large_storage(torch, files, merged):
    def state(seed):
        torch.manual_seed(seed)
        flat = torch.randn(1000)
        return {"a": flat[:10], "b": flat[5:30].view(5, 5).t(), "c": flat[::100]}

    report, result = merged(state(1), state(2))
    assert report.nbytes == (10 + 25 + 10) * 4
    for name, tensor in result.items():
        files.same(tensor, averaged(torch, [state(1)[name], state(2)[name]]))


def test_safetensors_of_two_formats(torch, files, torch_save, monkeypatch, tmp_path):
    from safetensors.torch import load_file, save_file

    weight = torch.ones(3)
    one = torch_save({"a": torch.zeros(3), "b": weight, "c": weight.detach()})
    save_file({name: torch.full((3,), 4.0) for name in "abc"}, tmp_path / "two.safetensors")
    from ptio._rewrite import merge

    report = merge.merge([one, tmp_path / "two.safetensors"], tmp_path / "x.safetensors")
    result = load_file(tmp_path / "x.safetensors")
    assert {name: t.tolist() for name, t in result.items()} == {
        "a": [2.0] * 3,
        "b": [2.5] * 3,
        "c": [2.5] * 3,
    }
    assert report.averaged == 3


def test_several_state_dicts_and_safetensors(torch, torch_save, tmp_path):
    path = torch_save({"model": {"w": torch.zeros(2)}, "ema": {"w": torch.ones(2)}})
    with pytest.raises(ValueError, match=r"merge into a \.pt, and convert that"):
        ptio.merge([path, path], tmp_path / "x.safetensors")


# --- what does not fit --------------------------------------------------------------------------


def test_all_mismatches_are_listed(torch, merged):
    one = {
        "same": torch.ones(2),
        "missing": torch.ones(1),
        "shape": torch.ones(2, 3),
        "kind": torch.ones(2),
        "complex": torch.ones(2),
        "sparse": torch.eye(2).to_sparse(),
    }
    two = {
        "same": torch.ones(2),
        "shape": torch.ones(3, 2),
        "kind": torch.arange(2),
        "complex": torch.ones(2) * 1j,
        "sparse": torch.ones(2, 2),
        "more": torch.ones(1),
    }
    with pytest.raises(ptio.MismatchError) as caught:
        merged(one, two)
    problems = caught.value.problems
    assert len(problems) == 6
    text = str(caught.value)
    assert "missing is not in" in text
    assert "more is not in" in text
    assert "shape has shape (2, 3)" in text
    assert "kind is float32" in text
    assert "complex is float32" in text
    assert "sparse is sparse float32" in text
    many = {str(i): torch.ones(1) for i in range(50)}
    with pytest.raises(ptio.MismatchError, match="and 40 more"):
        merged(many, {})


def test_sparse_tensors_are_taken_from_the_first(torch, merged):
    state = {"w": torch.ones(2), "s": torch.eye(2).to_sparse()}
    with pytest.raises(ptio.MismatchError, match=r"s .*ints='first'"):
        merged(state, state)
    report, result = merged(state, state, ints="first")
    assert torch.equal(result["s"].to_dense(), torch.eye(2))
    assert report.from_first == ["s"]


def test_hostile_names_in_messages(save, tmp_path):
    name = "\x1b[2J\nok: \u202e"
    one = save({name: checkpoints.tensor("float32", [1.0])}, "1.pt")
    two = save({"w": checkpoints.tensor("float32", [1.0])}, "2.pt")
    with pytest.raises(ptio.MismatchError) as caught:
        ptio.merge([one, two], tmp_path / "x.pt")
    assert str(caught.value).isprintable()


def test_arguments(save, tmp_path):
    path = save({"w": checkpoints.tensor("float32", [1.0])})
    target = tmp_path / "x.pt"
    for srcs in ([], [path], str(path)):
        with pytest.raises(ValueError, match="two or more"):
            ptio.merge(srcs, target)
    with pytest.raises(ValueError, match="1 weights for 2"):
        ptio.merge([path, path], target, weights=[1])
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="finite"):
            ptio.merge([path, path], target, weights=[1, bad])
    with pytest.raises(ValueError, match="ints must be"):
        ptio.merge([path, path], target, ints="last")
    with pytest.raises(FileExistsError):
        ptio.merge([path, path], path)
    with pytest.raises(OSError, match="is what is read"):
        ptio.merge([path, path], path, overwrite=True)
    assert os.listdir(tmp_path) == [path.name]


def test_damaged_bytes_are_found(torch, torch_save, tmp_path):
    paths = [torch_save({"w": torch.arange(3e6)}, f"{i}.pt") for i in range(2)]
    data = bytearray(paths[1].read_bytes())
    data[len(data) // 2] ^= 1
    paths[1].write_bytes(data)
    with pytest.raises(ptio.ChecksumError) as caught:
        ptio.merge(paths, tmp_path / "x.pt")
    assert caught.value.path == str(paths[1])
    assert sorted(os.listdir(tmp_path)) == ["0.pt", "1.pt"]


# --- memory -------------------------------------------------------------------------------------

MIB = 1 << 20
CHILD = """
import json, sys
import numpy as np, ml_dtypes, ptio
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
*sources, target = sys.argv[1:]
small = target + ".small.pt"
ptio.save({"a": np.ones(9), "b": np.ones((3, 4), "f4").T}, small)
ptio.merge([small, small], target)
before = peak()
ptio.merge(sources, target, overwrite=True)
print(json.dumps((peak() - before) * 1024))
"""


@children.unless_sanitized
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
@pytest.mark.parametrize("layout", ["plain", "transposed"])
def test_memory_is_that_of_a_tensor_of_each(tmp_path, layout):
    """3 files of 96 MiB in 6 tensors of 16 MiB."""
    paths = [tmp_path / f"{i}.pt" for i in range(3)]
    for number, path in enumerate(paths):
        state = {str(i): np.full((2048, 2048), i + number, "f4") for i in range(6)}
        if layout == "transposed":
            state = {name: array.T for name, array in state.items()}
        ptio.save(state, path)
        del state
    taken = children.run(CHILD, *paths, tmp_path / "out.pt")
    assert taken <= (3 * 16 + 32) * MIB
    assert ptio.load(tmp_path / "out.pt")["2"][5, 5] == 3
