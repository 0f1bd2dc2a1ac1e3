# SPDX-License-Identifier: Apache-2.0
"""load_model finds the state dict in a file, and the names of the model in it."""

import pytest


@pytest.fixture
def models(torch):
    from support import models

    return models


@pytest.fixture
def pt(torch):
    import ptio.torch

    return ptio.torch


# --- where the state dict is --------------------------------------------------------------------


def training(torch, model, **others):
    optimizer = torch.optim.AdamW(model.parameters())
    model["head"](model["encoder"](torch.randn(5, 4))).sum().backward()
    optimizer.step()
    return {
        "epoch": 3,
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "loss": torch.tensor(0.25),
        "rng_state": torch.get_rng_state(),
        "cuda_rng_state": torch.get_rng_state(),
        **others,
    }


def test_a_training_checkpoint(torch, models, torch_save):
    saved = models.net()
    path = torch_save(training(torch, saved))
    models.load_both(models.net(), path, state=saved.state_dict())
    models.load_both(models.net(), path, state=saved.state_dict(), select="model_state_dict")


def test_a_lightning_checkpoint(torch, models, torch_save):
    checkpoint = {
        "epoch": 1,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {f"model.{k}": v for k, v in models.net().state_dict().items()},
        "loops": {"fit_loop": {"state_dict": {}, "progress": {"total": 1}}},
        "callbacks": {"EarlyStopping{}": {"best_score": torch.tensor(0.5), "wait": 0}},
        "optimizer_states": [torch.optim.AdamW(models.net().parameters()).state_dict()],
        "lr_schedulers": [],
        "hyper_parameters": {"lr": 0.1},
    }
    path = torch_save(checkpoint)
    module = torch.nn.ModuleDict({"model": models.net()})
    models.load_both(module, path, state=checkpoint["state_dict"])
    inner = {name.removeprefix("model."): v for name, v in checkpoint["state_dict"].items()}
    models.load_both(models.net(), path, state=inner, strip_prefix="model.")


def test_a_state_dict_next_to_others_is_found_by_its_names(torch, models, torch_save):
    other = torch.nn.Linear(3, 3)
    saved = models.net()
    models.load_both(
        models.net(),
        torch_save({"a": other.state_dict(), "b": saved.state_dict()}),
        state=saved.state_dict(),
    )
    nested = {"nets": {"g": {"params": saved.state_dict()}, "d": {"params": other.state_dict()}}}
    models.load_both(models.net(), torch_save(nested), state=saved.state_dict())


def test_a_state_dict_next_to_others_is_found_by_its_shapes(torch, models, torch_save):
    small, large = torch.nn.Linear(2, 2), torch.nn.Linear(5, 5)
    path = torch_save({"a": small.state_dict(), "b": large.state_dict()})
    models.load_both(torch.nn.Linear(5, 5), path, state=large.state_dict())


def test_a_moving_average_without_buffers_is_not_taken_for_the_model(models, torch_save):
    saved = models.net()
    average = {name: value * 2 for name, value in saved.named_parameters()}
    path = torch_save({"ema": average, "model": saved.state_dict()})
    models.load_both(models.net(), path, state=saved.state_dict())


def test_two_state_dicts_that_fit_need_a_choice(pt, models, torch_save):
    first, second = models.net(), models.net()
    path = torch_save({"model": first.state_dict(), "ema": {"shadow": second.state_dict()}})
    model = models.net()
    with (
        models.unchanged(model),
        pytest.raises(
            ValueError, match=r"select='model' \(9 tensors, 368 B\) or select='ema/shadow' \(9"
        ),
    ):
        pt.load_model(model, path)
    models.load_both(models.net(), path, state=first.state_dict(), select="model")
    models.load_both(models.net(), path, state=second.state_dict(), select="ema/shadow")
    models.load_both(models.net(), path, state=second.state_dict(), select=("ema", "shadow"))


