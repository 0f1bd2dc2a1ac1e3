# SPDX-License-Identifier: Apache-2.0
"""ptio.torch.load of what is no zip of torch.save: files from before torch 1.6, TorchScript, and
safetensors."""

import collections
import decimal
import io
import os
import pickle
import struct
import tarfile
import warnings
import zipfile

import ptio
import pytest

BOTH = (True, False)
JUNK = b"something else " * 9


@pytest.fixture
def load(torch):
    import ptio.torch

    return ptio.torch.load


@pytest.fixture
def check(torch, load):
    """Compares with torch.load; `make` opens the file for each of them."""
    from support.torch_compare import assert_same_objects

    def run(make, **options):
        ours = load(make(), **options)
        assert_same_objects(ours, torch.load(make(), **options))
        return ours

    return run


@pytest.fixture
def same_error(torch, load):
    from support.torch_compare import assert_same_error

    def run(make, **options):
        return assert_same_error(
            lambda: load(make(), **options), lambda: torch.load(make(), **options)
        )

    return run


# --- formats that torch reads itself --------------------------------------------------------------


def legacy(torch, obj):
    file = io.BytesIO()
    torch.save(obj, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def tar(torch):
    """A file as torch 0.1 wrote it: one FloatTensor."""
    storages = pickle.dumps(1, 2) + pickle.dumps((7, "cpu", torch.FloatStorage), 2)
    storages += struct.pack("<q4f", 4, 1, 2, 3, 4) + pickle.dumps([], 2)
    tensors = pickle.dumps(1, 2) + pickle.dumps((9, 7, torch.FloatTensor), 2)
    tensors += struct.pack("<i4xqqqqq", 2, 2, 2, 2, 1, 0)
    pickled = io.BytesIO()
    pickler = pickle.Pickler(pickled, 2)
    pickler.persistent_id = lambda obj: 9 if obj == "the tensor" else None
    pickler.dump({"w": "the tensor"})
    parts = {"storages": storages, "tensors": tensors, "pickle": pickled.getvalue()}
    return _packed({"sys_info": pickle.dumps({}, 2), **parts})


def _packed(parts):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in parts.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


@pytest.mark.parametrize(
    ("value", "fact"),
    [(os.getcwd, "whose module posix is blocked"), (collections.deque(), "collections.deque was")],
)
def test_what_legacy_files_name_is_forbidden_without_torchs_advice(torch, write, load, value, fact):
    path = write(legacy(torch, [value]))
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed") as raised:
        load(path)
    assert fact in str(raised.value)
    assert "weights_only=False" not in str(raised.value)
    assert "`False`" not in str(raised.value)
    assert "\033" not in str(raised.value)


def test_tar_files_of_torch_0_1(torch, write, load):
    path = write(tar(torch))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = load(path, weights_only=False)
    assert loaded["w"].tolist() == [[1, 2], [3, 4]]
    with pytest.raises(RuntimeError, match=r"legacy \.tar format") as raised:
        load(path)
    assert "`False`" not in str(raised.value)


# --- files that torch never wrote -----------------------------------------------------------------

HEADER = b'{"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}'
WRONG = {
    "safetensors": (len(HEADER).to_bytes(8, "little") + HEADER + bytes(4), "a safetensors file"),
    "a page": (b"<!DOCTYPE html>\n<html>", "an HTML page"),
    "noise": (bytes(range(255, 0, -1)) * 20, "a file of no known kind"),
    "a global of control codes": (b"c\0\0{\x01\n\x02\x03\n.", "is not allowed"),
    "a pickle": (pickle.dumps([1, 2]), "a pickle without tensors; ptio.load reads"),
    "a long pickle": (pickle.dumps([2**40] * 3_000, 0), "a pickle without tensors"),
    "a pickle that breaks off": (b"\x80\x02]q", "Invalid magic number"),
}


@pytest.mark.parametrize("in_memory", BOTH)
@pytest.mark.parametrize("mmap", BOTH)
@pytest.mark.parametrize("name", WRONG)
def test_what_torch_never_wrote_is_told_in_one_line(write, load, name, mmap, in_memory):
    """torch's own loader would quote such a file byte by byte."""
    data, words = WRONG[name]
    path = write(data)
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed") as raised:
        load(io.BytesIO(data) if in_memory and not mmap else path, mmap=mmap)
    assert isinstance(raised.value, ptio.Error)
    assert words in str(raised.value)
    assert all(line.lstrip("\t").isprintable() for line in str(raised.value).split("\n"))
    assert len(str(raised.value)) < 1024


def test_an_empty_file(torch, write, load):
    for function in (torch.load, load):
        with pytest.raises(EOFError):
            function(write(b""))


def test_words_of_torchs_own_loader_are_one_line(torch, write, load):
    """Inside skip_data() it is torch that reads."""
    if not hasattr(torch.serialization, "skip_data"):
        pytest.skip("new in torch 2.6")
    with torch.serialization.skip_data(), pytest.raises(pickle.UnpicklingError) as raised:
        load(write(b"c\0{\x01\n\x02" + b"x" * 5_000 + b"\n."))
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 1024


# --- TorchScript and safetensors ------------------------------------------------------------------


def test_what_torch_itself_forbids_is_ours_too(torch, load, torch_save):
    """In a FakeTensorMode it is torch that loads."""
    bad = torch_save([os.getcwd])
    with torch._subclasses.FakeTensorMode():
        with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
            load(bad)
        with pytest.raises(ptio.ForbiddenError) as caught:
            load(torch_save([collections.deque()]))
    assert caught.value.globals == ("collections.deque",)
    assert "weights_only=False" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (None, ptio.FormatError, "storage '0' has no record data/0"),
        (b"1234", ptio.BoundsError, "storage '0' declares 8 bytes, the record has 4"),
    ],
)
def test_storages_are_proven_without_weights_only_too(
    torch, load, torch_save, tmp_path, data, error, words
):
    whole = torch_save([torch.ones(2), decimal.Decimal(1)])
    path = tmp_path / "other.pt"
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            if not name.endswith("/data/0"):
                new.writestr(name, old.read(name))
            elif data is not None:
                new.writestr(name, data)
    with pytest.raises(error, match=words):
        load(path, weights_only=False)


