# SPDX-License-Identifier: Apache-2.0
"""The arguments of ptio.torch.load that are torch.load's: defaults, contradictions, warnings."""

import inspect
import io
import pickle
import types
import warnings

import ptio
import pytest
from support import checkpoints
from support import pickle_asm as asm

BOTH = (True, False)


@pytest.fixture
def load(torch):
    import ptio.torch

    return ptio.torch.load


@pytest.fixture
def same(torch, load):
    """The same object, or the same error, and the same warnings as from torch.load."""
    from support.torch_compare import assert_same_error, assert_same_objects

    def outcome(function, arguments, options):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                return function(*arguments, **options), caught
            except Exception as error:
                return error, caught

    def run(*arguments, **options):
        ours, our_warnings = outcome(load, arguments, options)
        theirs, their_warnings = outcome(torch.load, arguments, options)
        assert list(map(_words, our_warnings)) == list(map(_words, their_warnings))
        if isinstance(theirs, Exception):
            return assert_same_error(lambda: _raise(ours), lambda: _raise(theirs))
        assert_same_objects(ours, theirs)
        return ours

    return run


def _words(warning):
    """Where torch forgot a blank between two words, none counts."""
    return warning.category, "".join(str(warning.message).split())


def _raise(result):
    if isinstance(result, Exception):
        raise result
    return result


class Mine:
    """A class that only weights_only=False makes."""

    def __init__(self):
        self.value = [1, 2]


def test_the_signature_is_torchs_and_the_rest_is_keyword_only(torch, load):
    ours = dict(inspect.signature(load).parameters)
    theirs = inspect.signature(torch.load).parameters
    extras = {"verify": None, "threads": None, "allow": (), "limits": None, "progress": None}
    for name, default in extras.items():
        parameter = ours.pop(name)
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert parameter.default == default
    assert list(ours) == list(theirs)
    for name, parameter in theirs.items():
        assert ours[name].kind is parameter.kind, name
        assert ours[name].default == parameter.default, name


# --- weights_only and its environment variables ---------------------------------------------------

VARIABLES = ("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")


def test_by_default_no_class_is_made(load, torch_save):
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        load(torch_save(Mine()))


def test_weights_only_false_makes_classes(load, torch_save):
    assert type(load(torch_save([Mine()]), weights_only=False)[0]) is Mine


@pytest.mark.parametrize("weights_only", [None, True, False, 0, 1, "yes"])
@pytest.mark.parametrize("value", ["1", "y", "yes", "true", "TRUE", "0", "", "no"])
@pytest.mark.parametrize("variable", VARIABLES)
def test_each_variable_forces_as_in_torch(
    torch, load, torch_save, same, monkeypatch, variable, value, weights_only
):
    monkeypatch.setenv(variable, value)
    path = torch_save(collected := {"mine": Mine()})
    allows = not isinstance(_attempt(torch.load, path, weights_only), Exception)
    assert (not isinstance(_attempt(load, path, weights_only), Exception)) == allows
    same(torch_save({**collected, "mine": 1}), weights_only=weights_only)


def _attempt(function, path, weights_only):
    try:
        return function(path, weights_only=weights_only)
    except pickle.UnpicklingError as error:
        return error


@pytest.mark.parametrize("weights_only", [None, True, False])
def test_both_variables_contradict_each_other(torch_save, same, monkeypatch, weights_only):
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "1")
    assert isinstance(same(torch_save(1), weights_only=weights_only), RuntimeError)


def test_warnings_point_to_the_caller(load, torch_save, monkeypatch):
    monkeypatch.setenv(VARIABLES[1], "1")
    with pytest.warns(UserWarning, match="forcing weights_only=False") as caught:
        load(torch_save(1))
    assert [warning.filename for warning in caught] == [__file__]


# --- pickle_module --------------------------------------------------------------------------------


class Renaming(pickle.Unpickler):
    """Finds another class under the name that the file gives."""

    def find_class(self, module, name):
        return super().find_class(module, "Other" if name == "Mine" else name)


class Other(Mine):
    pass


RENAMING = types.SimpleNamespace(Unpickler=Renaming, load=pickle.load, __name__="renaming")


def test_a_pickle_module_makes_classes_by_default(torch, load, torch_save):
    path = torch_save([Mine(), torch.arange(3)])
    assert type(load(path, None, pickle)[0]) is Mine
    assert type(load(path, pickle_module=RENAMING)[0]) is Other
    assert type(load(path, pickle_module=RENAMING, mmap=True)[0]) is Other
    assert load(path, pickle_module=RENAMING)[1].tolist() == [0, 1, 2]


def test_the_corpus_through_another_pickle_module(torch_save, same):
    from support import torch_corpus

    for kind in ("layouts", "parameters", "plain", "Adam"):
        same(torch_save(torch_corpus.KINDS[kind]()), pickle_module=RENAMING)


