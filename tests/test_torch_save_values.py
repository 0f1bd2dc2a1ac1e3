# SPDX-License-Identifier: Apache-2.0
"""The pickle that ptio.torch.save writes of plain Python values and of torch's small ones is that
of CPython's pickler: opcodes, memo, batches."""

import collections
import functools
import io
import itertools
import math
import pickle

import pytest


@pytest.fixture
def check(torch, tmp_path):
    from support.torch_saving import assert_saved_the_same

    return lambda obj: assert_saved_the_same(obj, tmp_path / "model.pt")


@pytest.fixture
def fast(torch):
    """Fails where the object is not written by the C collector, which is the point of it."""
    from ptio._core import collect_torch
    from ptio.torch._saver import Saver

    def run(obj):
        data, *_ = collect_torch(obj, Saver())
        return bytes(data)

    return run


def test_integers_of_all_sizes(check):
    powers = [2**n for n in (*range(70), 127, 128, 255, 256, 1000, 2039, 2040, 2041, 9000)]
    check([sign * power + more for power in powers for sign in (1, -1) for more in (-1, 0, 1)])


def test_floats_and_complex_numbers(check):
    numbers = [0.0, -0.0, 1.5, -1e308, 5e-324, math.inf, -math.inf, math.nan]
    check([numbers, [complex(a, b) for a, b in itertools.product(numbers, numbers)]])


def test_strings(check):
    texts = [
        "",
        "a",
        "\x00",
        "\xff",
        "\u0100",
        "\ud800",
        "a\udfff",
        "\U0001f525",
        "x" * 255,
        "x" * 256,
    ]
    check([texts, texts, [text + "!" for text in texts], "\xe4" * 70_000])


def test_one_character_strings_and_names_that_torch_uses_are_one_object_each(torch, check):
    tensor = torch.ones(2)
    words = ["storage", "cpu", "latin1", "0", "1", "10", "FloatStorage", "collections"]
    check([words, tensor, b"x", {"0": tensor, "1": torch.ones(12), "cpu": tensor[1:]}])
    check([tensor, b"x", words, "".join(["stor", "age"]), str(b"cpu", "ascii")])
    check([torch.ones(1) for _ in range(12)] + [str(i) for i in range(12)])


def test_bytes_and_bytearrays(check):
    some = [b"", b"a", bytes(range(256)), b"\xff" * 300]
    check([some, some, [bytearray(data) for data in some], "latin1", [bytes(b"\xff" * 3)]])


@pytest.mark.parametrize("count", [0, 1, 2, 999, 1000, 1001, 1002, 1999, 2000, 2001, 3000])
@pytest.mark.parametrize("kind", [list, tuple, dict, set, frozenset, collections.OrderedDict])
def test_containers_of_all_sizes(check, kind, count):
    pairs = kind in (dict, collections.OrderedDict)
    items = [(i, i + 1) for i in range(count)] if pairs else range(count)
    obj = kind(items)
    check([obj, obj, [obj]])


def test_counters_and_ordered_dicts_with_attributes(check):
    ordered = collections.OrderedDict(a=1, b=[2])
    ordered._metadata = collections.OrderedDict([("", {"version": 1})])
    ordered.itself = ordered
    counter = collections.Counter("abracadabra")
    check([ordered, counter, ordered, collections.Counter(), collections.OrderedDict()])


def test_short_and_long_tuples(check):
    check([tuple(range(n)) for n in range(6)] + [((), ((),), ((((),),),))])


def test_cycles(check):
    items, pairs, ordered = [], {}, collections.OrderedDict()
    items += [items, (items, 1), (1, 2, 3, 4, items), pairs]
    pairs.update(a=pairs, b=(pairs,), c=items, d=ordered)
    ordered["itself"] = (ordered, [ordered])
    tuples = ([],)
    tuples[0].append(tuples)
    five = ([], 1, 2, 3, 4)
    five[0].append(five)
    check([items, pairs, ordered, tuples, five])
    check(tuples)
    check(five)


