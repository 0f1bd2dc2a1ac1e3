# SPDX-License-Identifier: Apache-2.0
"""load_state_dict: the weights of a file, whatever is around them, without the file's code."""

import collections
import io
import time

import numpy as np
import ptio
import pytest
from support import checkpoints, children, gone
from support import pickle_asm as asm


@pytest.fixture(scope="module")
def classes(torch):
    return gone.load()


@pytest.fixture
def keep(torch, classes, tmp_path):
    """Saves an object with torch.save; its classes are gone afterwards."""

    def save(obj, name="model.pt", **options):
        path = tmp_path / name
        path.write_bytes(gone.saved(obj, torch, classes, **options))
        return path

    return save


def assert_weights(ours, expected):
    """The same names, in the same order, with the same values."""
    assert list(ours) == list(expected)
    for name, tensor in expected.items():
        assert type(ours[name]) is np.ndarray, name
        assert str(ours[name].dtype) == str(tensor.dtype).removeprefix("torch."), name
        np.testing.assert_array_equal(ours[name], tensor.numpy(), err_msg=name)


def training(torch, state, **others):
    parameters = [torch.nn.Parameter(torch.rand(3))]
    optimizer = torch.optim.AdamW(parameters)
    parameters[0].sum().backward()
    optimizer.step()
    return {
        "epoch": 3,
        "model_state_dict": state,
        "optimizer_state_dict": optimizer.state_dict(),
        "loss": torch.tensor(0.25),
        "rng_state": torch.get_rng_state(),
        "rng_states": {"cpu": torch.get_rng_state()},
        **others,
    }


# --- state dicts --------------------------------------------------------------------------------


def test_a_state_dict_is_kept_as_it_is(torch, classes, keep):
    state = classes.DetectionModel().state_dict()
    ours = ptio.load_state_dict(keep(state))
    assert_weights(ours, state)
    assert type(ours) is collections.OrderedDict
    assert ours._metadata == state._metadata


def test_extra_state_is_kept_as_it_is(classes, keep):
    model = classes.WithExtraState(2, 2)
    ours = ptio.load_state_dict(keep({"epoch": 1, "net": model.state_dict()}))
    assert list(ours) == ["weight", "bias", "_extra_state"]
    assert ours["_extra_state"]["scale"].tolist() == [1]


def test_a_training_checkpoint(torch, classes, keep):
    state = classes.DetectionModel().state_dict()
    assert_weights(ptio.load_state_dict(keep(training(torch, state))), state)


@pytest.mark.parametrize("key", ["state_dict", "model", "net", "ema", "weights", "any other"])
def test_the_only_weights_are_found_under_any_key(torch, classes, keep, key):
    state = classes.Tied().state_dict()
    assert_weights(ptio.load_state_dict(keep({key: state, "epoch": 1, "args": {"a": 1}})), state)
    assert_weights(ptio.load_state_dict(keep({"outer": {"inner": {key: state}}})), state)
    assert_weights(ptio.load_state_dict(keep((state, 5))), state)


def test_a_lightning_checkpoint(torch, classes, keep):
    state = {f"model.{k}": v for k, v in classes.DetectionModel().state_dict().items()}
    scores = {"best_k_models": {"a.ckpt": torch.tensor(0.5), "b.ckpt": torch.tensor(0.6)}}
    path = keep(
        {
            "epoch": 1,
            "global_step": 10,
            "pytorch-lightning_version": "2.5.0",
            "state_dict": state,
            "loops": {"fit_loop": {"state_dict": {}, "progress": {"total": torch.tensor(1)}}},
            "callbacks": {"ModelCheckpoint{}": {"best_model_score": torch.tensor(0.5), **scores}},
            "optimizer_states": [training(torch, state)["optimizer_state_dict"]],
            "lr_schedulers": [{"last_epoch": 1}],
            "hyper_parameters": classes.Attributes(lr=0.1, config=classes.Config()),
        },
        "last.ckpt",
    )
    assert_weights(ptio.load_state_dict(path), state)
    bare = {name.removeprefix("model."): value for name, value in state.items()}
    inner = {name.replace("model.", ""): value for name, value in bare.items()}
    assert_weights(ptio.load_state_dict(path, strip_prefix="model."), inner)


