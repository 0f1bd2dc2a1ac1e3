# SPDX-License-Identifier: Apache-2.0
"""Whether work that is done again and again leaves something behind."""

import ctypes
import gc
import os
import sys


def rss():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def allocated():
    """Blocks in use, without the names that CPython's cache of lookups keeps (at most 4,096)."""
    gc.collect()
    getattr(sys, "_clear_internal_caches", sys._clear_type_cache)()
    return sys.getallocatedblocks()


class _Mallinfo(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in ["a", "b", "c", "d", "hblkhd", "f", "g", "uordblks", "i", "j"]
    ]


def malloced():
    """Bytes that malloc has given out; 0 where it does not tell."""
    try:
        ask = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return 0
    ask.restype = _Mallinfo
    told = ask()
    return told.hblkhd + told.uordblks


def flat(work, rounds=300, allowed=2 << 20, settle=50):
    """Runs work until memory should have settled, then `rounds` times more."""
    for _ in range(settle):
        work()
    before = allocated(), rss()
    for _ in range(rounds):
        work()
    after = allocated(), rss()
    assert after[1] - before[1] < allowed, "resident memory grows"
    assert after[0] - before[0] < rounds, "objects are left behind"
