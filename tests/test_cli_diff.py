# SPDX-License-Identifier: Apache-2.0
"""`ptio diff`: structure, values and elements of two checkpoints."""

import json
import tracemalloc

import numpy as np
import ptio
import pytest
from support import checkpoints

FINE, FINDING, UNREADABLE, USAGE = 0, 1, 2, 4
NAN, INF = float("nan"), float("inf")


@pytest.fixture
def compare(ptio_command, save):
    """(exit status, the changes by name) of two objects."""

    def run(a, b, *options):
        one, two = save(a, "a.pt"), save(b, "b.pt")
        status, out, err = ptio_command("diff", "--json", one, two, *options)
        assert err == ""
        told = json.loads(out)
        assert told["equal"] == (status == FINE)
        return status, {change["name"]: change for change in told["changes"]}

    return run


def t(values, dtype="float32", shape=None):
    return checkpoints.tensor(dtype, values, shape)


def test_equal_files(ptio_command, save):
    obj = {"w": t([1, NAN]), "i": t([1], "int64"), "lr": 0.1, "nan": NAN}
    status, out, _ = ptio_command("diff", save(obj, "a.pt"), save(obj, "b.pt"))
    assert status == FINE
    assert out == "no difference; 2 of 2 compared tensors equal\n"


def test_structure(compare):
    a = {"same": t([1]), "gone": t([1, 2]), "dtype": t([1]), "shape": t([1, 2]), "epoch": 3}
    b = {
        "same": t([1]),
        "new": t([3], "int8"),
        "dtype": t([1], "float64"),
        "shape": t([1, 2], shape=(2, 1)),
    }
    status, changes = compare(a, b)
    assert status == FINDING
    found = {name: (c["kind"], c["before"], c["after"]) for name, c in changes.items()}
    assert found == {
        "gone": ("removed", "float32 2", None),
        "new": ("added", None, "int8 1"),
        "dtype": ("dtype", "float32", "float64"),
        "shape": ("shape", "2", "2 x 1"),
        "epoch": ("removed", "3", None),
    }


def test_plain_values(compare):
    a = {"epoch": 3, "lr": 0.1, "name": "x", "list": [1, 2], "flag": True, "big": 2**200}
    b = {"epoch": 4, "lr": 0.1, "name": "y", "list": [1, 5], "flag": 1, "big": 2**200 + 1}
    status, changes = compare(a, b)
    assert status == FINDING
    assert set(changes) == {"epoch", "name", "list/1", "flag", "big"}
    assert (changes["epoch"]["before"], changes["epoch"]["after"]) == ("3", "4")
    assert compare(a, b, "--structure")[0] == FINE
    assert compare({"lr": 0.1}, {"lr": 0.1001}, "--rtol", "0.01")[0] == FINE


def test_elements(compare):
    a = {"w": t(range(12), shape=(3, 4)), "small": t([1, 2]), "ok": t([0.0])}
    b = {"w": t([*range(6), 6.5, *range(7, 11), 20], shape=(3, 4))}
    b |= {"small": t([1, 2.25]), "ok": t([-0.0])}
    status, changes = compare(a, b)
    assert status == FINDING
    assert list(changes) == ["w", "small"]  # the worst first
    w = changes["w"]
    assert (w["kind"], w["differing"], w["elements"]) == ("elements", 2, 12)
    assert (w["largest"], w["at"], w["before"], w["after"]) == (9.0, [2, 3], "11.0", "20.0")
    assert w["relative"] == pytest.approx(9 / 20)


def test_tolerances_are_those_of_isclose(compare):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 1000)).astype(np.float32)
    b = (a + b * 1e-3).astype(np.float32)
    for rtol, atol in ((0, 0), (1e-3, 0), (0, 1e-3), (1e-4, 1e-4), (1, 1)):
        options = ("--rtol", rtol, "--atol", atol)
        _, changes = compare({"w": t(a)}, {"w": t(b)}, *options)
        close = np.isclose(a.astype(float), b.astype(float), rtol=rtol, atol=atol)
        differing = changes["w"]["differing"] if changes else 0
        assert differing == np.count_nonzero(~close)


def test_nan_and_infinities(compare):
    a = {"nan": t([NAN, 1]), "inf": t([INF, -INF, 1])}
    assert compare(a, a)[0] == FINE
    status, changes = compare(a, a, "--nan-differs")
    assert status == FINDING
    assert set(changes) == {"nan"}
    b = {"nan": t([1, 1]), "inf": t([-INF, -INF, 1])}
    status, changes = compare(a, b, "--atol", "1000", "--rtol", "1")
    assert changes["nan"]["largest"] == "inf"
    assert changes["inf"]["largest"] == "inf"


