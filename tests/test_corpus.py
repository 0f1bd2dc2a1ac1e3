# SPDX-License-Identifier: Apache-2.0
"""Files that torch.save writes: every dtype, layout, protocol, source and mmap mode, each
compared deeply with what torch.load gives."""

import itertools

import ptio
import pytest
from support import checkpoints, sources
from support.compare import assert_same

MMAP = (True, False, "auto")
PROTOCOLS = (2, 3, 4, 5)


@pytest.fixture(scope="module")
def corpus(torch, tmp_path_factory):
    """One file per protocol with every dtype in every layout, and what torch.load makes of it."""
    from support import torch_corpus

    folder = tmp_path_factory.mktemp("corpus")
    obj = {str(d): torch_corpus.every_layout(d, i) for i, d in enumerate(torch_corpus.DTYPES)}
    files = {}
    for protocol in PROTOCOLS:
        path = folder / f"protocol{protocol}.pt"
        torch.save(obj, path, pickle_protocol=protocol)
        files[protocol] = path, torch.load(path, weights_only=False)
    return files


@pytest.mark.parametrize("mmap", MMAP)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_dtype_and_layout_loads_as_in_torch(corpus, protocol, mmap):
    path, expected = corpus[protocol]
    assert_same(ptio.load(path, mmap=mmap), expected)


@pytest.mark.parametrize("name", sources.MAPPABLE)
@pytest.mark.parametrize("mmap", MMAP)
def test_every_path_and_open_file_loads_in_every_mmap_mode(corpus, name, mmap):
    path, expected = corpus[2]
    with sources.MAPPABLE[name](path) as f:
        assert_same(ptio.load(f, mmap=mmap), expected)


@pytest.mark.parametrize("name", sources.READ_ONLY)
@pytest.mark.parametrize("mmap", [False, "auto"])
def test_every_other_file_object_loads(corpus, name, mmap):
    path, expected = corpus[4]
    with sources.READ_ONLY[name](path) as f:
        assert_same(ptio.load(f, mmap=mmap), expected)


@pytest.mark.parametrize("name", sources.READ_ONLY)
def test_what_cannot_be_mapped_says_so(corpus, name):
    with sources.READ_ONLY[name](corpus[2][0]) as f, pytest.raises(ValueError, match="mmap"):
        ptio.load(f, mmap=True)


def test_containers_around_tensors_keep_identity_and_order(torch, torch_save, torch_load):
    base = torch.arange(6.0)
    shared = [base, {"view": base[2:]}]
    obj = {
        "z": shared,
        "a": (base, shared, (shared,)),
        "nested": {3: {"deep": [base.view(2, 3).t()]}, (1, "k"): base, None: 1, 2.5: 2},
        "twice": [base, base, base.clone()],
    }
    for protocol in PROTOCOLS:
        path = torch_save(obj, pickle_protocol=protocol)
        assert_same(ptio.load(path), torch_load(path))


@pytest.mark.parametrize("alignment", [1, 64, 4096])
def test_storage_alignment_is_free(torch, torch_save, torch_load, alignment):
    from torch.utils.serialization import config

    obj = {name: torch.arange(5, dtype=torch.float64) + i for i, name in enumerate("abc")}
    with config.patch("save.storage_alignment", alignment):
        path = torch_save(obj)
    for mmap in MMAP:
        assert_same(ptio.load(path, mmap=mmap), torch_load(path))


def test_files_without_checksums_load(torch, torch_save, torch_load):
    from torch.utils.serialization import config

    with config.patch("save.compute_crc32", False):
        path = torch_save({"w": torch.ones(100)})
    for mmap, verify in itertools.product(MMAP, (True, False, None)):
        assert_same(ptio.load(path, mmap=mmap, verify=verify), torch_load(path))
    report = ptio.verify(path)
    assert report.ok
    assert report.to_dict()["notes"]


@pytest.mark.parametrize(
    "name", ["noext", "model.v1.pt", "a:1", "...", "tab\there.pt", "line\nbreak.pt", "ünï.pt"]
)
def test_every_stem_that_torch_takes_from_a_file_name_loads(torch, torch_save, torch_load, name):
    path = torch_save({"w": torch.ones(3)}, name)
    assert_same(ptio.load(path), torch_load(path))


def test_every_dtype_is_in_the_corpus(torch):
    """A dtype that a new torch adds must be added to checkpoints.ITEMSIZE."""
    saved = set(checkpoints.ITEMSIZE)
    found = {str(d)[6:] for d in vars(torch).values() if isinstance(d, torch.dtype)}
    packed = {f"{sign}int{bits}" for sign in ("", "u") for bits in range(1, 8)}
    quantized = {"qint8", "quint8", "qint32", "quint4x2", "quint2x4"}
    assert found - packed - quantized - {"bcomplex32"} == saved
