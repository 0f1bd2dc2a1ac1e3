# SPDX-License-Identifier: Apache-2.0
"""The arguments of ptio.torch.save: torch's own, and what else it takes."""

import inspect
import io
import os
import pickle
import threading
import warnings

import pytest


@pytest.fixture
def save(torch):
    import ptio.torch

    return ptio.torch.save


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.pt"


def test_the_signature_is_torchs_and_more_keywords(torch, save):
    theirs = list(inspect.signature(torch.save).parameters.values())
    ours = list(inspect.signature(save).parameters.values())
    for one, other in zip(ours, theirs, strict=False):
        assert (one.name, one.kind, one.default) == (other.name, other.kind, other.default)
    extras = ours[len(theirs) :]
    assert all(one.kind is inspect.Parameter.KEYWORD_ONLY for one in extras)
    assert {one.name: one.default for one in extras} == {
        "atomic": True,
        **dict.fromkeys(("durable", "compute_crc32", "storage_alignment", "threads", "progress")),
        "compact": False,
    }


def test_saving_returns_nothing(save, path):
    assert save([1], path) is None
    assert save([1], io.BytesIO()) is None
    assert save([1], path, _use_new_zipfile_serialization=False) is None


# --- the old format ------------------------------------------------------------------------------


def test_the_format_of_torch_before_1_6(torch, save, path, tmp_path):
    obj = {"a": torch.arange(5.0), "b": [torch.ones(2, dtype=torch.int8), "text"]}
    obj["view"] = obj["a"][1:]
    theirs, ours = io.BytesIO(), io.BytesIO()
    torch.save(obj, theirs, _use_new_zipfile_serialization=False)
    save(obj, ours, _use_new_zipfile_serialization=False)
    save(obj, path, pickle, 2, False)
    assert theirs.getvalue() == ours.getvalue() == path.read_bytes()
    save(obj, path, _use_new_zipfile_serialization=False, atomic=False)
    assert path.read_bytes() == theirs.getvalue()
    assert os.listdir(tmp_path) == [path.name]


def test_the_old_format_is_atomic_too(torch, save, path, tmp_path):
    save([1], path)
    before = path.read_bytes()
    with pytest.raises(AttributeError):
        save([torch.ones(3), lambda: 1], path, _use_new_zipfile_serialization=False)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


# --- what is left to torch -----------------------------------------------------------------------


def test_saving_without_data(torch, save, tmp_path):
    from support.torch_saving import assert_saved_the_same

    obj = {"a": torch.arange(1000.0), "b": torch.ones(3)}
    with torch.serialization.skip_data():
        assert_saved_the_same(obj, tmp_path / "model.pt")
        with pytest.raises(RuntimeError, match="skip_data"):
            save(obj, tmp_path / "old.pt", _use_new_zipfile_serialization=False)


def test_fake_tensors(torch, save, tmp_path):
    from support.torch_saving import assert_saved_the_same, outcome
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        fake = {"a": torch.empty(3, 4), "b": torch.nn.Linear(2, 2).state_dict()}
        with torch.serialization.skip_data(materialize_fake_tensors=True):
            data = assert_saved_the_same(fake, tmp_path / "model.pt")
        assert outcome(None, fake, tmp_path / "a.pt") == outcome(
            torch.save, fake, tmp_path / "a.pt"
        )
    with torch.serialization.skip_data(materialize_fake_tensors=True):
        assert_saved_the_same(fake, tmp_path / "model.pt")
    assert torch.load(io.BytesIO(data))["a"].shape == (3, 4)


def test_torchs_save_is_found_while_it_is_replaced(torch, save, path):
    import ptio.torch

    with ptio.torch.patch():
        assert torch.save is save
        torch.save([torch.ones(2).untyped_storage()], path, _use_new_zipfile_serialization=False)
        with torch.serialization.skip_data():
            torch.save([torch.ones(2)], path)
    assert torch.load(path)[0].shape == (2,)


# --- warnings ------------------------------------------------------------------------------------


def test_hooks_are_not_saved_with_torchs_warning(torch, save, path):
    from support.torch_saving import assert_same_files

    hooked, silent = (torch.ones(2, requires_grad=True) for _ in range(2))
    hooked.register_hook(print)
    silent.register_hook(torch.utils.hooks.unserializable_hook(lambda grad: grad))
    told, files = [], []
    for function in (torch.save, save):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            function([silent, hooked, torch.nn.Parameter(hooked)], path)
        told.append([str(warning.message) for warning in caught])
        files.append(path.read_bytes())
    assert len(told[0]) == 1
    assert told[1] == told[0]
    assert_same_files(*files)


