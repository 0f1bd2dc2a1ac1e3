# SPDX-License-Identifier: Apache-2.0
"""Random Python objects, as CPython's own picklers write them."""

import argparse
import collections
import datetime
import pathlib
import pickle
import pickletools
import types

import numpy as np

from . import atoms

_DTYPES = ("f8", "i4", ">u2", "?", "c16", "S3", "U2", "M8[us]", "f2", "i1,f4", "O")


class Objects:
    """Nested objects with what pickles share and repeat: the same object twice, cycles."""

    def __init__(self, rng):
        self.rng = rng
        self.made = []  # for sharing
        self.left = rng.choice((1, 4, 12, 30))

    def leaf(self):
        rng = self.rng
        choice = rng.randrange(9)
        if choice == 0:
            return rng.choice((None, True, False))
        if choice in (1, 2):
            value = atoms.any_int(rng)
            return value if value.bit_length() < 8000 else 1
        if choice == 3:
            return rng.choice(atoms.FLOATS)
        if choice == 4:
            return complex(rng.choice(atoms.FLOATS), rng.choice(atoms.FLOATS))
        if choice == 5:
            return atoms.any_blob(rng)
        return atoms.any_text(rng)

    def key(self):
        rng = self.rng
        if rng.random() < 0.2:
            return tuple(self.leaf() for _ in range(rng.randrange(3)))
        if rng.random() < 0.1:
            return frozenset(self.leaf() for _ in range(rng.randrange(3)))
        return self.leaf()

    def rare(self):
        """Values that come from calls."""
        rng = self.rng
        makers = (
            lambda: bytearray(atoms.any_blob(rng)),
            lambda: range(rng.randrange(9), 2**70, 3),
            lambda: slice(None, rng.randrange(9)),
            lambda: datetime.date(1 + rng.randrange(9999), 1 + rng.randrange(12), 1),
            lambda: datetime.datetime(2024, 2, 29, 23, 59, 59, 7, tzinfo=datetime.timezone.utc),
            lambda: datetime.timedelta(rng.randrange(-9, 9), 1, 2),
            lambda: pathlib.PurePosixPath("/a", rng.choice(("b", "..", "c d"))),
            lambda: pathlib.PureWindowsPath("C:/x"),
            self.array,
            self.scalar,
            lambda: np.dtype(rng.choice(_DTYPES)),
        )
        return rng.choice(makers)()

    def array(self):
        rng, dtype = self.rng, np.dtype(self.rng.choice(_DTYPES))
        shape = [rng.randrange(3) for _ in range(rng.randrange(3))]
        array = np.zeros(shape, dtype, order=rng.choice("CF"))
        if dtype.hasobject:
            for index in np.ndindex(*shape):
                array[index] = self.leaf()
        elif dtype.kind in "fiu":
            array[...] = rng.randrange(100)
        return array

    def scalar(self):
        return self.rng.choice((np.float32(1.5), np.int64(-3), np.bool_(True), np.str_("é")))

    def value(self, depth=0):
        rng = self.rng
        self.left -= 1
        if self.made and rng.random() < 0.2:
            return rng.choice(self.made)
        if self.left <= 0 or depth > 6 or rng.random() < 0.3:
            made = self.leaf() if rng.random() < 0.8 else self.rare()
            if rng.random() < 0.3:
                self.made.append(made)
            return made
        return self.container(depth + 1)

    def container(self, depth):
        rng, size = self.rng, self.rng.choice((0, 1, 2, 3, 5))
        kind = rng.randrange(10)
        if kind == 0:
            return tuple(self.value(depth) for _ in range(size))
        if kind == 1:
            return {self.key() for _ in range(size)}
        if kind == 2:
            return frozenset(self.key() for _ in range(size))
        if kind in (3, 4):
            made = [] if rng.random() < 0.8 else collections.deque(maxlen=rng.choice((None, 3)))
            self.made.append(made)
            made.extend([self.value(depth) for _ in range(size)])
            return made
        if kind == 5:
            made = rng.choice((argparse.Namespace, types.SimpleNamespace))()
            self.made.append(made)
            for name in rng.sample(("a", "b", "_c", "é"), rng.randrange(3)):
                setattr(made, name, self.value(depth))
            return made
        makers = (dict, dict, collections.OrderedDict, collections.Counter)
        makers += (lambda: collections.defaultdict(rng.choice((list, dict, None))),)
        made = rng.choice(makers)()
        counter = isinstance(made, collections.Counter)  # pickled by its items: never in a cycle
        if not counter:
            self.made.append(made)
        for _ in range(size):
            made[self.key()] = self.leaf() if counter else self.value(depth)
        if isinstance(made, collections.OrderedDict) and rng.random() < 0.4:
            made._metadata = self.value(depth)
        return made


def pickled(rng):
    """The pickle of a random object, by one of CPython's picklers."""
    made = Objects(rng).value()
    protocol = rng.choice((0, 1, 2, 2, 3, 4, 5))
    # Protocol 5's buffers can fail an assertion of the pickler in Python.
    dumps = pickle._dumps if protocol < 5 and rng.random() < 0.3 else pickle.dumps
    stream = dumps(made, protocol)
    return pickletools.optimize(stream) if rng.random() < 0.1 else stream