def test_a_state_dict_of_a_dict_subclass(classes, keep):
    state = classes.StateDict(classes.Tied().state_dict())
    assert_weights(ptio.load_state_dict(keep(state)), state)
    assert_weights(ptio.load_state_dict(keep({"net": state, "epoch": 1})), state)


def test_a_state_dict_of_a_dict_subclass_with_attributes(torch, classes, keep):
    state = classes.StateDict(classes.Tied().state_dict())
    state.note, state.extra = "x", torch.ones(2)
    assert_weights(ptio.load_state_dict(keep({"net": state})), dict(state))


# --- models that were saved whole -----------------------------------------------------------------


def test_a_whole_model_without_its_code(classes, keep):
    model = classes.DetectionModel()
    path = keep(model)
    assert_weights(ptio.load_state_dict(path), model.state_dict())
    with pytest.raises(ptio.ForbiddenError):
        ptio.load(path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_whole_models_of_every_protocol(classes, keep, protocol):
    model = classes.DetectionModel()
    path = keep(model, pickle_protocol=protocol)
    assert_weights(ptio.load_state_dict(path), model.state_dict())


def test_whole_models_in_the_format_before_zip(classes, keep):
    model = classes.DetectionModel()
    path = keep(ultralytics(model, None), _use_new_zipfile_serialization=False)
    assert_weights(ptio.load_state_dict(path), model.state_dict())


ZOO = {
    "Linear": lambda nn: nn.Linear(3, 2),
    "EmbeddingBag": lambda nn: nn.EmbeddingBag(5, 3),
    "BatchNorm": lambda nn: nn.BatchNorm2d(3),
    "LayerNorm without bias": lambda nn: nn.LayerNorm(3, bias=False),
    "LSTM": lambda nn: nn.LSTM(3, 4, num_layers=2, bidirectional=True),
    "Transformer": lambda nn: nn.Transformer(4, 2, 1, 1, 8),
    "ParameterList": lambda nn: nn.ParameterList([nn.PReLU().weight, nn.PReLU().weight]),
    "ParameterDict": lambda nn: nn.ParameterDict({"a": nn.Linear(2, 2).weight}),
    "ModuleDict": lambda nn: nn.ModuleDict({"b": nn.Linear(2, 2), "a": nn.ReLU()}),
    "spectral_norm": lambda nn: nn.utils.spectral_norm(nn.Linear(3, 2)),
    "half precision": lambda nn: nn.Linear(3, 2).half(),
    "DataParallel": lambda nn: nn.DataParallel(nn.Linear(3, 2)),
    "no parameters": lambda nn: nn.ReLU(),
}


@pytest.mark.parametrize("kind", ZOO)
def test_modules_have_the_names_of_their_state_dict(torch, keep, kind):
    model = ZOO[kind](torch.nn)
    assert_weights(ptio.load_state_dict(keep(model)), model.state_dict())


def test_a_traced_graph_module(torch, classes, keep):
    model = torch.fx.symbolic_trace(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU()))
    assert_weights(ptio.load_state_dict(keep({"model": model})), model.state_dict())


def test_tied_weights_are_views_of_the_same_memory(classes, keep):
    ours = ptio.load_state_dict(keep(classes.Tied()))
    assert list(ours) == ["embedding.weight", "head.weight"]
    assert np.shares_memory(ours["embedding.weight"], ours["head.weight"])


def test_extra_state_that_only_code_makes_is_not_there(classes, keep):
    assert list(ptio.load_state_dict(keep(classes.WithExtraState(2, 2)))) == ["weight", "bias"]


