# SPDX-License-Identifier: Apache-2.0
"""Saves through ptio._save.destination; also in child processes, which have it without the package:
without NumPy they start fast, and have no threads that a fork would lose."""

import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
import warnings


def _alone():
    package = importlib.util.find_spec("ptio").submodule_search_locations[0]
    file = os.path.join(package, "_save", "destination.py")
    spec = importlib.util.spec_from_file_location("ptio._save.destination", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


destination = sys.modules.get("ptio._save.destination") or _alone()
PIECE = 1 << 16


def save(path, data, **options):
    """Saves `data`, piece by piece, and returns the texts of the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with destination.open_destination(path, **options) as file:
            write(file, data)
            file.finish(len(data))
    return [str(warning.message) for warning in caught]


def write(file, data):
    offset = 0
    while offset < len(data):
        piece = data[offset : offset + PIECE]
        with file.naming_errors():
            if file.seekable:
                offset += os.pwrite(file.fd, piece, offset)
            else:
                offset += os.write(file.fd, piece)


def failure(path, data, **options):
    """The errno and the file name of the OSError that saving ends in."""
    try:
        save(path, data, **options)
    except OSError as e:
        return [e.errno, e.filename]
    return None


def content(path):
    with open(path, "rb") as file:
        return file.read()


def litter(folder):
    return sorted(name for name in os.listdir(folder) if name.endswith(".ptio-tmp"))


def use(kind):
    """kind "named": as on file systems that have no files without names."""
    if kind == "named":
        destination._O_TMPFILE = 0


def become_nobody():
    """Permissions mean nothing to root."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)


class Calls:
    """The os module, in which call number `at` also does `act`, before or after its work."""

    _NO_CALLS = ("fsdecode", "fsencode", "fspath", "major", "minor", "strerror")

    def __init__(self, act, at, after=False):
        self._act, self._left, self._after = act, at, after
        self.done = False

    def __getattr__(self, name):
        value = getattr(os, name)
        if not callable(value) or isinstance(value, type) or name in self._NO_CALLS:
            return value

        def call(*args, **kwargs):
            self._left -= 1
            if self._left == 0 and not self._after:
                self._now()
            try:
                return value(*args, **kwargs)
            finally:
                if self._left == 0 and self._after:
                    self._now()

        return call

    def _now(self):
        self.done = True
        self._act()


def forked(work):
    """Runs work() in a copy of this process and returns its number."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return child


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def killed_at_random(path, kills):
    """How often a killed process left something; asserts that it was never more than that."""
    versions = [bytes([i]) * (20 * PIECE) for i in range(2)]
    save(path, versions[0])
    found = 0
    for _ in range(kills):
        child = forked(lambda: [save(path, versions[i % 2]) for i in range(1_000_000)])
        time.sleep(random.uniform(0, 0.012))
        os.kill(child, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        found += _checked(path, versions)
    return found


def killed_at_every_call(path):
    """As killed_at_random, before each call of the system; also how many there are."""
    versions = [bytes([i]) * 1000 for i in range(2)]
    found = 0
    for number in range(1, 1000):
        save(path, versions[0])

        def work(number=number):
            os.fsync = lambda fd: None  # a power cut is another matter
            destination.os = Calls(die, number)
            save(path, versions[1], durable=True)

        status = os.waitpid(forked(work), 0)[1]
        found += _checked(path, versions)
        if status == 0:
            return [found, number]
        assert status == signal.SIGKILL
    raise AssertionError("no end of calls")


def _checked(path, versions):
    """Whether there is litter; asserts that the next save removes it, and the file is whole."""
    folder = os.path.dirname(path)
    assert content(path) in versions
    found = litter(folder)
    assert len(found) <= 1
    save(path, versions[0])
    assert content(path) == versions[0]
    assert os.listdir(folder) == [os.path.basename(path)]
    return len(found)
