# SPDX-License-Identifier: Apache-2.0
"""Where a save goes: the old file or the new one, whole, whatever happens in between."""

import errno
import fcntl
import functools
import itertools
import json
import os
import pathlib
import re
import shutil
import socket
import stat
import subprocess
import sys
import threading

import numpy as np
import ptio
import pytest
from ptio import _destination
from ptio._destination import open_destination
from support import checkpoints, children, saving

OLD = b"old" * 1000
NEW = b"new!" * 50_000  # more than one piece

linux = pytest.mark.skipif(sys.platform != "linux", reason="a feature of Linux")
only_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can change to another user")


@pytest.fixture(params=["nameless", "named"])
def kind(request, monkeypatch):
    """Files without names (O_TMPFILE), and file systems that have none."""
    if request.param == "named":
        monkeypatch.setattr(_destination, "_O_TMPFILE", 0)
    elif not _destination._O_TMPFILE:
        pytest.skip("no O_TMPFILE")
    return request.param


@pytest.fixture
def folder(tmp_path):
    """A folder of its own, in which whatever appears was made by the save."""
    path = tmp_path / "folder"
    path.mkdir()
    return path


@pytest.fixture
def old(folder):
    path = folder / "model.pt"
    path.write_bytes(OLD)
    return path


def in_child(code, *arguments, kind="nameless", tool=()):
    """The `result` that code computes in a process without NumPy."""
    head = f"import os, sys, json\nfrom support import saving\nsaving.use({kind!r})\n"
    code = f"{head}{code}\nprint(json.dumps(result))"
    command = [*tool, sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=children.HERE)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def works(*tool):
    """Whether a tool that runs others is there and may do that."""
    found = shutil.which(tool[0]) is not None
    return found and subprocess.run([*tool, "true"], capture_output=True).returncode == 0


def failing(code):
    def call(*args, **kwargs):
        raise OSError(code, "of this test")

    return call


def names(folder):
    return sorted(os.listdir(folder))


def files(folder):
    return {name: saving.content(folder / name) for name in names(folder)}


def hidden(name):
    return bool(re.fullmatch(r"\.model\.pt\.[0-9]+\.ptio-tmp", name))


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
    monkeypatch.setattr(_destination, "_O_TMPFILE", 0)
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
    monkeypatch.setattr(_destination.Destination, "_obstacle", lambda self: "of this test")
    with pytest.warns(UserWarning, match="of this test") as caught:  # noqa: SIM117
        with open_destination(old) as file:
            saving.write(file, NEW)
    assert caught[0].filename == __file__
    assert old.read_bytes() == NEW


def test_a_warning_that_is_an_error_leaves_the_old_file(old, monkeypatch):
    monkeypatch.setattr(_destination.Destination, "_obstacle", lambda self: "of this test")
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


# Failures


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, GeneratorExit, SystemExit])
def test_an_exception_leaves_the_old_file_and_nothing_else(kind, old, error):
    for path in (old, old.with_name("new.pt")):
        with pytest.raises(error), open_destination(path) as file:  # noqa: PT012
            saving.write(file, NEW)
            raise error
    assert files(old.parent) == {"model.pt": OLD}


@pytest.mark.parametrize("after", [False, True])
def test_an_interrupt_at_any_call_leaves_one_whole_file(kind, old, monkeypatch, after):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", lambda fd: None)
    for number in itertools.count(1):
        old.write_bytes(OLD)
        calls = saving.Calls(interrupt, number, after)
        monkeypatch.setattr(_destination, "os", calls)
        try:
            saving.save(old, NEW, durable=True)
        except KeyboardInterrupt:
            assert files(old.parent) in ({"model.pt": OLD}, {"model.pt": NEW})
        else:
            break
    assert files(old.parent) == {"model.pt": NEW}
    assert number > 20
    assert not calls.done


def test_an_error_of_the_writer_without_a_path_gets_it(kind, old):
    with pytest.raises(OSError) as caught, open_destination(old) as file, file.naming_errors():
        raise OSError(errno.EIO, "of this test")
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, str(old))
    assert old.read_bytes() == OLD


def test_other_errors_of_the_block_are_not_touched(old):
    error = OSError(errno.EIO, "of this test")
    with pytest.raises(OSError) as caught, open_destination(old):
        raise error
    assert caught.value is error
    assert error.filename is None


@pytest.mark.parametrize("call", ["fsync", "dup"])
def test_a_failing_sync_leaves_the_old_file(kind, old, monkeypatch, call):
    monkeypatch.setattr(os, call, failing(errno.EIO))
    assert saving.failure(old, NEW, durable=True) == [errno.EIO, str(old)]
    assert files(old.parent) == {"model.pt": OLD}


