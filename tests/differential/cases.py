# SPDX-License-Identifier: Apache-2.0
"""The streams of a seed, each read by ptio and by the oracles."""

import collections
import contextlib
import io
import pickletools
import random
import time

import ptio

from . import exceptions, oracles
from .comparison import difference
from .generator import TORCH_OPCODES, generate
from .mutations import boundaries, mutate
from .objects import pickled
from .storages import archive

CASES = 10  # streams of one seed
MUTANTS = CASES - 2
SLOW = 1.0  # seconds of CPU time


class Disagreement(Exception):
    """Two readers differ, or ptio broke a rule."""


Case = collections.namedtuple("Case", "seed number origin sound stream encoding")


def cases_of(seed):
    """The cases of one seed: one generated, one of CPython's pickler, and mutants of both."""
    rng = random.Random(seed)
    ops, encoding = generate(rng, torch=rng.random() < 0.4)
    generated, written = b"".join(ops), pickled(rng)
    yield Case(seed, 0, "generated", True, generated, encoding)
    yield Case(seed, 1, "pickled", True, written, "utf-8")
    for number in range(2, 2 + MUTANTS):
        of, other = (generated, written) if number % 2 else (written, generated)
        mutant = mutate(rng, of, other)
        yield Case(seed, number, "mutated", False, mutant, encoding if number % 2 else "utf-8")


class Reader:
    """Reads cases, and counts. `torch`: beside torch as well. `tally`: of what ptio refuses,
    also what Python's unpickler would have read."""

    def __init__(self, torch=None, tally=False):
        self.torch = torch
        self.tally = tally
        self.reset()

    def reset(self):
        self.counts = collections.Counter()
        self.refused_beyond = {}  # class and message -> (how often, shortest stream)

    def run(self, seed):
        for case in cases_of(seed):
            self.read(case)

    def read(self, case):
        counts = self.counts
        counts["cases"] += 1
        counts[case.origin] += 1
        begin = time.perf_counter()
        try:
            value = self.load(case)
        except ptio.Error as e:
            error = e
        except Exception as e:
            raise self.disagree(case, f"ptio raises {type(e).__name__}: {e}") from e
        else:
            error = None
        if time.perf_counter() - begin > SLOW and self.is_slow(case):
            raise self.disagree(case, "ptio takes too long")
        if error is None:
            counts["accepted"] += 1
            self.beside_python(case, value)
            self.beside_torch(case, value)
            return
        counts["refused"] += 1
        if case.sound:
            raise self.disagree(case, f"ptio refuses a sound stream: {error}")
        if self.tally:
            self.note_refusal(case, error)

    @staticmethod
    def load(case):
        return ptio.load(io.BytesIO(archive(case.stream)), encoding=case.encoding)

    def is_slow(self, case):
        """Whether it is ptio that takes long, and not a busy machine."""
        begin = time.process_time()
        with contextlib.suppress(ptio.Error):
            self.load(case)
        return time.process_time() - begin > SLOW

    # --- oracles ------------------------------------------------------------------------------

    def beside_python(self, case, value):
        small_memo = True
        try:
            theirs, small_memo = oracles.read_in_python(case.stream, case.encoding)
        except Exception as e:
            self.excuse(case, "pickle._Unpickler", e)
        else:
            self.compare(case, "pickle._Unpickler", value, theirs)
        if not small_memo:
            self.counts["memo too large for C"] += 1
            return
        try:
            theirs = oracles.read_in_c(case.stream, case.encoding)
        except Exception as e:
            self.excuse(case, "_pickle.Unpickler", e)
        else:
            self.compare(case, "_pickle.Unpickler", value, theirs)

    def beside_torch(self, case, value):
        if self.torch is None or case.encoding != "utf-8":
            return
        places = boundaries(case.stream)
        if not TORCH_OPCODES.issuperset(case.stream[at] for at in places):
            return
        try:
            theirs = self.torch.read(case.stream, case.encoding)
        except Exception as e:
            if not self.torch.is_unknown(e):
                self.excuse(case, "torch", e)
        else:
            self.compare(case, "torch", value, theirs)

    def compare(self, case, oracle, ours, theirs):
        self.counts[oracle] += 1
        found = difference(ours, theirs)
        if found is not None:
            raise self.disagree(case, f"{oracle}: {found}")

    def excuse(self, case, oracle, error):
        """An oracle refuses what ptio reads: wrong, but for the exceptions."""
        reason = exceptions.may_refuse(case, oracle, error)
        if reason is None:
            said = f"{type(error).__name__}: {error}"
            raise self.disagree(case, f"{oracle} refuses what ptio reads: {said}") from error
        self.counts["excused"] += 1
        self.counts[f"excused, {oracle}: {reason}"] += 1

    # --- reports ------------------------------------------------------------------------------

    def note_refusal(self, case, error):
        try:
            oracles.read_harmlessly(case.stream, case.encoding)
        except Exception:
            return
        self.counts["refused beyond"] += 1
        said = type(error).__name__, str(error.args[0])
        count, shortest = self.refused_beyond.get(said, (0, case.stream))
        self.refused_beyond[said] = count + 1, min(case.stream, shortest, key=len)

    def disagree(self, case, what):
        where = f"seed {case.seed}, case {case.number} ({case.origin}, encoding {case.encoding})"
        text = f"{what}\n{where}\nhex: {case.stream.hex()}\n{disassembled(case.stream)}"
        return Disagreement(text)


def disassembled(stream):
    """What pickletools says of a stream, as far as it goes."""
    out = io.StringIO()
    try:
        for info, argument, at in pickletools.genops(stream):
            out.write(f"{at:6}: {info.name} {argument!r:.100}\n")
    except Exception as e:
        out.write(f"        {type(e).__name__}: {e}\n")
    return out.getvalue()
