# SPDX-License-Identifier: Apache-2.0
"""Runs operations while the k-th allocation fails, for every k, in a process of its own.

    python child.py FOLDER MODULE ROUNDS [PART OF A NAME...]

FOLDER/now says what is being done, for a parent that finds this process dead. One line of JSON per
operation: its name, how many allocations could fail, and what was wrong.
"""

import _testcapi
import array
import contextlib
import faulthandler
import gc
import importlib
import itertools
import json
import os
import pathlib
import sys

import ptio
from support.leaks import allocated, malloced
from support.outline import outline

_LOST = ("<function ", "error return without exception set")  # CPython of its own functions
_FOREVER = 0  # the second argument of set_nomemory: all allocations from the first on
_MOST = 20_000
_PATIENCE = 50  # so many successes in a row, and there was no k-th allocation


class Sweep:
    def __init__(self, operation, now):
        self._operation, self._now = operation, now
        self.wrong = []
        for _ in range(3):  # the first fetches what all others have
            ended = self._attempt(None, None)
            self._expected = self._describe(ended)
        error = ended[1]
        assert isinstance(error, ptio.Error) if operation.refused else error is None, self._expected

    def _attempt(self, k, stop):
        """(result, exception)"""
        work = self._operation.work
        if k is not None:
            _testcapi.set_nomemory(k, stop)
        try:
            return work(), None
        except BaseException as error:
            return None, error
        finally:
            _testcapi.remove_mem_hooks()

    def _describe(self, ended):
        result, error = ended
        if error is None:
            return outline(result)
        return f"{type(error).__module__}.{type(error).__name__}: {error}"

    def _is_out_of_memory(self, error):
        if isinstance(error, RuntimeError) and str(error) == "can't allocate lock":
            return True
        if isinstance(error, SystemError):
            # CPython itself loses an exception that passes through a Python function where there
            # is no memory for a frame object, and parts of NumPy set none.
            return self._operation.in_python or str(error).startswith(_LOST)
        expected = Exception if self._operation.any_error else MemoryError
        return isinstance(error, expected)

    def _judge(self, k, how, ended):
        """Whether memory was enough."""
        if self._is_out_of_memory(ended[1]):
            return False
        seen = self._describe(ended)
        if seen != self._expected:
            self.wrong.append(f"allocation {k} {how}: {seen[:600]}")
        return True

    def run(self):
        """How many allocations there are."""
        if self._operation.in_python:  # CPython itself may loop where nothing at all can be had
            count = self.singly(range(_MOST))
        else:
            count = self._from_the_kth_on()
            self.singly(range(count))
        if count == _MOST:
            self.wrong.append("it never ends")
        return count

    def _from_the_kth_on(self):
        for k in range(_MOST):
            self._note(k, "and all after it")
            if self._judge(k, "and all after it", self._attempt(k, _FOREVER)):
                return k
        return _MOST

    def singly(self, places):
        """After which one all succeed."""
        last = 0
        for k in places:
            self._note(k, "alone")
            if not self._judge(k, "alone", self._attempt(k, k + 1)):
                last = k
            elif k > last + _PATIENCE and len(places) == _MOST:
                return last
        return len(places)

    def leaks(self, count, rounds):
        """A place that leaks does so in every round."""
        used = array.array("q", bytes(16 * rounds))  # which takes no memory of its own later
        for i in range(rounds):
            self.singly(range(count))
            used[2 * i], used[2 * i + 1] = allocated(), malloced()
        for what, late in ("blocks", used[rounds::2]), ("bytes", used[rounds + 1 :: 2]):
            grown = [after - before for before, after in itertools.pairwise(late)]
            if all(number > 0 for number in grown):
                self.wrong.append(f"{what} left behind, in each round: {grown}")

    def _note(self, k, how):
        text = f"{self._operation.name}: allocation {k} {how}"
        os.pwrite(self._now, text.ljust(200).encode(), 0)


def main():
    folder, module, rounds, parts = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]
    faulthandler.enable()
    gc.disable()  # it would make the count of allocations depend on what was before
    now = os.open(pathlib.Path(folder) / "now", os.O_RDWR | os.O_CREAT)
    found = importlib.import_module(module).all_operations(folder)
    for operation in found:
        if parts and not any(part in operation.name for part in parts):
            continue
        os.pwrite(now, f"{operation.name}: without failures".ljust(200).encode(), 0)
        sweep = Sweep(operation, now)
        count = sweep.run()
        if rounds and not operation.in_python:
            sweep.leaks(count, rounds)
        sys.stdout.write(json.dumps([operation.name, count, sweep.wrong]) + "\n")
        sys.stdout.flush()
    with contextlib.suppress(OSError):
        os.close(now)


if __name__ == "__main__":
    main()
