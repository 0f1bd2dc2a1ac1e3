# SPDX-License-Identifier: Apache-2.0
"""Small files of every format: each truncation, and some values of each byte. The result is the
identical object or one of ptio's errors; `make sweep` tries everything."""

import os

import pytest
from sweeps import changes, outcome
from sweeps.seeds import seeds

SEEDS = seeds()
SLOW = "PTIO_SANITIZE" in os.environ or "asan" in os.environ.get("LD_PRELOAD", "")
CASES = 150 if SLOW else 500  # for one seed
VALUES = (0x00, 0x2E, 0x80, 0xFF)


def some(cases, number):
    """Every n-th of a number of cases."""
    return (data for i, data in enumerate(cases) if i % max(1, number // CASES) == 0)


@pytest.mark.parametrize("name", SEEDS)
def test_a_changed_file_is_the_same_object_or_an_error(name):
    seed = SEEDS[name]
    judge = outcome.Judge(seed)
    assert judge.of(seed.data) == outcome.IDENTICAL
    refused = 0
    size = len(seed.data)
    for data in some(changes.truncations(seed.data), size):
        refused += judge.of(data) == outcome.REFUSED
    assert refused > 0
    for data in some(changes.bytes_changed(seed.data, VALUES), size * len(VALUES)):
        judge.of(data)


def test_the_fields_of_a_seed_are_numbers_in_it():
    for name, seed in SEEDS.items():
        places = seed.fields(seed.data)
        assert places or name == "bare 0"
        assert all(at >= 0 and at + width <= len(seed.data) for at, width in places), name
        assert len(set(places)) == len(places), name
        cases = sum(1 for _ in changes.everything(seed)) if len(seed.data) < 100 else None
        assert cases in (None, changes.number_of(seed)), name


def test_an_unnoticed_change_fails_a_sweep():
    class Blind(outcome.Judge):
        def load(self, data):
            return [data[0]]

    judge = Blind(SEEDS["tensors"])
    with pytest.raises(AssertionError, match="another object"):
        judge.of(b"\0" + SEEDS["tensors"].data[1:])