@pytest.mark.parametrize("call", ["link", "rename"])
def test_a_failing_last_step_names_both_files(kind, old, monkeypatch, call):
    if (kind, call) == ("named", "link"):
        pytest.skip("no link is made")

    monkeypatch.setattr(os, call, failing(errno.EIO))
    with pytest.raises(OSError) as caught:
        saving.save(old, NEW)
    assert caught.value.errno == errno.EIO
    assert hidden(caught.value.filename)
    assert caught.value.filename2 == str(old)
    assert files(old.parent) == {"model.pt": OLD}


@pytest.mark.parametrize("code", [errno.EBUSY, errno.EXDEV, errno.EPERM])
def test_a_last_step_that_is_not_possible_becomes_a_copy(kind, old, monkeypatch, code):
    fsync, synced = os.fsync, []
    monkeypatch.setattr(os, "rename", failing(code))
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino) or fsync(fd))
    with (
        pytest.warns(UserWarning, match=r"\(of this test\)") as caught,
        open_destination(old, durable=True) as file,
    ):
        os.write(file.fd, NEW)  # leaves its position at the end
    assert caught[0].filename == __file__
    assert files(old.parent) == {"model.pt": NEW}
    assert synced[1:] == [old.stat().st_ino, old.parent.stat().st_ino]


def test_where_a_copy_is_not_possible_either_both_files_are_named(kind, old, monkeypatch):
    monkeypatch.setattr(os, "rename", failing(errno.EBUSY))
    monkeypatch.setattr(_destination, "_is_mapped", lambda fd: True)
    with pytest.raises(OSError) as caught:
        saving.save(old, NEW)
    assert hidden(caught.value.filename)
    assert caught.value.filename2 == str(old)
    assert files(old.parent) == {"model.pt": OLD}


def test_a_temporary_file_that_somebody_removed(old, monkeypatch):
    monkeypatch.setattr(_destination, "_O_TMPFILE", 0)
    with pytest.raises(FileNotFoundError) as caught, open_destination(old):  # noqa: PT012
        (temporary,) = old.parent.glob(".model.pt.*")
        temporary.unlink()
        temporary.write_bytes(b"of another save")
    assert (caught.value.filename, caught.value.filename2) == (temporary.name, str(old))
    assert old.read_bytes() == OLD
    assert temporary.read_bytes() == b"of another save"


def test_a_file_that_grows_too_large(kind, old):
    code = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
result = saving.failure(sys.argv[1], bytes(300_000))
"""
    assert in_child(code, old, kind=kind) == [errno.EFBIG, str(old)]
    assert files(old.parent) == {"model.pt": OLD}


# File systems of one's own, which end with the process


@pytest.fixture
def with_mounts():
    """in_child() in a process that may mount file systems; they end with it."""
    tool = ["unshare", "--mount", *([] if os.getuid() == 0 else ["--map-root-user"])]
    if not works(*tool):
        pytest.skip("file systems cannot be mounted here")
    return functools.partial(in_child, tool=tool)


@linux
def test_a_full_file_system(kind, folder, with_mounts):
    code = """
folder = sys.argv[1]
saving.mount("-t", "tmpfs", "-o", "size=2m", "none", folder)
path = f"{folder}/model.pt"
saving.save(path, b"o" * 1_000_000)
result = []
for _ in range(5):  # nothing is held after a failure
    result += [saving.failure(path, bytes(3_000_000))]
assert saving.content(path) == b"o" * 1_000_000
assert os.listdir(folder) == ["model.pt"]
saving.save(path, b"n" * 900_000)
assert saving.content(path) == b"n" * 900_000
"""
    assert with_mounts(code, folder, kind=kind) == [[errno.ENOSPC, f"{folder}/model.pt"]] * 5


@linux
@pytest.mark.parametrize("known", [True, False])
def test_a_mount_point_is_written_in_place(kind, old, known, with_mounts):
    code = """
old, known = sys.argv[1:]
if known == "False":
    saving.destination._is_mount_point = lambda directory, name: False
other = old + ".other"
open(other, "wb").close()
saving.mount("--bind", other, old)
result = saving.save(old, b"new!" * 50_000)
assert saving.content(other) == b"new!" * 50_000
assert len(os.listdir(os.path.dirname(old))) == 2
"""
    (text,) = with_mounts(code, old, known, kind=kind)
    assert ("it is a mount point" if known else "busy") in text
    assert old.read_bytes() == OLD


@linux
def test_a_read_only_file_system(kind, old, with_mounts):
    code = """
folder = sys.argv[1]
saving.mount("--bind", folder, folder)
saving.mount("-o", "remount,bind,ro", folder)
result = [saving.failure(f"{folder}/{name}.pt", b"new") for name in ("model", "new")]
"""
    expected = [[errno.EROFS, str(old.with_name(f"{name}.pt"))] for name in ("model", "new")]
    assert with_mounts(code, old.parent, kind=kind) == expected


@linux
def test_without_proc_files_have_names(old, with_mounts):
    code = """
