# SPDX-License-Identifier: Apache-2.0
"""load_model and the modules and hooks that take part in load_state_dict in their own ways."""

import gzip
import io
import warnings

import pytest


@pytest.fixture
def models(torch):
    from support import models

    return models


@pytest.fixture
def pt(torch):
    import ptio.torch

    return ptio.torch


# --- kinds of modules ---------------------------------------------------------------------------

ZOO = {
    "Linear": lambda nn: nn.Linear(3, 2),
    "Embedding": lambda nn: nn.Embedding(5, 3, padding_idx=0),
    "EmbeddingBag": lambda nn: nn.EmbeddingBag(5, 3),
    "BatchNorm": lambda nn: nn.BatchNorm2d(3),
    "InstanceNorm": lambda nn: nn.InstanceNorm1d(3, affine=True, track_running_stats=True),
    "LayerNorm without bias": lambda nn: nn.LayerNorm(3, bias=False),
    "LSTM": lambda nn: nn.LSTM(3, 4, num_layers=2, bidirectional=True),
    "MultiheadAttention": lambda nn: nn.MultiheadAttention(4, 2),
    "Transformer": lambda nn: nn.Transformer(4, 2, 1, 1, 8),
    "ParameterList": lambda nn: nn.ParameterList([nn.Linear(2, 2).weight, nn.PReLU().weight]),
    "ParameterDict": lambda nn: nn.ParameterDict({"a": nn.Linear(2, 2).weight}),
    "weight_norm": lambda nn: nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)),
    "spectral_norm": lambda nn: nn.utils.parametrizations.spectral_norm(nn.Linear(3, 2)),
    "spectral_norm by hooks": lambda nn: nn.utils.spectral_norm(nn.Linear(3, 2)),
    "no parameters": lambda nn: nn.ReLU(),
}


@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("kind", ZOO)
def test_a_module_gets_what_torch_gives_it(torch, models, torch_save, kind, assign):
    path = torch_save(ZOO[kind](torch.nn).state_dict())
    model = ZOO[kind](torch.nn)
    models.load_both(model, path, assign=assign)


@pytest.mark.parametrize("kind", ZOO)
def test_a_module_on_the_meta_device_is_the_same_as_a_real_one(torch, pt, models, torch_save, kind):
    saved = ZOO[kind](torch.nn)
    model = ZOO[kind](torch.nn).to("meta")
    pt.load_model(model, torch_save(saved.state_dict()))
    models.assert_same_state(model, saved)
    assert [type(p) for p in model.parameters()] == [type(p) for p in saved.parameters()]


def test_parameters_stay_the_objects_and_the_memory_that_they_are(models, torch_save):
    model = models.net()
    before = [(id(tensor), tensor.data_ptr()) for tensor in models.tensors_of(model)]
    models.load_both(model, torch_save(models.net().state_dict()))
    assert [(id(tensor), tensor.data_ptr()) for tensor in models.tensors_of(model)] == before


def test_a_model_trains_after_the_load(torch, pt, models, torch_save):
    model = models.net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    pt.load_model(model, torch_save(models.net().state_dict()))
    model["head"](model["encoder"](torch.randn(5, 4))).sum().backward()
    before = model["head"].weight.clone()
    optimizer.step()
    assert not torch.equal(model["head"].weight, before)


def test_tied_weights_stay_tied(torch, models, torch_save):
    model = models.tied()
    models.load_both(model, torch_save(models.tied().state_dict()))
    assert model[1].weight is model[0].weight


def test_a_module_that_is_in_the_model_twice(torch, models, torch_save):
    def twice():
        part = torch.nn.Linear(3, 3)
        return torch.nn.Sequential(part, part)

    models.load_both(twice(), torch_save(twice().state_dict()))


