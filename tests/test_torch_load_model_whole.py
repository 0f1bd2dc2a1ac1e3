# SPDX-License-Identifier: Apache-2.0
"""load_model from models that were saved whole, whose classes cannot be imported."""

import io

import ptio
import pytest
from support import checkpoints, children, gone
from support import pickle_asm as asm


@pytest.fixture(scope="module")
def classes(torch):
    return gone.load()


@pytest.fixture
def pt(torch):
    import ptio.torch

    return ptio.torch


@pytest.fixture
def models(torch):
    from support import models

    return models


@pytest.fixture
def keep(torch, classes, tmp_path):
    """Saves an object with torch.save; its classes are gone afterwards."""

    def save(obj, name="model.pt", **options):
        path = tmp_path / name
        path.write_bytes(gone.saved(obj, torch, classes, **options))
        return path

    return save


@pytest.mark.parametrize("assign", [False, True])
def test_a_whole_model(classes, models, keep, assign):
    saved = classes.DetectionModel()
    state = saved.state_dict()
    models.load_both(classes.DetectionModel(), keep(saved), state=state, assign=assign)


def test_a_whole_model_in_the_format_before_zip(classes, models, keep):
    saved = classes.DetectionModel()
    path = keep({"model": saved}, _use_new_zipfile_serialization=False)
    models.load_both(classes.DetectionModel(), path, state=saved.state_dict())


@pytest.mark.parametrize("protocol", [2, 4])
def test_every_way_to_make_objects_beside_it(classes, models, keep, protocol):
    saved = classes.DetectionModel()
    others = [classes.Keywords(1, b=2), classes.Caller(1), classes.Items([1]), classes.Config]
    path = keep({"model": saved, "others": others}, pickle_protocol=protocol)
    models.load_both(classes.DetectionModel(), path, state=saved.state_dict())


def test_a_file_object_is_read_from_where_it_stands(pt, classes, models, keep):
    saved = classes.DetectionModel()
    file = io.BytesIO(keep(saved).read_bytes())
    model = classes.DetectionModel()
    pt.load_model(model, file)
    models.assert_same_state(model, saved)


def test_an_ultralytics_file(torch, pt, classes, models, keep):
    saved, ema = classes.DetectionModel(), classes.DetectionModel()
    others = {"epoch": -1, "optimizer": None, "train_args": {"imgsz": 640}}
    for checkpoint in ({"model": saved, "ema": None}, {"model": None, "ema": saved}):
        path = keep({**checkpoint, **others})
        models.load_both(classes.DetectionModel(), path, state=saved.state_dict())
    path = keep({"model": saved, "ema": ema, **others})
    with pytest.raises(ValueError, match=r"select='model' \(.*\) or select='ema' \("):
        pt.load_model(classes.DetectionModel(), path)
    for select, state in (("model", saved), ("ema", ema)):
        model = classes.DetectionModel()
        models.load_both(model, path, state=state.state_dict(), select=select)
    models.load_both(
        classes.Bottleneck(3), path, state=saved.model[1].state_dict(), select="model/model/1"
    )


def test_a_lightning_file_with_hyper_parameters_of_unknown_classes(classes, models, keep):
    state = classes.DetectionModel().state_dict()
    hyper = classes.Attributes(config=classes.Config())
    path = keep({"state_dict": state, "hyper_parameters": hyper, "epoch": 1}, "last.ckpt")
    models.load_both(classes.DetectionModel(), path, state=state)


def test_wrapped_models(torch, classes, models, keep):
    saved = torch.nn.DataParallel(classes.DetectionModel())
    path = keep(saved)
    models.load_both(classes.DetectionModel(), path, state=saved.module.state_dict())


def test_registered_classes_stay_objects(torch, pt, classes, models, keep):
    saved = classes.DetectionModel()
    path = keep({"model": saved})
    nn = torch.nn
    allow = [classes.Bottleneck, classes.Detect, nn.Conv2d, nn.BatchNorm2d]
    models.load_both(classes.DetectionModel(), path, state=saved.state_dict(), allow=allow)


