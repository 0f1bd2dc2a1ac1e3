# SPDX-License-Identifier: Apache-2.0
"""Saving to pipes, sockets, gzip files, members of zip files; and how much memory it takes."""

import gzip
import io
import os
import socket
import threading
import zipfile

import pytest
from support import children

MIB = 1 << 20


def received(read, send):
    """What a thread reads while send() runs."""
    got = []
    thread = threading.Thread(target=lambda: got.append(read()))
    thread.start()
    try:
        send()
    finally:
        thread.join(60)
    assert not thread.is_alive()
    return got[0]


def test_a_pipe(save_weights, saved_weights):
    def send(buffering):
        with os.fdopen(out, "wb", buffering=buffering) as file:
            save_weights(file)

    for buffering in (0, -1):
        into, out = os.pipe()
        with os.fdopen(into, "rb") as source:
            assert received(source.read, lambda b=buffering: send(b)) == saved_weights


def test_a_named_pipe(save_weights, torch, weights, tmp_path):
    os.mkfifo(tmp_path / "model.pt")
    read = (tmp_path / "model.pt").read_bytes
    data = received(read, lambda: save_weights(tmp_path / "model.pt"))
    loaded = torch.load(io.BytesIO(data))
    assert all(torch.equal(loaded[name], weights[name]) for name in weights)


def test_a_pipe_that_nobody_reads(save_weights):
    into, out = os.pipe()
    os.close(into)
    with os.fdopen(out, "wb", buffering=0) as file, pytest.raises(BrokenPipeError):
        save_weights(file)


def test_a_pipe_that_would_block(save_weights):
    into, out = os.pipe()
    os.set_blocking(out, False)
    with os.fdopen(into), os.fdopen(out, "wb", 0) as file, pytest.raises(BlockingIOError):
        save_weights(file)


def test_a_socket(save_weights, saved_weights):
    ours, theirs = socket.socketpair()

    def send():
        with ours, ours.makefile("wb", buffering=0) as file:
            save_weights(file)

    with theirs, theirs.makefile("rb") as source:
        assert received(source.read, send) == saved_weights


def test_a_gzip_file(torch, save_weights, saved_weights, weights, tmp_path):
    with gzip.open(tmp_path / "model.pt.gz", "wb", compresslevel=1) as file:
        save_weights(file)
    with gzip.open(tmp_path / "model.pt.gz") as file:
        assert file.read() == saved_weights


def test_a_member_of_a_zip_file(torch, save_weights, saved_weights, tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        with archive.open("models/model.pt", "w", force_zip64=True) as file:
            save_weights(file)
        archive.writestr("after", b"more")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert archive.testzip() is None
        assert archive.read("models/model.pt") == saved_weights


def test_a_file_object_that_has_content_already(save_weights, saved_weights, tmp_path):
    with open(tmp_path / "file", "wb") as file:
        file.write(b"before")
        save_weights(file)
        file.write(b"after")
    assert (tmp_path / "file").read_bytes() == b"before" + saved_weights + b"after"
    with io.BytesIO(b"0123456789") as memory:
        memory.seek(4)
        save_weights(memory)
        assert memory.getvalue() == b"0123" + saved_weights


# --- memory ---------------------------------------------------------------------------------------

GROWTH = """
import json, sys, torch, ptio.torch

def rss(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) << 10

class Discard:
    def write(self, data):
        pass

obj = {"a": torch.ones(24 << 20), "b": [torch.ones(100) for _ in range(1000)]}
ptio.torch.save({"a": torch.ones(1 << 20)}, Discard())
targets = {"stream": Discard, "file": lambda: sys.argv[1]}
before = rss("VmRSS")
with open("/proc/self/clear_refs", "w") as peak:
    peak.write("5")
ptio.torch.save(obj, targets[sys.argv[2]]())
print(json.dumps(rss("VmHWM") - before))
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs Linux")
@pytest.mark.parametrize("target", ["stream", "file"])
def test_saving_makes_no_second_copy_of_the_data(torch, tmp_path, target):
    assert children.run(GROWTH, tmp_path / "model.pt", target) <= 16 * MIB
