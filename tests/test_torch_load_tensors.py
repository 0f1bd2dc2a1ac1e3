# SPDX-License-Identifier: Apache-2.0
"""What one can do with the tensors of ptio.torch.load: all that those of torch.load allow."""

import copy
import gc
import io
import pickle
import threading
import weakref

import pytest

BOTH = (True, False)


@pytest.fixture
def load(torch):
    import ptio.torch

    return ptio.torch.load


@pytest.fixture
def two_views(torch, torch_save):
    """Two overlapping tensors of one storage, of which the second has an offset."""
    base = torch.arange(8.0)
    return torch_save([base[:6], base[2:]])


# --- in-place changes and autograd ----------------------------------------------------------------


@pytest.mark.parametrize("mmap", BOTH)
def test_a_change_of_one_tensor_is_seen_by_others_of_its_storage(load, two_views, mmap):
    first, second = load(two_views, mmap=mmap)
    first[2:].fill_(7)
    assert second.tolist() == [7, 7, 7, 7, 6, 7]
    second.mul_(0)
    assert first.tolist() == [0, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("mmap", BOTH)
def test_tensors_of_one_storage_are_not_views_of_each_other_for_autograd(load, two_views, mmap):
    """A change in place of one leaves what backward saved of the other valid."""
    first, second = load(two_views, mmap=mmap)
    second.requires_grad_()
    loss = second.square().sum()
    before = first._version, second._version
    first.add_(1)
    assert (first._version, second._version) == (before[0] + 1, before[1])
    loss.backward()
    assert second.grad.shape == (6,)


def test_a_change_of_a_tensor_that_backward_needs_is_noticed(torch, load, two_views):
    first, second = load(two_views)
    first.requires_grad_()
    loss = (first * second).sum()
    second.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_parameters_train(torch, load, torch_save):
    """An optimizer step on loaded parameters gives the same bits as one on torch's."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 1))
    path = torch_save(dict(model.named_parameters()))

    def step(parameters):
        optimizer = torch.optim.AdamW(parameters.values(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            loss = sum(p.square().sum() for p in parameters.values())
            loss.backward()
            optimizer.step()
        return [p.detach() for p in parameters.values()]

    for ours, theirs in zip(step(load(path)), step(torch.load(path)), strict=True):
        assert torch.equal(ours, theirs)


def test_autograd_goes_through_views_of_a_loaded_tensor(torch, load, torch_save):
    weight = load(torch_save(torch.ones(4, 3, requires_grad=True)))
    gradient = torch.autograd.grad(weight.t()[1:].square().sum(), weight)[0]
    assert gradient.tolist() == [[0, 2, 2]] * 4
    assert torch.autograd.gradcheck(torch.sin, weight.double().detach().requires_grad_())


def test_functional_transforms_and_compile_take_loaded_tensors(torch, load, torch_save):
    weight = load(torch_save(torch.arange(6.0).reshape(2, 3)))
    assert torch.vmap(torch.sum)(weight).tolist() == [3, 12]
    compiled = torch.compile(lambda x: x @ x.t(), backend="eager")
    assert torch.equal(compiled(weight), weight @ weight.t())


def test_a_loaded_storage_cannot_be_resized(torch, load, two_views):
    for load_one in (torch.load, load):
        tensor = load_one(two_views)[0]
        with pytest.raises(RuntimeError, match="not resizable"):
            tensor.resize_(100)
        with pytest.raises(RuntimeError, match="not resizable"):
            tensor.untyped_storage().resize_(0)


def test_set_and_data_replace_what_a_tensor_views(torch, load, two_views):
    first, second = load(two_views)
    first.data = torch.zeros(2)
    second.set_(torch.ones(3))
    assert (first.tolist(), second.tolist()) == ([0, 0], [1, 1, 1])


def test_loaded_tensors_go_to_numpy_and_dlpack_without_a_copy(torch, load, two_views):
    tensor = load(two_views)[0]
    tensor.numpy()[0] = 5
    torch.from_dlpack(tensor)[1] = 6
    assert tensor[:2].tolist() == [5, 6]


# --- copies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mmap", BOTH)
def test_deep_copies_share_among_themselves_only(load, two_views, mmap):
    loaded = load(two_views, mmap=mmap)
    first, second = copy.deepcopy(loaded)
    first[2:].fill_(7)
    assert second[0] == 7
    assert loaded[0][2] == 2


@pytest.mark.parametrize("mmap", BOTH)
def test_loaded_tensors_can_be_pickled(torch, load, torch_save, mmap):
    loaded = load(torch_save([torch.arange(8)[2:], torch.nn.Parameter(torch.ones(3))]), mmap=mmap)
    tensor, parameter = pickle.loads(pickle.dumps(loaded))
    assert torch.equal(tensor, loaded[0])
    assert type(parameter) is torch.nn.Parameter
    assert torch.equal(parameter, loaded[1])


@pytest.mark.parametrize("mmap", BOTH)
def test_what_is_loaded_can_be_saved_again(torch, load, torch_save, mmap):
    from support import torch_corpus
    from support.torch_compare import assert_same_objects

    path = torch_save({kind: torch_corpus.KINDS[kind]() for kind in ("layouts", "bits", "SGD")})
    again = torch_save(load(path, mmap=mmap), "again.pt")
    assert_same_objects(load(again), torch.load(path))


@pytest.mark.parametrize("mmap", BOTH)
def test_share_memory_moves_all_tensors_of_a_storage(torch, load, two_views, mmap):
    first, second = load(two_views, mmap=mmap)
    first.share_memory_()
    assert first.is_shared()
    assert second.is_shared()
    first[2] = 9
    assert second[0] == 9


# --- files and memory -----------------------------------------------------------------------------


def test_mapped_tensors_are_copy_on_write(torch, load, torch_save):
    path = torch_save({"w": torch.zeros(5000), "b": torch.ones(3)})
    before = path.read_bytes()
    loaded, other = load(path, mmap=True), load(path, mmap=True)
    for tensor in loaded.values():
        tensor.fill_(7)
    assert path.read_bytes() == before
    assert other["w"].sum() == 0
    assert loaded["w"].sum() == 35_000


@pytest.mark.parametrize("mmap", BOTH)
def test_tensors_outlive_their_file(torch, load, torch_save, mmap):
    path = torch_save([torch.arange(5000), torch.arange(3)])
    loaded = load(path, mmap=mmap)
    path.unlink()
    tensor = loaded.pop()
    del loaded
    gc.collect()
    assert tensor.tolist() == [0, 1, 2]


def test_tensors_outlive_a_closed_file_object(torch, load, torch_save):
    path = torch_save(torch.arange(5000))
    with open(path, "rb") as file:
        tensor = load(file)
    buffer = io.BytesIO(path.read_bytes())
    other = load(buffer)
    buffer.getbuffer()[:] = bytes(len(buffer.getvalue()))
    assert torch.equal(tensor, torch.arange(5000))
    assert torch.equal(other, tensor)


def test_an_overwritten_file_leaves_copied_tensors_alone(torch, load, torch_save):
    path = torch_save(torch.arange(5000))
    tensor = load(path)
    path.write_bytes(b"x" * path.stat().st_size)
    assert torch.equal(tensor, torch.arange(5000))


@pytest.mark.parametrize("weights_only", BOTH)
def test_a_cycle_of_containers_and_tensors_is_collected(torch, load, torch_save, weights_only):
    obj = {"w": torch.nn.Parameter(torch.ones(3))}
    obj["w"].owner = obj
    loaded = load(torch_save(obj), weights_only=weights_only)
    alive = weakref.ref(loaded["w"])
    assert loaded["w"].owner is loaded
    del loaded
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("mmap", BOTH)
def test_the_last_tensor_may_die_on_another_thread(torch, load, torch_save, mmap):
    loaded = load(torch_save([torch.rand(1000) for _ in range(50)]), mmap=mmap)

    def drop(tensors):
        while tensors:
            tensors.pop().add_(1)

    threads = [threading.Thread(target=drop, args=(loaded,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loaded == []


def test_a_tensor_dies_in_backward_without_the_interpreter(torch, load, torch_save):
    """What only autograd still holds is released by a thread of C++."""
    weight = load(torch_save(torch.ones(100, requires_grad=True)))
    other = load(torch_save(torch.full((100,), 3.0)))
    loss = (weight * other).sum()
    del other
    loss.backward()
    assert weight.grad.sum() == 300
