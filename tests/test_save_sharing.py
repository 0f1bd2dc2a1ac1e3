# SPDX-License-Identifier: Apache-2.0
"""ptio.save: arrays that view the same memory share a storage, where that is no larger."""

import random
import zipfile

import numpy as np
import ptio
import pytest
from ptio._save import array_plan
from support import numpy_saving

shares = numpy_saving.shares_memory


def base():
    return np.arange(60, dtype="f4").reshape(10, 6)


@pytest.fixture
def sizes(tmp_path):
    """Bytes of the storages of what was saved last."""

    def read():
        with zipfile.ZipFile(tmp_path / "saved.pt") as file:
            entries = [e for e in file.infolist() if "/data/" in e.filename]
        return [entry.file_size for entry in entries]

    return read


def test_one_array_in_two_places_is_one_tensor(save_and_read, sizes):
    x = base()
    loaded = save_and_read({"a": x, "b": [x]})
    assert loaded["a"] is loaded["b"][0]
    assert sizes() == [240]


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[:],
        lambda x: x.T,
        lambda x: x[2:5, 1:3],
        lambda x: x.reshape(-1)[7:],
        lambda x: x[3, 3, ...],
        lambda x: np.broadcast_to(x[0], (9, 6)),
        lambda x: np.frombuffer(x, "f4"),
        lambda x: np.asarray(memoryview(x))[1:],
    ],
)
def test_a_view_shares_the_storage(save_and_read, sizes, view):
    x = base()
    loaded = save_and_read({"x": x, "view": view(x)})
    assert shares(loaded["x"], loaded["view"])
    loaded["x"].fill(7)
    assert (loaded["view"] == 7).all()
    assert sizes() == [240]


def test_views_alone_share_what_they_span(save_and_read, sizes):
    x = base()
    loaded = save_and_read([x[1:6], x[4:9], x[9:]])
    assert shares(*loaded[:2])
    assert not shares(loaded[1], loaded[2])
    assert sizes() == [8 * 24, 24]


def test_interleaved_columns_share_where_they_are_all_there_is(save_and_read, sizes):
    x = base()
    save_and_read([x[:, 0::2], x[:, 1::2]])
    assert sizes() == [240]


def test_a_few_columns_of_many_are_saved_by_themselves(save_and_read, sizes):
    x = base()
    loaded = save_and_read([x[:, 0], x[:, 2:4]])
    assert not shares(*loaded)
    assert sizes() == [40, 80]


def test_what_has_gaps_does_not_keep_others_from_sharing(save_and_read, sizes):
    x = np.arange(1000, dtype="f4").reshape(100, 10)
    loaded = save_and_read({"column": x[:, 0], "row": x[3], "part": x[3, 2:5], "last": x[99]})
    assert shares(loaded["row"], loaded["part"])
    assert not shares(loaded["row"], loaded["column"])
    assert sizes() == [400, 40, 40]


def test_copies_of_the_same_elements_are_one(save_and_read, sizes):
    x = base()
    twice = [x[::-1], x[::-1], x.astype(">f4")[:]]
    loaded = save_and_read([*twice, twice[2][:], x[::-1, :]])
    assert shares(loaded[0], loaded[1])
    assert shares(loaded[0], loaded[4])
    assert shares(loaded[2], loaded[3])
    assert sizes() == [240, 240]


def test_two_dtypes_never_share(save_and_read, sizes):
    x = base()
    loaded = save_and_read({"x": x, "bits": x.view("i4"), "bytes": x.view("u1"), "y": x[1:]})
    assert not shares(loaded["x"], loaded["bits"])
    assert shares(loaded["x"], loaded["y"])
    assert sizes() == [240, 240, 240]


def test_offsets_that_are_no_whole_elements_are_kept_apart(save_and_read, sizes):
    raw = np.arange(80, dtype="u1")
    one, two, three = (np.frombuffer(raw.data, "f4", 10, offset) for offset in (0, 2, 4))
    loaded = save_and_read([one, two, three])
    assert shares(loaded[0], loaded[2])
    assert not shares(loaded[0], loaded[1])
    assert sorted(sizes()) == [40, 44]


def test_compact_shares_nothing(save_and_read, sizes):
    x = base()
    loaded = save_and_read([x, x[:], x.T, x[2:4], x[::-1], x[::-1], x], compact=True)
    assert not shares(loaded[0], loaded[1])
    assert loaded[0] is loaded[6]
    assert sizes() == [240, 240, 240, 48, 240, 240]


def test_views_across_a_tree_and_in_the_parts_of_a_tensor(save_and_read, sizes):
    values, indices = np.ones(4, "f8"), np.arange(8, dtype="i8").reshape(2, 4)
    sparse = ptio.SparseTensor("torch.sparse_coo", (8, 8), values, indices % 4)
    loaded = save_and_read({"s": sparse, "v": values[1:], "deep": [({"w": values[:2]},)]})
    assert shares(loaded["s"].values, loaded["v"])
    assert shares(loaded["s"].values, loaded["deep"][0][0]["w"])
    assert sizes() == [64, 32]


def test_shared_storages_are_never_larger():
    """Random views: at most the bytes of each for itself, and sharing only where memory is."""
    rng = random.Random(5)
    for _ in range(300):
        x = np.arange(120, dtype=rng.choice(["f4", "i8"]))
        views = [random_view(rng, x) for _ in range(rng.randrange(1, 6))]
        placed = {("t", i): array_plan.Placed(v, address(v)) for i, v in enumerate(views)}
        alone = {key: array_plan.plan_alone(p) for key, p in placed.items()}
        plans = alone | array_plan.plan_shared(placed)
        assert total(plans) <= total(alone)
        for key, plan in plans.items():
            view, storage = placed[key].array, plan.storage
            if storage.pieces is None and view.size:
                start = storage.address + plan.offset * view.itemsize
                assert start == address(view)
                last = max(0, span(view) - view.itemsize) + view.itemsize
                assert start + last <= storage.address + storage.nbytes


def random_view(rng, x):
    first, step = rng.randrange(60), rng.choice([1, 1, 2, 5, -1])
    view = x[first : first + rng.randrange(60)][::step]
    if rng.random() < 0.5 and len(view) > 6:
        view = view[: len(view) // 3 * 3].reshape(-1, 3)[:, rng.randrange(3) :]
    if rng.random() < 0.3:
        view = np.broadcast_to(view, (2, *view.shape))
    return view.T if rng.random() < 0.3 else view


def address(view):
    return view.__array_interface__["data"][0]


def span(view):
    pairs = zip(view.shape, view.strides, strict=True)
    return sum((n - 1) * step for n, step in pairs) + view.itemsize


def total(plans):
    return sum(
        storage.nbytes for storage in {id(p.storage): p.storage for p in plans.values()}.values()
    )