def test_a_pickle_module_excludes_weights_only(torch_save, same, monkeypatch):
    path = torch_save(1)
    assert isinstance(same(path, pickle_module=pickle, weights_only=True), RuntimeError)
    monkeypatch.setenv(VARIABLES[0], "1")
    assert isinstance(same(path, pickle_module=RENAMING), RuntimeError)


def test_dill_makes_what_pickle_cannot(torch, load, torch_save):
    dill = pytest.importorskip("dill")
    factor = 3
    path = torch_save([lambda x: x * factor, torch.ones(2)], pickle_module=dill)
    function, tensor = load(path, pickle_module=dill)
    assert function(2) == 6
    assert tensor.tolist() == [1, 1]


def test_an_old_dill_is_refused_in_torchs_words(torch_save, same):
    old = types.ModuleType("dill")
    old.__version__, old.Unpickler, old.load = "0.3.0", pickle.Unpickler, pickle.load
    error = same(torch_save(1), pickle_module=old)
    assert isinstance(error, ValueError)


# --- encoding and errors --------------------------------------------------------------------------

PYTHON2 = asm.program(
    asm.list_of(asm.op("SHORT_BINSTRING", b"caf\xc3\xa9"), asm.op("SHORT_BINSTRING", b"plain"))
)
LATIN1 = asm.program(asm.op("SHORT_BINSTRING", b"caf\xe9"))


@pytest.mark.parametrize("weights_only", BOTH)
@pytest.mark.parametrize("encoding", [None, "utf-8", "latin1", "bytes"])
def test_text_of_python_2_is_decoded_as_in_torch(write, same, encoding, weights_only):
    options = {} if encoding is None else {"encoding": encoding}
    path = write(checkpoints.archive(PYTHON2))
    same(path, weights_only=weights_only, **options)


def test_text_that_cannot_be_decoded(load, write, same):
    path = write(checkpoints.archive(LATIN1))
    assert isinstance(same(path, weights_only=False), UnicodeDecodeError)
    assert isinstance(same(path, weights_only=False, encoding="ascii"), UnicodeDecodeError)
    with pytest.raises(ptio.PickleFormatError, match="Weights only load failed"):
        load(path)


@pytest.mark.parametrize("errors", ["strict", "replace", "ignore"])
def test_errors_is_handed_to_pickle(write, same, errors):
    same(write(checkpoints.archive(LATIN1)), weights_only=False, errors=errors)


@pytest.mark.parametrize("weights_only", BOTH)
def test_other_arguments_are_errors_as_in_torch(torch_save, load, weights_only):
    path = torch_save(1)
    with pytest.raises(TypeError, match="nonsense"):
        load(path, weights_only=weights_only, nonsense=1)


# --- mmap -----------------------------------------------------------------------------------------


def is_mapped(tensor, path):
    """Whether a tensor lies in pages of the file."""
    with open("/proc/self/maps") as maps:
        spans = [line.split()[0].split("-") for line in maps if str(path) in line]
    address = tensor.data_ptr()
    return any(int(begin, 16) <= address < int(end, 16) for begin, end in spans)


def test_the_default_of_mmap_is_that_of_torchs_settings(torch, load, torch_save):
    from torch.utils.serialization import config

    path = torch_save(torch.arange(5000))
    assert not is_mapped(load(path), path)
    assert is_mapped(load(path, mmap=True), path)
    with config.patch("load.mmap", True):
        assert is_mapped(load(path), path)
        assert not is_mapped(load(path, mmap=False), path)
        assert is_mapped(load(path, weights_only=False), path)


@pytest.mark.parametrize("weights_only", BOTH)
def test_buffers_and_open_files_are_not_mapped(torch_save, same, weights_only):
    from torch.utils.serialization import config

    path = torch_save(1)
    with open(path, "rb") as file:
        error = same(file, mmap=True, weights_only=weights_only)
        assert isinstance(error, ValueError)
    with config.patch("load.mmap", True):
        assert isinstance(same(io.BytesIO(path.read_bytes())), ValueError)


def test_legacy_files_are_not_mapped(torch, torch_save, same):
    path = torch_save(torch.ones(3), _use_new_zipfile_serialization=False)
    for f in (path, str(path)):
        assert "mmap can only be used with files saved with" in str(same(f, mmap=True))


def test_maps_whose_changes_go_to_the_file(torch, load, torch_save):
    from mmap import MAP_SHARED

    path = torch_save(torch.zeros(5000))
    with torch.serialization.set_default_mmap_options(MAP_SHARED):
        tensor = load(path, mmap=True)
    tensor.fill_(3)
    assert load(path, verify=False).sum() == 15_000
