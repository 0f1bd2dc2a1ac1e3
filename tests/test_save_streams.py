# SPDX-License-Identifier: Apache-2.0
"""Saving to anything with write(): it is written forward only, and whatever it takes is enough."""

import io

import numpy as np
import pytest

MIB = 1 << 20


class Sink:
    """Only write(), and all of it."""

    def __init__(self):
        self.pieces = []

    def write(self, data):
        self.pieces.append(bytes(data))

    @property
    def content(self):
        return b"".join(self.pieces)


class ForwardOnly(Sink):
    def refuse(self, *args):
        raise AssertionError("only written forward")

    seek = tell = fileno = read = readinto = truncate = seekable = close = getvalue = refuse


class ShortWrites(Sink):
    def __init__(self, most):
        super().__init__()
        self.most = most

    def write(self, data):
        super().write(data[: self.most])
        return min(len(data), self.most)


class Raw(io.RawIOBase):
    """A raw stream, which takes what it likes; None: it would block."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.taken = bytearray()

    def writable(self):
        return True

    def write(self, data):
        answer = self.answers.pop(0) if self.answers else len(data)
        self.taken += data[: answer or 0]
        return answer and min(answer, len(data))


def test_nothing_but_write_is_needed(save_weights, saved_weights):
    for sink in (Sink(), ForwardOnly()):
        save_weights(sink)
        assert sink.content == saved_weights


@pytest.mark.parametrize("most", [1009, 70_000, MIB - 1, 16 * MIB])
@pytest.mark.parametrize("threads", [1, 2])
def test_short_writes_are_continued(save_weights, saved_weights, most, threads):
    sink = ShortWrites(most)
    save_weights(sink, threads=threads)
    assert sink.content == saved_weights


def test_one_byte_at_a_time(torch):
    import ptio.torch

    sink, whole = ShortWrites(1), Sink()
    ptio.torch.save({"a": torch.ones(3)}, sink)
    ptio.torch.save({"a": torch.ones(3)}, whole)
    assert sink.content == whole.content


def test_a_raw_stream_may_take_less(save_weights, saved_weights):
    raw = Raw(1, 7, 100, 65_536)
    save_weights(raw)
    assert raw.taken == saved_weights


def test_a_raw_stream_that_would_block_is_an_error(save_weights):
    with pytest.raises(BlockingIOError, match="would block"):
        save_weights(Raw(100, None))


@pytest.mark.parametrize("answer", [0, -1, 10**9])
def test_a_writer_that_cannot_count_is_an_error(save_weights, answer):
    class Wrong(Sink):
        def write(self, data):
            return answer

    with pytest.raises(OSError, match=r"write\(\) returned"):
        save_weights(Wrong())


@pytest.mark.parametrize("error", [OSError(28, "full"), ValueError("closed"), KeyboardInterrupt()])
@pytest.mark.parametrize("at", [0, 1, 3])
def test_the_writers_own_exception_is_what_the_caller_sees(save_weights, error, at):
    class Failing(Sink):
        flushed = False

        def write(self, data):
            if len(self.pieces) == at:
                raise error
            super().write(data)

        def flush(self):
            self.flushed = True

    sink = Failing()
    with pytest.raises(type(error)) as caught:
        save_weights(sink)
    assert caught.value is error
    assert len(sink.pieces) == at
    assert not sink.flushed


def test_a_closed_file(save_weights, tmp_path):
    with open(tmp_path / "file", "wb") as file:
        pass
    with pytest.raises(ValueError, match="closed file"):
        save_weights(file)


def test_flush_is_called_once_and_last(save_weights, saved_weights):
    class Flushed(Sink):
        def flush(self):
            self.pieces.append(b"flushed")

    sink = Flushed()
    save_weights(sink)
    assert sink.content == saved_weights + b"flushed"
    with pytest.raises(ZeroDivisionError):
        save_weights(type("Failing", (Sink,), {"flush": lambda self: 1 // 0})())


@pytest.mark.parametrize("threads", [1, 2])
def test_pieces_are_large_and_small_ones_gathered(save_weights, saved_weights, threads):
    class Sizes(Sink):
        def write(self, data):
            assert isinstance(data, memoryview)
            assert data.readonly
            assert data.c_contiguous
            super().write(data)

    sink = Sizes()
    save_weights(sink, threads=threads)
    assert sink.content == saved_weights
    sizes = [len(piece) for piece in sink.pieces]
    assert len(sizes) <= 20
    assert sum(size for size in sizes if size >= MIB) >= 7 * MIB


def test_thousands_of_small_tensors_are_few_writes(torch):
    import ptio.torch

    sink = Sink()
    ptio.torch.save([torch.ones(3) for _ in range(2000)], sink)
    assert len(sink.pieces) <= 4


def test_a_writer_that_keeps_the_view_is_told(save_weights):
    class Keeper(Sink):
        def write(self, data):
            self.pieces.append(self.keep(data))

    for keep in (lambda data: data[:5], memoryview, lambda data: np.frombuffer(data, np.uint8)):
        sink = Keeper()
        sink.keep = keep
        with pytest.raises(BufferError, match="kept"):
            save_weights(sink)
        sink.pieces.clear()


def test_a_writer_whose_views_are_garbage_is_fine(save_weights, saved_weights):
    class Cycle(Sink):
        def write(self, data):
            super().write(data)
            cycle = [memoryview(data)]
            cycle.append(cycle)

    sink = Cycle()
    save_weights(sink)
    assert sink.content == saved_weights


def test_a_writer_that_saves_to_another_one(torch, save_weights, saved_weights):
    class Tee(Sink):
        inner = None

        def write(self, data):
            if self.inner is None:
                self.inner = Sink()
                save_weights(self.inner)
            super().write(data)

    sink = Tee()
    save_weights(sink)
    assert sink.content == sink.inner.content == saved_weights
