# SPDX-License-Identifier: Apache-2.0
"""ptio.torch.save writes what torch.save writes, byte for byte, but for the digits of its id: all
kinds of tensors and modules, every protocol, option and target."""

import io
import pickle
import warnings

import pytest

KINDS = (
    *("layouts", "plain", "parameters", "sparse", "quantized", "nested", "meta", "bits"),
    *("storages", "modules", "SGD", "Adam", "AdamW", "RMSprop", "Adagrad"),
)
MODULES = (
    *("linear", "conv", "conv channels last", "lstm", "embedding", "transformer", "tied", "half"),
    *("bfloat16", "no parameters"),
)


@pytest.fixture
def check(torch, tmp_path):
    """Saves an object by torch and by us under one name, and compares; returns our bytes."""
    from support.torch_saving import assert_saved_the_same

    def run(obj, *arguments, name="model.pt", **options):
        return assert_saved_the_same(obj, tmp_path / name, *arguments, **options)

    return run


@pytest.fixture
def make(torch):
    """An object of the corpus of torch's kinds."""
    from support import torch_corpus

    def one(kind):
        assert set(KINDS) == set(torch_corpus.KINDS)
        torch.manual_seed(0)
        return torch_corpus.KINDS[kind]()

    return one


# --- objects -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_object(make, check, kind):
    check(make(kind))


@pytest.mark.parametrize("kind", MODULES)
def test_whole_modules(torch, check, kind):
    from support import torch_corpus

    assert set(MODULES) == set(torch_corpus.modules())
    check(torch_corpus.modules()[kind])


def test_optimizers_and_schedulers_as_objects(torch, check):
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    check({"model": model, "optimizer": optimizer, "epoch": 1})
    check([scheduler.state_dict(), optimizer.state_dict()])


def test_tensors_without_elements_or_memory(torch, check):
    freed = torch.ones(3)
    freed.untyped_storage().resize_(0)
    check([torch.empty(0), torch.empty(0, 3)[:, 1:], freed, torch.ones(5)[5:], torch.tensor(1.0)])


def test_the_graph_of_a_tensor_is_not_saved(torch, check):
    leaf = torch.ones(3, requires_grad=True)
    check([leaf, leaf * 2, (leaf * 2).detach(), leaf.expand(2, 3)])


def test_tensors_that_were_moved_to_shared_memory_or_a_numpy_array(torch, check):
    import numpy as np

    check([torch.from_numpy(np.arange(5.0))[1:], torch.ones(3).share_memory_()])


def test_tensors_made_in_inference_mode(torch, check):
    with torch.inference_mode():
        check([torch.ones(3), torch.ones(3)[1:]])


def test_many_storages_have_numbers_in_order(torch, check):
    check({f"layer.{i}": torch.full((i % 7,), float(i)) for i in range(1200)})


def test_large_storages_next_to_small_ones(torch, check):
    sizes = (1, 1 << 20, 3, (1 << 20) + 1, 5 << 20, 0, 7, 1 << 18)
    generator = torch.Generator().manual_seed(0)
    check([torch.randint(256, (n,), dtype=torch.uint8, generator=generator) for n in sizes])


# --- how -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", ["plain", "parameters", "sparse", "storages", "Adam", "nested"])
def test_every_protocol(make, check, kind, protocol):
    check(make(kind), pickle_protocol=protocol)


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_without_tensors(check, protocol):
    check({"a": [1, 2.5, "text", b"bytes", (None, True)], "b": {1, 2}}, pickle_protocol=protocol)


def test_the_highest_protocol_by_a_negative_number(make, check):
    check(make("Adam"), pickle_protocol=-1)


class OldPickle:
    """A module that pickles as Python's pickle does, in Python."""

    Pickler = pickle._Pickler


@pytest.mark.parametrize("kind", ["plain", "parameters", "sparse", "Adam", "modules"])
def test_another_pickle_module(make, check, kind):
    check(make(kind), pickle_module=OldPickle)


def test_dill(torch, make, check):
    dill = pytest.importorskip("dill")
    check(make("Adam"), pickle_module=dill)
    obj = [torch.ones(2), lambda x: x + 1]
    check(obj, dill)


def test_the_byteorder_record_may_come_last(make, check):
    check(make("SGD"), _disable_byteorder_record=True)
    check(make("SGD"), pickle, 2, True, True)


@pytest.mark.parametrize("alignment", [1, 2, 64, 4096, 32768])
def test_torchs_setting_of_the_alignment(torch, make, check, alignment):
    from torch.utils.serialization import config

    with config.patch("save.storage_alignment", alignment):
        check(make("SGD"))


@pytest.mark.parametrize("crc", [True, False])
def test_torchs_setting_of_the_checksums(torch, make, check, crc):
    from torch.utils.serialization import config

    with config.patch("save.compute_crc32", crc):
        check(make("SGD"))
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(crc)
    try:
        check(make("SGD"))
    finally:
        torch.serialization.set_crc32_options(before)


def test_arguments_instead_of_torchs_settings(torch, make, tmp_path):
    from support.torch_saving import assert_same_files, saved_by_torch, saved_by_us
    from torch.utils.serialization import config

    path, obj = tmp_path / "model.pt", make("SGD")
    ours = saved_by_us(obj, path, storage_alignment=256, compute_crc32=False)
    with config.patch({"save.storage_alignment": 256, "save.compute_crc32": False}):
        theirs = saved_by_torch(obj, path)
        usual = saved_by_us(obj, path, storage_alignment=64, compute_crc32=True)
    assert_same_files(ours, theirs)
    assert_same_files(usual, saved_by_torch(obj, path))


# --- where ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *(
            "model.pt",
            "model.v1.pt",
            "noext",
            "a..pt",
            "a.",
            "with space.ckpt",
            "a\\b.c.pt",
            "a\nb",
        ),
        *("n\u00e4me.pt", "\udcff.pt", "..a", "...", "x" * 250),
    ],
)
def test_every_name_of_a_file(check, name):
    check([1, 2], name=name)


def test_a_name_as_text_or_bytes(torch, tmp_path, monkeypatch):
    import ptio.torch
    from support.torch_saving import assert_same_files

    monkeypatch.chdir(tmp_path)
    torch.save(torch.ones(2), "model.pt")
    theirs = (tmp_path / "model.pt").read_bytes()
    whole = tmp_path / "model.pt"
    for name in ("model.pt", b"model.pt", str(whole), f"./../{tmp_path.name}/model.pt"):
        (tmp_path / "model.pt").unlink()
        ptio.torch.save(torch.ones(2), name)
        assert_same_files((tmp_path / "model.pt").read_bytes(), theirs)


def test_a_file_object(torch, make, tmp_path):
    import ptio.torch
    from support.torch_saving import assert_same_files

    theirs, ours = io.BytesIO(), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(make("layouts"), theirs)
        ptio.torch.save(make("layouts"), ours)
    assert_same_files(ours.getvalue(), theirs.getvalue())
    with open(tmp_path / "model.pt", "wb") as file:
        ptio.torch.save(make("layouts"), file)
    assert (tmp_path / "model.pt").read_bytes() == ours.getvalue()


@pytest.mark.parametrize("kind", ["layouts", "AdamW", "nested"])
def test_the_same_object_under_the_same_name_is_the_same_file(make, tmp_path, kind):
    from support.torch_saving import saved_by_us

    first = saved_by_us(make(kind), tmp_path / "model.pt")
    assert saved_by_us(make(kind), tmp_path / "model.pt", threads=2) == first
    assert saved_by_us(make(kind), tmp_path / "model.pt", atomic=False, threads=1) == first
