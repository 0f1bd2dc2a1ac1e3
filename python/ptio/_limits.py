# SPDX-License-Identifier: Apache-2.0
"""What one load may spend, so that a hostile file cannot take memory or time without end."""

from __future__ import annotations

from dataclasses import dataclass, fields

_LARGEST = 2**63 - 1
_LARGEST_DEPTH = 65_535


@dataclass(frozen=True)
class Limits:
    """What reading one file may spend; beyond it there is a `ptio.LimitError`.

    The defaults fit real checkpoints of any size. Raise one, for a file that you trust, by
    `ptio.load(f, limits=ptio.Limits(depth=5000))`.

    Attributes:
        pickle_bytes: size of the pickle. Tensors are not part of it.
        objects: number of values that the pickle makes.
        object_bytes: memory for these values, tensors apart; None: the larger of 64 MiB and 32
            times the size of the file.
        inflated_bytes: sum of the sizes of all compressed members; None: as for object_bytes.
        depth: how deep containers may be nested.
        hash_work: number of pairs of dict keys or set members that have the same hash.

    Raises:
        TypeError: a value is not an int.
        ValueError: a value is not positive, or does not fit 64 bits (depth: 65,535).
    """

    pickle_bytes: int = 512 * 2**20
    objects: int = 50_000_000
    object_bytes: int | None = None
    inflated_bytes: int | None = None
    depth: int = 1000
    hash_work: int = 1_000_000

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and field.default is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"Limits.{field.name} must be an int, not {value!r}")
            largest = _LARGEST_DEPTH if field.name == "depth" else _LARGEST
            if not 0 < value <= largest:
                raise ValueError(f"Limits.{field.name} must be from 1 to {largest}, not {value}")

    def _for_core(self) -> tuple[int, int, int, int, int, int]:
        """The form that the C extension takes: 0 means automatic."""
        return (
            self.pickle_bytes,
            self.objects,
            self.object_bytes or 0,
            self.inflated_bytes or 0,
            self.depth,
            self.hash_work,
        )