def test_a_module_that_contains_itself(torch, classes, keep):
    inner, outer = classes.Bottleneck(2), torch.nn.ModuleDict()
    outer["inner"] = inner
    inner._modules["outer"], inner._modules["me"] = outer, inner
    ours = ptio.load_state_dict(keep(outer))
    expected = classes.Bottleneck(2).state_dict()
    assert list(ours) == [f"inner.{name}" for name in expected]


def test_an_object_that_has_the_model(classes, keep):
    model = classes.DetectionModel()
    ours = ptio.load_state_dict(keep({"trainer": classes.ModelEMA(model)}))
    assert_weights(ours, model.state_dict())
    path = keep({"trainer": classes.ModelEMA(model), "net": classes.Tied()})
    assert_weights(ptio.load_state_dict(path, "trainer/ema"), model.state_dict())


def test_part_of_a_model(classes, keep):
    model = classes.DetectionModel()
    path = keep({"model": model})
    block = model.model[1]
    assert_weights(ptio.load_state_dict(path, "model/model/1"), block.state_dict())
    assert_weights(ptio.load_state_dict(path, ("model", "model", 1)), block.state_dict())


def ultralytics(model, ema):
    return {
        "epoch": -1,
        "best_fitness": None,
        "model": model,
        "ema": ema,
        "updates": None,
        "optimizer": None,
        "train_args": {"task": "detect", "imgsz": 640},
        "train_metrics": {"fitness": 0.5},
        "date": "2024-01-01T00:00:00",
        "version": "8.3.0",
    }


def test_an_ultralytics_file_that_is_finished(classes, keep):
    model = classes.DetectionModel().half()
    assert_weights(ptio.load_state_dict(keep(ultralytics(model, None))), model.state_dict())
    assert_weights(ptio.load_state_dict(keep(ultralytics(None, model))), model.state_dict())


def test_an_ultralytics_file_in_training_needs_a_choice(classes, keep):
    model, ema = classes.DetectionModel(), classes.DetectionModel()
    path = keep(ultralytics(model, ema))
    with pytest.raises(ValueError, match="2 state dicts") as caught:
        ptio.load_state_dict(path)
    tensors = model.state_dict().values()
    nbytes = sum(tensor.nbytes for tensor in tensors)
    size = f"({len(tensors)} tensors, {nbytes} B)"
    assert f"choose by select='model' {size} or select='ema' {size}" in str(caught.value)
    assert_weights(ptio.load_state_dict(path, "model"), model.state_dict())
    assert_weights(ptio.load_state_dict(path, select="ema"), ema.state_dict())


def test_a_tree_of_torchscript(torch, write):
    data = gone.script_tree(torch)
    names = ["scale", "first.weight", "second.weight", "second.bias"]
    for select in (None, "data"):
        ours = ptio.load_state_dict(io.BytesIO(data), select)
        assert list(ours) == names
        assert [array.shape for array in ours.values()] == [(), (2,), (3,), (4,)]
    assert list(ptio.load_state_dict(io.BytesIO(data), "data/second")) == ["weight", "bias"]


# --- which of several --------------------------------------------------------------------------


def test_several_that_may_be_meant_need_a_choice(classes, keep):
    state, other = classes.Tied().state_dict(), classes.Bottleneck(2).state_dict()
    path = keep({"generator": state, "best": {"discriminator": other}, "epoch": 1})
    with pytest.raises(
        ValueError, match=r"select='generator' \(2 tensors, 120 B\) or select='best/"
    ):
        ptio.load_state_dict(path)
    assert_weights(ptio.load_state_dict(path, "generator"), state)
    assert_weights(ptio.load_state_dict(path, "best/discriminator"), other)
    assert_weights(ptio.load_state_dict(path, ("best", "discriminator")), other)


def test_one_state_dict_under_two_names_needs_no_choice(classes, keep):
    state = classes.Tied().state_dict()
    assert_weights(ptio.load_state_dict(keep({"model": state, "best": state})), state)