@pytest.mark.parametrize("saved", ["float64", "float16", "bfloat16", "int64", "float8_e4m3fn"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_values_are_converted_to_the_dtype_of_the_parameter(
    torch, models, torch_save, saved, dtype
):
    values = torch.arange(6.0).reshape(2, 3) / 3
    state = {"weight": values.to(getattr(torch, saved)), "bias": torch.ones(2)}
    model = torch.nn.Linear(3, 2, dtype=getattr(torch, dtype))
    models.load_both(model, torch_save(state))
    assert model.weight.dtype == getattr(torch, dtype)


def test_a_parameter_with_other_strides(torch, models, torch_save):
    model = torch.nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last)
    models.load_both(model, torch_save(torch.nn.Conv2d(2, 3, 3).state_dict()))
    assert model.weight.is_contiguous(memory_format=torch.channels_last)


def test_one_element_and_no_dimension_are_taken_as_equal_in_one_direction(
    torch, models, torch_save
):
    class Scale(torch.nn.Module):
        def __init__(self, *shape):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.zeros(shape))

    assert not models.load_both(Scale(), torch_save({"scale": torch.ones(1)})).missing_keys
    assert "size mismatch" in str(
        models.load_both(Scale(1), torch_save({"scale": torch.tensor(1.0)}))
    )


def test_buffers_that_are_not_persistent_are_left_alone(torch, models, torch_save):
    class Cached(torch.nn.Module):
        def __init__(self, value):
            super().__init__()
            self.register_buffer("kept", torch.full((2,), value))
            self.register_buffer("cache", torch.full((2,), value), persistent=False)

    model = Cached(1.0)
    models.load_both(model, torch_save(Cached(2.0).state_dict()))
    assert model.cache.tolist() == [1, 1]


def test_batch_norm_of_an_old_version_gets_its_counter(torch, models, torch_save):
    state = torch.nn.BatchNorm1d(3).state_dict()
    del state["num_batches_tracked"]
    assert "Missing key" in str(models.load_both(torch.nn.BatchNorm1d(3), torch_save(state)))
    state._metadata[""]["version"] = 1
    models.load_both(torch.nn.BatchNorm1d(3), torch_save(state))


def test_lazy_modules_get_their_shape_from_the_file(torch, pt, models, torch_save):
    path = torch_save(torch.nn.Linear(3, 2).state_dict())
    model = torch.nn.LazyLinear(2)
    weight = model.weight
    models.load_both(model, path)
    assert model.weight is weight
    assert type(weight) is torch.nn.Parameter
    on_meta = torch.nn.LazyLinear(2, device="meta")
    pt.load_model(on_meta, path)
    assert on_meta(torch.ones(1, 3)).shape == (1, 2)


def test_a_lazy_module_stays_lazy_when_the_load_fails(torch, models, torch_save):
    model = torch.nn.Sequential(torch.nn.LazyLinear(2), torch.nn.Linear(2, 1))
    other = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 5))
    models.load_both(model, torch_save(other.state_dict()))
    assert torch.nn.parameter.is_lazy(model[0].weight)


@pytest.mark.parametrize("dtype", ["qint8", "float16"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_dynamically_quantized_modules(torch, models, torch_save, dtype):
    def quantized():
        model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 2))
        return torch.ao.quantization.quantize_dynamic(model, dtype=getattr(torch, dtype))

    saved, model = quantized(), quantized()
    models.load_both(model, torch_save(saved.state_dict()))
    x = torch.randn(3, 4)
    assert torch.equal(model(x), saved(x))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_fake_quantization_with_observers_that_take_shapes_from_the_file(torch, models, torch_save):
    from torch.ao.quantization import FakeQuantize, PerChannelMinMaxObserver

    def observed():
        return FakeQuantize(PerChannelMinMaxObserver, dtype=torch.qint8, quant_min=-8, quant_max=7)

    saved = observed()
    saved(torch.randn(3, 4))
    models.load_both(observed(), torch_save(saved.state_dict()))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_modules(torch, models, torch_save):
    model = torch.jit.script(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)))
    other = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    models.load_both(model, torch_save(other.state_dict()))
    other[1] = torch.nn.BatchNorm1d(5)
    path = torch_save(other.state_dict())
    for assign in (False, True):
        assert "size mismatch" in str(models.load_both(model, path, assign=assign))


