# SPDX-License-Identifier: Apache-2.0
"""Where a save goes: what it makes of every name, permission and kind of file."""

import errno
import os
import pathlib
import socket
import stat
import subprocess
import sys
import threading

import pytest
from ptio._save import destination
from ptio._save.destination import open_destination
from support import children, saving
from support.destinations import NEW, OLD, failing, files, hidden, in_child, names

only_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can change to another user")


# What a save does


def test_the_file_appears_when_it_is_whole(kind, folder):
    path = folder / "model.pt"
    with open_destination(path) as file:
        saving.write(file, NEW)
        assert (file.path, file.seekable) == (str(path), True)
        assert [hidden(name) for name in names(folder)] == ([True] if kind == "named" else [])
    assert files(folder) == {"model.pt": NEW}


def test_the_old_file_stays_until_the_new_one_is_whole(kind, old):
    with open_destination(old) as file:
        saving.write(file, NEW)
        assert old.read_bytes() == OLD
    assert files(old.parent) == {"model.pt": NEW}


def test_temporary_files_do_not_look_like_checkpoints(folder, monkeypatch):
    monkeypatch.setattr(destination, "_O_TMPFILE", 0)
    with open_destination(folder / "model.pt"):
        assert len(names(folder)) == 1
        assert not [*folder.glob("*.pt"), *folder.glob("*.ckpt")]


def test_finish_cuts_what_was_preallocated(kind, folder):
    path = folder / "model.pt"
    with open_destination(path) as file:
        os.ftruncate(file.fd, 1 << 20)
        saving.write(file, NEW)
        file.finish(len(NEW))
    assert path.read_bytes() == NEW


@pytest.mark.parametrize("options", [{}, {"atomic": False}, {"durable": True}])
def test_no_descriptor_is_left_or_inherited(kind, old, options):
    before = os.listdir("/dev/fd")
    with open_destination(old, **options) as file:
        assert not os.get_inheritable(file.fd)
        assert not os.get_inheritable(file._directory)
    with pytest.raises(RuntimeError), open_destination(old, **options):
        raise RuntimeError
    assert os.listdir("/dev/fd") == before


def test_without_atomic_the_file_is_written_in_place(old):
    before = old.stat().st_ino
    with open_destination(old, atomic=False) as file:
        assert file.seekable
        assert old.read_bytes() == b""
        saving.write(file, b"short")
    assert files(old.parent) == {"model.pt": b"short"}
    assert old.stat().st_ino == before
    assert saving.save(old.with_name("new.pt"), NEW, atomic=False) == []
    assert files(old.parent) == {"model.pt": b"short", "new.pt": NEW}


# Names


@pytest.mark.parametrize("as_path", [str, os.fsencode, pathlib.Path, os.DirEntry])
def test_paths_of_every_type(as_path, old):
    with os.scandir(old.parent) as entries:
        path = next(entries) if as_path is os.DirEntry else as_path(old)
    saving.save(path, NEW)
    assert old.read_bytes() == NEW


@pytest.mark.parametrize("name", [b"n" * 255, b"n" * 225 + b"\xc3\xa4" * 9, b"\xff\xfe\n.pt", b"-"])
def test_names_of_every_kind(kind, folder, name):
    path = os.path.join(os.fsencode(folder), name)
    try:
        open(path, "wb").close()
        os.unlink(path)
    except OSError:
        pytest.skip("the file system does not have such names")
    with open_destination(path) as file:
        assert all(len(other) <= 255 for other in os.listdir(os.fsencode(folder)))
        saving.write(file, OLD)
    saving.save(path, NEW)
    assert os.listdir(os.fsencode(folder)) == [name]
    assert saving.content(path) == NEW


def test_a_name_that_is_too_long(folder):
    path = str(folder / ("n" * 256))
    assert saving.failure(path, NEW) == [errno.ENAMETOOLONG, path]


def test_the_current_directory_may_change_meanwhile(kind, folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "elsewhere").mkdir()
    for path in ("new.pt", "./model.pt"):
        with open_destination(path) as file:
            saving.write(file, NEW)
            os.chdir("elsewhere")
        os.chdir("..")
    assert names(folder) == ["elsewhere", "model.pt", "new.pt"]
    assert names(folder / "elsewhere") == []


