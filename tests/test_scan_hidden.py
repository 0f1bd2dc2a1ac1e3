# SPDX-License-Identifier: Apache-2.0
"""ptio scan finds pickles where no load looks: in broken files, in and around members."""

import bz2
import gzip
import io
import lzma
import pickle
import pickletools
import struct
import tarfile
import zipfile
import zlib

import pytest
from ptio import scan
from ptio._scan import names
from support import checkpoints, legacy_files, zip_files
from support import pickle_asm as asm

SYSTEM = asm.call(asm.global_("os", "system"), asm.text("echo hostile"))
EVIL = {
    "GLOBAL": asm.program(SYSTEM),
    "STACK_GLOBAL": asm.program(
        asm.call(asm.stack_global("os", "system"), asm.text("x")), protocol=4
    ),
    "text": b"cos\nsystem\n(S'x'\ntR.",
    "INST": b"(S'x'\nios\nsystem\n.",
}
BINARY, FRAMED = EVIL["GLOBAL"], EVIL["STACK_GLOBAL"]
TENSOR = asm.program(asm.tensor())


def sound():
    return checkpoints.entries(TENSOR, {"0": bytes(16)})


def scanned(data):
    (found,) = scan(io.BytesIO(data)).files
    return found


def status(data):
    found = scanned(data)
    return 1 if found.forbidden else 0 if found.ok else 2