def test_values_of_unknown_classes_are_refused(torch, pt, classes, models, keep):
    model = classes.Tied()
    state = model.state_dict()
    for value in (classes.Config(), [classes.Config()], {"a": (classes.Task.DETECT,)}):
        path = keep({"model": {**state, "extra": value}})
        with (
            models.unchanged(model),
            pytest.raises(ptio.ForbiddenError, match=r"Unsupported global: GLOBAL gone\."),
        ):
            pt.load_model(model, path)


def test_tensors_of_an_unknown_subclass_are_plain(torch, pt, classes, keep):
    weight = torch.rand(5, 3).as_subclass(classes.Subclass)
    path = keep({"embedding.weight": weight, "head.weight": weight})
    model = classes.Tied()
    pt.load_model(model, path)
    assert torch.equal(model.head.weight, weight.as_subclass(torch.Tensor))


@pytest.mark.parametrize("module", ["os", "posix", "sys", "nt"])
def test_files_that_name_the_system_are_refused(torch, pt, models, module, tmp_path):
    target = tmp_path / "touched"
    call = asm.call(asm.global_(module, "system"), asm.text(f"touch {target}"))
    parts = asm.dict_of(asm.text("model"), asm.dict_of(asm.text("weight"), asm.tensor()))
    program = asm.program(asm.dict_of(asm.text("x"), call, asm.text("state"), parts))
    data = checkpoints.archive(program, {"0": bytes(16)})
    model = torch.nn.PReLU(4)
    with models.unchanged(model), pytest.raises(ptio.ForbiddenError, match="blocked"):
        pt.load_model(model, io.BytesIO(data))
    assert not target.exists()


@pytest.mark.parametrize("name", ["eval", "exec", "getattr", "__import__"])
def test_calls_beside_the_weights_are_data(torch, pt, name, tmp_path):
    target = tmp_path / "touched"
    call = asm.call(asm.global_("builtins", name), asm.text(f"open({str(target)!r}, 'w')"))
    parts = asm.dict_of(asm.text("weight"), asm.tensor())
    program = asm.program(asm.dict_of(asm.text("x"), call, asm.text("model"), parts))
    data = checkpoints.archive(program, {"0": bytes(16)})
    model = torch.nn.PReLU(4)
    pt.load_model(model, io.BytesIO(data))
    assert model.weight.tolist() == [0, 0, 0, 0]
    assert not target.exists()


def test_a_constructor_of_tensors_makes_none(torch, pt, models):
    made = asm.call(asm.global_("torch", "FloatTensor"), asm.number(1 << 20))
    unknown = asm.call(asm.global_("m", "Net"))
    state = asm.dict_of(asm.text("weight"), made, asm.text("x"), unknown)
    data = checkpoints.archive(asm.program(state), {"0": bytes(16)})
    model = torch.nn.PReLU(4)
    with models.unchanged(model), pytest.raises((ptio.Error, ValueError)):
        pt.load_model(model, io.BytesIO(data))


def test_a_jagged_tensor_that_torch_has_to_know_is_refused(torch, pt, models, tmp_path):
    code = """
import sys, json, torch, ptio, ptio.torch as pt
model = torch.nn.Linear(2, 2)
try:
    pt.load_model(model, sys.argv[1])
except ptio.ForbiddenError as e:
    print(json.dumps(str(e)))
"""
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged)
    torch.save({"weight": nested, "bias": torch.ones(2)}, tmp_path / "x.pt")
    assert "must be imported" in children.run(code, tmp_path / "x.pt")


def test_no_class_of_the_file_is_imported(classes, keep):
    code = """
import sys, json, torch, ptio.torch as pt
def hook(event, args):
    if event == "import" and args[0].partition(".")[0] not in ("torch", "ptio"):
        imported.append(args[0])
model, imported = torch.nn.Sequential(torch.nn.Embedding(5, 3)), []
model[0].register_module("head", torch.nn.Linear(3, 5))
sys.addaudithook(hook)
pt.load_model(model, sys.argv[1], strict=False)
print(json.dumps([imported, "gone" in sys.modules]))
"""
    imported, known = children.run(code, keep(classes.Tied()))
    assert not known
    assert "gone" not in imported
