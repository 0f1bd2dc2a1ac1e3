# SPDX-License-Identifier: Apache-2.0
"""A checkpoint that was opened in spite of what is wrong with it may be asked anything."""

import contextlib
import io

import attacks
import ptio
import pytest
from ptio._checkpoint import open_checkpoint

FILES = [
    pytest.param(data, id=name)
    for attack in attacks.load_all()
    if attack.number.rstrip("b") not in ("19", "20", "44", "45", "46", "47")  # slow to make
    for name, data in attack.files()
]


@pytest.mark.parametrize("data", FILES)
def test_nothing_that_is_asked_ends_the_process(data):
    with contextlib.suppress(ptio.Error), open_checkpoint(io.BytesIO(data), lenient=True) as c:
        questions = [
            lambda: c.check(threads=1, progress=None),
            c.records,
            c.gaps,
            lambda: c.globals(("a", "b.c"), 10, 10),
            lambda: c.tensors(True),
            lambda: c.leaves(10),
            c.second_opinion,
            c.locate,
        ]
        for question in questions:
            with contextlib.suppress(ptio.Error):
                question()
        if c.error is not None:
            assert isinstance(c.error, ptio.Error)
            with pytest.raises(type(c.error)):
                c.build(None, verify=True, private=True, threads=1, progress=None)
