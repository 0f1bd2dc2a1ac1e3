# SPDX-License-Identifier: Apache-2.0
"""ptio.torch.patch, install and uninstall: what torch.load is, in a block, after it, in threads."""

import pickle
import threading

import pytest


@pytest.fixture
def patching(torch):
    """The functions under test; torch's own functions are there again after a test."""
    from ptio.torch import _patch

    before = current(torch)
    yield _patch
    _patch.uninstall()
    assert current(torch) == before


def current(torch):
    return torch.load, torch.serialization.load


@pytest.fixture
def own(torch):
    return current(torch)


@pytest.fixture
def ours(torch):
    import ptio.torch

    return ptio.torch.load, ptio.torch.load


def test_a_block_replaces_and_restores(patching, torch, own, ours):
    with patching.patch():
        assert current(torch) == ours
    assert current(torch) == own


def test_an_exception_leaves_the_block_restored(patching, torch, own):
    with pytest.raises(KeyError), patching.patch():
        raise KeyError
    assert current(torch) == own


def test_blocks_nest_and_one_object_serves_several(patching, torch, own, ours):
    patch = patching.patch()
    for _ in range(2):
        with patch, patching.patch():
            with patch:
                assert current(torch) == ours
            assert current(torch) == ours
        assert current(torch) == own


def test_blocks_that_overlap(patching, torch, own, ours):
    first, second = patching.patch(), patching.patch()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert current(torch) == ours
    second.__exit__(None, None, None)
    assert current(torch) == own


def test_install_twice_uninstall_once(patching, torch, own, ours):
    patching.install()
    patching.install()
    assert current(torch) == ours
    patching.uninstall()
    assert current(torch) == own


def test_uninstall_of_nothing(patching, torch, own):
    patching.uninstall()
    assert current(torch) == own


def test_install_inside_a_block_stays(patching, torch, own, ours):
    with patching.patch():
        patching.install()
    assert current(torch) == ours
    patching.uninstall()
    assert current(torch) == own


def test_uninstall_inside_a_block_waits_for_its_end(patching, torch, own, ours):
    patching.install()
    with patching.patch():
        patching.uninstall()
        assert current(torch) == ours
    assert current(torch) == own


def test_what_comes_back_is_what_was_there(patching, torch, monkeypatch):
    """Two functions that somebody else had put there, and not the same one."""
    theirs = (lambda *_: 1, lambda *_: 2)
    monkeypatch.setattr(torch, "load", theirs[0])
    monkeypatch.setattr(torch.serialization, "load", theirs[1])
    with patching.patch():
        assert current(torch) != theirs
    assert current(torch) == theirs
    monkeypatch.undo()


def test_the_original_is_within_reach(patching, own):
    assert patching.original("load") is own[1]
    with patching.patch():
        assert patching.original("load") is own[1]
        patching.install()
    assert patching.original("load") is own[1]
    patching.uninstall()
    assert patching.original("load") is own[1]


def test_blocks_in_many_threads(patching, torch, own, ours):
    """Each thread sees ours in its blocks; at the end the original is there."""
    wrong = []
    start = threading.Barrier(8)

    def work():
        start.wait()
        for _ in range(300):
            with patching.patch():
                if current(torch) != ours or patching.original("load") is not own[1]:
                    wrong.append(current(torch))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert current(torch) == own


def test_the_patched_function_loads(patching, torch, torch_save):
    path = torch_save({"w": torch.arange(3), "epoch": 2})
    with patching.patch():
        loaded = torch.load(path)
    assert loaded["epoch"] == 2
    assert torch.equal(loaded["w"], torch.arange(3))


def test_what_is_left_to_torch_loads_too(patching, torch, torch_save):
    """The format from before torch 1.6; pickled storages have it inside, and call torch.load."""
    path = torch_save([torch.arange(3)], _use_new_zipfile_serialization=False)
    pickled = pickle.dumps(torch.arange(3))
    with patching.patch():
        assert torch.equal(torch.load(path)[0], torch.arange(3))
        assert torch.equal(pickle.loads(pickled), torch.arange(3))
