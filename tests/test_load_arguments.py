# SPDX-License-Identifier: Apache-2.0
"""The arguments of ptio.load: unknown, allow, limits, threads, progress, mmap."""

import inspect
import io
import itertools
import signal
import threading

import numpy as np
import ptio
import pytest
from support import checkpoints
from support import pickle_asm as asm
from support.compare import assert_same

PARTS = 40


@pytest.fixture
def big(save):
    """A file of 40 tensors with 10 MiB in all."""
    part = np.arange(1 << 16, dtype=np.float32)
    return save({str(i): checkpoints.tensor("float32", part + i) for i in range(PARTS)})


def test_the_signatures_are_the_contract():
    load = inspect.signature(ptio.load).parameters
    assert list(load) == [
        *("f", "mmap", "verify", "unknown", "allow", "encoding", "limits", "threads", "progress"),
    ]
    keyword_only = inspect.Parameter.KEYWORD_ONLY
    assert all(p.kind is keyword_only for name, p in load.items() if name != "f")
    defaults = {name: p.default for name, p in load.items() if name != "f"}
    assert defaults == {
        "mmap": "auto",
        "verify": None,
        "unknown": "error",
        "allow": (),
        "encoding": "utf-8",
        "limits": None,
        "threads": None,
        "progress": None,
    }


@pytest.mark.parametrize(
    "options",
    [
        {"mmap": "yes"},
        {"mmap": None},
        {"mmap": 1},
        {"unknown": "ignore"},
        {"unknown": None},
        {"threads": 0},
        {"threads": -1},
    ],
)
def test_wrong_values_are_value_errors(save, options):
    with pytest.raises((ValueError, LookupError)):
        ptio.load(save([1]), **options)


@pytest.mark.parametrize(
    "options",
    [
        {"threads": 2.0},
        {"threads": True},
        {"limits": {"depth": 3}},
        {"allow": "os.system"},
        {"allow": [3]},
        {"progress": 3},
    ],
)
def test_wrong_types_are_type_errors(save, options):
    with pytest.raises(TypeError):
        ptio.load(save([1]), **options)


# --- unknown and allow -------------------------------------------------------------------------


def _forbidden():
    return [
        checkpoints.Global("models.yolo", "Model"),
        {"nested": (checkpoints.Global("os", "system"), checkpoints.Global("os", "system"))},
        checkpoints.Global("builtins", "eval"),
        checkpoints.tensor("float32", [1.0]),
    ]


@pytest.mark.parametrize("protocol", range(6))
def test_all_forbidden_globals_come_in_one_error(save, protocol):
    path = save(_forbidden(), protocol=protocol)
    with pytest.raises(ptio.ForbiddenError) as caught:
        ptio.load(path)
    named = tuple(dict.fromkeys(caught.value.globals))
    assert named == ("models.yolo.Model", "os.system", "builtins.eval")
    for name in caught.value.globals:
        assert name in str(caught.value)
    assert caught.value.record == "archive/data.pkl"


def test_the_offset_is_that_of_the_first_forbidden_global(write):
    head = asm.number(1) + asm.op("POP")
    stream = asm.program(head + asm.global_("os", "system"))
    with pytest.raises(ptio.ForbiddenError) as caught:
        ptio.load(write(checkpoints.archive(stream)))
    assert caught.value.offset == stream.index(b"cos")


def test_a_thousand_forbidden_globals_make_no_long_message(save):
    path = save([checkpoints.Global("m", f"Class{i}") for i in range(1000)])
    with pytest.raises(ptio.ForbiddenError) as caught:
        ptio.load(path)
    assert len(str(caught.value)) < 1024
    assert len(caught.value.globals) == 1000


@pytest.mark.parametrize("protocol", range(6))
def test_inert_mode_gives_data_for_what_is_unknown(save, protocol):
    ours = ptio.load(save(_forbidden(), protocol=protocol), unknown="inert")
    model, nested, evaluate, array = ours
    assert (model.module, model.name) == ("models.yolo", "Model")
    assert (evaluate.module, evaluate.name) in (("builtins", "eval"), ("__builtin__", "eval"))
    assert type(nested["nested"][0]) is ptio.Opaque
    assert model.args is None
    assert array.tolist() == [1.0]


