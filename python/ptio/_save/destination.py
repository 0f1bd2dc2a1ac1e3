# SPDX-License-Identifier: Apache-2.0
"""Where a save to a path goes: into a new file, which takes the name when it is whole.

The new file has no name while it is written (O_TMPFILE): what ends the process ends the file. At
the end it is linked to a temporary name and renamed over the old file, since a link cannot replace
one. Where there is no O_TMPFILE, it has the temporary name from the start.

Temporary names are .NAME.0.ptio-tmp, .NAME.1.ptio-tmp and so on: these can be looked for without
listing a directory, which may hold 100,000 files. Who uses one holds a flock on it; what can be
locked is left over from a killed process, and the next save removes it.

What cannot be replaced is written in place, with a warning. It is cut to nothing first: should
that save fail, readers refuse the short file, while new bytes over old ones could look whole.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
import stat
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from errno import EACCES, EBUSY, EINVAL, EISDIR, ENOENT, EOPNOTSUPP, EPERM, EROFS, EXDEV

_O_TMPFILE: int = getattr(os, "O_TMPFILE", 0)
_O_PATH: int = getattr(os, "O_PATH", os.O_RDONLY)
# How a system says that a file cannot be replaced where it is; it may be possible to write it.
_IRREPLACEABLE = (EACCES, EBUSY, EOPNOTSUPP, EPERM, EROFS, EXDEV)
# Looking for leftovers ends after this many free numbers. Simultaneous saves take the lowest free
# ones, so that a gap is no wider than there were saves.
_GAP = 8


@contextmanager
def open_destination(
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
    *,
    atomic: bool = True,
    durable: bool = False,
) -> Iterator[Destination]:
    """A `Destination` to write; at the end of the block the file has its name.

    After an exception in the block, KeyboardInterrupt too, the old file is as it was and nothing
    else is left. Killing the process may leave a temporary file, until the next save to `path`.

    The new file has the permissions of the old one (its owner and group too, where the system
    allows that), or those that open() gives. Symbolic links are followed. Other hard links to the
    old file, and arrays that are mapped from it, keep the old content.

    /dev/null, /dev/stdout, FIFOs and devices are written directly. So is a file that cannot be
    replaced (its directory is not writable, it is a mount point), with a UserWarning; after an
    exception it holds what had been written.

    Args:
        path: the file; its directory must exist.
        atomic: False: write in place from the start, as open(path, "wb") does.
        durable: True: once the block has ended, the file survives a power cut. False: it
            survives the end of the process.

    Raises:
        IsADirectoryError, FileNotFoundError: `path` is a directory; its directory is missing.
        OSError: the file cannot be made or take its name. Or it can only be written in place, and
            this process has it mapped: that would destroy the mapped arrays.
    """
    destination = Destination(os.fspath(path), durable)
    try:
        with destination.naming_errors():
            destination._open(atomic)
        yield destination
        with destination.naming_errors():
            destination._publish()
    finally:
        destination._close()


class Destination:
    """An empty file to write, by `open_destination`.

    Attributes:
        path: what the caller called it, for messages.
        fd: the descriptor to write to; the end of the block closes it.
        seekable: whether it can be written at offsets and preallocated. If not, it is only
            written forward, from where it stands.
    """

    def __init__(self, path: str | bytes, durable: bool) -> None:
        self.path = path
        self.fd = -1
        self.seekable = False
        self._durable = durable
        self._directory = -1  # open: a change of the current directory does not matter
        self._name = ""
        self._old: os.stat_result | None = None
        self._replaces = False
        self._temporary = ""

    def finish(self, size: int) -> None:
        """End the file at `size` bytes and give back what was preallocated behind them."""
        if self.seekable:
            with self.naming_errors():
                os.ftruncate(self.fd, size)

    @contextmanager
    def naming_errors(self) -> Iterator[None]:
        """Give OSErrors the path: those of a descriptor have none."""
        try:
            yield
        except OSError as e:
            if e.filename2 is None:
                e.filename = self.path
            raise

    def _open(self, atomic: bool) -> None:
        with suppress(FileNotFoundError):  # first of all: the system may forbid to follow a link
            self._old = os.stat(self.path)
        if self._old and stat.S_ISDIR(self._old.st_mode):
            raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
        self._locate()
        if not self._name:
            raise FileNotFoundError(ENOENT, os.strerror(ENOENT))
        if _is_own_descriptor(self._directory, self._name):
            # Not opened anew: a socket cannot be, and a file would be written from its start.
            self.fd = os.dup(int(self._name))
        elif self._old and not stat.S_ISREG(self._old.st_mode):
            self.fd = os.open(self.path, os.O_WRONLY | os.O_NOCTTY)
        elif not atomic:
            self._open_in_place()
        elif reason := self._obstacle():
            self._open_in_place(reason)
        else:
            self._open_new()

    def _locate(self) -> None:
        """Find the directory and the name of the file itself, behind all symbolic links."""
        target = os.fsdecode(self.path)
        for _ in range(40):  # as many links as Linux follows
            head, self._name = os.path.split(target)
            before = None if self._directory < 0 else self._directory
            self._directory = os.open(head or ".", _O_PATH | os.O_DIRECTORY, dir_fd=before)
            if before is not None:
                os.close(before)
            if _is_own_descriptor(self._directory, self._name):
                return
            try:
                target = os.readlink(self._name, dir_fd=self._directory)
            except OSError:  # no link, or nothing at all
                return

    def _obstacle(self) -> str | None:
        """Why the old file cannot be replaced, as far as that shows without trying."""
        if self._old is None:
            return None
        if not os.access(self._name, os.W_OK, effective_ids=True, dir_fd=self._directory):
            return "it is read-only"  # a rename would not mind; open(path, "wb") does
        if _is_mount_point(self._directory, self._name):
            return "it is a mount point"
        directory = os.fstat(self._directory)
        owners = (0, self._old.st_uid, directory.st_uid)
        if directory.st_mode & stat.S_ISVTX and os.geteuid() not in owners:
            return "only its owner may replace it in this directory"
        return None

    def _open_new(self) -> None:
        _remove_leftovers(self._directory, self._name)
        mode = 0o666 if self._old is None else 0o600  # never less private than the old file
        try:
            if not self._open_nameless(mode):
                self._claim_name(lambda name: self._create(name, mode))
        except OSError as e:
            if e.errno not in _IRREPLACEABLE:
                raise
            self._open_in_place(e.strerror)
        else:
            self.seekable = self._replaces = True

    def _open_nameless(self, mode: int) -> bool:
        if not _O_TMPFILE:
            return False
        with suppress(OSError):  # what is not about O_TMPFILE happens again with a name
            self.fd = os.open(".", _O_TMPFILE | os.O_RDWR, mode, dir_fd=self._directory)
            os.stat(f"/proc/self/fd/{self.fd}")  # without /proc it could never get a name
            _lock(self.fd)
            return True
        self._close_file()
        return False

    def _create(self, name: str, mode: int) -> None:
        self.fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode, dir_fd=self._directory)
        if not (_lock(self.fd) and _is_at(self.fd, self._directory, name)):
            self._close_file()  # another save took it for a leftover before it was locked
            raise FileExistsError

    def _link(self, name: str) -> None:
        file = f"/proc/self/fd/{self.fd}"
        os.link(file, name, dst_dir_fd=self._directory, follow_symlinks=True)

    def _claim_name(self, make: Callable[[str], None]) -> None:
        """Call make() with one temporary name after the other, until one is free."""
        for name in _temporary_names(self._directory, self._name):
            self._temporary = name  # before the file is there: an interrupt may come in between
            with suppress(FileExistsError):
                make(name)
                break

    def _open_in_place(self, reason: str | None = None) -> None:
        try:
            self.fd = os.open(self._name, os.O_WRONLY, dir_fd=self._directory)
        except FileNotFoundError:
            self.fd = os.open(self._name, os.O_WRONLY | os.O_CREAT, 0o666, dir_fd=self._directory)
        if _is_mapped(self.fd):
            why = "Arrays are mapped from this file, which can only be written in place"
            raise OSError(EBUSY, f"{why}: load it with mmap=False, or save to another name")
        if reason is not None:
            why = f"is written in place, since it cannot be replaced ({reason})"
            _warn(f"{os.fsdecode(self.path)} {why}: if this save fails, the old content is lost")
        os.ftruncate(self.fd, 0)
        self.seekable = True

    def _publish(self) -> None:
        if not self.seekable:
            return
        if self._replaces and self._old:
            _keep_permissions(self.fd, self._old)
        os.close(os.dup(self.fd))  # network file systems tell on close that writing failed
        if self._durable:
            _sync(self.fd)
        if self._replaces:
            self._take_name()
        if self._durable:
            _sync_directory(self._directory)

    def _take_name(self) -> None:
        at = self._directory
        try:
            if not self._temporary:
                self._claim_name(self._link)
            elif not _is_at(self.fd, at, self._temporary):  # not every flock is for all machines
                raise FileNotFoundError(ENOENT, "Another save removed the temporary file")
            os.rename(self._temporary, self._name, src_dir_fd=at, dst_dir_fd=at)
            self._temporary = ""
        except OSError as e:
            failure = OSError(e.errno, e.strerror, self._temporary, None, os.fsdecode(self.path))
            if e.errno not in _IRREPLACEABLE:
                raise failure from None
            self._copy_in_place(failure)

    def _copy_in_place(self, failure: OSError) -> None:
        """The way out where only the last step shows that the file cannot be replaced."""
        self._remove_temporary()
        with open(self.fd, "rb") as whole:
            self.fd = -1
            try:
                self._open_in_place(failure.strerror)
            except OSError as e:
                raise failure from e
            whole.seek(0)
            with open(self.fd, "wb", closefd=False) as file:
                shutil.copyfileobj(whole, file, 1 << 20)
        if self._durable:
            _sync(self.fd)

    def _remove_temporary(self) -> None:
        if self._temporary and self.fd < 0:  # interrupted while it was made
            _remove_leftover(self._directory, self._temporary)
        elif self._temporary and _is_at(self.fd, self._directory, self._temporary):
            os.unlink(self._temporary, dir_fd=self._directory)

    def _close_file(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def _close(self) -> None:
        with suppress(OSError):  # a duplicate has been closed: nothing new about the data
            self._remove_temporary()
        with suppress(OSError):
            self._close_file()
        if self._directory >= 0:
            os.close(self._directory)


def _is_own_descriptor(directory: int, name: str) -> bool:
    """Whether /dev/stdout or its like leads here: to an entry of /proc/self/fd or /dev/fd."""
    if not name.isdecimal():
        return False
    with suppress(OSError):
        return os.path.samestat(os.fstat(directory), os.stat("/dev/fd"))
    return False


def _is_mount_point(directory: int, name: str) -> bool:
    """Whether another file is mounted on this one; False where that cannot be told."""
    with suppress(OSError):
        file = os.open(name, _O_PATH, dir_fd=directory)
        try:
            return _mount_id(file) != _mount_id(directory)
        finally:
            os.close(file)
    return False


def _mount_id(fd: int) -> bytes:
    with open(f"/proc/self/fdinfo/{fd}", "rb") as info:
        return next((line for line in info if line.startswith(b"mnt_id:")), b"")


def _is_mapped(fd: int) -> bool:
    """Whether this process has the file mapped; False where that cannot be told."""
    file = os.fstat(fd)
    identity = f" {os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x} {file.st_ino} ".encode()
    with suppress(OSError), open("/proc/self/maps", "rb") as maps:
        return any(identity in line for line in maps)
    return False


def _temporary_names(directory: int, name: str) -> Iterator[str]:
    longest = os.fpathconf(directory, "PC_NAME_MAX") - len("..999999.ptio-tmp")
    while len(os.fsencode(name)) > longest:
        name = name[:-1]  # a whole character: not all file systems take a part of one
    return (f".{name}.{number}.ptio-tmp" for number in itertools.count())


def _is_at(fd: int, directory: int, name: str) -> bool:
    """Whether this name is that of the open file."""
    with suppress(OSError):
        there = os.stat(name, dir_fd=directory, follow_symlinks=False)
        return os.path.samestat(there, os.fstat(fd))
    return False


def _lock(fd: int) -> bool:
    """False: somebody else has the lock. True also on file systems without locks."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        return not isinstance(e, BlockingIOError)
    return True


