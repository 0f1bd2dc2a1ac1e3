# SPDX-License-Identifier: Apache-2.0
"""map_location of ptio.torch.load, in all its forms, and the location tags of files."""

import io

import pytest
from support import checkpoints

BOTH = (True, False)


@pytest.fixture
def load(torch):
    import ptio.torch

    return ptio.torch.load


@pytest.fixture
def check(torch, load):
    """The same objects as torch.load gives, for both settings of weights_only and mmap."""
    from support.torch_compare import assert_same_objects

    def run(path, make_location=None, *locations):
        for weights_only in BOTH:
            for mmap in BOTH:
                for where in locations or (None,):
                    ours, theirs = (make_location or (lambda same: same) for _ in BOTH)
                    options = {"weights_only": weights_only, "mmap": mmap}
                    assert_same_objects(
                        load(path, ours(where), **options),
                        torch.load(path, theirs(where), **options),
                    )

    return run


@pytest.fixture
def same_error(torch, load):
    from support.torch_compare import assert_same_error

    def run(path, *arguments, **options):
        for weights_only in BOTH:
            options["weights_only"] = weights_only
            error = assert_same_error(
                lambda: load(path, *arguments, **options),
                lambda: torch.load(path, *arguments, **options),
            )
        return error

    return run


@pytest.fixture
def path(torch_save):
    """Tensors of all kinds, several of them over one storage."""
    from support import torch_corpus

    kinds = ("parameters", "bits", "sparse", "quantized", "storages", "SGD")
    return torch_save({kind: torch_corpus.KINDS[kind]() for kind in kinds})


def tagged(*tags, size=3):
    """A checkpoint with one storage for each location tag, from machines that had these."""
    made = []
    for i, tag in enumerate(tags):
        tensor = checkpoints.tensor("float32", [float(i)] * size)
        tensor.storage.location = tag
        made.append(tensor)
    return checkpoints.save(made)


class Counting(io.BytesIO):
    """Counts the bytes that are read."""

    count = 0

    def read(self, size=-1):
        data = super().read(size)
        self.count += len(data)
        return data

    def readinto(self, buffer):
        count = super().readinto(buffer)
        self.count += count
        return count

    def getvalue(self):
        raise AssertionError("this would be all of it")

    getbuffer = getvalue


# --- where tensors go -----------------------------------------------------------------------------


@pytest.mark.parametrize("where", [None, "cpu", {}, {"cpu": "cpu"}, {"cuda:0": "nowhere"}])
def test_tensors_stay_on_the_cpu(check, path, where):
    check(path, None, where)


def test_a_device_as_an_object(torch, check, path):
    check(path, None, torch.device("cpu"))


def test_tensors_of_other_devices_go_where_they_are_told(torch, check, write):
    path = write(tagged("cuda:0", "cpu", "cuda:1", "xyz:7"))
    every = {"cuda:0": "cpu", "cuda:1": "cpu", "xyz:7": "cpu"}
    check(path, None, "cpu", torch.device("cpu"), every, lambda storage, tag: storage)


class Recorder:
    """A callable that gives what `answer` makes of the storage, and notes what it was given."""

    def __init__(self, answer):
        self.answer = answer
        self.calls = []

    def __call__(self, storage, tag):
        self.calls.append((type(storage), storage.nbytes(), bytes(storage), tag))
        return self.answer(storage)


