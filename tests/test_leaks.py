# SPDX-License-Identifier: Apache-2.0
"""A short run of tests/leaks/repeat.py, and proof that it sees what it is there for."""

import pytest
from leaks import repeat
from support.children import unless_sanitized

pytestmark = unless_sanitized


@pytest.mark.parametrize("step", [8, pytest.param(1, marks=pytest.mark.slow)])
def test_no_file_leaves_anything_behind(tmp_path, step):
    files, loads, wrong = repeat.run(tmp_path, 20, step=step)
    assert files > 800 // step
    assert loads > 15 * files
    assert not wrong


@pytest.mark.parametrize(
    ("keep", "told"),
    [
        (lambda kept: kept.append(object()), "blocks"),
        (lambda kept: kept.append(bytes(10_000)), "bytes of malloc"),
        (lambda kept: kept.append(None), "references to None"),
    ],
)
def test_what_is_kept_is_seen(keep, told):
    kept = []
    assert repeat.left_behind(lambda i: None, 100) == ""
    left = repeat.left_behind(lambda i: keep(kept), 100)
    if told == "references to None" and "references" not in left:
        pytest.skip("None is immortal here")
    assert told in left