@pytest.fixture
def script(torch, tmp_path):
    path = tmp_path / "script.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 1)), path)
    return path


TORCHSCRIPT = "looks like a TorchScript archive dispatching to 'torch.jit.load'"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_goes_to_torch_jit_with_a_warning(torch, load, script):
    shifted = io.BytesIO(JUNK + script.read_bytes())
    shifted.seek(len(JUNK))
    for f in (script, bytes(script), io.BytesIO(script.read_bytes()), shifted):
        with pytest.warns(UserWarning, match=TORCHSCRIPT):
            loaded = load(f, "cpu", weights_only=False)
        assert isinstance(loaded, torch.jit.ScriptModule)
        assert loaded(torch.ones(1, 2)).shape == (1, 1)


def test_torchscript_is_refused_with_weights_only(torch, load, script):
    for function in (torch.load, load):
        with (
            pytest.warns(UserWarning, match=TORCHSCRIPT),
            pytest.raises(RuntimeError, match="``weights_only=True`` with TorchScript") as caught,
        ):
            function(script)
    assert "weights_only=False" not in str(caught.value)


@pytest.fixture
def safe(torch, tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    path = tmp_path / "model.safetensors"
    save_file({"w": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.int8)}, path)
    return path


def test_safetensors_by_name(torch, load, safe):
    for where in (None, "cpu", torch.device("cpu")):
        ours, theirs = load(safe, where), torch.load(safe, where)
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    assert load(os.fsencode(safe), torch.device("cpu"))["b"].tolist() == [1, 1]


def test_safetensors_take_no_dict_or_callable(safe, same_error):
    for where in ({"cpu": "cpu"}, lambda storage, tag: storage):
        assert isinstance(same_error(lambda: safe, map_location=where), RuntimeError)


def test_safetensors_that_is_not_installed(safe, same_error, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "safetensors.torch", None)
    assert "pip install safetensors" in str(same_error(lambda: safe))