def test_the_choices_name_keys_with_slashes(classes, keep):
    states = {"a/b": classes.Tied().state_dict(), "c": classes.Bottleneck(1).state_dict()}
    path = keep({"nets": states})
    with pytest.raises(ValueError, match=r"select=\('nets', 'a/b'\)"):
        ptio.load_state_dict(path)
    assert_weights(ptio.load_state_dict(path, ("nets", "a/b")), states["a/b"])
    assert_weights(ptio.load_state_dict(keep(states), "a/b"), states["a/b"])


def test_a_wrong_select_lists_what_there_is(classes, keep):
    path = keep({"net": classes.Tied(), "evil\x1b[31m": classes.Bottleneck(1).state_dict()})
    for select in ("nett", "net/head/weight", "", ("net", 7)):
        with pytest.raises(ValueError, match=r"select='net' \(2 tensors, 120 B\)") as caught:
            ptio.load_state_dict(path, select)
        assert "\x1b" not in str(caught.value)
    with pytest.raises(ValueError, match="there is none: it is a dict of 'epoch'"):
        ptio.load_state_dict(keep({"epoch": 1}), "net")


def test_arguments_of_the_wrong_types(classes, keep):
    path = keep(classes.Tied().state_dict())
    for select in (5, b"model", {"a": 1}):
        with pytest.raises(TypeError, match="select must be"):
            ptio.load_state_dict(path, select)
    with pytest.raises(TypeError, match="strip_prefix takes"):
        ptio.load_state_dict(path, strip_prefix=[1])
    with pytest.raises(TypeError, match="limits"):
        ptio.load_state_dict(path, limits=5)


@pytest.mark.parametrize("obj", [[1, 2], {"epoch": 1, "lr": {"base": 1}}, 5, None])
def test_a_file_without_weights(keep, obj):
    with pytest.raises(ValueError, match="no state dict: it is a"):
        ptio.load_state_dict(keep(obj))


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["module.{}", "_orig_mod.{}", "module._orig_mod.{}"])
def test_prefixes_are_left_out_where_the_user_says_so(classes, keep, name):
    state = classes.DetectionModel().state_dict()
    wrapped = {name.format(key): value for key, value in state.items()}
    path = keep({"model": wrapped})
    assert_weights(ptio.load_state_dict(path), wrapped)
    ours = ptio.load_state_dict(path, strip_prefix=["module.", "_orig_mod."])
    assert_weights(ours, state)


def test_prefixes_inside_of_names_and_of_whole_models(torch, classes, keep):
    model = torch.nn.ModuleDict({"a": torch.nn.DataParallel(classes.Bottleneck(2))})
    bare = torch.nn.ModuleDict({"a": classes.Bottleneck(2)})
    bare.load_state_dict({k.replace("module.", ""): v for k, v in model.state_dict().items()})
    ours = ptio.load_state_dict(keep(model), strip_prefix="module.")
    assert_weights(ours, bare.state_dict())
    ours = ptio.load_state_dict(keep(model.state_dict()), strip_prefix="module.")
    assert list(ours._metadata) == list(dict.fromkeys(bare.state_dict()._metadata))


def test_two_names_that_become_one_are_an_error(torch, keep):
    path = keep({"weight": torch.ones(1), "module.weight": torch.ones(1)})
    with pytest.raises(ValueError, match=r"'weight' and 'module\.weight' .* both 'weight'"):
        ptio.load_state_dict(path, strip_prefix="module.")


# --- how it reads ---------------------------------------------------------------------------------


def test_paths_files_and_settings(torch, keep, tmp_path):
    state = {"weight": torch.rand(1000)}
    path = keep(state)
    with open(path, "rb") as file:
        for f in (str(path), path, file, io.BytesIO(path.read_bytes())):
            ours = ptio.load_state_dict(f, mmap="auto", verify=True, threads=1)
            assert_weights(ours, state)
    assert_weights(ptio.load_state_dict(path, mmap=False, limits=ptio.Limits()), state)
    calls = []
    ptio.load_state_dict(path, mmap=False, progress=lambda *done: calls.append(done))
    assert calls[-1] == (4000, 4000)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ptio.FormatError):
        ptio.load_state_dict(path)


