# SPDX-License-Identifier: Apache-2.0
"""Whether work that is done again and again leaves something behind."""

import gc
import os
import sys


def rss():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def flat(work, rounds=300, allowed=2 << 20, settle=50):
    """Runs work until memory should have settled, then `rounds` times more."""
    for _ in range(settle):
        work()
    gc.collect()
    before = rss(), sys.getallocatedblocks()
    for _ in range(rounds):
        work()
    gc.collect()
    assert rss() - before[0] < allowed, "resident memory grows"
    assert sys.getallocatedblocks() - before[1] < rounds, "objects are left behind"