def test_allow_loads_one_name_as_opaque(save):
    obj = {"net": checkpoints.Global("models", "Net"), "w": checkpoints.tensor("int8", b"1")}
    path = save(obj)
    ours = ptio.load(path, allow=["models.Net"])
    assert type(ours["net"]) is ptio.Opaque
    assert (ours["net"].module, ours["net"].name) == ("models", "Net")
    with pytest.raises(ptio.ForbiddenError):
        ptio.load(path, allow=["models.Other"])
    with pytest.raises(ptio.ForbiddenError):
        ptio.load(path)


def test_allow_never_imports(save, monkeypatch):
    import sys

    path = save(checkpoints.Global("this", "d"))
    monkeypatch.delitem(sys.modules, "this", raising=False)
    ours = ptio.load(path, allow=["this.d"])
    assert (ours.module, ours.name) == ("this", "d")
    assert "this" not in sys.modules


def test_the_numpy_group(save):
    path = save([np.arange(3), np.float32(2)])
    assert_same(ptio.load(path, allow=("numpy",)), [np.arange(3), np.float32(2)])


def test_allowed_names_leave_the_others_forbidden(save):
    with pytest.raises(ptio.ForbiddenError) as caught:
        ptio.load(save(_forbidden()), allow=("os.system",))
    assert caught.value.globals == ("models.yolo.Model", "builtins.eval")


# --- limits ------------------------------------------------------------------------------------


def test_limits_are_a_frozen_dataclass():
    limits = ptio.Limits()
    assert limits == ptio.Limits()
    assert limits.depth == 1000
    assert limits.pickle_bytes == 512 * 2**20
    assert limits.objects == 50_000_000
    with pytest.raises(AttributeError):
        limits.depth = 5
    for wrong in (0, -1, 2**64):
        with pytest.raises(ValueError):
            ptio.Limits(depth=wrong)
    with pytest.raises(TypeError):
        ptio.Limits(objects=1.5)


def _texts(count):
    return [f"text {i}" for i in range(count)]


def _equal_hashes(count):
    """Dict keys of one hash: -1 and -2 have the same."""
    return dict.fromkeys(itertools.islice(itertools.product((-1, -2), repeat=8), count))


LIMITS = {
    "pickle_bytes": (_texts(300), 900, 100_000),
    "objects": (_texts(300), 200, 2000),
    "object_bytes": (["x" * 5000, _texts(300)], 4000, 100_000),
    "depth": ([[[[[1]]]]], 4, 6),
    "hash_work": (_equal_hashes(50), 1000, 2000),
}


@pytest.mark.parametrize("name", LIMITS)
def test_every_limit_is_an_error_that_names_it_and_can_be_raised(save, name):
    obj, too_low, enough = LIMITS[name]
    path = save(obj)
    with pytest.raises(ptio.LimitError, match=name) as caught:
        ptio.load(path, limits=ptio.Limits(**{name: too_low}))
    assert caught.value.hint is not None
    assert "Limits" in caught.value.hint
    assert_same(ptio.load(path, limits=ptio.Limits(**{name: enough})), obj)


def test_the_limit_of_inflated_bytes(write):
    from support import zip_files

    obj = {"w": checkpoints.tensor("uint8", bytes(1 << 20))}
    entries = checkpoints.entries(*checkpoints.dumps(obj))
    packed = [
        zip_files.deflated(e.name, e.data) if e.name.endswith(b"data/0") else e for e in entries
    ]
    path = write(zip_files.write(packed))
    with pytest.raises(ptio.LimitError, match="inflated_bytes"):
        ptio.load(path, limits=ptio.Limits(inflated_bytes=1 << 16))
    assert_same(ptio.load(path, limits=ptio.Limits(inflated_bytes=1 << 21)), obj)


# --- threads and progress ----------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 3, 8, 1024])
@pytest.mark.parametrize("mmap", [True, False])
def test_any_number_of_threads_gives_the_same(big, mmap, threads):
    ours = ptio.load(big, mmap=mmap, verify=True, threads=threads)
    assert [int(ours[str(i)][0]) for i in range(PARTS)] == list(range(PARTS))


