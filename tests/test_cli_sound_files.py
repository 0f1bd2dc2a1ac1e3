# SPDX-License-Identifier: Apache-2.0
"""Every verb that looks into files, on a sound file of every kind that there is: it works."""

import json

import numpy as np
import ptio
import pytest
from support import small_files

FINE, FINDING, NOTHING = 0, 1, 3
FILES = small_files.all_files()
NAN = float("nan")

LOOKS = [
    ["ls"],
    ["ls", "--json"],
    ["tree", "--values"],
    ["tree", "--json"],
    ["inspect", "--all"],
    ["inspect", "--json"],
    ["verify", "--values", "--second-opinion"],
    ["report", "--force", "-o", "page.html"],
]
# Files that scan has to say something about.
TOLD = {"opaque": "FORBIDDEN", "opaque-from-ptio": "FORBIDDEN", "odd": "EXPANDED"}


@pytest.fixture
def sparse():
    """Of two elements in a matrix that no memory holds."""

    def make(*values):
        indices = np.array([[0, 5], [1, 7]])
        return ptio.SparseTensor("torch.sparse_coo", (2**40, 2**40), np.array(values), indices)

    return make


@pytest.fixture
def saved(tmp_path):
    def save(name, obj):
        ptio.save(obj, tmp_path / name)
        return tmp_path / name

    return save


@pytest.mark.parametrize("name", FILES)
def test_looking(ptio_command, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pt").write_bytes(FILES[name])
    for verb, *options in LOOKS:
        status, _, err = ptio_command(verb, "a.pt", *options)
        assert (status, err) == (FINE, ""), (verb, options)


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_left_over(ptio_command, write, name):
    path = write(FILES[name])
    status, out, err = ptio_command("scan", "--strict", path)
    assert (status, err) == (FINDING if name in TOLD else FINE, "")
    assert TOLD.get(name, ": ok") in out
    assert ptio.inspect(path).unreferenced == ()


@pytest.mark.parametrize("name", FILES)
def test_extracting(ptio_command, write, tmp_path, name):
    path = write(FILES[name])
    status, out, err = ptio_command("extract", path, "-o", tmp_path / "out.npz")
    if not list(ptio.open(path, unknown="inert")):
        assert (status, err) == (NOTHING, f"ptio: {path}: no tensor to extract\n")
        return
    assert status == (FINDING if err else FINE)
    assert all("is left out: " in line for line in err.splitlines())
    assert "written to" in out


def test_verify_counts_what_ls_lists(write):
    for data in FILES.values():
        path = write(data)
        assert ptio.verify(path).tensors == len(ptio.open(path, unknown="inert"))


def test_values_of_tensors_that_have_parts(saved, sparse):
    rows, offsets = np.array([[1], [NAN]]), np.array([0, 1, 2])
    nested = ptio.NestedTensor("torch.jagged", rows, offsets, ragged_dim=1)
    csr = ptio.SparseTensor(
        "torch.sparse_csr",
        (2, 4),
        np.array([NAN, 1]),
        crow_indices=np.array([0, 1, 2]),
        col_indices=np.array([1, 3]),
    )
    path = saved("a.pt", {"coo": sparse(1.0, NAN), "csr": csr, "nested": nested})
    found = ptio.verify(path, values=True).problems
    assert [(p.tensors, p.message) for p in found] == [
        ((name,), "1 NaN and 0 infinite of 2 elements") for name in ("coo", "csr", "nested")
    ]


def test_values_that_show_a_few_bytes_again_and_again_are_not_read(saved):
    windows = np.lib.stride_tricks.as_strided(np.ones(6000), (2, 3000, 3000), (8, 8, 8))
    sparse = ptio.SparseTensor("torch.sparse_coo", (3, 3000, 3000), windows, np.array([[0, 2]]))
    report = ptio.verify(saved("a.pt", sparse), values=True)
    assert report.ok
    assert [note.kind for note in report.notes] == ["NOT_READ"]


def test_elements_of_sparse_tensors_are_compared(ptio_command, saved, sparse):
    one, other = saved("a.pt", {"t": sparse(1.0, 2.0)}), saved("b.pt", {"t": sparse(1.0, 2.5)})
    status, out, _ = ptio_command("diff", one, other)
    assert status == FINDING
    assert "1 of 2 elements differ, by up to 0.5" in out
    status, out, _ = ptio_command("diff", one, saved("c.pt", {"t": sparse(1.0, 2.0), "n": 1}))
    assert "1 of 1 compared tensor equal" in out


def test_sparse_tensors_become_dense_where_memory_holds_them(ptio_command, saved, sparse, tmp_path):
    indices = np.array([[0, 2], [1, 3]])
    small = ptio.SparseTensor("torch.sparse_coo", (3, 4), np.array([1.5, 2.5]), indices)
    path = saved("a.pt", {"small": small, "huge": sparse(1.0, 2.0)})
    status, _, err = ptio_command("extract", path, "-o", tmp_path / "out.npz")
    assert status == FINDING
    assert "huge is left out: the dense array would take" in err
    with np.load(tmp_path / "out.npz") as arrays:
        assert arrays["small"].tolist() == [[0, 1.5, 0, 0], [0, 0, 0, 0], [0, 0, 0, 2.5]]


def test_statistics_of_a_sparse_tensor_are_those_of_its_values(ptio_command, saved, sparse):
    page = saved("a.pt", {"t": sparse(1.0, 3.0)}).with_suffix(".html")
    assert ptio_command("report", page.with_suffix(".pt"), "-o", page)[0] == FINE
    text = page.read_text("utf-8")
    start = text.index('{"', text.index("application/json"))
    data, _ = json.JSONDecoder().raw_decode(text[start:])
    assert data["tensors"][0]["stats"]["mean"] == 2
