# SPDX-License-Identifier: Apache-2.0
"""ptio.torch.save(compact=True): of larger storages, only what the saved tensors view."""

import itertools
import pickle
import zipfile

import pytest

KINDS = (
    *("layouts", "plain", "parameters", "sparse", "quantized", "nested", "meta", "bits"),
    *("storages", "modules", "SGD", "Adam", "AdamW", "RMSprop", "Adagrad"),
)


@pytest.fixture
def save(torch, tmp_path):
    """Saves an object compactly; compares it with torch's file; returns the bytes of its
    storages."""
    import ptio.torch
    from support.torch_compare import assert_same_but_for_size

    def run(obj, **options):
        path = tmp_path / "model.pt"
        torch.save(obj, tmp_path / "theirs.pt")
        ptio.torch.save(obj, path, compact=True, **options)
        assert ptio.verify(path).ok
        for mmap in (False, True):
            theirs = torch.load(tmp_path / "theirs.pt", weights_only=False, mmap=mmap)
            ours = torch.load(path, weights_only=False, mmap=mmap)
            assert_same_but_for_size(ours, theirs)
        return sizes(path)

    return run


def sizes(path):
    with zipfile.ZipFile(path) as archive:
        return [info.file_size for info in archive.infolist() if "/data/" in info.filename]


def test_a_view_is_written_without_the_rest_of_its_storage(torch, save):
    big = torch.arange(1_000_000, dtype=torch.float32)
    assert save({"view": big[10:20]}) == [40]
    assert save(big.view(1000, 1000)[3:5, 7:9]) == [4 * (1000 + 2)]
    assert save([big[-1], big[0:0]]) == [4]
    assert save(big.half()[1:3]) == [4]


def test_tensors_that_overlap_still_share_memory(torch, save, tmp_path):
    big = torch.arange(1000)
    obj = {"a": big[100:110], "b": big[105:120], "c": big[100:120].view(4, 5).t(), "d": big[119:]}
    assert save(obj) == [8 * 900]
    del obj["d"]
    assert save(obj) == [8 * 20]
    loaded = torch.load(tmp_path / "model.pt")
    loaded["a"][5:] = -1
    assert loaded["b"][:5].tolist() == [-1] * 5
    assert loaded["c"].t().reshape(-1)[5:10].tolist() == [-1] * 5


def test_one_storage_for_each_storage(torch, save):
    ones, twos = torch.ones(100), torch.full((100,), 2.0)
    assert save([ones[1:2], twos[2:4], ones[3:4], twos[2:3]]) == [12, 8]


def test_a_storage_that_is_saved_by_itself_is_whole(torch, save):
    big = torch.arange(100)
    assert save([big.storage(), big[5:7]]) == [800]
    assert save([big.view(torch.uint16)[5:7], big.untyped_storage()]) == [800]


def test_empty_tensors_need_no_memory(torch, save):
    big = torch.arange(100)
    assert save([big[50:50], big[3:].view(97, 1)[:, 1:]]) == [0]
    assert save([big[50:50], big[10:20], big[90:90]]) == [80]


def test_parameters_and_attributes(torch, save):
    big = torch.arange(100.0)
    parameter = torch.nn.Parameter(big[10:12])
    parameter.note = {"itself": parameter, "more": big[20:21]}
    frozen = torch.nn.Parameter(big[15:16], requires_grad=False)
    plain = big[12:14]
    plain.note = "an attribute"
    assert save([parameter, frozen, plain, big[13:14].requires_grad_()]) == [44]


def test_conjugate_and_negative_views(torch, save):
    big, real = torch.complex(torch.arange(100.0), torch.ones(100)), torch.arange(100.0)
    assert save([big[10:12].conj(), big[12:13], torch._neg_view(real[30:32])]) == [24, 8]


def test_dtypes_that_have_no_class_of_storage(torch, save):
    raw = torch.arange(64, dtype=torch.uint8)
    assert save(raw.view(torch.uint16)[3:5]) == [4]
    # what is counted in bytes can be viewed as several dtypes: all offsets must be whole elements
    assert save([raw.view(torch.uint16)[5:6], raw.view(torch.uint64)[3:4]]) == [32 - 8]
    assert save([raw.view(torch.float8_e5m2)[13:14], raw.view(torch.uint32)[4:5]]) == [20 - 12]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_object(torch, save, kind):
    from support import torch_corpus

    assert set(KINDS) == set(torch_corpus.KINDS)
    torch.manual_seed(0)
    save(torch_corpus.KINDS[kind]())