def by_zipfile(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.pkl", data)
    return file.getvalue()


# --- the reader of what nothing proves


def test_it_knows_every_opcode_and_the_size_of_its_argument():
    for info in pickletools.opcodes:
        code, counted = ord(info.code), [names._FIXED, names._SIZED, names._LINES]
        assert sum(code in table for table in counted) == 1, info.name
        if info.arg is None or info.arg.n >= 0:
            assert names._FIXED[code] == (0 if info.arg is None else info.arg.n), info.name
        elif info.arg.n == pickletools.UP_TO_NEWLINE:
            lines = 2 if info.name in ("GLOBAL", "INST") else 1
            assert names._LINES[code] == lines, info.name
        else:
            size = {-2: 1, -3: 4, -4: 4, -5: 8}[info.arg.n]
            assert names._SIZED[code] == size, info.name


def globals_by_pickle(data):
    class Reader(pickle._Unpickler):
        def find_class(self, module, name):
            found.append(f"{module}.{name}")
            return lambda *arguments: None

    found = []
    Reader(io.BytesIO(data)).load()
    return found


MEMO = asm.text("system") + asm.op("BINPUT", 5) + asm.op("POP") + asm.text("os")
MEMO += asm.op("BINGET", 5) + asm.op("STACK_GLOBAL")
ESCAPED = b"S'o\\x73'\nVsyst\\u0065m\n\x93."


@pytest.mark.parametrize(
    "data",
    [
        *EVIL.values(),
        asm.program(MEMO, protocol=4),
        asm.program(asm.text("os") + asm.op("MEMOIZE") + asm.text("system") + b"\x93", protocol=4),
        asm.program(asm.text("os") + asm.text("x") + b"20" + b"0X\6\0\0\0system\x93", protocol=4),
        asm.program(asm.text("os") + b"(]}l0" + asm.text("system") + b"\x93", protocol=4),
        asm.program(asm.op("MARK") + asm.global_("os", "system") + asm.text("x") + asm.op("OBJ")),
        ESCAPED,
        *(pickle.dumps({"f": len, "k": [io.BytesIO, (1, 2.5)]}, p) for p in range(6)),
    ],
)
def test_it_sees_the_names_that_pickle_sees(data):
    expected = globals_by_pickle(data)
    found = names.walk(data, names.Budget.for_file(len(data)))
    assert [named.whole for named in found.names] == expected


def test_it_stops_at_its_budget():
    budget = names.Budget(opcodes=10, nbytes=0, places=0)
    assert names.walk(b"N0" * 100 + BINARY, budget).names == []
    assert budget.spent


# --- pickles that the loader gives up on


@pytest.mark.parametrize("name", EVIL)
@pytest.mark.parametrize(
    "before",
    [b"I 7\n0", b"F1e999\n0", b"\x80\x02", b"N.", b"g9\n0", b"\x80\x06", b"e"],
    ids=["text", "float", "PROTO", "STOP", "memo", "protocol", "mark"],
)
def test_names_behind_what_is_broken(name, before):
    found = scanned(checkpoints.archive(b"\x80\x04" + before + EVIL[name]))
    assert found.forbidden
    assert {"ForbiddenError", "PickleFormatError"} <= {p.kind for p in found.problems}
    (use,) = (use for use in found.globals if use.verdict == "forbidden")
    assert (use.name, use.member, use.count) == ("os.system", "archive/data.pkl", 1)


def test_what_is_broken_and_names_nothing_is_not_forbidden():
    assert status(checkpoints.archive(b"\x80\x02I 7\n0" + TENSOR[2:], {"0": bytes(16)})) == 2


# --- archives without a directory that can be believed


def damaged(evil, packed=False):
    entry = zip_files.deflated if packed else zip_files.Entry
    whole = zip_files.write([entry(b"archive/data.pkl", evil), *sound()[1:]])
    other = zip_files.write(sound())
    wrong = entry(b"archive/data.pkl", evil)
    wrong.central = {**wrong.central, "crc": 1}
    return {
        "cut": whole[:-30],
        "cut in a member": whole[: -len(whole) // 2],
        "no end record": whole.replace(b"PK\5\6", b"PK\5\5"),
        "no directory": whole.replace(b"PK\1\2", b"PK\1\3"),
        "bytes before": b"\x7fELF" + bytes(60) + whole,
        "bytes behind": whole + bytes(70_000),
        "a second archive before": other + whole,
        "a second archive behind": whole + other,
        "two pickles": zip_files.write([*sound(), entry(b"archive/data.pkl", evil)]),
        "a wrong checksum": zip_files.write([wrong, *sound()[1:]]),
        "no local name": zip_files.write([entry(b"data.pkl", evil), *sound()]),
        "not in the directory": whole[: whole.index(b"PK\1\2")],
    }


@pytest.mark.parametrize("where", damaged(BINARY))
@pytest.mark.parametrize("packed", [False, True], ids=["stored", "deflated"])
@pytest.mark.parametrize("name", EVIL)
def test_pickles_of_damaged_archives(name, packed, where):
    found = scanned(damaged(EVIL[name], packed)[where])
    kinds = {problem.kind for problem in found.problems}
    assert "ForbiddenError" in kinds and kinds != {"ForbiddenError"}
    use = next(use for use in found.globals if use.verdict == "forbidden")
    assert use.name == "os.system"


@pytest.mark.parametrize("where", sorted(set(damaged(TENSOR)) - {"a second archive before"}))
def test_damaged_archives_without_a_forbidden_name(where):
    assert status(damaged(TENSOR)[where]) == 2
    assert status(damaged(TENSOR, packed=True)[where]) == 2


def test_a_member_of_a_damaged_archive_that_no_name_says_is_a_pickle():
    for entry in (zip_files.Entry, zip_files.deflated):
        assert status(zip_files.write([entry(b"archive/x", FRAMED), *sound()])[:-30]) == 1


def test_long_members_do_not_hide_others():
    """What is needed of a member to follow it comes after the beginning of all others."""
    long = asm.op("PROTO", 2) + asm.text("x" * 300_000)
    entries = [zip_files.Entry(b"archive/%d.pkl" % i, long) for i in range(60)]
    evil = zip_files.Entry(b"archive/evil.pkl", BINARY)
    last = zip_files.Entry(b"archive/last.pkl", long + BINARY[2:])
    assert status(zip_files.write([*entries, evil])[:-30]) == 1
    assert status(zip_files.write([last])[:-30]) == 1


def test_what_a_search_leaves_out_is_told(monkeypatch):
    small = classmethod(lambda cls, nbytes: cls(opcodes=10**6, nbytes=10**6, places=3))
    monkeypatch.setattr(names.Budget, "for_file", small)
    found = scanned(zip_files.write(sound())[:-30])
    assert any("pickles" in text for text in found.not_checked)
    more = [zip_files.Entry(b"archive/x%d" % i, BINARY) for i in range(9)]
    found = scanned(zip_files.write([*sound(), *more]))
    assert len(found.unreferenced) == 9
    assert found.not_checked


def test_pickles_of_damaged_legacy_files():
    good = legacy_files.save({"w": checkpoints.tensor("float32", [1, 2])})
    evil = legacy_files.save([checkpoints.tensor("int8", b"1"), checkpoints.Global("os", "system")])
    for change in (
        lambda data: data[:-5],
        lambda data: data.replace(b"M\xe9\x03", b"M\xe8\x03"),
        lambda data: data[:15] + b"N." + data[15:],
    ):
        assert (status(change(good)), status(change(evil))) == (2, 1)


def test_other_containers_of_pickles():
    for evil in EVIL.values():
        header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n"
        assert status(b"\x93NUMPY\1\0" + struct.pack("<H", 118) + header + evil) == 1
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as archive:
            info = tarfile.TarInfo("pickle")
            info.size = len(evil)
            archive.addfile(info, io.BytesIO(evil))
        assert status(tar.getvalue()) == 1
        assert status(by_zipfile(x=evil)) == 1
        for pack in (gzip.compress, zlib.compress, bz2.compress, lzma.compress):
            assert status(pack(evil)) == 1
            assert status(pack(TENSOR)) == 2
        for before in (b"N0", b"I1\n0", b"(1"):
            assert status(before + evil) == 1


def test_texts_and_images_are_no_pickles():
    for data in (
        *(b"checks\nall\nRun it\n", b"csv\nimport\nfoo\n", b"(hi\nios\nsystem\n", b"cos\nsystem\n"),
        *(
            b"\x89PNG\r\n\x1a\n" + bytes(99),
            b"GGUF" + bytes(99),
            b"1f\n8b\n",
            b"\x1f\x8b" + b"x" * 99,
        ),
    ):
        assert status(data) == 2


# --- bytes that nothing refers to, in a sound archive


def extra(data):
    return b"XX" + struct.pack("<H", len(data)) + data


def with_field(field, data):
    entries = sound()
    setattr(entries[1], field, data)
    return zip_files.write(entries)


def hidden(evil):
    nested = by_zipfile(x=evil)
    whole = zip_files.write(sound(), comment=evil)
    zip64 = struct.pack("<Q", 44 + len(evil))
    end = whole.index(b"PK\6\6")
    record = whole[end : end + 4] + zip64 + whole[end + 12 : end + 56] + evil
    tail = whole[end + 56 : -len(evil) - 2] + b"\0\0"
    return {
        "the comment of the archive": whole,
        "the comment of a member": with_field("comment", evil),
        "an extra field of a member": with_field("central_extra", extra(evil)),
        "an extra field of a member, local": with_field("local_extra", extra(evil)),
        "an extra field of a member, torch's": with_field("local_extra", b"FB" + extra(evil)[2:]),
        "an extra field of a member, times": with_field(
            "local_extra", b"UT" + extra(evil + bytes(9))[2:]
        ),
        "bytes that belong to no member": zip_files.write(sound(), gap=evil),
        "bytes that belong to no member, behind others": zip_files.write(
            sound(), gap=b"read me " + bytes(50) + evil
        ),
        "bytes between the end records": whole[:end] + record + tail,
        "no tensor needs this member": zip_files.write(
            [*sound(), zip_files.Entry(b"archive/x", evil)]
        ),
        "no tensor needs this member, packed": zip_files.write(
            [*sound(), zip_files.deflated(b"archive/x", evil)]
        ),
        "no tensor needs this member, an archive": zip_files.write(
            [*sound(), zip_files.Entry(b"archive/x.zip", nested)]
        ),
        "no tensor needs this member, gzip": zip_files.write(
            [*sound(), zip_files.Entry(b"archive/x.gz", gzip.compress(evil))]
        ),
    }


@pytest.mark.parametrize("where", hidden(BINARY))
@pytest.mark.parametrize("name", EVIL)
def test_hidden_pickles_are_told(name, where):
    data = hidden(EVIL[name])[where]
    found = scanned(data)
    assert found.ok, found
    (rest,) = found.unreferenced
    assert [note.kind for note in found.notes] == ["UNREFERENCED"]
    assert found.notes[0].message.startswith(where.split(",")[0])
    assert found.not_checked == ()
    assert "os.system" in rest.content
    if not where.startswith(("no tensor", "bytes that")):
        assert data[rest.offset : rest.offset + rest.size].startswith(EVIL[name])


def test_a_folder_that_no_directory_knows_is_told():
    name = b"archive/folder/"
    head = struct.pack("<4s5H3I2H", b"PK\3\4", 0, 0, 0, 0, 0, 0, 0, 0, len(name), len(BINARY))
    found = scanned(zip_files.write(sound(), gap=head + name + BINARY))
    assert [rest.size for rest in found.unreferenced] == [len(head + name + BINARY)]


def test_every_left_over_member_is_looked_into():
    entries = [zip_files.Entry(b"archive/x%d" % i, b"text") for i in range(500)]
    entries.append(zip_files.Entry(b"archive/y", FRAMED))
    found = scanned(zip_files.write([*sound(), *entries]))
    assert len(found.unreferenced) == 501
    assert "os.system" in found.unreferenced[-1].content
    assert found.not_checked == ()
    assert "os.system" in str(found)


def test_bytes_around_other_archives():
    pickles = {
        b"data.pkl": asm.program(asm.list_of()),
        b"constants.pkl": asm.program(asm.op("NONE")),
    }
    script = [zip_files.Entry(b"m/" + name, data) for name, data in pickles.items()]
    script.append(zip_files.Entry(b"m/version", b"3\n"))
    broken = checkpoints.entries(b"\x80\x02I 7\n.")
    for entries, is_ok in ((script, True), (broken, False)):
        found = scanned(zip_files.write(entries, comment=FRAMED))
        assert (found.ok, found.forbidden) == (is_ok, False)
        (rest,) = found.unreferenced
        assert "os.system" in rest.content


def test_bytes_between_archives_of_torch_distributed(torch, tmp_path):
    from support.dcp_files import Directory

    directory = Directory(tmp_path / "dcp")
    directory.tensor("w", torch.ones(4, 2))
    directory.write()
    (path,) = (tmp_path / "dcp").glob("*.distcp")
    with open(path, "ab") as file:
        file.write(FRAMED)
    report = scan(tmp_path)
    assert report.ok
    assert [note.kind for note in report.notes] == ["UNREFERENCED"]
    assert "os.system" in report.notes[0].message


def test_packed_archives_are_not_checked():
    entry = zip_files.Entry(b"archive/x.7z", b"7z\xbc\xaf\x27\x1c" + bytes(100))
    assert scanned(zip_files.write([*sound(), entry])).not_checked == ("what is in a 7z archive",)
    assert scanned(entry.data).not_checked == ("what is in a 7z archive",)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_files_that_torch_writes_have_no_bytes_left_over(torch, tmp_path):
    value = {"w": torch.ones(2, 3), "s": torch.ones(100)[::2], "e": torch.ones(0)}
    torch.save(value, tmp_path / "zip.pt")
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "script.pt"))
    report = scan(tmp_path)
    assert report.ok and report.scanned == 2
    assert [rest for file in report.files for rest in file.unreferenced] == []
