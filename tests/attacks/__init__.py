# SPDX-License-Identifier: Apache-2.0
"""Hostile files. Each generator makes one defect; its number is that of the list in safety.md.

A generator returns the bytes of a file, or yields several variants. `expects` says how a load
ends: kinds of errors joined by "|", or "loads".
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from support import checkpoints
from support import pickle_asm as asm

STORAGE = {"0": bytes(range(16))}  # the storage that pickle_asm's phrases refer to
KINDS = {
    "Forbidden": {"ForbiddenError"},
    "Malformed": {
        *("FormatError", "TruncatedError", "AmbiguousError", "BoundsError", "ChecksumError"),
        "PickleFormatError",
    },
    "Ambiguous": {"AmbiguousError"},
    "Bounds": {"BoundsError"},
    "Checksum": {"ChecksumError"},
    "Limit": {"LimitError"},
    "Unsupported": {"UnsupportedError"},
    "loads": {""},
}


@dataclass(frozen=True)
class Attack:
    number: str
    name: str
    make: Callable
    expects: str
    says: str = ""  # a regular expression that the message matches
    verifies: bool = False  # verify is right to be content
    only_copied: bool = False  # a mapped load without verify does not see it
    options: dict = field(default_factory=dict)

    def files(self):
        """The variants, as (name, bytes)."""
        made = self.make()
        variants = [made] if isinstance(made, bytes) else list(made)
        label = f"{self.number}-{self.name}"
        if len(variants) == 1:
            return [(label, variants[0])]
        return [(f"{label}-{i}", data) for i, data in enumerate(variants)]

    def allowed(self):
        """Names of the exceptions with which a load may end; "" for none."""
        return set().union(*(KINDS[kind] for kind in self.expects.split("|")))


ATTACKS: list[Attack] = []


def attack(number, expects, name=None, **more):
    def register(make):
        label = name or make.__name__
        assert label not in {known.name for known in ATTACKS}, "two attacks of one name"
        ATTACKS.append(Attack(str(number), label, make, expects, **more))
        return make

    return register


def file_of(*parts, protocol=2, storages=STORAGE):
    """A sound archive around a pickle."""
    return checkpoints.archive(asm.program(*parts, protocol=protocol), storages)


def entries_of(*parts, storages=STORAGE):
    return checkpoints.entries(asm.program(*(parts or [asm.tensor()])), storages)


def load_all():
    from . import containers, exhaustion, legacy, pickles, tensors, zips  # noqa: F401

    return ATTACKS
