# SPDX-License-Identifier: Apache-2.0
"""ptio.torch.load gives what torch.load gives: every dtype, layout and rare kind of tensor, what
training scripts save, files of old versions; from every source, copied and mapped."""

import gzip
import io
import itertools
import pathlib
import zipfile
from contextlib import contextmanager

import pytest
from support import sources

DATA = pathlib.Path(__file__).parent / "data"
BOTH = (True, False)
KINDS = (
    *("layouts", "plain", "parameters", "sparse", "quantized", "nested", "meta", "bits"),
    *("storages", "modules", "SGD", "Adam", "AdamW", "RMSprop", "Adagrad"),
)


@pytest.fixture(scope="module")
def corpus(torch, tmp_path_factory):
    """One file for each kind of objects."""
    from support import torch_corpus

    assert set(KINDS) == set(torch_corpus.KINDS)
    folder = tmp_path_factory.mktemp("corpus")
    for name, make in torch_corpus.KINDS.items():
        torch.manual_seed(0)
        torch.save(make(), folder / f"{name}.pt")
    return folder


@pytest.fixture
def check(torch):
    """Compares ptio.torch.load of a source with torch.load of a path; returns ours."""
    import ptio.torch
    from support.torch_compare import assert_same_objects

    def run(path, source=None, **options):
        ours = ptio.torch.load(path if source is None else source, **options)
        assert_same_objects(ours, torch.load(path, **options))
        return ours

    return run


@pytest.mark.parametrize("mmap", BOTH)
@pytest.mark.parametrize("weights_only", BOTH)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_object_loads_as_in_torch(corpus, check, kind, weights_only, mmap):
    check(corpus / f"{kind}.pt", weights_only=weights_only, mmap=mmap)


@pytest.mark.parametrize("name", ["str", "PathLike"])
@pytest.mark.parametrize("mmap", BOTH)
def test_every_form_of_a_path_loads(corpus, check, name, mmap):
    with sources.MAPPABLE[name](corpus / "layouts.pt") as f:
        check(corpus / "layouts.pt", f, mmap=mmap)


def test_a_path_of_bytes_loads(corpus, check):
    check(corpus / "layouts.pt", bytes(corpus / "layouts.pt"))


class FourMethods:
    """What torch asks of a file object: read, readline, seek and tell."""

    def __init__(self, data):
        file = io.BytesIO(data)
        self.read, self.readline, self.seek, self.tell = (
            *(file.read, file.readline, file.seek, file.tell),
        )


@contextmanager
def _gzipped(path):
    with gzip.open(path.with_suffix(".gz"), "wb", compresslevel=1) as packed:
        packed.write(path.read_bytes())
    with gzip.open(path.with_suffix(".gz"), "rb") as file:
        yield file


@contextmanager
def _zip_entry(path, method=zipfile.ZIP_STORED):
    outer = path.with_suffix(".zip")
    with zipfile.ZipFile(outer, "w", method) as archive:
        archive.writestr("before", b"something else")
        archive.write(path, "model.pt")
    with zipfile.ZipFile(outer) as archive, archive.open("model.pt") as file:
        yield file


@contextmanager
def _four_methods(path):
    yield FourMethods(path.read_bytes())


FILE_OBJECTS = {
    **{name: how for name, how in sources.MAPPABLE.items() if "file" in name},
    **sources.READ_ONLY,
    "gzip": _gzipped,
    "zip entry": _zip_entry,
    "deflated zip entry": lambda path: _zip_entry(path, zipfile.ZIP_DEFLATED),
    "four methods": _four_methods,
}


@pytest.mark.parametrize("weights_only", BOTH)
@pytest.mark.parametrize("name", FILE_OBJECTS)
def test_every_file_object_loads(corpus, check, name, weights_only):
    for kind in ("layouts", "Adam"):
        path = corpus / f"{kind}.pt"
        with FILE_OBJECTS[name](path) as f:
            check(path, f, weights_only=weights_only)


def _refuses_mmap(*functions):
    """All refuse, in the same words."""
    messages = []
    for function in functions:
        with pytest.raises(ValueError) as caught:
            function()
        messages.append(str(caught.value))
    assert len(set(messages)) == 1, messages


@pytest.mark.parametrize("name", FILE_OBJECTS)
def test_no_file_object_is_mapped(torch, corpus, name):
    import ptio.torch

    path = corpus / "plain.pt"
    with FILE_OBJECTS[name](path) as f, open(path, "rb") as file:
        _refuses_mmap(lambda: ptio.torch.load(f, mmap=True), lambda: torch.load(file, mmap=True))


# --- other writers -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(DATA.glob("*.pt")), ids=lambda path: path.stem)
def test_files_of_old_versions_load_as_in_torch(check, path):
    if "legacy" in path.name:
        return  # test_torch_legacy_files.py
    for weights_only, mmap in itertools.product(BOTH, BOTH):
        check(path, weights_only=weights_only, mmap=mmap)


def test_a_file_without_checksums(torch, torch_save, check):
    from torch.utils.serialization import config

    with config.patch("save.compute_crc32", False):
        path = torch_save({"w": torch.arange(100)})
    for weights_only, mmap in itertools.product(BOTH, BOTH):
        check(path, weights_only=weights_only, mmap=mmap)


@pytest.mark.parametrize("alignment", [1, 4096])
def test_other_alignments_of_the_storages(torch, torch_save, check, alignment):
    from torch.utils.serialization import config

    with config.patch("save.storage_alignment", alignment):
        path = torch_save([torch.arange(5.0), torch.ones(3, dtype=torch.int8), torch.rand(7)])
    for weights_only, mmap in itertools.product(BOTH, BOTH):
        check(path, weights_only=weights_only, mmap=mmap)


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
def test_every_protocol_loads(torch, torch_save, check, protocol):
    """torch's own unpickler for weights reads protocol 2 only."""
    import ptio.torch
    from support import torch_corpus
    from support.torch_compare import assert_same_objects

    for kind in ("plain", "parameters", "sparse", "Adam"):
        path = torch_save(torch_corpus.KINDS[kind](), pickle_protocol=protocol)
        theirs = check(path, weights_only=False)
        assert_same_objects(ptio.torch.load(path), theirs)
