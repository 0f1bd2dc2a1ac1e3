# SPDX-License-Identifier: Apache-2.0
"""The old file or the new one, whole, whatever happens while it is saved."""

import errno
import fcntl
import functools
import itertools
import os
import re
import stat
import threading

import numpy as np
import ptio
import pytest
from ptio._save import destination
from ptio._save.destination import open_destination
from support import checkpoints, saving
from support.destinations import (
    NEW,
    OLD,
    failing,
    files,
    hidden,
    in_child,
    linux,
    names,
    works,
)

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
        monkeypatch.setattr(destination, "os", calls)
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
    monkeypatch.setattr(destination, "_is_mapped", lambda fd: True)
    with pytest.raises(OSError) as caught:
        saving.save(old, NEW)
    assert hidden(caught.value.filename)
    assert caught.value.filename2 == str(old)
    assert files(old.parent) == {"model.pt": OLD}


def test_a_temporary_file_that_somebody_removed(old, monkeypatch):
    monkeypatch.setattr(destination, "_O_TMPFILE", 0)
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
    monkeypatch.setattr(destination.Destination, "_obstacle", lambda self: "of this test")
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
    monkeypatch.setattr(destination, "_O_TMPFILE", 0)
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
    monkeypatch.setattr(destination, "_O_TMPFILE", 0)
    lock, robbed = destination._lock, []

    def late(fd):
        if not robbed:
            robbed.extend(old.parent.glob(".model.pt.*"))
            robbed[0].unlink()
        return lock(fd)

    monkeypatch.setattr(destination, "_lock", late)
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
    monkeypatch.setattr(destination.fcntl, "flock", failing(errno.ENOLCK))
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