def test_the_environment_sets_the_threads(big, monkeypatch):
    monkeypatch.setenv("PTIO_THREADS", "2")
    assert len(ptio.load(big, mmap=False)) == PARTS
    monkeypatch.setenv("PTIO_THREADS", "many")
    with pytest.raises(ValueError, match="PTIO_THREADS"):
        ptio.load(big)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("source", ["path", "BytesIO"])
def test_progress_is_monotone_and_ends_with_the_total(big, source, threads):
    seen = []
    f = big if source == "path" else io.BytesIO(big.read_bytes())
    mmap = {"mmap": False} if source == "path" else {}
    ptio.load(f, threads=threads, progress=lambda *call: seen.append(call), verify=True, **mmap)
    done, totals = zip(*seen, strict=True)
    assert list(done) == sorted(done)
    assert len(set(totals)) == 1
    assert done[-1] == totals[0]
    assert totals[0] >= PARTS * (1 << 18)
    assert all(type(value) is int for value in (*done, *totals))


def test_progress_of_a_mapped_load_and_of_verify_ends_with_the_total(big):
    for work in (lambda p: ptio.load(big, progress=p), lambda p: ptio.verify(big, progress=p)):
        seen = []
        work(lambda *call, seen=seen: seen.append(call))
        assert seen
        assert seen[-1][0] == seen[-1][1]


def test_progress_runs_in_the_thread_of_the_caller(big):
    threads = set()
    ptio.load(big, mmap=False, threads=4, progress=lambda *_: threads.add(threading.get_ident()))
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_of_progress_stops_the_load_and_comes_through(big, error):
    def stop(done, total):
        raise error("enough")

    for work in (ptio.load, ptio.verify):
        with pytest.raises(error, match="enough"):
            work(big, progress=stop, **({"mmap": False} if work is ptio.load else {}))
    assert len(ptio.load(big, mmap=False)) == PARTS


@pytest.fixture
def interruptible():
    """SIGINT as in a terminal: a process in the background may have been told to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_signal_stops_a_load(big, interruptible):
    """Ctrl-C while the bytes are read: KeyboardInterrupt, and the next load works."""
    fired = []

    def interrupt(done, total):
        if not fired:
            fired.append(done)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        ptio.load(big, mmap=False, progress=interrupt)
    assert len(ptio.load(big, mmap=False)) == PARTS


def test_a_bar_is_drawn_only_on_a_terminal(big, capsys):
    ptio.load(big, mmap=False, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == ""


# --- file positions ----------------------------------------------------------------------------


def test_a_load_reads_from_the_position_of_the_file_object(save):
    data = save([1, 2]).read_bytes()
    for prefix in (b"", b"x", b"PK\3\4" * 10):
        file = io.BytesIO(prefix + data)
        file.seek(len(prefix))
        assert ptio.load(file) == [1, 2]


def test_what_stands_before_the_position_does_not_matter_but_what_stands_behind_does(save):
    data = save([1, 2]).read_bytes()
    with pytest.raises(ptio.Error):
        ptio.load(io.BytesIO(b"junk" + data))
    with pytest.raises(ptio.Error):
        ptio.load(io.BytesIO(data + b"junk"))


def test_a_buffered_file_is_flushed_before_it_is_read(tmp_path):
    data = checkpoints.save({"w": checkpoints.tensor("float32", [1.0, 2.0])})
    with open(tmp_path / "model.pt", "w+b") as file:
        file.write(data)
        file.seek(0)
        assert ptio.load(file)["w"].tolist() == [1.0, 2.0]


def test_the_fileno_of_a_gzip_file_is_not_mistaken_for_its_content(tmp_path):
    import gzip

    data = checkpoints.save({"w": checkpoints.tensor("float32", [1.0, 2.0])})
    with gzip.open(tmp_path / "model.pt.gz", "wb") as file:
        file.write(data)
    with gzip.open(tmp_path / "model.pt.gz", "rb") as file:
        assert ptio.load(file)["w"].tolist() == [1.0, 2.0]


def test_a_file_object_that_cannot_seek_says_what_to_do(save):
    class Pipe(io.RawIOBase):
        def readable(self):
            return True

        def seekable(self):
            return False

        def tell(self):
            raise io.UnsupportedOperation("tell")

        seek = tell

    with pytest.raises((OSError, ValueError), match="BytesIO"):
        ptio.load(Pipe())
