# SPDX-License-Identifier: Apache-2.0
"""What ptio.torch.save refuses: in torch's words, and the old file stays as it was."""

import os
import pickle

import pytest


@pytest.fixture
def check(torch, tmp_path):
    """Both fail alike; ours leaves an old file as it was, and no new one."""
    import ptio.torch
    from support.torch_compare import assert_same_error

    def run(obj, f=None, **options):
        folder = tmp_path / "ours"
        folder.mkdir()
        old = folder / "old.pt"
        old.write_bytes(b"the old file")
        theirs = tmp_path / "theirs.pt" if f is None else f
        error = assert_same_error(
            lambda: ptio.torch.save(obj, old if f is None else f, **options),
            lambda: torch.save(obj, theirs, **options),
        )
        with pytest.raises(type(error)):
            ptio.torch.save(obj, folder / "new.pt" if f is None else f, **options)
        assert old.read_bytes() == b"the old file"
        assert os.listdir(folder) == ["old.pt"]
        return error

    return run


def local_class():
    class Local:
        pass

    return Local


class RaisesInReduce:
    def __reduce_ex__(self, protocol):
        raise ZeroDivisionError("in __reduce_ex__")


class ReducesToNothing:
    def __reduce_ex__(self, protocol):
        return 3


UNPICKLABLE = {
    "a lambda": lambda: [1, lambda: 1],
    "a local class": lambda: {"a": local_class()},
    "an object of a local class": lambda: [local_class()()],
    "a generator": lambda: (i for i in "abc"),
    "an open file": lambda: open(os.devnull),  # noqa: SIM115
    "what raises": lambda: [RaisesInReduce()],
    "a wrong __reduce_ex__": lambda: [ReducesToNothing()],
    "a module": lambda: {"a": os},
}


@pytest.mark.parametrize("name", UNPICKLABLE)
def test_objects_that_cannot_be_pickled(torch, check, name):
    check([torch.ones(2), UNPICKLABLE[name]()])


def test_a_class_that_is_not_what_its_name_says(torch, check):
    kind = local_class()
    kind.__qualname__ = kind.__module__ = "os"
    check([kind])


class Näme:
    pass


def test_names_that_protocol_2_cannot_write(torch, check):
    assert isinstance(check([Näme]), pickle.PicklingError)


def test_protocols_that_do_not_exist(torch, check):
    check([1], pickle_protocol=99)


def test_memory_that_is_saved_as_two_dtypes(torch, check):
    tensor = torch.arange(4.0)
    error = check([tensor, tensor.view(torch.int32)])
    assert str(error).endswith("view the same data as different types")


@pytest.mark.parametrize("second", ["uint16", "bytes", "typed", "through an object"])
def test_memory_that_is_saved_as_two_dtypes_in_other_ways(torch, check, second):
    tensor = torch.arange(4.0)
    other = {
        "uint16": lambda: tensor.view(torch.uint16),
        "bytes": tensor.untyped_storage,
        "typed": lambda: tensor.view(torch.int32).storage(),
        "through an object": lambda: RaisesNothing(tensor.view(torch.int32)),
    }
    check({"a": tensor, "b": other[second]()})


class RaisesNothing:
    def __init__(self, tensor):
        self.tensor = tensor


def test_one_memory_in_two_storages_as_two_dtypes(torch, check):
    import numpy as np

    array = np.arange(4.0)
    check([torch.from_numpy(array), torch.from_numpy(array.view(np.int64))])


def test_one_memory_in_two_storages_of_one_dtype_is_saved_twice(torch, tmp_path):
    import numpy as np
    from support.torch_saving import assert_saved_the_same

    array = np.arange(4.0)
    obj = [torch.from_numpy(array), torch.from_numpy(array), torch.from_numpy(array[1:])]
    assert_saved_the_same(obj, tmp_path / "model.pt")


def test_tensors_that_torch_cannot_save(torch, check):
    check([torch.ones(1), torch._efficientzerotensor(3)])


def test_storages_without_data(torch, check):
    check([torch.ones(1), torch.empty(3, device="meta").untyped_storage()])


def test_too_deep_objects(torch, tmp_path):
    import ptio.torch

    deep = []
    for _ in range(100_000):
        deep = [deep]
    for obj in (deep, {"a": (deep,)}):
        for function in (torch.save, ptio.torch.save):
            with pytest.raises(RecursionError, match="maximum recursion depth exceeded"):
                function(obj, tmp_path / "ours.pt" if function is not torch.save else os.devnull)
    assert not (tmp_path / "ours.pt").exists()


# --- where ---------------------------------------------------------------------------------------


class NoWrite:
    flush = None


class WriteIsNoFunction:
    write = 3

    def flush(self):
        pass


@pytest.mark.parametrize("f", [3, None, NoWrite(), WriteIsNoFunction()], ids=lambda f: type(f).__name__)
def test_what_is_no_file(torch, f):
    import ptio.torch
    from support.torch_compare import assert_same_error

    assert_same_error(lambda: ptio.torch.save([1], f), lambda: torch.save([1], f))


def test_a_folder_that_does_not_exist(torch, check, tmp_path):
    error = check([1], tmp_path / "missing" / "model.pt")
    assert str(error) == f"Parent directory {tmp_path / 'missing'} does not exist."
    assert not (tmp_path / "missing").exists()


def test_a_folder_that_does_not_exist_in_the_old_format(torch, check, tmp_path):
    check([1], tmp_path / "missing" / "model.pt", _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("name", [".pt", ".", "", "folder/"])
def test_names_without_a_stem(torch, tmp_path, monkeypatch, name):
    import ptio.torch

    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for function in (torch.save, ptio.torch.save):
        with pytest.raises(RuntimeError, match=f"invalid file name: {name}"):
            function([1], name)
    assert os.listdir(tmp_path) == ["folder"]


def test_a_folder_is_no_file(torch, tmp_path):
    import ptio.torch

    with pytest.raises(IsADirectoryError) as caught:
        ptio.torch.save([1], tmp_path)
    assert caught.value.filename == os.fspath(tmp_path)


def test_a_file_that_cannot_be_made_is_named(torch, tmp_path):
    import ptio.torch

    path = tmp_path / ("x" * 300)
    with pytest.raises(OSError) as caught:
        ptio.torch.save([1], path)
    assert caught.value.filename == os.fspath(path)


def test_an_old_dill(torch, tmp_path):
    import ptio.torch
    from support.torch_compare import assert_same_error

    class dill:
        __name__, __version__ = "dill", (0, 3, 0)

    dill.__version__ = "0.3.0"
    arguments = ([1], tmp_path / "model.pt", dill())
    assert_same_error(lambda: ptio.torch.save(*arguments), lambda: torch.save(*arguments))