def test_plain_saves_warn_of_nothing(torch, save, path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save({"a": torch.ones(2), "b": torch.ones(2).to_sparse(), "c": {1, 2}}, path)
        save({"a": torch.ones(2)[1:]}, path, compact=True)
        save(torch.nn.Linear(2, 2), path)


# --- durable, atomic, threads --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "argument", "synced"),
    [
        *(("", None, False), ("0", None, False), ("1", None, True)),
        *(("1", False, False), ("0", True, True), ("", True, True)),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_durable_files(save, path, monkeypatch, variable, argument, synced, zipped):
    calls = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: calls.append(os.fstat(fd).st_ino) or fsync(fd))
    monkeypatch.setenv("PTIO_DURABLE", variable)
    save([1], path, durable=argument, _use_new_zipfile_serialization=zipped)
    file, folder = path.stat().st_ino, path.parent.stat().st_ino
    assert calls == ([file, folder] if synced else [])


def test_a_setting_that_means_nothing(save, path, monkeypatch):
    monkeypatch.setenv("PTIO_DURABLE", "yes")
    with pytest.raises(ValueError, match="PTIO_DURABLE must be 0 or 1, not 'yes'"):
        save([1], path)
    monkeypatch.setenv("PTIO_DURABLE", "")
    for threads, kind in ((0, ValueError), ("2", TypeError), (True, TypeError)):
        with pytest.raises(kind, match="threads"):
            save([1], path, threads=threads)
    with pytest.raises(TypeError, match="progress"):
        save([1], path, progress=3)
    for alignment in (0, 3, 65536):
        with pytest.raises((ValueError, RuntimeError), match="power of two"):
            save([1], path, storage_alignment=alignment)
    assert not path.exists()


def test_not_atomic_writes_into_the_file(torch, save, path):
    path.write_bytes(b"old" * 100_000)
    inode = path.stat().st_ino
    save({"a": torch.ones(3)}, path, atomic=False)
    assert path.stat().st_ino == inode
    assert torch.load(path)["a"].shape == (3,)
    save({"a": torch.ones(3)}, path)
    assert path.stat().st_ino != inode


def test_threads_that_save_at_once(torch, save, tmp_path):
    obj = {f"layer.{i}": torch.full((100 * i,), float(i)) for i in range(100)}
    obj["big"] = torch.ones(1 << 20)
    save(obj, tmp_path / "model.pt")
    (tmp_path / "together").mkdir()
    expected, failures = (tmp_path / "model.pt").read_bytes(), []

    def work(number):
        try:
            folder = tmp_path / f"{number}"
            folder.mkdir()
            for _ in range(5):
                save(obj, folder / "model.pt", threads=2)
                save(obj, tmp_path / "together" / "model.pt")
                assert (folder / "model.pt").read_bytes() == expected
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert os.listdir(tmp_path / "together") == ["model.pt"]
    assert (tmp_path / "together" / "model.pt").read_bytes() == expected


# --- progress ------------------------------------------------------------------------------------


@pytest.mark.parametrize("to_file", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
def test_progress_ends_once_at_all_bytes(torch, save, path, to_file, threads):
    calls = []
    obj = [torch.ones(3 << 20), torch.ones(5), torch.ones(1 << 20)]
    target = path if to_file else io.BytesIO()
    save(obj, target, threads=threads, progress=lambda *call: calls.append(call))
    payload = sum(tensor.nbytes for tensor in obj)
    assert len(calls) >= (4 if threads == 1 else 2)  # only the calling thread tells
    assert calls == sorted(calls)
    assert all(0 <= done <= total for done, total in calls)
    assert [done == total for done, total in calls] == [False] * (len(calls) - 1) + [True]
    assert payload < calls[-1][1] < payload + 1000


def test_progress_true_shows_nothing_without_a_terminal(save, path, capfd):
    save([1], path, progress=True)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_progress_raises_stops_the_save(torch, save, path, tmp_path, error):
    save([1], path)
    before = path.read_bytes()
    calls = []

    def stop(done, total):
        calls.append(done)
        if done > 1 << 20:
            raise error("enough")

    for target in (path, tmp_path / "new.pt"):
        calls.clear()
        with pytest.raises(error, match="enough"):
            save([torch.ones(8 << 20)], target, progress=stop)
        assert calls
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]
    with pytest.raises(error, match="enough"):
        save([torch.ones(8 << 20)], io.BytesIO(), progress=stop)
