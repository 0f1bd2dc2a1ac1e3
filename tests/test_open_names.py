# SPDX-License-Identifier: Apache-2.0
"""ptio.open: the names of tensors, and what is known of them without reading them."""

import collections
import pickle

import numpy as np
import ptio
import pytest
from support import checkpoints, open_files
from support.open_files import NAMES, WEIGHT

T = checkpoints.tensor


@pytest.fixture
def path(tmp_path):
    return save(tmp_path, open_files.nested())


def save(tmp_path, obj, **options):
    path = tmp_path / "file.pt"
    path.write_bytes(checkpoints.save(obj, **options))
    return path


# --- names


def test_names_are_the_ways_to_the_tensors_in_the_order_of_the_pickle(path):
    with ptio.open(path) as ckpt:
        assert list(ckpt) == list(ckpt.keys()) == NAMES
        assert len(ckpt) == 6
        assert ckpt.keys()[0] == "model/weight"
        assert ckpt.keys() & {"half", "other"} == {"half"}
        assert isinstance(ckpt, collections.abc.Mapping)


def test_tuples_name_tensors_as_well(path):
    with ptio.open(path) as ckpt:
        way = ("optimizer", "state", 0, "exp_avg")
        assert way in ckpt
        assert ckpt[way] == [0.5]
        assert ckpt.info(way).name == "optimizer/state/0/exp_avg"
        assert ckpt.info(way).path == way
        assert ("optimizer", "state", 1) not in ckpt
        assert 3 not in ckpt


def test_the_root_may_be_a_tensor(tmp_path):
    with ptio.open(save(tmp_path, T("int64", [1, 2]))) as ckpt:
        assert list(ckpt) == [""]
        assert ckpt[""].tolist() == [1, 2]
        assert ckpt[()].tolist() == [1, 2]
        assert ckpt.tree().shape == (2,)


def test_names_that_collide_are_tuples(tmp_path):
    one, two, three, four = (T("int8", [i]) for i in range(4))
    obj = {"a/b": one, "a": {"b": two}, 0: three, "0": four}
    with ptio.open(save(tmp_path, obj)) as ckpt:
        assert list(ckpt) == [("a/b",), ("a", "b"), (0,), ("0",)]
        assert [ckpt[name][0] for name in ckpt] == [0, 1, 2, 3]
        assert "a/b" not in ckpt


def test_any_key_has_a_name_of_its_own(tmp_path):
    keys = [("x", 1), b"raw", "text", 1.5, None, frozenset({1}), (("y",), 2), b"\xff", -7]
    obj = {key: T("int16", [i]) for i, key in enumerate(keys)}
    with ptio.open(save(tmp_path, obj)) as ckpt:
        assert len(set(ckpt)) == len(keys)
        assert [ckpt[name][0] for name in ckpt] == list(range(len(keys)))
        assert list(ckpt)[:5] == ["('x', 1)", "b'raw'", "text", "1.5", "None"]


def test_keys_that_look_alike_get_numbers(tmp_path):
    obj = {frozenset({i}): T("int16", [i]) for i in range(3)}
    with ptio.open(save(tmp_path, obj)) as ckpt:
        assert len(ckpt) == 3
        assert sorted(int(ckpt[name][0]) for name in ckpt) == [0, 1, 2]


def test_an_unknown_name_is_a_key_error_with_advice(path):
    with ptio.open(path) as ckpt:
        with pytest.raises(KeyError, match="no tensor 'model/wieght'; did you mean 'model/weight'"):
            ckpt["model/wieght"]
        for method in (ckpt.get_tensor, ckpt.get_slice, ckpt.info, ckpt.file_offset):
            with pytest.raises(KeyError, match="no tensor 'x'"):
                method("x")
        with pytest.raises(KeyError):
            ckpt.read_into("x", np.empty(1))
        with pytest.raises(KeyError):
            ckpt.prefetch(["x"])
        assert ckpt.get("x") is None
        assert ckpt.get("x", 5) == 5
        assert ckpt.get("half").dtype == ptio.TorchDtype("complex32")


def test_glob(path):
    with ptio.open(path) as ckpt:
        assert ckpt.glob("model/*") == ["model/weight", "model/bias"]
        assert ckpt.glob("*exp_avg") == ["optimizer/state/0/exp_avg"]
        assert ckpt.glob("views/[1-9]") == ["views/1"]
        assert ckpt.glob("weight") == []