def test_the_directory_may_be_renamed_meanwhile(kind, old):
    moved = old.parent.with_name("moved")
    with open_destination(old) as file:
        saving.write(file, NEW)
        old.parent.rename(moved)
    assert (moved / "model.pt").read_bytes() == NEW


def test_symbolic_links_stay_and_their_target_is_replaced(kind, old, tmp_path):
    (tmp_path / "last.pt").symlink_to("folder/link.pt")
    (old.parent / "link.pt").symlink_to(old)
    saving.save(tmp_path / "last.pt", NEW)
    assert old.read_bytes() == NEW
    assert not old.is_symlink()
    assert (tmp_path / "last.pt").is_symlink() and (old.parent / "link.pt").is_symlink()


def test_a_link_to_nothing_makes_its_target(kind, folder, tmp_path):
    (tmp_path / "last.pt").symlink_to(folder / "model.pt")
    saving.save(tmp_path / "last.pt", NEW)
    assert (folder / "model.pt").read_bytes() == NEW
    assert (tmp_path / "last.pt").is_symlink()


def test_a_link_to_itself(folder):
    path = folder / "loop.pt"
    path.symlink_to("loop.pt")
    assert saving.failure(path, NEW) == [errno.ELOOP, str(path)]


def test_other_hard_links_keep_the_old_content(kind, old):
    other = old.with_name("other.pt")
    os.link(old, other)
    saving.save(old, NEW)
    assert (old.read_bytes(), other.read_bytes()) == (NEW, OLD)


# What cannot be saved to


@pytest.mark.parametrize("name", [".", "", "/"])
def test_a_directory(folder, name):
    path = f"{folder}/{name}"
    with pytest.raises(IsADirectoryError) as caught, open_destination(path):
        pass
    assert (caught.value.errno, caught.value.filename) == (errno.EISDIR, path)


@pytest.mark.parametrize("path", ["missing/model.pt", "missing/", "missing/.", "", "dangling"])
def test_a_directory_that_does_not_exist(folder, path, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "dangling").symlink_to("missing/model.pt")
    with pytest.raises(FileNotFoundError) as caught, open_destination(path):
        pass
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, path)
    assert names(folder) == ["dangling"]


def test_a_file_in_place_of_the_directory(old):
    path = str(old / "model.pt")
    assert saving.failure(path, NEW) == [errno.ENOTDIR, path]


def test_paths_that_are_none(folder):
    for path, error in ((3, TypeError), (None, TypeError), ("a\0b", ValueError)):
        with pytest.raises(error), open_destination(path):
            pass


# Permissions


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o666, 0o750])
def test_the_mode_of_the_old_file_stays(kind, old, mode):
    old.chmod(mode)
    with open_destination(old) as file:
        assert not os.fstat(file.fd).st_mode & 0o077  # others never see more than before
    assert stat.S_IMODE(old.stat().st_mode) == mode


@pytest.mark.parametrize("kind", ["nameless", "named"])
def test_a_new_file_has_the_mode_that_open_gives(kind, folder):
    code = """
folder, result = sys.argv[1], []
for umask in (0, 0o002, 0o022, 0o077, 0o027):
    os.umask(umask)
    saving.save(f"{folder}/{umask}.pt", b"new")
    open(f"{folder}/{umask}.txt", "wb").close()
    result += [[os.stat(f"{folder}/{umask}.{end}").st_mode for end in ("pt", "txt")]]
    assert os.umask(umask) == umask
"""
    modes = in_child(code, folder, kind=kind)
    assert len(modes) == 5
    assert all(ours == theirs for ours, theirs in modes)


@only_root
def test_root_does_not_take_the_file_from_its_owner(kind, old):
    os.chown(old, 65534, 65534)
    saving.save(old, NEW)
    assert (old.stat().st_uid, old.stat().st_gid) == (65534, 65534)


@only_root
def test_permissions_that_cannot_be_given_do_not_matter(kind, old, monkeypatch):
    os.chown(old, 65534, 65534)
    old.chmod(0o644)

    monkeypatch.setattr(os, "fchown", failing(errno.EPERM))
    monkeypatch.setattr(os, "fchmod", failing(errno.EPERM))
    saving.save(old, NEW)
    assert old.read_bytes() == NEW


AS_NOBODY = """
os.chdir(sys.argv[1])
saving.become_nobody()
result = {"warnings": [], "error": None}
try:
    result["warnings"] = saving.save("model.pt", b"new!" * 50_000, durable=True)
except OSError as e:
    result["error"] = [e.errno, e.filename]
"""