def _remove_leftovers(directory: int, name: str) -> None:
    free = 0
    for temporary in _temporary_names(directory, name):
        if os.access(temporary, os.F_OK, dir_fd=directory):
            _remove_leftover(directory, temporary)
            free = 0
        else:
            free += 1
        if free == _GAP:
            return


def _remove_leftover(directory: int, temporary: str) -> None:
    """Remove a temporary file that nobody holds."""
    with suppress(OSError):  # in use, somebody else's, or a file system without locks
        fd = os.open(temporary, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its owner may have renamed it since, and another save have taken the name.
            if _is_at(fd, directory, temporary):
                os.unlink(temporary, dir_fd=directory)
        finally:
            os.close(fd)


def _keep_permissions(fd: int, old: os.stat_result) -> None:
    """As far as the system allows: a file that others cannot read is whole all the same."""
    new, mode = os.fstat(fd), old.st_mode & 0o777
    if stat.S_IMODE(new.st_mode) != mode:
        with suppress(OSError):
            os.fchmod(fd, mode)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        try:
            os.fchown(fd, old.st_uid, old.st_gid)
        except OSError:
            with suppress(OSError):
                os.fchown(fd, -1, old.st_gid)


def _sync(fd: int) -> None:
    if sys.platform == "darwin":
        with suppress(OSError):  # fsync() would leave it in the cache of the disk
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
            return
    os.fsync(fd)


def _sync_directory(directory: int) -> None:
    try:
        fd = os.open(".", os.O_RDONLY, dir_fd=directory)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as e:
        if e.errno not in (EACCES, EINVAL, EOPNOTSUPP):
            raise
        os.sync()  # this directory cannot be synced by itself


def _warn(text: str) -> None:
    """Warn at the line that called ptio."""
    level, frame = 1, sys._getframe()
    while frame.f_back and frame.f_globals["__name__"].split(".")[0] in ("ptio", "contextlib"):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, stacklevel=level)
