# SPDX-License-Identifier: Apache-2.0
"""The tree of exceptions: what each is, what it carries, and how it reads."""

import copy
import io
import os
import pickle

import ptio
import pytest
from support import checkpoints, sources, zip_files
from support import pickle_asm as asm

TREE = {
    ptio.Error: (Exception,),
    ptio.FormatError: (ptio.Error, RuntimeError),
    ptio.TruncatedError: (ptio.FormatError, EOFError),
    ptio.AmbiguousError: (ptio.FormatError,),
    ptio.BoundsError: (ptio.FormatError,),
    ptio.ChecksumError: (ptio.FormatError,),
    ptio.PickleFormatError: (ptio.Error, pickle.UnpicklingError),
    ptio.ForbiddenError: (ptio.Error, pickle.UnpicklingError),
    ptio.LimitError: (ptio.Error, RuntimeError),
    ptio.UnsupportedError: (ptio.Error, RuntimeError, pickle.UnpicklingError),
}


@pytest.mark.parametrize("kind", TREE)
def test_the_tree(kind):
    assert all(issubclass(kind, base) for base in TREE[kind])
    assert kind.__module__.startswith("ptio")


def test_pickle_errors_are_no_format_errors():
    for kind in (ptio.PickleFormatError, ptio.ForbiddenError, ptio.LimitError):
        assert not issubclass(kind, ptio.FormatError)


def _inside(error):
    return {name: getattr(error, name) for name in ("path", "record", "offset", "hint", "args")}


@pytest.fixture
def failures(write):
    """A real exception of each class that a file can cause."""
    tensor = checkpoints.tensor("float32", [1.0])
    good = checkpoints.save({"w": tensor})
    files = {
        ptio.TruncatedError: good[:-100],
        ptio.BoundsError: checkpoints.save([checkpoints.view(tensor, (2,), (1,))]),
        ptio.PickleFormatError: checkpoints.archive(b"\x80\x02]"),
        ptio.ForbiddenError: checkpoints.save(checkpoints.Global("os", "system")),
        ptio.UnsupportedError: b"<html>",
        ptio.LimitError: checkpoints.save(["a text", "another text", "a third text"]),
        ptio.AmbiguousError: zip_files.write(checkpoints.entries(b"N.") * 2),
        ptio.ChecksumError: good.replace(b"FloatStorage", b"HalfStorage\n"),
    }
    caught = {}
    for kind, data in files.items():
        limits = ptio.Limits(objects=1) if kind is ptio.LimitError else None
        with pytest.raises(kind) as info:
            ptio.load(write(data, kind.__name__ + ".pt"), limits=limits)
        caught[kind] = info.value
    return caught


def test_every_error_says_where_and_what_to_do(failures):
    for kind, error in failures.items():
        assert type(error) is kind
        assert os.path.basename(error.path) == kind.__name__ + ".pt"
        assert error.hint, kind
        text = str(error)
        assert error.args[0] in text
        assert error.hint in text
        assert error.path in text
        assert "\n" not in text
        assert len(text) < 1024
        assert "weights_only=False" not in text


def test_errors_inside_a_member_name_it_and_the_byte(failures):
    for kind in (ptio.PickleFormatError, ptio.ForbiddenError, ptio.BoundsError):
        assert failures[kind].record == "archive/data.pkl"
        assert failures[kind].offset >= 0
        assert "archive/data.pkl" in str(failures[kind])
        assert str(failures[kind].offset) in str(failures[kind])


def test_errors_survive_pickling_and_copying(failures):
    for kind, error in failures.items():
        for protocol in range(6):
            again = pickle.loads(pickle.dumps(error, protocol))
            assert type(again) is kind
            assert _inside(again) == _inside(error)
            assert str(again) == str(error)
        assert _inside(copy.copy(error)) == _inside(error)
    assert pickle.loads(pickle.dumps(failures[ptio.ForbiddenError])).globals == ("os.system",)


