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


def _safetensors():
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    return struct.pack("<Q", len(header)) + header + bytes(4)


def _zip_without_a_pickle():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("notes/readme.txt", "hello")
    return file.getvalue()


def _torchscript():
    parts = {"data.pkl": b"\x80\x02}.", "constants.pkl": b"\x80\x02).", "version": b"3\n"}
    parts["code/__torch__.py"] = b"class M: pass\n"
    entries = [
        checkpoints.zip_files.Entry(b"m/" + name.encode(), data) for name, data in parts.items()
    ]
    return checkpoints.zip_files.write(entries)


WRONG = {
    "git-lfs pointer": (LFS, "git-lfs"),
    "HTML": (b"<!DOCTYPE html>\n<html><body>404</body></html>", "HTML"),
    "HTML with blanks before": (b"\n\n  <html lang='en'>", "HTML"),
    "gzip": (gzip.compress(b"hello" * 100), "gzip"),
    "safetensors": (_safetensors(), "safetensors"),
    "PNG": (_png(), "PNG"),
    "empty": (b"", "empty"),
    "zeros": (bytes(100_000), "zero"),
    "TorchScript": (_torchscript(), "TorchScript"),
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


@pytest.mark.parametrize("protocol", range(6))
def test_a_bare_pickle_is_plain_data(write, protocol):
    value = {"lr": 0.1, "layers": [1, 2]}
    assert ptio.load(write(pickle.dumps(value, protocol))) == value


def test_a_bare_pickle_has_no_storages(write, torch):
    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            return ("storage", torch.FloatStorage, "0", "cpu", 4) if obj == "tensor" else None

    file = io.BytesIO()
    Pickler(file, 2).dump(["tensor"])
    with pytest.raises(ptio.FormatError, match="no record data/0"):
        ptio.load(write(file.getvalue()))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_torchscript_file_is_named(torch, tmp_path):
    path = tmp_path / "scripted.pt"
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), path)
    with pytest.raises(ptio.UnsupportedError, match="TorchScript"):
        ptio.load(path)


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
