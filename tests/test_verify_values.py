# SPDX-License-Identifier: Apache-2.0
"""verify(values=True) and verify(second_opinion=True): elements that are no finite numbers, and
what libzip sees in an archive."""

import io
import json
import sys
import tracemalloc

import numpy as np
import ptio
import pytest
from ptio._inspect import values
from ptio._inspect.values import distinct, non_finite, pieces, statistics
from support import checkpoints, zip_files

FINE, FINDING, UNREADABLE = 0, 1, 2
NAN, INF = float("nan"), float("inf")


def problems(path):
    return {p.tensors[0]: p.message for p in ptio.verify(path, values=True).problems}


def test_each_tensor_with_nan_or_inf_is_a_problem(save):
    obj = {
        "good": checkpoints.tensor("float32", [1, 2]),
        "nan": checkpoints.tensor("float32", [1, NAN, NAN]),
        "inf": checkpoints.tensor("float64", [-INF, INF, 0, NAN]),
        "half": checkpoints.tensor("float16", [NAN]),
        "bf": checkpoints.tensor("bfloat16", [INF, 1]),
        "f8": checkpoints.tensor("float8_e5m2", [NAN, INF]),
        "c": checkpoints.tensor("complex64", [complex(0, NAN), 1]),
        "int": checkpoints.tensor("int64", [-1]),
        "bool": checkpoints.tensor("bool", [True]),
        "empty": checkpoints.tensor("float32", b""),
    }
    assert problems(save(obj)) == {
        "nan": "2 NaN and 0 infinite of 3 elements",
        "inf": "1 NaN and 2 infinite of 4 elements",
        "half": "1 NaN and 0 infinite of 1 element",
        "bf": "0 NaN and 1 infinite of 2 elements",
        "f8": "1 NaN and 1 infinite of 2 elements",
        "c": "1 NaN and 0 infinite of 2 elements",
    }


def test_without_values_they_are_none(save):
    assert ptio.verify(save({"w": checkpoints.tensor("float32", [NAN])})).ok


def test_a_view_is_looked_at_as_a_view(save):
    whole = checkpoints.tensor("float32", [1, NAN, 3, 4, 5, 6])
    obj = {"a": checkpoints.view(whole, (3,), (2,)), "b": checkpoints.view(whole, (2,), (4,), 1)}
    obj["expanded"] = checkpoints.view(whole, (1000, 2), (0, 1))
    assert problems(save(obj)) == {
        "b": "1 NaN and 0 infinite of 2 elements",
        "expanded": "1,000 NaN and 0 infinite of 2,000 elements",
    }


def test_a_tensor_that_shows_its_storage_again_and_again_is_not_read(save):
    small = checkpoints.tensor("float32", range(3000))
    huge = checkpoints.view(small, (1500, 1500, 1), (1, 1, 1))
    tiny = checkpoints.view(small, (2**20, 2**20), (0, 0))
    report = ptio.verify(save({"ok": tiny}), values=True)
    assert report.ok and not report.notes
    big = checkpoints.view(small, (300, 300, 300, 2), (1, 1, 1, 1))
    report = ptio.verify(save({"huge": huge, "big": big}), values=True)
    assert report.ok
    assert [note.kind for note in report.notes] == ["NOT_READ"]


def test_windows_of_a_part_of_a_large_storage_are_read(save, monkeypatch):
    """What counts is all of the storage: so much is in the file."""
    monkeypatch.setattr(values, "_ALWAYS_READ", 100)
    large = checkpoints.tensor("float32", [1, NAN, *range(998)])
    path = save({"w": checkpoints.view(large, (10, 20), (1, 1))})
    assert problems(path) == {"w": "2 NaN and 0 infinite of 200 elements"}
    assert not ptio.verify(path, values=True).notes


@pytest.mark.parametrize("kind", ["path", "bytes", "file"])
def test_files_of_every_kind(save, kind):
    path = save({"w": checkpoints.tensor("float32", [NAN])})
    if kind == "path":
        assert len(ptio.verify(path, values=True).problems) == 1
    elif kind == "bytes":
        file = io.BytesIO(b"before" + path.read_bytes())
        file.seek(6)
        assert len(ptio.verify(file, values=True).problems) == 1
    else:
        with open(path, "rb") as file:
            assert len(ptio.verify(file, values=True).problems) == 1


def test_one_tensor_at_a_time(tmp_path):
    path = tmp_path / "model.pt"
    ptio.save({str(i): np.ones(1 << 20, np.float32) for i in range(10)}, path)
    with open(path, "rb") as file:  # a file object is not mapped
        ptio.verify(file, values=True)
        file.seek(0)
        tracemalloc.start()
        ptio.verify(file, values=True)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 12 << 20