def test_neither_torch_nor_a_class_of_the_file_is_imported(classes, keep):
    code = """
import sys, json, ptio
def hook(event, args):
    if event == "import": imported.append(args[0])
imported = []
ptio.load_state_dict(sys.argv[1])
imported.clear()
sys.addaudithook(hook)
names = list(ptio.load_state_dict(sys.argv[1]))
print(json.dumps([names, imported, "torch" in sys.modules]))
"""
    model = classes.DetectionModel()
    result = children.run(code, keep(model))
    assert result == [list(model.state_dict()), [], False]


def test_nothing_of_the_file_is_called(tmp_path):
    target = tmp_path / "touched"
    call = asm.call(asm.global_("posix", "system"), asm.text(f"touch {target}"))
    parts = asm.dict_of(asm.text("w"), asm.tensor(), asm.text("x"), call)
    data = checkpoints.archive(asm.program(parts), {"0": bytes(16)})
    assert list(ptio.load_state_dict(io.BytesIO(data))) == ["w", "x"]
    assert not target.exists()


# --- hostile files --------------------------------------------------------------------------------


def module_of(children, parameters=b""):
    """A module of torch.nn: children and parameters as keys and values of their dicts."""
    state = asm.dict_of(
        *(asm.text("_parameters"), asm.dict_of(*parameters)),
        *(asm.text("_buffers"), asm.op("EMPTY_DICT")),
        *(asm.text("_modules"), asm.dict_of(*children)),
    )
    return (
        asm.global_("m", "M") + asm.op("EMPTY_TUPLE") + asm.op("NEWOBJ") + state + asm.op("BUILD")
    )


def load_program(*parts):
    data = checkpoints.archive(asm.program(*parts), {"0": bytes(16)})
    return ptio.load_state_dict(io.BytesIO(data))


def nested(levels, children):
    """Modules that each contain the one before, as children(it) says."""
    program = module_of([], [asm.text("w"), asm.tensor()]) + asm.op("BINPUT", 200)
    for _ in range(levels):
        program += asm.op("POP") + module_of(children(asm.op("BINGET", 200)))
        program += asm.op("BINPUT", 200)
    return program


def test_more_names_than_anybody_needs_are_an_error():
    twice = nested(40, lambda it: [asm.text("a"), it, asm.text("b"), it])
    start = time.process_time()
    with pytest.raises(ptio.LimitError, match="names"):
        load_program(twice)
    assert time.process_time() - start < 30


def test_longer_names_than_anybody_needs_are_an_error():
    key = asm.text("k" * 1_000_000) + asm.op("BINPUT", 201) + asm.op("POP")
    levels = nested(40, lambda it: [asm.op("BINGET", 201), it])
    with pytest.raises(ptio.LimitError, match="names"):
        load_program(key, levels)


def test_deep_modules_need_no_recursion():
    ours = load_program(nested(300, lambda it: [asm.text("a"), it]))
    assert list(ours) == ["a." * 300 + "w"]


@pytest.mark.parametrize("value", [asm.number(1), asm.text("x"), asm.op("NONE"), asm.tensor()])
def test_modules_of_nonsense_are_no_modules(value):
    state = asm.dict_of(
        *(asm.text("_parameters"), value),
        *(asm.text("_buffers"), value),
        *(asm.text("_modules"), value),
    )
    made = asm.global_("m", "M") + asm.op("EMPTY_TUPLE") + asm.op("NEWOBJ") + state
    whole = asm.dict_of(asm.text("m"), made + asm.op("BUILD"), asm.text("w"), asm.tensor())
    assert "w" in load_program(whole) or value == asm.tensor()


def test_children_that_are_no_modules_are_left_out():
    parameters = [asm.number(1), asm.tensor(), asm.text("w"), asm.tensor(), asm.text("n")]
    program = module_of([asm.text("c"), asm.number(5)], [*parameters, asm.op("NONE")])
    assert list(load_program(program)) == ["w"]
