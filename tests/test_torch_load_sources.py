# SPDX-License-Identifier: Apache-2.0
"""ptio.torch.load of names and file objects of all kinds, of other byte orders, and in torch's
special modes."""

import io
import os

import numpy as np
import ptio
import pytest
from support import checkpoints

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


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ünï🔥.pt", "a b.pt", "noext", "model.v1.tar", "a:1", "tab\t.pt"])
@pytest.mark.parametrize("mmap", BOTH)
def test_every_name_of_a_file(torch, torch_save, check, name, mmap):
    path = torch_save({"w": torch.arange(3)}, name)
    for f in (path, str(path)):
        check(lambda f=f: f, mmap=mmap)


@pytest.mark.skipif(os.sys.platform != "linux", reason="names are text elsewhere")
def test_names_that_are_no_text(torch, load, torch_save, tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff\xfe.pt"
    os.rename(torch_save(torch.arange(3)), path)
    for f in (path, os.fsdecode(path)):
        assert load(f).tolist() == [0, 1, 2]
        assert load(f, mmap=True).tolist() == [0, 1, 2]


def test_files_that_cannot_be_opened(same_error, tmp_path):
    assert isinstance(same_error(lambda: tmp_path / "missing.pt"), FileNotFoundError)
    assert isinstance(same_error(lambda: str(tmp_path / "missing" / "x.pt")), FileNotFoundError)
    assert isinstance(same_error(lambda: tmp_path), IsADirectoryError)


@pytest.mark.parametrize("f", [None, 3, ["model.pt"]])
def test_what_is_no_file_fails_as_in_torch(torch, load, f):
    for function in (torch.load, load):
        with pytest.raises(AttributeError, match="seekable"):
            function(f)


# --- file objects ---------------------------------------------------------------------------------


def test_streams_that_cannot_seek_fail_in_torchs_words(torch, load, same_error):
    class NoSeek(io.RawIOBase):
        def tell(self):
            raise io.UnsupportedOperation("tell")

    assert "BytesIO" in str(same_error(NoSeek))
    read, write = os.pipe()
    os.close(write)
    with open(read, "rb", closefd=True) as pipe:
        for function in (torch.load, load):
            with pytest.raises(OSError):
                function(pipe)


def test_a_zip_is_read_from_the_position_of_the_file_object(torch, torch_save, load, check):
    data = torch_save({"w": torch.arange(3)}).read_bytes()

    def shifted():
        file = io.BytesIO(JUNK + data)
        file.seek(len(JUNK))
        return file

    for weights_only in BOTH:
        check(shifted, weights_only=weights_only)


def test_the_position_of_a_file_object_may_be_anywhere_after_an_error(torch, torch_save, load):
    file = io.BytesIO(torch_save({"w": torch.arange(3)}).read_bytes())
    with pytest.raises(RuntimeError):
        load(file, "nowhere")
    file.seek(0)
    assert load(file)["w"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("data", [b"", b"abc", b"PK\3\4", b"<html>", bytes(100), b"\x80\x02N."])
@pytest.mark.parametrize("weights_only", BOTH)
def test_junk_is_an_error_for_both(torch, load, data, weights_only):
    for function in (torch.load, load):
        with pytest.raises(Exception) as caught:
            function(io.BytesIO(data), weights_only=weights_only)
        if data == b"PK\3\4":
            assert isinstance(caught.value, RuntimeError)
            assert "PytorchStreamReader failed reading zip archive" in str(caught.value)


def test_a_missing_record_is_told_in_torchs_words(torch, load, write):
    pickled, _ = checkpoints.dumps([checkpoints.tensor("float32", [1.0])])
    path = write(checkpoints.archive(pickled, {}))
    for function in (torch.load, load):
        for weights_only in BOTH:
            with pytest.raises(RuntimeError, match="PytorchStreamReader failed locating file"):
                function(path, weights_only=weights_only)


# --- byte order -----------------------------------------------------------------------------------


def of_order(order, **options):
    """Tensors of the old dtypes, as a machine of this byte order wrote them."""
    made = []
    for name in checkpoints.LEGACY:
        if name in ("bool", "bfloat16"):
            continue
        values = np.arange(1, 4).astype(name)
        made.append(
            checkpoints.tensor(name, values.astype(values.dtype.newbyteorder(order)).tobytes())
        )
    return checkpoints.save(made, **options)


@pytest.mark.parametrize("mmap", BOTH)
@pytest.mark.parametrize("weights_only", BOTH)
def test_big_endian_archives(write, check, weights_only, mmap):
    path = write(of_order(">", byteorder="big"))
    loaded = check(lambda: path, weights_only=weights_only, mmap=mmap)
    assert loaded[0].tolist() == [1, 2, 3]


@pytest.mark.parametrize("choice", [None, "LITTLE", "BIG", "NATIVE"])
@pytest.mark.parametrize("order", "<>")
def test_archives_that_do_not_say_their_order(torch, write, check, monkeypatch, order, choice):
    path = write(of_order(order, byteorder=None))
    wanted = getattr(torch.serialization.LoadEndianness, choice) if choice else None
    before = torch.serialization.get_default_load_endianness()
    torch.serialization.set_default_load_endianness(wanted)
    try:
        for weights_only in BOTH:
            check(lambda: path, weights_only=weights_only)
    finally:
        torch.serialization.set_default_load_endianness(before)


@pytest.mark.parametrize("weights_only", BOTH)
def test_an_unknown_order_is_an_error(write, load, weights_only):
    with pytest.raises(ptio.FormatError) as caught:
        load(write(of_order("<", byteorder="middle")), weights_only=weights_only)
    assert caught.value.record == "archive/byteorder"


# --- modes of torch -------------------------------------------------------------------------------


@pytest.mark.parametrize("weights_only", BOTH)
def test_fake_tensors(torch, load, torch_save, weights_only):
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

    path = torch_save({"w": torch.arange(6.0)[2:], "p": torch.nn.Parameter(torch.ones(3))})
    loaded = []
    for function in (torch.load, load):
        with FakeTensorMode():
            loaded.append(function(path, weights_only=weights_only))
    for name, theirs in loaded[0].items():
        ours = loaded[1][name]
        assert isinstance(ours, FakeTensor)
        assert (ours.shape, ours.device, ours.stride()) == (theirs.shape, theirs.device, (1,))
        storages = ours.untyped_storage(), theirs.untyped_storage()
        assert storages[0]._checkpoint_offset == storages[1]._checkpoint_offset


def test_skip_data_reads_no_data(torch, load, torch_save):
    path = torch_save({"w": torch.arange(6.0)[2:]})
    with torch.serialization.skip_data():
        loaded = load(path)
    assert loaded["w"].shape == (4,)
    assert load(path)["w"].tolist() == [2, 3, 4, 5]


def test_offsets_that_torch_calculates(torch, torch_save, check):
    from torch.utils.serialization import config

    path = torch_save([torch.rand(5), torch.rand(3)])
    with config.patch("load.calculate_storage_offsets", True):
        check(lambda: path, mmap=True)
        check(lambda: path)