def test_errors_of_file_objects_without_a_name_have_no_path():
    with pytest.raises(ptio.UnsupportedError) as caught:
        ptio.load(io.BytesIO(b"<html>"))
    assert caught.value.path is None


def test_errors_of_open_files_have_the_path_of_the_file(write):
    path = write(b"<html>")
    with open(path, "rb") as file, pytest.raises(ptio.UnsupportedError) as caught:
        ptio.load(file)
    assert caught.value.path == str(path)


def test_what_the_system_refuses_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        ptio.load(tmp_path / "missing.pt")
    assert os.fspath(caught.value.filename) in (
        str(tmp_path / "missing.pt"),
        os.fsencode(tmp_path / "missing.pt"),
    )
    with pytest.raises(NotADirectoryError):
        ptio.load(__file__ + "/model.pt")
    assert not isinstance(caught.value, ptio.Error)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(save):
    path = save(1)
    path.chmod(0)
    with pytest.raises(PermissionError):
        ptio.load(path)


@pytest.mark.parametrize("value", [None, 3, 2.5, ["model.pt"], object()])
def test_what_is_no_file_is_a_type_error(value):
    with pytest.raises(TypeError):
        ptio.load(value)


def test_text_files_and_closed_files_are_refused(save):
    path = save(1)
    with open(path, encoding="latin1") as text, pytest.raises(TypeError, match="rb"):
        ptio.load(text)
    with open(path, "rb") as file:
        pass
    with pytest.raises(ValueError, match="closed"):
        ptio.load(file)


def test_a_path_with_a_nul_is_a_value_error():
    with pytest.raises(ValueError):
        ptio.load("model\0.pt")


def test_exceptions_of_a_file_object_come_through():
    class Broken(sources.DuckFile):
        def seek(self, offset, whence=0):
            if offset > 10:
                raise ConnectionResetError("the other side went away")
            return super().seek(offset, whence)

    class BrokenRead(sources.ReadInto):
        def readinto(self, buffer):
            raise ConnectionResetError("the other side went away")

    for kind in (Broken, BrokenRead):
        with pytest.raises(ConnectionResetError, match="went away"):
            ptio.load(kind(checkpoints.save([1, 2])))


@pytest.mark.parametrize(
    "read", [lambda self, n=-1: None, lambda self, n=-1: "text", lambda self, n=-1: b"x" * (n + 1)]
)
def test_file_objects_that_break_their_promise(read):
    class Odd:
        def __init__(self):
            self.position = 0

        def seek(self, offset, whence=0):
            self.position = offset + (1000 if whence == 2 else 0)
            return self.position

        def tell(self):
            return self.position

    Odd.read = read
    with pytest.raises((TypeError, ValueError, OSError, ptio.Error)):
        ptio.load(Odd())


HOSTILE = "\x1b[31mred\x1b[0m\nok: fine\u202egnp.exe\ud800" + "x" * 5000


def test_text_of_the_file_is_escaped_and_cut(write):
    name = HOSTILE.replace("\n", "").replace("\ud800", "")
    streams = {
        "global": asm.global_("os", name.encode("ascii", "ignore").decode()[:400]),
        "storage key": asm.tensor(asm.storage(key=name)),
        "location": asm.tensor(asm.storage(kind=asm.text(name))),
        "key of a dict": asm.dict_of(asm.text(name), asm.global_("os", "system")),
    }
    for stream in streams.values():
        with pytest.raises(ptio.Error) as caught:
            ptio.load(write(checkpoints.archive(asm.program(stream), {"0": bytes(16)})))
        text = str(caught.value)
        assert text.isprintable()
        assert len(text) < 1024


def test_a_hostile_member_name_is_escaped_and_cut(write):
    name = ("archive/data/" + HOSTILE.replace("\ud800", "")).encode()[:60000]
    entries = checkpoints.entries(asm.program(asm.tensor()), {"0": bytes(16)})
    entries.append(zip_files.Entry(name, b"x", local={"method": 9}, central={"method": 9}))
    with pytest.raises(ptio.Error) as caught:
        ptio.load(write(zip_files.write(entries)))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1024