def test_sparse_and_quantized_buffers(torch, models, torch_save):
    class Graph(torch.nn.Module):
        def __init__(self, edges, levels):
            super().__init__()
            self.register_buffer("edges", edges)
            self.register_buffer("levels", levels)

    def graph(scale):
        levels = torch.quantize_per_tensor(torch.ones(3) * scale, 0.1, 0, torch.qint8)
        return Graph((torch.eye(3) * scale).to_sparse(), levels)

    path = torch_save(graph(2).state_dict())
    model = graph(1)
    models.load_both(model, path)
    assert model.edges.to_dense()[0, 0] == 2
    assert "exception occurred" in str(models.load_both(Graph(torch.eye(3), torch.ones(3)), path))


@pytest.mark.parametrize("saved", ["sparse", "quantized", "meta", "float4_e2m1fn_x2"])
def test_values_that_cannot_be_copied_leave_the_model(torch, models, torch_save, saved):
    weight = {
        "sparse": lambda: torch.eye(2).to_sparse(),
        "quantized": lambda: torch.quantize_per_tensor(torch.eye(2), 0.1, 0, torch.qint8),
        "meta": lambda: torch.empty(2, 2, device="meta"),
        "float4_e2m1fn_x2": lambda: torch.zeros(2, 2, dtype=torch.uint8).view(
            getattr(torch, saved)
        ),
    }[saved]()
    model = torch.nn.Linear(2, 2)
    path = torch_save({"bias": torch.ones(2), "weight": weight})
    assert "exception occurred" in str(models.load_both(model, path))


def test_a_parameter_that_cannot_be_written_leaves_the_model(torch, pt, models, torch_save):
    model = torch.nn.Linear(2, 3)
    model.bias = torch.nn.Parameter(torch.zeros(1).expand(3))
    path = torch_save(torch.nn.Linear(2, 3).state_dict())
    message = "more than one element of the written-to tensor"
    with models.unchanged(model), pytest.raises(RuntimeError, match=message):
        pt.load_model(model, path)


def test_a_model_on_meta_stays_there_when_a_value_cannot_be_copied(torch, pt, models, torch_save):
    path = torch_save({"bias": torch.ones(2), "weight": torch.eye(2).to_sparse()})
    model = torch.nn.Linear(2, 2, device="meta")
    with models.unchanged(model), pytest.raises(RuntimeError, match="exception occurred"):
        pt.load_model(model, path)


def test_a_parameter_that_is_a_pair_of_tensors(torch, models, torch_save):
    from torch.testing._internal.two_tensor import TwoTensor

    model = torch.nn.Linear(2, 2, bias=False)
    model.weight = torch.nn.Parameter(TwoTensor(torch.zeros(2, 2), torch.zeros(2, 2)))
    models.load_both(model, torch_save({"weight": torch.ones(2, 2)}))
    assert type(model.weight) is TwoTensor
    models.load_both(model, torch_save({"weight": torch.ones(3, 2)}))


def test_a_nested_buffer_that_is_not_in_the_file(torch, pt, models, torch_save):
    model = torch.nn.Linear(2, 2)
    nested = torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)])
    model.register_buffer("nested", nested, persistent=False)
    state = torch.nn.Linear(2, 2).state_dict()
    pt.load_model(model, torch_save(state))
    models.assert_same_state(model, state)


def test_swapped_parameters(torch, models, torch_save):
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        models.load_both(models.net(), torch_save(models.net().state_dict()))
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)


def test_inside_inference_mode(torch, pt, models, torch_save):
    state = models.net().state_dict()
    path = torch_save(state)
    before = models.net()
    with torch.inference_mode():
        inside = models.net()
        for model in (before, inside, models.net().to("meta")):
            pt.load_model(model, path)
            models.assert_same_state(model, state)


# --- hooks --------------------------------------------------------------------------------------