def test_sets_that_contain_themselves_through_an_object(check):
    holder = Holder()
    holder.those = {1, holder}
    holder.frozen = frozenset([holder])
    check([holder.those, holder.frozen, holder])


class Holder:
    pass


def test_shared_objects(check):
    text, items, pairs, couple = "".join(["sha", "red"]), [1], {"a": 1}, (1, 2)
    shared = [text, items, pairs, couple, b"bytes", {1}, frozenset([2]), bytearray(b"x"), 1j]
    check([shared, shared[:], {text: couple, couple: text}, list(reversed(shared))])


def test_equal_objects_that_are_not_one_are_written_twice(check):
    texts = ["ab", "".join(["a", "b"])]
    tuples = [tuple(range(2)), tuple(range(2))]
    check([[1], [1], tuples, texts, 2**70, 2**70, 0.5, 0.5])


def test_more_than_256_and_65536_memoized_objects(check):
    check([[i] for i in range(70_000)])
    texts = [str(i) for i in range(300)]
    check([texts, texts])


def function(x):
    return x


class Kind(dict):
    class Inner:
        pass


def test_classes_and_functions_as_values(torch, check):
    builtin = [
        len,
        print,
        int,
        dict,
        object,
        type,
        Exception,
        OSError,
        range,
        zip,
        map,
        io.StringIO,
    ]
    ours = [
        function,
        Kind,
        Kind.Inner,
        Kind.fromkeys,
        functools.partial,
        collections.deque,
        math.sqrt,
    ]
    theirs = [torch.nn.Linear, torch.nn.functional.relu, torch.save, torch.Tensor]
    check([builtin, ours, theirs, builtin])
    for value in (*builtin, *ours, *theirs):
        check([value, value, "text"])
    check([type(None), type(...), type(NotImplemented), ..., NotImplemented, "a".join, [1].append])


def test_names_that_python_2_had_elsewhere(check):
    import queue
    import urllib.parse

    check([range, map, zip, filter, queue.Queue, urllib.parse.quote, itertools.zip_longest])
    check(
        [
            FileNotFoundError,
            ImportError,
            ModuleNotFoundError,
            collections.UserDict,
            functools.reduce,
        ]
    )


def test_names_that_copyreg_has_numbers_for(check):
    import copyreg

    copyreg.add_extension(__name__, "function", 0xF1F1)
    try:
        check([function, function])
    finally:
        copyreg.remove_extension(__name__, "function", 0xF1F1)


def test_torchs_small_values(torch, check):
    values = [v for v in vars(torch).values() if isinstance(v, torch.dtype | torch.layout)]
    values += [v for v in vars(torch).values() if isinstance(v, torch.qscheme)]
    values += [torch.Size([]), torch.Size([1]), torch.Size([2, 3, 4, 2**40]), torch.Size([0] * 7)]
    devices = ["cpu", "cuda", "cuda:1", "meta", "mps", "xla:3"]
    values += [torch.device(name) for name in devices]
    check([values, values])
    check({value: i for i, value in enumerate(values)})


def test_storages(torch, check):
    base = torch.arange(6.0)
    check([base.storage(), base[2:], base.storage(), base.untyped_storage().nbytes()])
    check([base.half().untyped_storage(), torch.UntypedStorage(), torch.UntypedStorage(3)])
    typed = [torch.ones(3, dtype=dtype).storage() for dtype in (torch.bool, torch.complex64)]
    check([typed, torch.empty(0).storage(), typed[0]])
    check([base.untyped_storage()[4:12], base])


def test_plain_state_does_not_need_cpythons_pickler(torch, fast):
    from support import torch_corpus

    kinds = ("layouts", "parameters", "sparse", "quantized", "meta", "bits", "storages", "modules")
    for kind in (*kinds, "Adam", "plain"):
        assert fast(torch_corpus.KINDS[kind]())[:2] == b"\x80\x02"


def test_a_pickle_without_tensors_is_that_of_pickle(fast):
    obj = {"a": [1, "b", (2.5, None)], b"c": {1, 2}, "d": [function, 2**80]}
    assert fast(obj) == pickle.dumps(obj, 2)