saving.mount("-t", "tmpfs", "none", "/proc")
result = saving.save(sys.argv[1], b"new!" * 50_000)
"""
    assert with_mounts(code, old) == []
    assert files(old.parent) == {"model.pt": NEW}


# Mapped files


def test_saving_over_a_mapped_file_leaves_the_arrays(kind, folder):
    path = folder / "model.pt"
    values = np.arange(50_000, dtype=np.float32)
    path.write_bytes(checkpoints.save({"w": checkpoints.tensor("float32", values.tobytes())}))
    array = ptio.load(path, mmap=True)["w"]
    other = checkpoints.save({"w": checkpoints.tensor("float32", bytes(8))})
    saving.save(path, other)
    assert (array == values).all()
    assert path.read_bytes() == other


@linux
@pytest.mark.parametrize("atomic", [True, False])
def test_a_mapped_file_is_not_written_in_place(folder, monkeypatch, atomic):
    path = folder / "model.pt"
    values = np.arange(50_000, dtype=np.float32)
    path.write_bytes(checkpoints.save({"w": checkpoints.tensor("float32", values.tobytes())}))
    monkeypatch.setattr(_destination.Destination, "_obstacle", lambda self: "of this test")
    array = ptio.load(path, mmap=True)["w"]
    with pytest.raises(OSError, match="mmap=False") as caught:
        saving.save(path, NEW, atomic=atomic)
    assert (caught.value.errno, caught.value.filename) == (errno.EBUSY, str(path))
    assert (array == values).all()
    del array
    saving.save(path, NEW, atomic=atomic)
    assert path.read_bytes() == NEW


# Several saves at once


def test_threads_do_not_disturb_each_other(kind, old):
    versions = [bytes([i]) * 3 * saving.PIECE for i in range(6)]
    saving.save(old, versions[0])
    seen, failures, done = set(), [], threading.Event()

    def work(version):
        try:
            for _ in range(10):
                saving.save(old, version)
        except BaseException as e:
            failures.append(e)

    def read():
        while not done.is_set():
            seen.add(old.read_bytes())

    workers = [threading.Thread(target=work, args=(version,)) for version in versions]
    reader = threading.Thread(target=read)
    for thread in (reader, *workers):
        thread.start()
    for thread in workers:
        thread.join()
    done.set()
    reader.join()
    assert failures == []
    assert seen <= set(versions)
    assert names(old.parent) == ["model.pt"]


def test_processes_do_not_disturb_each_other(kind, old):
    code = """
path = sys.argv[1]
versions = [bytes([i]) * 3 * saving.PIECE for i in range(6)]
saving.save(path, versions[0])
def work(version):
    for _ in range(20):
        saving.save(path, version)
        assert saving.content(path) in versions