def test_one_state_dict_under_two_names_needs_no_choice(models, torch_save):
    state = models.net().state_dict()
    models.load_both(models.net(), torch_save({"model": state, "best": state}), state=state)


def test_several_that_fit_in_part_need_a_choice(pt, models, torch_save):
    state = models.net().state_dict()
    parts = [dict(list(state.items())[:3]), dict(list(state.items())[2:])]
    path = torch_save({"a": parts[0], "b": parts[1]})
    with pytest.raises(ValueError, match=r"select='a' \(3 tensors, .*\) or select='b' \("):
        pt.load_model(models.net(), path, strict=False)


def test_the_only_state_dict_is_taken_whatever_its_names(models, torch_save):
    state = {"other." + name: value for name, value in models.net().state_dict().items()}
    optimizer = {"state": {name: {"exp_avg": value} for name, value in state.items()}}
    path = torch_save({"optimizer": {**optimizer, "param_groups": []}, "net": state})
    message = str(models.load_both(models.net(), path, state=state))
    assert "Missing key(s)" in message


def test_select_takes_keys_with_slashes_and_positions(torch, models, torch_save):
    state = torch.nn.Linear(2, 2).state_dict()
    models.load_both(
        torch.nn.Linear(2, 2), torch_save({"a/b": state, "c": state}), state=state, select="a/b"
    )
    path = torch_save({"models": [{}, {7: state}]})
    models.load_both(torch.nn.Linear(2, 2), path, state=state, select="models/1/7")
    models.load_both(torch.nn.Linear(2, 2), path, state=state, select=("models", 1, 7))
    models.load_both(torch.nn.Linear(2, 2), torch_save(state), state=state, select="")


def test_a_wrong_select_lists_what_there_is(torch, pt, models, torch_save):
    path = torch_save(training(torch, models.net(), **{"evil\x1b[31m": {"w": torch.ones(1)}}))
    for select in ("state_dict", "epoch", "model_state_dict/encoder", ("model_state_dict", "x")):
        with pytest.raises(ValueError, match="select='model_state_dict'") as caught:
            pt.load_model(models.net(), path, select=select)
        assert "\x1b" not in str(caught.value)
    with pytest.raises(ValueError, match="it is a dict of 'epoch'"):
        pt.load_model(models.net(), torch_save({"epoch": 1}), select="model")


@pytest.mark.parametrize("obj", [[1, 2], {"epoch": 1}, 5, {"lr": {"base": 1}}])
def test_a_file_without_a_state_dict(pt, models, torch_save, obj):
    with pytest.raises(ValueError, match="no state dict"):
        pt.load_model(models.net(), torch_save(obj))


# --- prefixes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "module.{0}.{1}",
        "_orig_mod.{0}.{1}",
        "module._orig_mod.{0}.{1}",
        "_orig_mod.module.module.{0}.{1}",
        "{0}._orig_mod.{1}",
        "module.{0}.module.{1}",
    ],
)
def test_prefixes_are_ignored_on_any_level(models, torch_save, name):
    state = models.net().state_dict()
    wrapped = {name.format(*key.split(".", 1)): value for key, value in state.items()}
    models.load_both(models.net(), torch_save({"model": wrapped}), state=state)


def test_models_of_data_parallel_and_compile(torch, models, torch_save):
    state = models.net().state_dict()
    compiled = torch.compile(models.net(), backend="eager")
    models.load_both(
        models.net(), torch_save(compiled.state_dict()), state=dict(compiled._orig_mod.state_dict())
    )
    wrapped = torch.nn.DataParallel(models.net())
    models.load_both(
        models.net(), torch_save(wrapped.state_dict()), state=dict(wrapped.module.state_dict())
    )
    models.load_both(torch.nn.DataParallel(models.net()), torch_save(wrapped.state_dict()))
    bare = {"module." + name: value for name, value in state.items()}
    models.load_both(torch.nn.DataParallel(models.net()), torch_save(state), state=bare)