def test_other_keys_of_the_file_are_no_tensors(tmp_path):
    with ptio.open(save(tmp_path, {"a": 1, "b": [None, "x"]})) as ckpt:
        assert list(ckpt) == []
        assert ckpt.tree() == {"a": 1, "b": [None, "x"]}
        assert ckpt.get_tensors() == {}


# --- what is known


def test_infos_tell_what_the_file_says(path):
    with ptio.open(path) as ckpt:
        info = ckpt.info("views/0")
        assert (info.name, info.path, info.kind) == ("views/0", ("views", 0), "tensor")
        assert (info.dtype, info.shape, info.strides) == ("float32", (4, 3), (1, 4))
        assert (info.storage_offset, info.nbytes, info.numel) == (0, 48, 12)
        assert (info.storage, info.storage_nbytes, info.device) == ("0", 48, "cpu")
        assert (info.requires_grad, info.member) == (False, "archive/data/0")
        assert ckpt.info("views/1").storage_offset == 1
        assert ckpt.info("views/1").storage == ckpt.info("model/weight").storage
        assert [info.name for info in ckpt.infos()] == NAMES
        assert repr(info) == "<tensor 'views/0' float32 4x3, 48 B>"


def test_a_tree_has_infos_in_the_place_of_tensors(path):
    with ptio.open(path) as ckpt:
        tree = ckpt.tree()
        assert type(tree["model"]) is collections.OrderedDict
        assert tree["epoch"] == 3
        assert tree["optimizer"]["lr"] == 0.1
        assert tree["views"][1] == ckpt.info("views/1")
        assert tree["half"].dtype == "complex32"


def test_a_tree_names_parameters(tmp_path):
    obj = {"p": T("float32", [1.0], parameter=True), "q": T("float32", [1.0])}
    with ptio.open(save(tmp_path, obj)) as ckpt:
        assert ckpt.tree() == {"p": ckpt.info("p"), "q": ckpt.info("q")}


def test_a_tensor_that_is_shared_has_its_first_name_in_the_tree(tmp_path):
    one = T("float32", [1.0])
    with ptio.open(save(tmp_path, {"a": one, "b": one})) as ckpt:
        assert list(ckpt) == ["a", "b"]
        assert ckpt.tree()["b"].name == "a"


def test_offsets_are_those_of_the_bytes_in_the_file(path):
    data = path.read_bytes()
    with ptio.open(path) as ckpt:
        file, offset = ckpt.file_offset("model/weight")
        assert file is None
        assert data[offset : offset + 48] == WEIGHT.tobytes()
        assert ckpt.file_offset("views/1") == ckpt.file_offset("model/weight")
        assert set(ckpt.offset_keys()) == set(NAMES)
        offsets = [ckpt.file_offset(name)[1] for name in ckpt.offset_keys()]
        assert offsets == sorted(offsets)


def test_a_slice_tells_shape_and_dtype_as_safetensors_does(path):
    with ptio.open(path) as ckpt:
        part = ckpt.get_slice("model/bias")
        assert (part.get_shape(), part.get_dtype()) == ([3], "BF16")
        assert (part.shape, part.dtype, len(part)) == ((3,), "bfloat16", 3)
        assert repr(part) == "<ptio slice of 'model/bias': bfloat16 [3]>"
        assert [float(x) for x in part] == [1, 2, 3]


def test_metadata_format_and_repr(path):
    with ptio.open(path) as ckpt:
        assert ckpt.metadata() is None
        assert ckpt.format == "zip"
        assert repr(ckpt) == f"<ptio.Checkpoint {str(path)!r}: zip>"  # reads nothing
        assert len(ckpt) == 6
    assert repr(ckpt) == f"<ptio.Checkpoint {str(path)!r}: zip, 6 tensors>"


def test_a_bare_pickle_has_no_tensors_but_a_tree(tmp_path):
    path = tmp_path / "plain.pkl"
    path.write_bytes(pickle.dumps({"a": [1, 2.5]}))
    with ptio.open(path) as ckpt:
        assert (ckpt.format, list(ckpt)) == ("pickle", [])
        assert ckpt.tree() == ckpt.load() == {"a": [1, 2.5]}