workers = [saving.forked(lambda: work(version)) for version in versions]
result = [os.waitpid(worker, 0)[1] for worker in workers]
assert saving.content(path) in versions
"""
    assert in_child(code, old, kind=kind) == [0] * 6
    assert names(old.parent) == ["model.pt"]


def test_a_save_inside_a_save_does_not_take_its_temporary(old, monkeypatch):
    monkeypatch.setattr(_destination, "_O_TMPFILE", 0)
    with open_destination(old) as outer:
        with open_destination(old) as inner:
            assert len(names(old.parent)) == 3
            saving.write(inner, b"inner")
        saving.write(outer, b"outer")
        assert old.read_bytes() == b"inner"
    assert files(old.parent) == {"model.pt": b"outer"}


# Killed saves


@pytest.mark.parametrize("kind", ["nameless", "named"])
def test_saves_killed_at_random_moments(kind, folder):
    code = "result = saving.killed_at_random(sys.argv[1], 60)"
    assert in_child(code, folder / "model.pt", kind=kind) < 60


@pytest.mark.parametrize("kind", ["nameless", "named"])
def test_saves_killed_at_every_call(kind, folder):
    code = "result = saving.killed_at_every_call(sys.argv[1])"
    left, calls = in_child(code, folder / "model.pt", kind=kind)
    assert calls > 20
    assert left >= 1  # a link that has not been renamed, or a file that has a name


def leftover(folder, number, name="model.pt"):
    path = folder / f".{name}.{number}.ptio-tmp"
    path.write_bytes(b"left over")
    return path


def test_leftovers_of_many_saves_are_removed(kind, old):
    for number in (0, 1, 5, 9, 17):  # gaps as of up to eight saves at once
        leftover(old.parent, number)
    saving.save(old, NEW)
    assert names(old.parent) == ["model.pt"]


def test_a_leftover_in_use_stays(kind, old):
    path = leftover(old.parent, 0)
    with open(path, "rb") as used:
        fcntl.flock(used, fcntl.LOCK_EX)
        saving.save(old, NEW)
        assert names(old.parent) == [path.name, "model.pt"]
    saving.save(old, NEW)
    assert names(old.parent) == ["model.pt"]


def test_other_files_stay(kind, old):
    for name in ("model.pt.0", "other.pt", "model.p", "odel.pt"):
        leftover(old.parent, 0, name)
    (old.parent / ".model.pt.x.ptio-tmp").write_bytes(b"")
    (old.parent / ".model.pt.0.ptio-tmp").mkdir()
    (old.parent / ".model.pt.1.ptio-tmp").symlink_to("other.txt")
    (old.parent / "other.txt").write_bytes(b"other")
    before = names(old.parent)
    saving.save(old, NEW)
    assert names(old.parent) == before
    assert (old.parent / "other.txt").read_bytes() == b"other"


def test_a_new_file_that_another_save_takes_for_a_leftover(old, monkeypatch):
    """Before it is locked; the save makes another."""
    monkeypatch.setattr(_destination, "_O_TMPFILE", 0)
    lock, robbed = _destination._lock, []

    def late(fd):
        if not robbed:
            robbed.extend(old.parent.glob(".model.pt.*"))
            robbed[0].unlink()
        return lock(fd)

    monkeypatch.setattr(_destination, "_lock", late)
    saving.save(old, NEW)
    assert len(robbed) == 1
    assert files(old.parent) == {"model.pt": NEW}


def test_a_name_that_another_save_took_in_the_meantime_stays(kind, old, monkeypatch):
    """Of what looked like a leftover, and was renamed before it could be locked."""
    path = leftover(old.parent, 0)
    flock = fcntl.flock

    def late(fd, operation):
        if path.read_bytes() == b"left over":
            path.replace(path.with_name("other.pt"))
            path.write_bytes(b"of another save")
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    saving.save(old, NEW)
    monkeypatch.undo()
    assert path.read_bytes() == b"of another save"


def test_file_systems_without_locks(kind, old, monkeypatch):
    monkeypatch.setattr(_destination.fcntl, "flock", failing(errno.ENOLCK))
    path = leftover(old.parent, 0)
    saving.save(old, NEW)
    with pytest.raises(KeyboardInterrupt), open_destination(old):
        raise KeyboardInterrupt
    assert old.read_bytes() == NEW
    assert names(old.parent) == [path.name, "model.pt"]


# The order of what the system is asked to do


@pytest.fixture
def strace(tmp_path):
    """The calls of the system by a child that saves to a path."""
    if not works("strace"):
        pytest.skip("strace does not work here")

    def trace(path, kind, **options):
        log = tmp_path / "strace.txt"
        calls = "trace=fsync,linkat,?rename,?renameat,renameat2,fchmod,pwrite64"
        tool = ["strace", "-y", "-o", log, "-e", calls]
        in_child(
            f"result = saving.save(sys.argv[1], b'new', **{options})", path, kind=kind, tool=tool
        )
        return [line for line in log.read_text().splitlines() if str(path.parent) in line]

    return trace


@pytest.mark.parametrize("kind", ["nameless", "named"])
def test_a_durable_save_syncs_file_and_directory_around_the_rename(kind, old, strace):
    old.chmod(0o640)
    calls = strace(old, kind, durable=True)
    order = ["pwrite64", "fchmod", "fsync", "renameat", "fsync"]
    if kind == "nameless":
        order.insert(3, "linkat")
    assert [re.match(r"\w+", call)[0].removesuffix("2") for call in calls] == order
    assert f"<{old.parent}>)" in calls[-1]


@pytest.mark.parametrize("kind", ["nameless", "named"])
def test_other_saves_do_not_wait_for_the_disk(kind, old, strace):
    calls = strace(old, kind)
    assert calls
    assert not [call for call in calls if "sync" in call]


def test_a_durable_save_in_place_is_synced(old, strace):
    calls = strace(old, "named", durable=True, atomic=False)
    assert [call.partition("(")[0] for call in calls] == ["pwrite64", "fsync", "fsync"]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EIO])
def test_directories_that_cannot_be_synced(old, monkeypatch, code):
    fsync, synced = os.fsync, []

    def failing(fd):
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(code, "of this test")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", failing)
    monkeypatch.setattr(os, "sync", lambda: synced.append(True))
    failed = saving.failure(old, NEW, durable=True)
    assert failed == (None if code == errno.EINVAL else [errno.EIO, str(old)])
    assert synced == ([True] if code == errno.EINVAL else [])
    assert old.read_bytes() == NEW
