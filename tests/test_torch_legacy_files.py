# SPDX-License-Identifier: Apache-2.0
"""ptio.torch.load of files from before torch 1.6 gives what torch.load gives."""

import collections
import io
import os
import pathlib
import pickle
import warnings

import numpy as np
import pytest
from support import checkpoints, legacy_files, sources
from support import pickle_asm as asm

BOTH = (True, False)
KINDS = ("plain", "parameters", "sparse", "quantized", "bits", "modules", "SGD", "Adam", "AdamW")
DATA = pathlib.Path(__file__).parent / "data"
JUNK = b"something else " * 9
VIEWS_ROOT = checkpoints.Storage("float32", np.arange(8, dtype="<f4").tobytes())


@pytest.fixture
def load(torch):
    import ptio.torch

    return ptio.torch.load


@pytest.fixture
def check(torch, load):
    """Compares with torch.load; `make` opens the file for each of them."""
    from support.torch_compare import assert_same_but_for_resizing

    def run(make, **options):
        ours = load(make(), **options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert_same_but_for_resizing(ours, torch.load(make(), **options))
        return ours

    return run


@pytest.fixture
def save(torch_save):
    return lambda obj, **options: torch_save(obj, _use_new_zipfile_serialization=False, **options)


@pytest.fixture
def only_ours(monkeypatch, torch):
    """Fails where torch's own load is asked."""
    import ptio.torch._load as module

    def no_load(*args):
        raise AssertionError("torch's own load was asked")

    monkeypatch.setattr(module, "_load_by_torch", no_load)


@pytest.mark.parametrize("weights_only", BOTH)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_object_loads_as_in_torch(save, check, kind, weights_only):
    from support import torch_corpus

    path = save(torch_corpus.KINDS[kind]())
    check(lambda: path, weights_only=weights_only)


@pytest.mark.usefixtures("only_ours")
@pytest.mark.parametrize("weights_only", BOTH)
def test_the_file_of_an_old_version(check, weights_only):
    check(lambda: DATA / "torch-1.13.1-legacy.pt", weights_only=weights_only)


@pytest.mark.usefixtures("only_ours")
@pytest.mark.parametrize("weights_only", BOTH)
@pytest.mark.parametrize("dtype", checkpoints.LEGACY)
def test_every_dtype_and_layout(torch, save, check, dtype, weights_only):
    from support import torch_corpus

    if dtype.startswith("q"):
        return  # with the quantized tensors
    path = save(torch_corpus.every_layout(getattr(torch, dtype)))
    check(lambda: path, weights_only=weights_only)


@pytest.mark.usefixtures("only_ours")
def test_dtypes_that_torch_writes_but_cannot_read_back(torch, save, load):
    for name in ("float8_e4m3fn", "uint16", "uint64"):
        value = torch.tensor([1, 2, 3]).to(getattr(torch, name))
        ours = load(save({"w": value}))["w"]
        assert ours.dtype == value.dtype
        assert ours.view(torch.uint8).tolist() == value.view(torch.uint8).tolist()


@pytest.mark.usefixtures("only_ours")
@pytest.mark.parametrize("name", sources.ALL)
def test_every_source(torch, save, check, name):
    path = save({"w": [torch.arange(5.0), torch.ones(3, dtype=torch.int8)], "n": 3})
    with sources.ALL[name](path) as f:
        import ptio.torch

        ours = ptio.torch.load(f)
    assert ours["w"][0].tolist() == [0, 1, 2, 3, 4]
    assert ours["w"][1].tolist() == [1, 1, 1]


@pytest.mark.parametrize("protocol", range(2, 6))
def test_every_protocol(torch, save, check, protocol):
    path = save({"w": torch.arange(5.0), "s": "x" * 300}, pickle_protocol=protocol)
    check(lambda: path, weights_only=False)


@pytest.mark.usefixtures("only_ours")
@pytest.mark.parametrize("weights_only", BOTH)
def test_storages_and_views(torch, write, load, weights_only):
    """Views of storages, as torch before 0.4 wrote them."""
    middle = legacy_files.View(VIEWS_ROOT, 2, 4)
    data = legacy_files.save(
        [
            checkpoints.Tensor(middle, (2, 2), (1, 2)),
            checkpoints.Tensor(VIEWS_ROOT, (8,), (1,)),
            checkpoints.Tensor(middle, (2,), (1,), 1),
            middle,
            VIEWS_ROOT,
        ]
    )
    path = write(data)
    for where in (None, "cpu", {"cpu": "cpu"}, lambda storage, tag: storage):
        for function in (torch.load, load):
            ours = function(path, map_location=where, weights_only=weights_only)
            assert ours[0].untyped_storage().nbytes() == 16
            ours[1][3] = 30
            assert ours[0].tolist() == [[2, 4], [30, 5]]
            assert ours[2].tolist() == [30, 4]
            assert ours[3].tolist() == [2, 30, 4, 5]
            assert type(ours[3]) is torch.storage.TypedStorage


@pytest.mark.usefixtures("only_ours")
@pytest.mark.parametrize("weights_only", BOTH)
def test_views_on_another_device(torch, write, load, weights_only):
    middle = legacy_files.View(VIEWS_ROOT, 2, 4)
    parts = [checkpoints.Tensor(middle, (4,), (1,)), checkpoints.Tensor(VIEWS_ROOT, (8,), (1,))]
    path = write(legacy_files.save(parts))
    for where in ("meta", torch.device("meta")):
        ours = load(path, where, weights_only=weights_only)
        assert [part.device.type for part in ours] == ["meta", "meta"]
        assert [part.untyped_storage().nbytes() for part in ours] == [16, 32]
    for function in (torch.load, load):
        moved = []

        def copy(storage, tag, moved=moved):
            moved.append((storage.nbytes(), tag))
            return storage.clone()

        ours = function(path, copy, weights_only=weights_only)
        assert moved == [(32, "cpu")]
        ours[1][2] = 9
        assert ours[0].tolist() == [9, 3, 4, 5]


@pytest.mark.usefixtures("only_ours")
@pytest.mark.parametrize("weights_only", BOTH)
def test_devices_that_are_not_there(torch, write, load, weights_only):
    if torch.cuda.is_available():
        pytest.skip("it is there")
    obj = checkpoints.Tensor(checkpoints.Storage("float32", bytes(8), "cuda:0"), (2,), (1,))
    path = write(legacy_files.save([obj]))
    with pytest.raises(RuntimeError, match=r"torch\.cuda\.is_available\(\) is False"):
        load(path, weights_only=weights_only)
    assert load(path, "cpu", weights_only=weights_only)[0].tolist() == [0, 0]


# --- streams --------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights_only", BOTH)
@pytest.mark.parametrize("in_memory", BOTH)
def test_several_objects_in_one_stream(torch, load, write, in_memory, weights_only):
    """What torch cannot make safely comes from torch itself, and leaves the file there too."""
    objects = [{"w": torch.arange(3)}, [torch.ones(2), 5], "text"]
    if not weights_only:
        objects.insert(1, {"path": collections.UserDict(a=1)})
    file = io.BytesIO(JUNK)
    file.seek(len(JUNK))
    for obj in objects:
        torch.save(obj, file, _use_new_zipfile_serialization=False)
    torch.save([7], file)
    path = write(file.getvalue())
    with io.BytesIO(path.read_bytes()) if in_memory else open(path, "rb") as stream:
        stream.seek(len(JUNK))
        loaded = [load(stream, weights_only=weights_only) for _ in range(len(objects) + 1)]
    assert torch.equal(loaded[0]["w"], torch.arange(3))
    assert loaded[-2:] == ["text", [7]]


# --- whole models, and what else needs code -------------------------------------------------------


def test_whole_models(torch, save, load):
    from support.torch_compare import assert_same_but_for_resizing

    path = save(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = load(path, weights_only=False)
        assert_same_but_for_resizing(
            ours.state_dict(), torch.load(path, weights_only=False).state_dict()
        )
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed") as caught:
        load(path)
    assert "torch.nn.modules.container.Sequential" in str(caught.value)
    assert "weights_only=False" not in str(caught.value)


def test_nothing_leads_from_true_to_torchs_own_load(save, load, only_ours):
    path = save({"when": collections.UserDict(a=1)})
    with pytest.raises(pickle.UnpicklingError, match=r"GLOBAL collections\.UserDict"):
        load(path)
    assert type(load(path, allow=["collections.UserDict"])["when"]).__name__ == "Opaque"


def test_a_class_that_is_registered(torch, save, load):
    path = save([collections.UserDict(a=1)])
    with torch.serialization.safe_globals([collections.UserDict]):
        assert load(path) == torch.load(path) == [{"a": 1}]


def test_another_pickle_module_and_other_arguments(save, load):
    import dill

    path = save({"a": 1})
    for module in (pickle, dill):
        assert load(path, pickle_module=module) == {"a": 1}
    assert load(path, weights_only=False, encoding="latin1", errors="strict") == {"a": 1}


def test_text_of_python_2(torch, write, check):
    parts = legacy_files.parts_of(None)
    name = asm.op("SHORT_BINSTRING", b"weight")
    parts.obj = asm.program(asm.dict_of(name, asm.number(1)))
    path = write(parts.join())
    for weights_only in BOTH:
        for encoding in ("utf-8", "bytes", "ascii"):
            check(lambda: path, weights_only=weights_only, encoding=encoding)


# --- errors ---------------------------------------------------------------------------------------

WRONG = {
    "version": ({"version": pickle.dumps(1002, 2)}, "Invalid protocol version: 1002"),
    "size": ({"storages": [(3, bytes(16))]}, "storage has wrong byte size"),
    "key": ({"keys": pickle.dumps(["7"], 2)}, "storage key '7' not found"),
}


@pytest.mark.parametrize("weights_only", BOTH)
@pytest.mark.parametrize("name", WRONG)
def test_errors_have_torchs_words(torch, write, load, name, weights_only):
    parts, words = WRONG[name]
    made = legacy_files.parts_of([checkpoints.tensor("float32", [1, 2, 3, 4])])
    for part, value in parts.items():
        setattr(made, part, value)
    path = write(made.join())
    with pytest.raises((RuntimeError, AssertionError), match=words):
        torch.load(path, weights_only=weights_only)
    with pytest.raises((RuntimeError, pickle.UnpicklingError, AssertionError), match=words) as ours:
        load(path, weights_only=weights_only)
    assert "PytorchStreamReader" not in str(ours.value)


def test_another_magic_number(torch, write, load):
    path = write(pickle.dumps(1, 2) + pickle.dumps(1001, 2))
    for function in (torch.load, load):
        with pytest.raises(RuntimeError, match="Invalid magic number; corrupt file"):
            function(path)


@pytest.mark.parametrize("weights_only", BOTH)
def test_a_file_that_is_cut_off(torch, save, load, weights_only):
    path = save({"w": torch.ones(100)})
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(EOFError):
        load(path, weights_only=weights_only)
