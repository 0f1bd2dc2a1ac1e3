# SPDX-License-Identifier: Apache-2.0
"""Files that people really open by mistake: the error says what they are."""

import gzip
import io
import os
import pickle
import shutil
import struct
import subprocess
import zipfile
import zlib

import ptio
import pytest
from support import checkpoints, sources

LFS = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 132735\n"
)


def _png():
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")
    )


def _zip_without_a_pickle():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("notes/readme.txt", "hello")
    return file.getvalue()


def _legacy():
    parts = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001}, {"w": 1}, []]
    return b"".join(pickle.dumps(part, 2) for part in parts)


WRONG = {
    "git-lfs pointer": (LFS, "git-lfs"),
    "HTML": (b"<!DOCTYPE html>\n<html><body>404</body></html>", "HTML"),
    "HTML with blanks before": (b"\n\n  <html lang='en'>", "HTML"),
    "gzip": (gzip.compress(b"hello" * 100), "gzip"),
    "PNG": (_png(), "PNG"),
    "empty": (b"", "empty"),
    "zeros": (bytes(100_000), "zero"),
    "legacy": (_legacy(), "legacy"),
    "zip without a pickle": (_zip_without_a_pickle(), "data.pkl"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\4" + bytes(50), "7z"),
    "text": (b"hello, world\n" * 10, ""),
    "JSON": (b'{"epoch": 3}\n', ""),
    "noise": (bytes(range(255, 0, -1)) * 20, ""),
    "one byte": (b"\x80", ""),
}
READERS = {name: sources.ALL[name] for name in ("Path", "open file", "BytesIO", "duck-typed")}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", WRONG)
def test_what_it_is_stands_in_the_message(write, name, reader):
    data, word = WRONG[name]
    path = write(data)
    with READERS[reader](path) as f, pytest.raises(ptio.Error) as caught:
        ptio.load(f)
    assert word.lower() in str(caught.value).lower()
    assert caught.value.hint
    if reader in ("Path", "open file"):
        assert caught.value.path == str(path)
    kinds = (ptio.UnsupportedError, ptio.TruncatedError)
    missing = name == "zip without a pickle"
    assert isinstance(caught.value, (*kinds, ptio.FormatError) if missing else kinds)


def test_a_real_7z_file(tmp_path):
    if shutil.which("7z") is None:
        pytest.skip("7z is not installed")
    (tmp_path / "x").write_text("hello")
    subprocess.run(["7z", "a", "-bso0", "x.7z", "x"], cwd=tmp_path, check=True)
    with pytest.raises(ptio.UnsupportedError, match="7z"):
        ptio.load(tmp_path / "x.7z")


@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_bare_pickle_is_read(write, protocol):
    obj = {"lr": 0.1, "layers": [1, 2]}
    assert ptio.load(write(pickle.dumps(obj, protocol))) == obj


def test_a_legacy_file_of_torch_says_how_to_convert_it(torch, torch_save):
    path = torch_save({"w": torch.ones(2)}, _use_new_zipfile_serialization=False)
    with pytest.raises(ptio.UnsupportedError, match="legacy") as caught:
        ptio.load(path)
    assert "torch.save" in caught.value.hint


def test_a_directory(tmp_path):
    with pytest.raises(ptio.UnsupportedError, match="directory") as caught:
        ptio.load(tmp_path)
    assert caught.value.path == str(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_a_fifo_is_refused_without_waiting_for_a_writer(tmp_path):
    os.mkfifo(tmp_path / "model.pt")
    with pytest.raises(ptio.UnsupportedError, match=r"(?i)fifo|pipe"):
        ptio.load(tmp_path / "model.pt")


@pytest.mark.parametrize("device", ["/dev/null", "/dev/zero"])
def test_a_device(device):
    with pytest.raises(ptio.UnsupportedError):
        ptio.load(device)


TENSORS = [checkpoints.tensor("uint8", bytes([i]) * 3000) for i in range(3)]
GOOD = checkpoints.save({"tensors": TENSORS})


@pytest.mark.parametrize("part", [0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98])
def test_a_truncated_file_says_so(write, part):
    path = write(GOOD[: int(len(GOOD) * part)])
    for mmap in (True, False):
        with pytest.raises(ptio.TruncatedError) as caught:
            ptio.load(path, mmap=mmap)
        assert caught.value.path == str(path)


@pytest.mark.parametrize("missing", range(1, 100, 7))
def test_a_file_without_its_last_bytes_is_truncated(write, missing):
    with pytest.raises(ptio.TruncatedError):
        ptio.load(write(GOOD[:-missing]))


def test_a_download_that_was_filled_up_with_zeros(write):
    half = len(GOOD) // 2
    with pytest.raises(ptio.FormatError):
        ptio.load(write(GOOD[:half] + bytes(len(GOOD) - half)))