def test_extra_state(torch, models, torch_save):
    class Tracker(torch.nn.Linear):
        def __init__(self, seen):
            super().__init__(2, 2)
            self.seen = seen
            self.loads = []

        def get_extra_state(self):
            return {"seen": self.seen}

        def set_extra_state(self, state):
            self.seen = state.pop("seen")  # takes it out of the loaded state dict
            self.loads.append(self.seen)

    model = torch.nn.Sequential(Tracker(1), torch.nn.Linear(2, 2))
    saved = torch.nn.Sequential(Tracker([2]), torch.nn.Linear(2, 2))
    path = torch_save(saved.state_dict())
    models.load_both(model, path, state=torch.load(path))
    assert (model[0].seen, model[0].loads) == ([2], [[2]])
    with open(path, "rb") as file:
        models.load_both(model, file, state=torch.load(path))
    with gzip.open(path.with_suffix(".gz"), "wb") as file:
        file.write(path.read_bytes())
    with gzip.open(path.with_suffix(".gz"), "rb") as file:
        models.load_both(model, file, state=torch.load(path))
    saved[1] = torch.nn.Linear(2, 3)
    models.load_both(model, torch_save(saved.state_dict()))
    assert model[0].loads == [[2]] * 3


def test_a_state_dict_of_extra_state_alone(torch, models, torch_save):
    class Counter(torch.nn.Module):
        count = 0

        def get_extra_state(self):
            return self.count

        def set_extra_state(self, count):
            self.count = count

    saved, model = Counter(), Counter()
    saved.count = 5
    models.load_both(model, torch_save(saved.state_dict()))
    assert model.count == 5


@pytest.mark.parametrize("register", ["public", "bound method", "closure"])
def test_a_hook_that_renames_keys(torch, models, torch_save, register):
    class Renamed(torch.nn.Linear):
        def __init__(self):
            super().__init__(2, 2)
            self.calls = []
            if register == "public":
                self.register_load_state_dict_pre_hook(Renamed.rename)
            elif register == "bound method":
                self._register_load_state_dict_pre_hook(self.rename)
            else:
                hook = lambda *args: Renamed.rename(None, *args)  # noqa: E731
                self._register_load_state_dict_pre_hook(hook)

        def rename(self, state_dict, prefix, *_):
            if self is not None:
                self.calls.append(prefix)
            state_dict[prefix + "weight"] = state_dict.pop(prefix + "kernel")

    state = {"0.kernel": torch.ones(2, 2), "0.bias": torch.ones(2)}
    model = torch.nn.Sequential(Renamed())
    models.load_both(model, torch_save(state), state=state)
    assert model[0].calls == ([] if register == "closure" else ["0."])


def test_a_hook_that_changes_values_in_place(torch, pt, models, torch_save):
    def double(module, state_dict, prefix, *_):
        state_dict[prefix + "weight"].mul_(2)

    def doubling():
        model = torch.nn.Linear(2, 2)
        model.register_load_state_dict_pre_hook(double)
        return model

    weight = torch.ones(2, 2)
    path = torch_save({"weight": weight, "bias": torch.ones(2)})
    model = doubling()
    models.load_both(model, path)
    assert torch.equal(model.weight, 2 * weight)
    file = io.BytesIO(b"before" + path.read_bytes())
    file.seek(6)
    model = doubling()
    pt.load_model(model, file)
    assert torch.equal(model.weight, 2 * weight)


def test_a_hook_that_keeps_notes_in_the_metadata(torch, models, torch_save):
    def note(module, state_dict, prefix, local_metadata, *_):
        module.notes = local_metadata.setdefault("notes", 0) + 1
        local_metadata["notes"] = module.notes

    model = torch.nn.Linear(2, 2)
    model.register_load_state_dict_pre_hook(note)
    models.load_both(model, torch_save(torch.nn.Linear(2, 2).state_dict()))
    assert model.notes == 1


def test_a_hook_that_warns_is_heard_once(torch, pt, torch_save):
    model = torch.nn.Linear(2, 2)
    hook = lambda *_: warnings.warn("old file", stacklevel=1)  # noqa: E731
    model.register_load_state_dict_pre_hook(hook)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pt.load_model(model, torch_save(torch.nn.Linear(2, 2).state_dict()))
    assert [str(warning.message) for warning in caught] == ["old file"]


def test_warnings_may_be_errors(torch, pt, torch_save):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pt.load_model(torch.nn.Linear(2, 2), torch_save(torch.nn.Linear(2, 2).state_dict()))


