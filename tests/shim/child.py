# SPDX-License-Identifier: Apache-2.0
"""Runs with shim.c preloaded: reads and saves while each system call fails in turn.

python child.py SHIM FOLDER      prints [calls that failed, what was wrong] as JSON
"""

import ctypes
import errno
import json
import os
import pathlib
import sys

import numpy as np
import ptio
from support.outline import outline

_MOST = 500
_READING = ("open", "fstat", "mmap", "pread", "read")
_WRITING = (*_READING, "write", "pwrite", "fsync", "fdatasync", "rename", "linkat")
_WRITING += ("ftruncate", "fallocate")
_ERRORS = ("EIO", "ENOMEM", "ENOSPC", "EINTR")
_TRANSFERS = ("read", "write", "pread", "pwrite")
_MAY_BE_INTERRUPTED = ("open", "read", "write", "pread", "pwrite")


def reading(path):
    def handle():
        with ptio.open(path, verify=True) as checkpoint:
            return [checkpoint["w"], checkpoint.get_slice("w")[1:3], checkpoint.load()]

    return {
        "load mapped": lambda: ptio.load(path, mmap=True),
        "load copied": lambda: ptio.load(path, mmap=False),
        "open": handle,
        "verify": lambda: ptio.verify(path).ok,
        "scan": lambda: ptio.scan(path).ok,
    }


def failures(calls):
    """(call, errno or 0, whether it is a short transfer, whether nobody may notice)"""
    for call in calls:
        for name in _ERRORS:
            hidden = name == "EINTR" and call in _MAY_BE_INTERRUPTED
            yield call, getattr(errno, name), False, hidden
        if call in _TRANSFERS:
            yield call, 0, True, True


def sweep(shim, work, calls, check):
    """How many calls failed. check(error, result) says what is wrong with an outcome."""
    count, wrong = 0, []
    for call, number, short, hidden in failures(calls):
        for k in range(_MOST):
            error = result = None
            shim.arm(call.encode(), k, number, short)
            try:
                result = work()
            except (OSError, MemoryError, ptio.Error) as caught:
                error = caught
            except BaseException as caught:
                wrong.append(f"{call} {k} {number}: {caught!r}")
            fired = shim.fired()
            shim.arm(b"", 0, 0, 0)
            said = f"{error!r}, which nobody was to notice" if hidden and error else None
            said = check(error, result) or said
            if said:
                wrong.append(f"{call} {k} {errno.errorcode.get(number, 'short')}: {said}")
            if not fired:
                break
            count += 1
        else:
            wrong.append(f"{call}: no end")
    return count, wrong


def saving(shim, target, obj, durable):
    def save():
        ptio.save(obj, target, durable=durable)

    save()
    new = outline(ptio.load(target))
    ptio.save([1], target)
    old = target.read_bytes()

    def whole(error, result):
        found = sorted(os.listdir(target.parent))
        if found != ["saved.pt"]:
            return f"left behind: {found}"
        is_old, now = target.read_bytes() == old, outline(ptio.load(target))
        target.write_bytes(old)
        # After the new file has its name there is still the folder to be written through.
        fine = is_old or now == new if error and durable else is_old == (error is not None)
        if fine and (is_old or now == new):
            return None
        return f"{'the old file' if is_old else now[:300]} after {error!r}"

    return sweep(shim, save, _WRITING, whole)


def main():
    shim, folder = ctypes.CDLL(sys.argv[1]), pathlib.Path(sys.argv[2])
    path, target, told = folder / "read.pt", folder / "target" / "saved.pt", {}
    obj = {"w": np.arange(3000.0), "x": ["y", 1]}
    ptio.save(obj, path)
    for name, work in reading(path).items():
        expected = outline(work())

        def same(error, result, expected=expected, reports=name in ("verify", "scan")):
            fine = error or outline(result) == expected or (reports and result is False)
            return None if fine else f"another result: {result}"

        told[name] = sweep(shim, work, _READING, same)
    target.parent.mkdir()
    for durable in (False, True):
        told[f"save, durable={durable}"] = saving(shim, target, obj, durable)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