ANSWERS = {
    "the storage": lambda storage: storage,
    "None": lambda storage: None,
    "a copy": lambda storage: storage.clone(),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_callable_is_asked_for_each_storage_in_order(torch, load, write, torch_save, answer):
    from support.torch_compare import assert_same_objects

    base = torch.arange(6.0)
    path = torch_save([base[1:], torch.ones(2, dtype=torch.int8), base, torch.zeros(0), base.t()])
    for weights_only in BOTH:
        for mmap in BOTH:
            options = {"weights_only": weights_only, "mmap": mmap}
            ours, theirs = Recorder(ANSWERS[answer]), Recorder(ANSWERS[answer])
            assert_same_objects(load(path, ours, **options), torch.load(path, theirs, **options))
            assert ours.calls == theirs.calls


@pytest.mark.parametrize("weights_only", BOTH)
def test_an_error_of_a_callable_comes_out_unchanged(load, path, weights_only):
    class Mine(Exception):
        pass

    def fail(storage, tag):
        raise Mine(tag)

    with pytest.raises(Mine, match="cpu"):
        load(path, fail, weights_only=weights_only)


def test_a_callable_may_load_and_may_ask_for_the_default(torch, load, torch_save):
    """A load inside a load; None leaves a tag to torch's own rules."""
    path = torch_save(torch.arange(3))

    def where(storage, tag):
        assert load(path, "meta").is_meta

    assert load(path, where).tolist() == [0, 1, 2]


# --- meta -----------------------------------------------------------------------------------------


def test_storages_on_meta_know_where_they_lie_in_the_file(torch, check, load, torch_save):
    from support import torch_corpus

    kinds = ("parameters", "bits", "sparse", "storages", "SGD", "layouts", "meta")
    objects = {kind: torch_corpus.KINDS[kind]() for kind in kinds}
    path = torch_save({**objects, "jagged": torch_corpus.nested_tensors()["jagged"]})
    check(path, None, "meta", torch.device("meta"))
    tensor = load(path, "meta")["parameters"]["parameter"]
    offset = tensor.untyped_storage()._checkpoint_offset
    assert path.read_bytes()[offset : offset + 16] == torch.arange(4.0).numpy().tobytes()


def test_a_dict_or_a_callable_may_lead_to_meta_too(torch, check, write):
    def where(storage, tag):
        return torch.UntypedStorage(storage.nbytes(), device="meta") if tag == "cpu" else storage

    path = write(tagged("cuda:0", "cpu"))
    check(path, None, {"cuda:0": "meta"}, where)


@pytest.mark.parametrize("weights_only", BOTH)
def test_no_data_is_read_for_meta(load, weights_only):
    file = Counting(tagged("cpu", "cuda:3", size=1 << 20))
    loaded = load(file, "meta", weights_only=weights_only)
    assert [tensor.is_meta for tensor in loaded] == [True, True]
    assert [tensor.shape for tensor in loaded] == [(1 << 20,)] * 2
    assert file.count < 1 << 17


# --- devices that are not there -------------------------------------------------------------------


@pytest.fixture
def no_cuda(torch):
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")


def test_cuda_tags_without_cuda_fail_in_torchs_words(no_cuda, same_error, write):
    path = write(tagged("cpu", "cuda:0"))
    error = same_error(path)
    assert isinstance(error, RuntimeError)
    assert "Attempting to deserialize object on a CUDA device" in str(error)
    same_error(path, mmap=True)
    same_error(path, {"cpu": "cuda:0", "cuda:0": "cpu"})
    same_error(path, "cuda")
    same_error(path, "cuda:1")


def test_cuda_as_a_device_without_cuda(no_cuda, torch, same_error, write):
    same_error(write(tagged("cpu")), torch.device("cuda", 1))


@pytest.mark.parametrize("where", ["xyz", "", {"cpu": "xyz"}, lambda storage, tag: None])
def test_unknown_tags_fail_in_torchs_words(same_error, write, where):
    assert "don't know how to restore" in str(same_error(write(tagged("cpu", "xyz:1")), where))


@pytest.mark.parametrize("where", [3, {"cpu": 3}, ["cpu"], b"cpu", "cpu:0", "meta:x"])
def test_other_types_fail_as_in_torch(same_error, write, where):
    same_error(write(tagged("cpu")), where)


@pytest.mark.parametrize("weights_only", BOTH)
@pytest.mark.parametrize("where", [None, "xyz", {"cpu": "xyz"}])
def test_a_missing_device_is_found_before_data_is_read(load, weights_only, where):
    file = Counting(tagged("cpu", "xyz:0", size=1 << 20))
    with pytest.raises(RuntimeError, match="don't know how to restore data location"):
        load(file, where, weights_only=weights_only)
    assert file.count < 1 << 17


def test_a_missing_cuda_device_is_found_before_data_is_read(no_cuda, load):
    file = Counting(tagged("cpu", "cuda:0", size=1 << 20))
    with pytest.raises(RuntimeError, match="CUDA"):
        load(file)
    assert file.count < 1 << 17


# --- register_package -----------------------------------------------------------------------------


@pytest.fixture
def register(torch, monkeypatch):
    """torch.serialization.register_package, undone after the test."""
    registry = list(torch.serialization._package_registry)
    monkeypatch.setattr(torch.serialization, "_package_registry", registry)
    return torch.serialization.register_package


@pytest.mark.parametrize("priority", [5, 50])
def test_registered_packages_place_their_tags(torch, check, register, write, priority):
    seen = []

    def deserialize(storage, tag):
        if tag.startswith("mine"):
            seen.append((tag, bytes(storage)))
            return storage.clone()
        return None

    register(priority, lambda storage: None, deserialize)
    path = write(tagged("mine:1", "cpu", "mine:0"))
    check(path, None, None, "cpu", "mine:5", {"cpu": "mine:8"})
    assert {tag for tag, _ in seen} == {"mine:0", "mine:1", "mine:5", "mine:8"}


def test_a_registered_package_may_come_before_torchs_own(torch, load, register, torch_save):
    register(1, lambda storage: None, lambda storage, tag: torch.UntypedStorage(bytes(8)))
    path = torch_save([torch.arange(2.0), torch.ones(2)])
    for function in (load, torch.load):
        assert function(path)[1].tolist() == [0, 0]


def test_an_error_of_a_registered_package_comes_out_unchanged(load, register, write):
    def deserialize(storage, tag):
        raise KeyError(tag)

    register(1, lambda storage: None, deserialize)
    with pytest.raises(KeyError, match="cpu"):
        load(write(tagged("cpu")))
