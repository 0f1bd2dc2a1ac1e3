# SPDX-License-Identifier: Apache-2.0
"""The arguments of ptio.torch.load that torch.load has not: verify, threads, limits, progress."""

import ptio
import pytest

BOTH = (True, False)


@pytest.fixture
def load(torch):
    import ptio.torch

    return ptio.torch.load


@pytest.fixture
def damaged(torch, torch_save):
    """One bit of a storage is not as it was written."""
    path = torch_save(torch.arange(1000))
    data = bytearray(path.read_bytes())
    data[bytes(data).index(bytes(torch.arange(1000).numpy())) + 80] ^= 1
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("weights_only", BOTH)
def test_verify_checks_the_bytes_of_tensors(load, damaged, weights_only):
    for options in ({}, {"verify": True}, {"verify": True, "mmap": True}):
        with pytest.raises(ptio.ChecksumError):
            load(damaged, weights_only=weights_only, **options)
    for options in ({"verify": False}, {"mmap": True}):
        assert load(damaged, weights_only=weights_only, **options)[10] == 11


@pytest.mark.parametrize("weights_only", BOTH)
@pytest.mark.parametrize("threads", [1, 3, None])
def test_progress_ends_with_the_total(torch, load, torch_save, weights_only, threads):
    path = torch_save([torch.rand(1 << 18) for _ in range(4)])
    seen = []
    load(path, weights_only=weights_only, threads=threads, progress=lambda *n: seen.append(n))
    done, totals = zip(*seen, strict=True)
    assert list(done) == sorted(done)
    assert done[-1] == totals[-1] >= 1 << 22


@pytest.mark.parametrize("weights_only", BOTH)
def test_an_exception_of_progress_comes_out_unchanged(torch, load, torch_save, weights_only):
    def stop(done, total):
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        load(torch_save(torch.rand(1 << 20)), weights_only=weights_only, progress=stop)


def test_limits_hold_and_can_be_raised(load, torch_save):
    path = torch_save([[i, str(i)] for i in range(100)])
    with pytest.raises(ptio.LimitError, match="objects"):
        load(path, limits=ptio.Limits(objects=50))
    assert len(load(path, limits=ptio.Limits(objects=5000))) == 100


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"threads": 0}, ValueError),
        ({"threads": "2"}, TypeError),
        ({"limits": 3}, TypeError),
        ({"allow": "numpy"}, TypeError),
        ({"allow": [3]}, TypeError),
        ({"progress": 3}, TypeError),
    ],
)
def test_wrong_values_are_errors(load, torch_save, options, error):
    with pytest.raises(error):
        load(torch_save(1), **options)
