# SPDX-License-Identifier: Apache-2.0
"""Shared fixtures. Tests that need torch ask for the `torch` fixture; `-m "not torch"` leaves
them out, REQUIRE_TORCH=1 makes a missing torch a failure."""

import importlib.util
import io
import os
import warnings

import ptio
import pytest
from ptio._save import destination
from support import checkpoints
from support.compare import assert_same
from support.destinations import OLD
from support.numpy_saving import assert_saved

HAS_TORCH = importlib.util.find_spec("torch") is not None
REQUIRE_TORCH = os.environ.get("REQUIRE_TORCH", "0") not in ("", "0")


def pytest_report_header():
    return "torch: installed" if HAS_TORCH else "torch: MISSING, every test against it is SKIPPED"


def pytest_collection_modifyitems(items):
    for item in items:
        if "torch" in item.fixturenames:
            item.add_marker(pytest.mark.torch)
            item.add_marker(pytest.mark.filterwarnings("ignore::UserWarning"))  # torch's own


@pytest.fixture(scope="session")
def torch():
    if not HAS_TORCH:
        (pytest.fail if REQUIRE_TORCH else pytest.skip)("torch is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch

        torch.set_num_threads(1)
    return torch


@pytest.fixture
def torch_load(torch):
    """torch.load of a file that this test made, whatever is in it."""

    def load(file, **options):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(file, weights_only=False, **options)

    return load


@pytest.fixture
def torch_save(torch, tmp_path):
    """Saves an object with torch.save and returns the path."""

    def save(obj, name="model.pt", **options):
        path = tmp_path / name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.save(obj, path, **options)
        return path

    return save


@pytest.fixture
def write(tmp_path):
    """Puts bytes into a file below tmp_path and returns the path."""

    def to_file(data, name="model.pt"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return to_file


@pytest.fixture
def save(write):
    """Saves an object with the writer of support/checkpoints.py and returns the path."""

    def to_file(obj, name="model.pt", **options):
        return write(checkpoints.save(obj, **options), name)

    return to_file


@pytest.fixture(scope="session")
def weights(torch):
    """Small, middling and large storages."""
    generator = torch.Generator().manual_seed(0)
    sizes = {
        "small": 10,
        "none": 0,
        "middling": 100_000,
        "large": (5 << 20) + 3,
        "more": 3 << 20,
    }
    return {
        name: torch.randint(256, (size,), dtype=torch.uint8, generator=generator)
        for name, size in sizes.items()
    }


@pytest.fixture(scope="session")
def save_weights(weights):
    import ptio.torch

    return lambda f, **options: ptio.torch.save(weights, f, **options)


@pytest.fixture(scope="session")
def saved_weights(torch, weights, save_weights):
    """What every file object must get: the file that has no name."""
    from support.torch_saving import assert_same_files

    ours, theirs = io.BytesIO(), io.BytesIO()
    save_weights(ours)
    torch.save(weights, theirs)
    assert_same_files(ours.getvalue(), theirs.getvalue())
    return ours.getvalue()


@pytest.fixture(params=["ptio", pytest.param("torch", marks=pytest.mark.torch)])
def save_and_read(request, tmp_path):
    """Saves an object with ptio.save and returns what ptio.load gives, which is asserted to be
    what was saved. Once more with torch installed: to be what torch.load gives, too."""
    torch = request.getfixturevalue("torch") if request.param == "torch" else None

    def save(obj, **options):
        path = tmp_path / "saved.pt"
        ptio.save(obj, path, **options)
        loaded = ptio.load(path, verify=True)
        if torch is None:
            assert_saved(loaded, obj)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert_same(loaded, torch.load(path, weights_only=True))
        return loaded

    return save


@pytest.fixture(params=["nameless", "named"])
def kind(request, monkeypatch):
    """Files without names (O_TMPFILE), and file systems that have none."""
    if request.param == "named":
        monkeypatch.setattr(destination, "_O_TMPFILE", 0)
    elif not destination._O_TMPFILE:
        pytest.skip("no O_TMPFILE")
    return request.param


@pytest.fixture
def folder(tmp_path):
    """A folder of its own, in which whatever appears was made by the save."""
    path = tmp_path / "folder"
    path.mkdir()
    return path


@pytest.fixture
def old(folder):
    path = folder / "model.pt"
    path.write_bytes(OLD)
    return path


@pytest.fixture
def ptio_command(capsys):
    """Runs the command in this process; returns (status, stdout, stderr)."""
    from ptio.cli import main

    def run(*arguments):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            status = stop.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run