def test_a_hook_that_needs_no_grad_has_it_from_the_caller(torch, pt, models, torch_save):
    model = torch.nn.Linear(2, 2)
    model.register_load_state_dict_pre_hook(lambda module, *_: module.weight.zero_())
    path = torch_save(torch.nn.Linear(2, 2).state_dict())
    with models.unchanged(model), pytest.raises(RuntimeError, match="leaf Variable"):
        pt.load_model(model, path)
    with torch.no_grad():
        pt.load_model(model, path)


def test_a_post_hook_that_forgives_missing_keys(torch, models, torch_save):
    calls = []

    def forgive(module, keys):
        module.forgiven = list(keys.missing_keys)
        calls.append(module)
        keys.missing_keys.clear()

    model = torch.nn.Linear(2, 2)
    model.register_load_state_dict_post_hook(forgive)
    models.load_both(model, torch_save({"weight": torch.ones(2, 2)}))
    assert model.forgiven == ["bias"]
    assert calls[-1] is model


def test_a_module_with_its_own_load(torch, models, torch_save):
    class Own(torch.nn.Linear):
        def _load_from_state_dict(self, state_dict, prefix, *args):
            if prefix + "scale" in state_dict:
                self.scale = float(state_dict.pop(prefix + "scale"))
            super()._load_from_state_dict(state_dict, prefix, *args)

    class Outer(torch.nn.Sequential):
        def load_state_dict(self, state_dict, strict=True):
            return super().load_state_dict({k[2:]: v for k, v in state_dict.items()}, strict)

    state = {f"x.0.{name}": value for name, value in torch.nn.Linear(2, 2).state_dict().items()}
    state["x.0.scale"] = torch.tensor(0.5)
    model = Outer(Own(2, 2))
    models.load_both(model, torch_save(state), state=state)
    assert model[0].scale == 0.5


def test_a_module_that_looks_at_its_own_values(torch, models, torch_save):
    class Careful(torch.nn.Linear):
        def _load_from_state_dict(self, state_dict, prefix, *args):
            if self.weight.abs().max().item() > 0:
                super()._load_from_state_dict(state_dict, prefix, *args)

    models.load_both(Careful(2, 2), torch_save(torch.nn.Linear(2, 2).state_dict()))
    models.load_both(Careful(2, 2), torch_save(torch.nn.Linear(2, 3).state_dict()))


def test_a_failed_load_leaves_no_trace_in_attributes(torch, pt, torch_save):
    class Cell(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(2))
            self.plain = torch.zeros(2)
            self.history = {"loads": []}
            self.names = set()
            self.parts = (torch.zeros(2),)
            self.weight.scale = torch.zeros(2)

        def _load_from_state_dict(self, state_dict, prefix, *args):
            self.plain.copy_(torch.ones(2))
            self.weight.scale.add_(1)
            self.parts[0].add_(1)
            self.history["loads"].append(prefix)
            self.names.update(state_dict)
            self.loaded = True
            super()._load_from_state_dict(state_dict, prefix, *args)

    model = Cell()
    with pytest.raises(RuntimeError, match="size mismatch"):
        pt.load_model(model, torch_save({"weight": torch.ones(3)}))
    assert (model.plain.sum(), model.weight.scale.sum(), model.parts[0].sum()) == (0, 0, 0)
    assert (model.history, model.names) == ({"loads": []}, set())
    assert not hasattr(model, "loaded")
    pt.load_model(model, torch_save({"weight": torch.ones(2)}))
    assert (model.plain.sum(), model.weight.scale.sum(), model.parts[0].sum()) == (2, 2, 2)
    assert (model.history, model.names) == ({"loads": [""]}, {"weight"})


def test_a_failed_load_with_assign_leaves_the_flat_weights_of_an_lstm(torch, models, torch_save):
    model = torch.nn.Sequential(torch.nn.LSTM(2, 2), torch.nn.Linear(2, 2))
    other = torch.nn.Sequential(torch.nn.LSTM(2, 2), torch.nn.Linear(2, 3))
    models.load_both(model, torch_save(other.state_dict()), assign=True)
    assert all(a is b for a, b in zip(model[0]._flat_weights, model[0].parameters(), strict=True))