def test_whole_modules(torch, save, tmp_path):
    weights = torch.randn(1000, 10)
    model = torch.nn.Sequential(torch.nn.Linear(10, 3), torch.nn.Linear(3, 2))
    model[0].weight = torch.nn.Parameter(weights[5:8])
    import ptio.torch

    ptio.torch.save(model, tmp_path / "whole.pt", compact=True)
    assert sum(sizes(tmp_path / "whole.pt")) == 4 * (30 + 3 + 6 + 2)
    loaded = torch.load(tmp_path / "whole.pt", weights_only=False)
    assert torch.equal(loaded[0].weight, weights[5:8])


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
def test_every_protocol(torch, save, protocol):
    big = torch.arange(100.0)
    obj = [big[3:4], torch.nn.Parameter(big[5:6]), {"a": big[4:5]}]
    assert save(obj, pickle_protocol=protocol) == [12]


@pytest.mark.parametrize("name", ["dill", "cloudpickle"])
def test_other_pickle_modules(torch, tmp_path, name):
    import ptio.torch

    module = pytest.importorskip(name)
    big, path = torch.arange(100.0), tmp_path / "model.pt"
    ptio.torch.save([big[3:5], lambda x: x + 1], path, module, compact=True)
    assert sizes(path) == [8]
    loaded = torch.load(path, weights_only=False)
    assert loaded[0].tolist() == [3, 4]
    assert loaded[1](1) == 2


def test_pythons_own_pickler(torch, save):
    class Module:
        Pickler = pickle._Pickler

    assert save([torch.arange(100.0)[3:5]], pickle_module=Module) == [8]


def test_where_nothing_is_larger_the_file_is_torchs(torch, tmp_path):
    from support import torch_corpus
    from support.torch_saving import assert_same_files, saved_by_torch, saved_by_us

    for kind in ("Adam", "plain", "modules"):
        obj = torch_corpus.KINDS[kind]()
        theirs = saved_by_torch(obj, tmp_path / "model.pt")
        assert_same_files(saved_by_us(obj, tmp_path / "model.pt", compact=True), theirs)


def test_compact_files_are_deterministic_and_load_as_weights(torch, tmp_path):
    import ptio.torch

    big, path = torch.arange(1000.0), tmp_path / "model.pt"
    obj = {"a": big[5:9], "b": big[7:20].view(13, 1)}
    files = []
    for _ in range(2):
        ptio.torch.save(obj, path, compact=True)
        files.append(path.read_bytes())
    assert files[0] == files[1]
    for only, mmap in itertools.product((True, False), repeat=2):
        for load in (torch.load, ptio.torch.load):
            loaded = load(path, weights_only=only, mmap=mmap)
            assert all(torch.equal(loaded[name], obj[name]) for name in obj)


def test_the_saved_tensors_stay_as_they_are(torch, tmp_path):
    import ptio.torch

    big = torch.arange(1000.0)
    view = big[5:9]
    before = (view.data_ptr(), view.storage_offset(), view.untyped_storage()._cdata)
    ptio.torch.save(view, tmp_path / "model.pt", compact=True)
    assert (view.data_ptr(), view.storage_offset(), view.untyped_storage()._cdata) == before
    assert view.untyped_storage().nbytes() == 4000
    view += 1
    assert big[5] == 6


def test_errors_are_torchs(torch, tmp_path):
    import ptio.torch
    from support.torch_compare import assert_same_error

    a = torch.arange(4.0)
    for obj in ([a, a.view(torch.int32)], [a, lambda: 1], (i for i in a)):
        assert_same_error(
            lambda obj=obj: ptio.torch.save(obj, tmp_path / "ours.pt", compact=True),
            lambda obj=obj: torch.save(obj, tmp_path / "theirs.pt"),
        )
    assert not (tmp_path / "ours.pt").exists()


def test_the_old_format_has_no_compact_files(torch, tmp_path):
    import ptio.torch

    with pytest.raises(ValueError, match="compact"):
        ptio.torch.save(1, tmp_path / "a.pt", _use_new_zipfile_serialization=False, compact=True)