def as_nobody(folder, kind, mode):
    folder.chmod(mode)
    try:
        return in_child(AS_NOBODY, folder, kind=kind)
    finally:
        folder.chmod(0o755)


def test_a_file_in_a_directory_that_is_not_writable_is_written_in_place(kind, old):
    old.chmod(0o666)
    before = old.stat().st_ino
    result = as_nobody(old.parent, kind, 0o555)
    assert result["error"] is None
    (text,) = result["warnings"]
    assert text.startswith("model.pt is written in place, since it cannot be replaced (Permission")
    assert old.read_bytes() == NEW
    assert old.stat().st_ino == before


def test_no_file_is_made_in_a_directory_that_is_not_writable(kind, folder):
    result = as_nobody(folder, kind, 0o555)
    assert result == {"warnings": [], "error": [errno.EACCES, "model.pt"]}


def test_a_directory_that_is_not_readable(kind, old):
    if sys.platform != "linux":
        pytest.skip("needs O_PATH")
    old.chmod(0o666)
    assert as_nobody(old.parent, kind, 0o333) == {"warnings": [], "error": None}
    assert files(old.parent) == {"model.pt": NEW}


def test_a_read_only_file_is_not_replaced(kind, old):
    old.chmod(0o444)
    result = as_nobody(old.parent, kind, 0o777)
    assert result == {"warnings": [], "error": [errno.EACCES, "model.pt"]}
    assert files(old.parent) == {"model.pt": OLD}


@only_root
def test_somebody_elses_file_in_a_sticky_directory_is_written_in_place(kind, old):
    old.chmod(0o666)
    result = as_nobody(old.parent, kind, 0o1777)
    (text,) = result["warnings"]
    assert "only its owner may replace it in this directory" in text
    assert old.read_bytes() == NEW


def test_the_warning_is_at_the_line_of_the_caller(old, monkeypatch):
    monkeypatch.setattr(destination.Destination, "_obstacle", lambda self: "of this test")
    with pytest.warns(UserWarning, match="of this test") as caught:  # noqa: SIM117
        with open_destination(old) as file:
            saving.write(file, NEW)
    assert caught[0].filename == __file__
    assert old.read_bytes() == NEW


def test_a_warning_that_is_an_error_leaves_the_old_file(old, monkeypatch):
    monkeypatch.setattr(destination.Destination, "_obstacle", lambda self: "of this test")
    with pytest.raises(UserWarning), open_destination(old):
        pass
    assert old.read_bytes() == OLD


# Special files


def test_dev_null():
    with open_destination("/dev/null", durable=True) as file:
        assert not file.seekable
        saving.write(file, NEW)
        file.finish(len(NEW))
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_dev_full():
    assert saving.failure("/dev/full", NEW) == [errno.ENOSPC, "/dev/full"]


def test_a_fifo(folder):
    path = folder / "fifo"
    os.mkfifo(path)
    got = []
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()))
    reader.start()
    with open_destination(path, durable=True) as file:
        assert not file.seekable
        saving.write(file, NEW)
    reader.join()
    assert got == [NEW]
    assert stat.S_ISFIFO(path.stat().st_mode)


TO_STDOUT = """
from support import saving
with saving.destination.open_destination("/dev/stdout") as file:
    assert not file.seekable
    saving.write(file, b"new!" * 50_000)
"""


def to_stdout(stdout):
    return subprocess.Popen([sys.executable, "-c", TO_STDOUT], stdout=stdout, cwd=children.HERE)


def test_standard_output_that_is_a_pipe():
    with to_stdout(subprocess.PIPE) as child:
        assert child.stdout.read() == NEW
    assert child.returncode == 0


def test_standard_output_that_is_a_socket():
    ours, theirs = socket.socketpair()
    with ours, to_stdout(theirs) as child:
        theirs.close()
        got = b"".join(iter(lambda: ours.recv(1 << 16), b""))
    assert child.returncode == 0
    assert got == NEW


def test_standard_output_that_is_a_file_is_continued(old):
    with open(old, "ab") as stdout, to_stdout(stdout) as child:
        child.wait()
    assert child.returncode == 0
    assert old.read_bytes() == OLD + NEW
    assert names(old.parent) == ["model.pt"]


def test_a_socket_is_none(folder):
    path = os.path.relpath(folder / "s")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        assert saving.failure(path, NEW)[1] == path