def test_a_child_that_is_really_called_module_keeps_its_name(torch, models, torch_save):
    def averaged():
        return torch.optim.swa_utils.AveragedModel(models.net())

    state = averaged().state_dict()
    models.load_both(averaged(), torch_save(state), state=state)
    wrapped = {"module." + name: value for name, value in state.items()}
    models.load_both(averaged(), torch_save(wrapped), state=state)
    compiled = {name.replace("module", "module._orig_mod"): v for name, v in state.items()}
    models.load_both(averaged(), torch_save(compiled), state=state)


def test_a_child_called_module_next_to_others_of_the_same_names(torch, models, torch_save):
    def make():
        return torch.nn.ModuleDict({"module": torch.nn.Linear(2, 2), "fc": torch.nn.Linear(3, 3)})

    state = make().state_dict()
    models.load_both(make(), torch_save(state), state=state)
    wrapped = {"module." + name: value for name, value in state.items()}
    models.load_both(make(), torch_save(wrapped), state=state)


def test_a_hook_finds_its_old_names_below_a_child_called_module(torch, models, torch_save):
    def rename(module, state_dict, prefix, *_):
        state_dict[prefix + "weight"] = state_dict.pop(prefix + "kernel")

    model = torch.nn.ModuleDict({"module": torch.nn.Linear(2, 2, bias=False)})
    model["module"].register_load_state_dict_pre_hook(rename)
    models.load_both(model, torch_save({"module.kernel": torch.ones(2, 2)}))


def test_two_names_that_become_one_are_an_error(torch, pt, models, torch_save):
    state = torch.nn.Linear(2, 2).state_dict()
    path = torch_save({**state, **{"module." + name: value for name, value in state.items()}})
    model = torch.nn.Linear(2, 2)
    both = r"'weight' and 'module\.weight' .* both 'weight'"
    with models.unchanged(model), pytest.raises(ValueError, match=both):
        pt.load_model(model, path)


def test_no_prefixes_turns_stripping_off(models, torch_save):
    state = {"module." + name: value for name, value in models.net().state_dict().items()}
    assert "Missing key(s)" in str(
        models.load_both(models.net(), torch_save(state), strip_prefix=())
    )


def test_prefixes_of_the_caller(models, torch_save):
    state = models.net().state_dict()
    path = torch_save({"wrap.model." + name: value for name, value in state.items()})
    models.load_both(models.net(), path, state=state, strip_prefix=["wrap.model."])
    models.load_both(models.net(), path, state=state, strip_prefix=("wrap.", "model."))


@pytest.mark.parametrize("version", [1, 2])
def test_the_versions_of_modules_lose_the_prefixes_too(torch, models, torch_save, version):
    """Only version 1 of BatchNorm may lack its counter."""

    def saved(model):
        state = model.state_dict()
        for name in [name for name in state if name.endswith("num_batches_tracked")]:
            del state[name]
        for metadata in state._metadata.values():
            metadata["version"] = min(metadata["version"], version)
        return state

    def check(model, file):
        result = models.load_both(model, torch_save(saved(file)), state=saved(model))
        assert isinstance(result, RuntimeError) == (version == 2)

    norm, DataParallel = torch.nn.BatchNorm1d(3), torch.nn.DataParallel
    check(norm, DataParallel(norm))
    check(torch.nn.Sequential(norm), DataParallel(torch.nn.Sequential(norm)))
    check(DataParallel(torch.nn.Sequential(norm)), torch.nn.Sequential(norm))


def test_a_name_that_fits_two_modules_is_given_to_none(torch, models, torch_save):
    def wrapped(*names):
        model = torch.nn.Linear(2, 2, bias=False)
        for name in reversed(names):
            model = torch.nn.ModuleDict({name: model})
        return model

    model = torch.nn.ModuleDict({**wrapped("x", "module"), **wrapped("module", "x")})
    state = {"x.weight": torch.ones(2, 2)}
    result = models.load_both(model, torch_save(state), strict=False, state=state)
    assert result.unexpected_keys == ["x.weight"]