@pytest.mark.parametrize(
    ("dtype", "a", "b", "gap"),
    [
        ("int8", [-128], [127], 255.0),
        ("int64", [2**62], [2**62 + 4096], 4096.0),
        ("uint64", [2**64 - 1], [0], 2.0**64),
        ("bool", [True], [False], 1.0),
        ("bfloat16", [1.0], [1.5], 0.5),
        ("float8_e5m2", [1.0], [2.0], 1.0),
        ("complex64", [3j], [4], 5.0),
        ("float64", [1e308], [-1e308], "inf"),
    ],
)
def test_every_kind_of_number(compare, dtype, a, b, gap):
    _, changes = compare({"w": t(a, dtype)}, {"w": t(b, dtype)})
    assert changes["w"]["largest"] == gap


def test_a_dtype_that_differs_still_compares_the_numbers(compare):
    _, changes = compare({"w": t([1, 2.5])}, {"w": t([1, 2.5], "bfloat16")})
    assert changes["w"]["kind"] == "dtype"
    assert set(compare({"w": t([1, 2.5])}, {"v": t([1, 2.5])})[1]) == {"w", "v"}


def test_views_and_transposes(compare):
    base = t(range(6), shape=(2, 3))
    turned = checkpoints.view(base, (3, 2), (1, 3))
    plain = t([0, 3, 1, 4, 2, 5], shape=(3, 2))
    assert compare({"w": turned}, {"w": plain})[0] == FINE
    other = t([0, 3, 1, 4, 2, 9], shape=(3, 2))
    _, changes = compare({"w": turned}, {"w": other})
    assert changes["w"]["at"] == [2, 1]
    huge = checkpoints.view(base, (2**40,), (0,))
    assert compare({"w": huge}, {"w": huge})[0] == FINE


def test_prefixes_are_taken_off(compare):
    a = {"module.fc.weight": t([1]), "x": t([2])}
    b = {"fc.weight": t([1]), "_orig_mod.x": t([2])}
    assert compare(a, b)[0] == FINDING
    options = ("--strip-prefix", "module.", "--strip-prefix", "_orig_mod.")
    assert compare(a, b, *options) == (FINE, {})


def test_text(ptio_command, save):
    a = save({"w": t([1, 2]), "gone": t([1])}, "a.pt")
    b = save({"w": t([1, 3])}, "b.pt")
    status, out, _ = ptio_command("diff", a, b)
    assert status == FINDING
    assert out.splitlines() == [
        "- gone: removed (float32 1)",
        "~ w: 1 of 2 elements differ, by up to 1 at [1] (2.0 -> 3.0)",
        "2 differences; 0 of 1 compared tensor equal",
    ]


def test_many_differences_are_cut(ptio_command, save):
    a = save({str(i): t([0]) for i in range(100)}, "a.pt")
    b = save({str(i): t([i]) for i in range(100)}, "b.pt")
    _, out, _ = ptio_command("diff", a, b)
    lines = out.splitlines()
    assert len(lines) == 52
    assert lines[0].startswith("~ 99: ")
    assert "49 more differences" in lines[50]
    assert len(ptio_command("diff", "--all", a, b)[1].splitlines()) == 100


def test_one_tensor_of_each_file_at_a_time(tmp_path):
    from ptio._inspect.diff import diff

    for name in "ab":
        arrays = {str(i): np.full(1 << 20, i, np.float32) for i in range(8)}
        ptio.save(arrays, tmp_path / f"{name}.pt")
    options = {"mmap": False}
    with ptio.open(tmp_path / "a.pt", **options) as a, ptio.open(tmp_path / "b.pt", **options) as b:
        diff(a, b)
        tracemalloc.start()
        assert diff(a, b).changes == ()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2 * (4 << 20) + (32 << 20)


def test_hostile_names_stay_on_their_lines(ptio_command, save):
    name = "\x1b[2J\nno difference\u202e"
    a, b = save({name: t([1]), "v": {name: 1}}, "a.pt"), save({name: t([2])}, "b.pt")
    status, out, _ = ptio_command("diff", a, b)
    assert status == FINDING
    assert all(line.isprintable() for line in out.splitlines())
    assert not any(line.startswith("no difference") for line in out.splitlines())


def test_a_graph_that_is_exponential_as_a_tree(ptio_command, write):
    pickled = b"\x80\x02]" + b"2\x86" * 40 + b"."
    one, two = (write(checkpoints.archive(pickled), name) for name in ("a.pt", "b.pt"))
    assert ptio_command("diff", one, two)[0] == FINE


def test_what_cannot_be_read(ptio_command, write, save):
    good, bad = save([1], "good.pt"), write(b"<html>", "bad.pt")
    for pair in ((good, bad), (bad, good)):
        status, out, err = ptio_command("diff", *pair)
        assert (status, out) == (UNREADABLE, "")
        assert "bad.pt" in err
    assert ptio_command("diff", good, good, "--rtol", "x")[0] == USAGE
    assert ptio_command("diff", good, good, "--atol", "-1")[0] == USAGE
