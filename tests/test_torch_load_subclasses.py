# SPDX-License-Identifier: Apache-2.0
"""ptio.torch.load of whole modules and tensor subclasses whose classes are registered."""

import pytest

calls = []  # the states that WithState was given


@pytest.fixture
def load(torch):
    import ptio.torch

    calls.clear()
    return ptio.torch.load


def test_a_whole_module_of_registered_classes(torch, load, torch_save):
    from support.torch_compare import assert_same_objects

    nn = torch.nn
    path = torch_save(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU()))
    classes = [nn.Sequential, nn.Linear, nn.BatchNorm1d, nn.ReLU]
    with torch.serialization.safe_globals(classes):
        assert_same_objects(load(path), torch.load(path))
    assert load(path, allow=classes)(torch.ones(2, 2)).shape == (2, 3)


@pytest.fixture(scope="module")
def subclasses(torch):
    """Tensor subclasses: plain, with a state of its own, and a wrapper around another tensor."""

    class Sub(torch.Tensor):
        pass

    class WithState(torch.Tensor):
        def __setstate__(self, state):
            calls.append(sorted(state))
            vars(self).update(state)

    class Wrapper(torch.Tensor):
        @staticmethod
        def __new__(cls, inner):
            return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)

        def __init__(self, inner):
            self.inner = inner

        def __tensor_flatten__(self):
            return ["inner"], None

        @classmethod
        def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
            if function is torch.ops.aten.detach.default:
                return cls(args[0].inner.detach())
            raise NotImplementedError(function)

    for kind in (Sub, WithState, Wrapper):
        kind.__qualname__ = kind.__name__
        globals()[kind.__name__] = kind
    return Sub, WithState, Wrapper


@pytest.mark.parametrize("weights_only", [True, False])
def test_registered_tensor_subclasses(torch, load, torch_save, subclasses, weights_only):
    from support.torch_compare import assert_same_objects

    plain, with_state, wrapper = subclasses
    sub = torch.arange(6.0)[1:].as_subclass(plain)
    sub.note = ["attribute"]
    stateful = torch.ones(2).as_subclass(with_state)
    stateful.a, stateful.b = 1, sub
    obj = [sub, stateful, torch.nn.Parameter(torch.ones(2).as_subclass(plain)), plain]
    path = torch_save([*obj, wrapper(torch.arange(3.0))])
    with torch.serialization.safe_globals(list(subclasses)):
        theirs = torch.load(path, weights_only=weights_only)
        their_calls = calls[:]
        calls.clear()
        assert_same_objects(load(path, weights_only=weights_only), theirs)
    assert calls == their_calls
    assert_same_objects(load(path, allow=subclasses), theirs)
