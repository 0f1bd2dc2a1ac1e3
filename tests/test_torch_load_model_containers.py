# SPDX-License-Identifier: Apache-2.0
"""ptio.torch.load_model takes the weights of files that torch.load does not read."""

import json

import pytest

torch = pytest.importorskip("torch")

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:torch.distributed is disabled"),
]


@pytest.fixture
def models():
    def model():
        layers = torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2)
        return torch.nn.Sequential(*layers)

    torch.manual_seed(7)
    return model(), model()


def check(source, target):
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value), name


@pytest.mark.filterwarnings("error:.*TorchScript:UserWarning")
@pytest.mark.parametrize("by_name", [True, False])
def test_torchscript(models, tmp_path, by_name):
    import ptio.torch as pt

    source, target = models
    path = tmp_path / "model.pt"
    torch.jit.save(torch.jit.script(source), path)
    if by_name:
        assert not any(pt.load_model(target, path))
    else:
        with path.open("rb") as file:
            assert not any(pt.load_model(target, file))
    check(source, target)


def test_safetensors_under_any_name(models, tmp_path):
    import ptio.torch as pt

    save_file = pytest.importorskip("safetensors.torch").save_file
    source, target = models
    save_file(source.state_dict(), tmp_path / "model.bin")
    assert not any(pt.load_model(target, tmp_path / "model.bin"))
    check(source, target)


@pytest.mark.parametrize("what", ["folder", "index"])
def test_shards(models, tmp_path, what):
    import ptio.torch as pt

    source, target = models
    items = list(source.state_dict().items())
    weight_map = {}
    for number, part in enumerate((items[:3], items[3:])):
        name = f"pytorch_model-{number + 1:05}-of-00002.bin"
        torch.save(dict(part), tmp_path / name)
        weight_map.update((key, name) for key, _ in part)
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    assert not any(pt.load_model(target, tmp_path if what == "folder" else index))
    check(source, target)


def test_a_folder_of_torch_distributed(models, tmp_path):
    import ptio.torch as pt

    distributed = pytest.importorskip("torch.distributed.checkpoint")
    source, target = models
    distributed.save({"model": source.state_dict()}, checkpoint_id=tmp_path / "dcp", no_dist=True)
    assert not any(pt.load_model(target, tmp_path / "dcp", select="model"))
    check(source, target)


def test_names_that_do_not_fit_leave_the_model_as_it_was(models, tmp_path):
    import ptio.torch as pt

    source, target = models
    torch.jit.save(torch.jit.script(source[0]), tmp_path / "model.pt")
    before = {name: value.clone() for name, value in target.state_dict().items()}
    with pytest.raises(RuntimeError, match="Missing key"):
        pt.load_model(target, tmp_path / "model.pt")
    check_equal = all(torch.equal(value, before[n]) for n, value in target.state_dict().items())
    assert check_equal