@pytest.mark.parametrize("elements", [1, 3, 1000])
def test_pieces_are_the_elements_in_order(elements):
    base = np.arange(2 * 3 * 5).reshape(2, 3, 5)
    for array in (base, base.T, base[:, ::2], base[::-1], base[0, 0, 0], base[:0]):
        parts = [piece.copy() for piece in pieces(array, elements)]
        assert [x for part in parts for x in part] == array.ravel().tolist()
        assert all(len(part) <= elements for part in parts)


def test_distinct_elements_of_an_expanded_array():
    once, repeats = distinct(np.broadcast_to(np.arange(3), (4, 3)))
    assert (once.shape, repeats) == ((1, 3), 4)
    large = 1 << (20 if sys.maxsize > 1 << 32 else 14)
    assert non_finite(np.broadcast_to(np.float32(NAN), (large, large))) == (large**2, 0)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int8", "uint8", "bool"])
def test_statistics_are_numpys(dtype):
    rng = np.random.default_rng(0)
    numbers = rng.normal(3, 2, 700_000) * 10
    array = numbers > 30 if dtype == "bool" else numbers.astype(dtype)
    found = statistics(array)
    exact = array.astype(np.float64)
    assert (found.minimum, found.maximum) == (exact.min(), exact.max())
    assert found.mean == pytest.approx(exact.mean())
    assert found.deviation == pytest.approx(exact.std())
    assert found.zeros == np.count_nonzero(exact == 0)
    assert sum(found.histogram) == array.size
    assert list(found.histogram) == np.histogram(exact, 24)[0].tolist()


def test_statistics_leave_out_what_is_not_finite():
    found = statistics(np.array([NAN, 1, 3, INF, -INF], np.float32))
    assert (found.minimum, found.maximum, found.mean) == (1, 3, 2)
    assert (found.nan, found.infinite) == (1, 2)
    nothing = statistics(np.array([NAN], np.float32))
    assert (nothing.minimum, nothing.nan, nothing.histogram) == (None, 1, ())
    assert statistics(np.array([1j])) is None


# --- second opinion


@pytest.mark.parametrize("tool", ["as torch", *zip_files.REZIPPERS])
def test_libzip_agrees_on_what_real_tools_write(tmp_path, save, tool):
    path = save({"w": checkpoints.tensor("float32", range(1000)), "é": 1})
    if tool != "as torch":
        path = zip_files.REZIPPERS[tool](path, tmp_path)
    report = ptio.verify(path, second_opinion=True)
    assert report.ok, report
    assert [note.kind for note in report.notes] == ["SECOND_OPINION"]


def test_libzip_agrees_on_files_of_torch(torch_save):
    report = ptio.verify(torch_save({"w": 1, "n": [2]}), second_opinion=True)
    assert report.ok, report


def test_libzip_agrees_on_our_own_files(tmp_path):
    ptio.save({"w": np.arange(10)}, tmp_path / "ours.pt")
    assert ptio.verify(tmp_path / "ours.pt", second_opinion=True).ok


def test_what_libzip_does_not_accept_is_a_problem(save, monkeypatch):
    from contextlib import nullcontext

    from ptio._inspect import second_opinion

    class Doubting:
        format = "zip"

        def records(self):
            return [1]

        def second_opinion(self):
            raise ptio.AmbiguousError("libzip sees more", record="archive/data/0", offset=7)

    monkeypatch.setattr(second_opinion, "open_checkpoint", lambda *_, **__: nullcontext(Doubting()))
    report = ptio.verify(save([1]), second_opinion=True)
    (problem,) = report.problems
    assert (problem.kind, problem.member, problem.offset) == ("AmbiguousError", "archive/data/0", 7)
    assert report.notes == ()


def test_a_file_object_is_read_from_where_it_stood(save):
    file = io.BytesIO(b"before" + save([1]).read_bytes())
    file.seek(6)
    report = ptio.verify(file, second_opinion=True, values=True)
    assert report.ok
    assert [note.kind for note in report.notes] == ["SECOND_OPINION"]


def test_a_pickle_has_no_archive(write):
    report = ptio.verify(write(b"\x80\x02]."), second_opinion=True)
    assert report.ok
    assert "no archive" in report.notes[0].message


# --- the command


def test_the_command(ptio_command, save):
    bad = save({"w": checkpoints.tensor("float32", [NAN])}, "bad.pt")
    assert ptio_command("verify", bad)[0] == FINE
    status, out, _ = ptio_command("verify", "--values", "--second-opinion", bad)
    assert status == FINDING
    assert "1 NaN" in out
    assert "libzip" in out
    status, out, _ = ptio_command("verify", "--values", "--json", bad)
    assert status == FINDING
    assert json.loads(out)["problems"][0]["kind"] == "NON_FINITE"


def test_a_broken_file_stays_unreadable(ptio_command, write):
    status, out, _ = ptio_command("verify", "--values", write(b"<html>"))
    assert status == UNREADABLE
    assert "HTML" in out
