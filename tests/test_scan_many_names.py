# SPDX-License-Identifier: Apache-2.0
"""ptio.scan and ptio.inspect of pickles that name very many things, or one thing very often."""

import io
import pathlib
import zipfile

import ptio
import pytest
from support import checkpoints, children, zip_files
from support import pickle_asm as asm

MIB = 1 << 20
MOST = 10_000  # names that are told, of those that are forbidden, and of others

MEASURE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from attacks import child
child.MODES["inspect"] = lambda path, options: ptio.inspect(path)
ptio = child.ptio
mode, warm, path = sys.argv[2:]
child.attempt(mode, warm, {})
print(json.dumps(child.attempt(mode, path, {})))
"""


def names(first, last, module="a"):
    return b"".join(b"c%s\n%x\n0" % (module.encode(), i) for i in range(first, last))


def program(*parts):
    return b"\x80\2" + b"".join(parts) + b"N."


def scan(data, **options):
    (found,) = ptio.scan(io.BytesIO(data), **options).files
    return found


def with_verdict(found, verdict):
    return [use for use in found.globals if use.verdict == verdict]


HUGE = {
    "one name": lambda: b"\x80\2(" + b"ca\nb\n" * 1_000_000 + b"l.",
    "names": lambda: program(names(0, 1_000_000)),
    "names before what is broken": lambda: program(names(0, 500_000), b"\xff"),
}


@children.unless_sanitized
@pytest.mark.parametrize("mode", ["scan", "inspect"])
@pytest.mark.parametrize("kind", HUGE)
def test_a_million_uses_are_told_in_bounded_time_and_memory(write, kind, mode):
    path, warm = write(HUGE[kind](), "huge.pkl"), write(program(names(0, 2)), "warm.pkl")
    told = children.run(MEASURE, pathlib.Path(__file__).parent, mode, warm, path)
    size = path.stat().st_size
    assert not told["error"], told["message"]
    assert told["rss"] <= 64 * MIB + 32 * size
    assert told["seconds"] <= 1.5 * (1 + size / 1e7)


def test_each_name_is_told_once_with_its_count_and_its_first_place():
    twice = asm.stack_global("a", "1") + b"0"
    pickled = program(names(0, 3), names(1, 3), b"ca.1\n\n0", twice)
    found = scan(pickled)
    told = {use.name: (use.count, use.offset) for use in found.globals}
    places = {name: pickled.index(b"ca\n%s\n" % name.encode()) for name in "012"}
    assert told == {
        "a.0": (1, places["0"]),
        "a.1": (3, places["1"]),
        "a.2": (2, places["2"]),
        "a.1.": (1, pickled.index(b"ca.1")),
    }
    inspected = ptio.inspect(io.BytesIO(pickled))
    assert {use.name: (use.count, use.offset) for use in inspected.globals} == told
    assert found.more_globals == inspected.more_globals == 0


def test_names_beyond_those_that_are_told_are_counted():
    found = scan(program(names(0, MOST + 7), names(0, 9)))
    assert [use.name for use in found.globals] == [f"a.{i:x}" for i in range(MOST)]
    assert found.more_globals == found.to_dict()["more_globals"] == 7
    assert "10,000 forbidden" in str(found)
    assert str(found).count("; 7 more\n") == 1
    found = ptio.inspect(io.BytesIO(program(names(0, MOST + 7))))
    assert (len(found.globals), found.more_globals) == (MOST, 7)
    assert "; 7 more" in str(found)


@pytest.mark.parametrize("ending", [b"", b"\xff"], ids=["sound", "broken"])
def test_a_forbidden_name_behind_many_that_are_allowed_is_told(ending):
    pickled = program(names(0, MOST + 7), asm.global_("os", "system"), b"0", ending)
    for data in (pickled, checkpoints.archive(pickled)):
        found = scan(data, allow=["a"])
        assert found.forbidden
        assert [use.name for use in with_verdict(found, "forbidden")] == ["os.system"]
        assert len(with_verdict(found, "data")) == MOST
        assert found.more_globals == 7
        assert any("os.system" in problem.message for problem in found.problems)


STOPS_THE_CORE = b"Q"  # BINPERSID of what is no tuple: the core stops, other readers go on


@pytest.mark.parametrize("distinct", [False, True])
def test_a_forbidden_name_behind_what_is_broken_and_many_others_is_told(distinct):
    often = names(0, MOST + 7) if distinct else names(0, 1) * (MOST + 7)
    pickled = program(b"K\1" + STOPS_THE_CORE, often, asm.global_("os", "system"), b"0", b"\xff")
    found = scan(checkpoints.archive(pickled), allow=["a"])
    assert [use.name for use in with_verdict(found, "forbidden")] == ["os.system"]
    assert not any("broken pickle" in text for text in found.not_checked)


def test_more_than_can_be_followed_is_said():
    pickled = program(b"K\1" + STOPS_THE_CORE, b"N0" * 150_000)
    found = scan(checkpoints.archive(pickled))
    assert any("all that the broken pickle names" in text for text in found.not_checked)


def compressed(pickled):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", pickled)
    return file.getvalue()


BOMBS = {
    "one name": lambda: b"\x80\2(" + b"cm\nn\n" * 1_000_000 + b"l.",
    "lists": lambda: b"\x80\2(" + b"]" * 5_000_000 + b"l.",
    "one value": lambda: b"\x80\2(" + b"N" * 58_000_000 + b"l.",
    "numbers": lambda: b"\x80\4" + b"N\x94" * 16_000_000 + b".",
}


@children.unless_sanitized
@pytest.mark.parametrize("mode", ["mapped", "inert", "scan"])
@pytest.mark.parametrize("kind", BOMBS)
def test_a_compressed_pickle_takes_no_more_than_a_plain_one(write, kind, mode):
    path, warm = write(compressed(BOMBS[kind]()), "bomb.pt"), write(compressed(b"Q."), "warm.pt")
    told = children.run(MEASURE, pathlib.Path(__file__).parent, mode, warm, path)
    assert told["rss"] <= 64 * MIB + 32 * path.stat().st_size
    assert (told["error"] == "LimitError") == (mode != "scan")
    if mode != "scan":
        assert "limit object_bytes" in told["message"]


def test_a_compressed_pickle_of_many_tensors_loads(write):
    data = checkpoints.save({f"layer.{i}": checkpoints.tensor("uint8", [1]) for i in range(10_000)})
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as plain, zipfile.ZipFile(file, "w", 8) as again:
        for name in plain.namelist():
            again.writestr(name, plain.read(name))
    assert len(ptio.load(write(file.getvalue()))) == 10_000


def test_allowed_names_behind_many_that_are_forbidden_are_told():
    known = asm.global_("torch", "float32") + b"0"
    found = scan(program(names(0, MOST + 7), known))
    assert [use.name for use in with_verdict(found, "allowed")] == ["torch.float32"]
    assert found.more_globals == 7


def torchscript(*pickles):
    members = {"data.pkl": program(), "constants.pkl": b"\x80\2).", "version": b"3\n"}
    members |= {f"{i}.pkl": pickled for i, pickled in enumerate(pickles)}
    entries = [zip_files.Entry(f"x/{name}".encode(), data) for name, data in members.items()]
    return zip_files.write(entries)


def test_all_pickles_of_a_file_share_the_room():
    data = torchscript(*(program(names(i, i + 6000)) for i in (0, 6000, 12_000)))
    found = scan(data)
    assert found.format == "torchscript"
    assert len(with_verdict(found, "forbidden")) == MOST
    assert found.more_globals == 8000
    assert sum(problem.message.startswith("a.") for problem in found.problems) == 1000
    found = scan(data, allow=["a"])
    assert len(with_verdict(found, "data")) == MOST
    assert found.more_globals == 8000


def test_allowed_names_take_no_room_from_a_forbidden_one_in_another_pickle():
    system = program(asm.global_("os", "system"), b"0")
    found = scan(torchscript(program(names(0, MOST + 7)), system), allow=["a"])
    assert found.forbidden
    (use,) = with_verdict(found, "forbidden")
    assert (use.name, use.member) == ("os.system", "x/1.pkl")


def test_the_exit_status_knows_of_names_that_are_not_told(ptio_command, write):
    path = write(program(names(0, MOST), names(0, 1, "b")), "many.pkl")
    allow = write(b"a\n", "allow.txt")
    status, out, _ = ptio_command("scan", "--allow", allow, path)
    assert status == 1
    assert "b.0 is not allowed" in out
