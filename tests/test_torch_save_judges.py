# SPDX-License-Identifier: Apache-2.0
"""What others say of the files of ptio.torch.save: torch.load, zipfile, unzip; and ptio.verify."""

import itertools
import shutil
import subprocess
import warnings
import zipfile

import pytest

KINDS = (
    *("layouts", "plain", "parameters", "sparse", "quantized", "nested", "meta", "bits"),
    *("storages", "modules", "SGD", "Adam", "AdamW", "RMSprop", "Adagrad"),
)


@pytest.fixture(scope="module")
def corpus(torch, tmp_path_factory):
    """One file of each kind by torch and one by us: kind -> (object, theirs, ours)."""
    import ptio.torch
    from support import torch_corpus

    assert set(KINDS) == set(torch_corpus.KINDS)
    folders = [tmp_path_factory.mktemp(name) for name in ("theirs", "ours")]
    files = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kind, make in torch_corpus.KINDS.items():
            torch.manual_seed(0)
            obj = make()
            theirs, ours = (folder / f"{kind}.pt" for folder in folders)
            torch.save(obj, theirs)
            ptio.torch.save(obj, ours)
            files[kind] = (obj, theirs, ours)
    return files


@pytest.mark.parametrize("kind", KINDS)
def test_torch_loads_what_it_loads_of_its_own_files(torch, corpus, kind):
    from support.torch_compare import assert_same_objects

    _, theirs, ours = corpus[kind]
    for only, mmap in itertools.product((True, False), repeat=2):
        options = {"weights_only": only, "mmap": mmap}
        assert_same_objects(torch.load(ours, **options), torch.load(theirs, **options))


@pytest.mark.parametrize("kind", KINDS)
def test_archives_are_whole(corpus, kind):
    import ptio

    _, _, ours = corpus[kind]
    with zipfile.ZipFile(ours) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
    assert names[:4] == [
        f"{kind}/{name}"
        for name in ("data.pkl", ".format_version", ".storage_alignment", "byteorder")
    ]
    assert names[-2:] == [f"{kind}/version", f"{kind}/.data/serialization_id"]
    assert names[4:-2] == [f"{kind}/data/{i}" for i in range(len(names) - 6)]
    report = ptio.verify(ours)
    assert report.ok, report.problems


@pytest.mark.skipif(shutil.which("unzip") is None, reason="unzip is not installed")
@pytest.mark.parametrize("kind", KINDS)
def test_unzip_has_nothing_to_say(corpus, kind):
    command = ["unzip", "-tqq", str(corpus[kind][2])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_torch_computes_the_same_offsets(torch, corpus):
    """calculate_storage_offsets: torch believes that the storages are where it would put them."""
    from support.torch_compare import assert_same_objects
    from torch.utils.serialization import config

    for kind in ("layouts", "Adam", "modules"):
        _, theirs, ours = corpus[kind]
        with config.patch("load.calculate_storage_offsets", True):
            loaded = torch.load(ours, mmap=True, weights_only=False)
        assert_same_objects(loaded, torch.load(theirs, mmap=True, weights_only=False))


@pytest.fixture
def save(torch, tmp_path):
    import ptio.torch

    def run(obj, **options):
        ptio.torch.save(obj, tmp_path / "model.pt", **options)
        return tmp_path / "model.pt"

    return run


def storage_sizes(path):
    with zipfile.ZipFile(path) as archive:
        return [info.file_size for info in archive.infolist() if "/data/" in info.filename]


def test_a_storage_is_written_once(torch, save):
    base = torch.arange(1000.0)
    module = torch.nn.Linear(3, 4)
    obj = {"a": base, "b": base[5:7], "c": base.view(10, 100).t(), "d": base.storage()}
    obj.update(module=module, weight=module.weight, data=module.weight.data, again=base)
    path = save(obj)
    assert storage_sizes(path) == [4000, 48, 16]
    loaded = torch.load(path, weights_only=False)
    loaded["a"][5] = -1
    assert loaded["b"][0] == loaded["c"][5, 0] == loaded["d"][5] == -1
    assert loaded["again"] is loaded["a"]
    assert loaded["module"].weight is loaded["weight"]


def test_a_view_keeps_its_whole_storage(torch, save):
    assert storage_sizes(save(torch.arange(1_000_000)[:2])) == [8_000_000]
    assert storage_sizes(save([torch.ones(100)[3:], torch.ones(50)[1:1]])) == [400, 200]


def test_storages_are_aligned(torch, save):
    import ptio

    obj = [torch.ones(n, dtype=torch.int8) for n in (1, 5, 0, 64, 1_500_000, 7)]
    for alignment in (64, 4096):
        path = save(obj, storage_alignment=alignment)
        data = path.read_bytes()
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                name, extra = (int.from_bytes(data[i : i + 2], "little") for i in _at(info))
                assert (info.header_offset + 30 + name + extra) % alignment == 0
        assert ptio.verify(path).ok


def _at(info):
    return (info.header_offset + 26, info.header_offset + 28)


def test_a_file_without_checksums_loads(torch, save):
    import ptio.torch

    path = save([torch.arange(5.0)], compute_crc32=False)
    with zipfile.ZipFile(path) as archive:
        assert {info.CRC for info in archive.infolist()} == {0}
    assert torch.load(path)[0].tolist() == [0, 1, 2, 3, 4]
    assert ptio.torch.load(path, verify=False)[0].tolist() == [0, 1, 2, 3, 4]


def test_the_id_depends_on_the_content(torch, save):
    def id_of(obj, **options):
        with zipfile.ZipFile(save(obj, **options)) as archive:
            return archive.read("model/.data/serialization_id")

    ids = [id_of([torch.ones(n)]) for n in (1, 2, 3)] + [id_of([torch.zeros(3)]), id_of([1])]
    assert len(set(ids)) == 5
    assert all(len(one) == 40 and one.isdigit() for one in ids)
    assert ids[0] == id_of([torch.ones(1)])
