# SPDX-License-Identifier: Apache-2.0
"""Random nested objects: ptio.torch.save writes the bytes that torch.save writes."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from test_torch_load_random import objects, plain

FEW = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # no shrinking: it takes minutes, and nothing of it can be printed
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def check(torch, tmp_path_factory):
    from support.torch_saving import assert_saved_the_same

    path = tmp_path_factory.mktemp("random") / "model.pt"
    return lambda obj, **options: assert_saved_the_same(obj, path, **options)


@FEW
@given(objects())
def test_objects_with_tensors(torch, check, drawn):
    check(drawn.obj)


@FEW
@given(objects(), st.sampled_from([1, 3, 4, 5]))
def test_objects_with_tensors_in_other_protocols(torch, check, drawn, protocol):
    check(drawn.obj, pickle_protocol=protocol)


@FEW
@given(plain())
def test_objects_without_tensors(torch, check, obj):
    check(obj)


@FEW
@given(objects())
def test_compact_files(torch, tmp_path_factory, drawn):
    import ptio.torch
    from support.torch_compare import assert_same_but_for_size

    files = [tmp_path_factory.getbasetemp() / name for name in ("whole.pt", "compact.pt")]
    ptio.torch.save(drawn.obj, files[0])
    ptio.torch.save(drawn.obj, files[1], compact=True)
    assert_same_but_for_size(*(torch.load(f, weights_only=False) for f in reversed(files)))
