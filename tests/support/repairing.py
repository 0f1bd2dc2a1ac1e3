# SPDX-License-Identifier: Apache-2.0
"""Files that are damaged and repaired, and what has to come out of that."""

import io
import struct
import zipfile

import ptio
import pytest
from ptio._checkpoint import open_checkpoint
from ptio._names import joined


def values(torch, obj, path=()):
    """{name: tensor} of an object, as ptio names them."""
    if isinstance(obj, torch.Tensor):
        return {"/".join(map(str, path)): obj}
    items = ()
    if isinstance(obj, dict):
        items = obj.items()
    elif isinstance(obj, (list, tuple)):
        items = enumerate(obj)
    found = {}
    for key, value in items:
        found |= values(torch, value, (*path, key))
    return found


def members(data):
    """{name below the top folder: (offset of the payload, its end, end of the member)}"""
    found = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for info in archive.infolist():
            name, extra = struct.unpack_from("<HH", data, info.header_offset + 26)
            begin = info.header_offset + 30 + name + extra
            end = begin + info.compress_size
            after = end + (16 if info.flag_bits & 8 else 0)
            found[info.filename.partition("/")[2]] = begin, end, after
    return found


def payload(data, name):
    begin, end, _ = members(data)[name]
    return begin, end


def storages(path):
    """{name of a tensor: its member below the top folder}"""
    with open_checkpoint(path) as checkpoint:
        return {joined(t.path): t.record.partition("/")[2] for t in checkpoint.tensors(False)}


class Repairs:
    """Repairs variants of one file, and compares what torch reads with what was saved in it."""

    def __init__(self, torch, obj, path, folder):
        torch.save(obj, path)
        self.torch = torch
        self.path = path
        self.data = path.read_bytes()
        self.tensors = values(torch, obj)
        self.storages = storages(path)
        assert self.storages.keys() == self.tensors.keys()
        self.damaged, self.out = folder / "damaged.pt", folder / "repaired.pt"
        self._checked = None

    def repair(self, data, **options):
        self.damaged.write_bytes(data)
        self.out.unlink(missing_ok=True)
        return ptio.repair(self.damaged, self.out, **options)

    def check(self, report, lost=()):
        """The tensors in the members `lost` are lost, all others saved as they were."""
        gone = [name for name, member in self.storages.items() if member in lost]
        assert [t.name for t in report.lost] == gone
        assert set(report.saved) == self.tensors.keys() - set(gone)
        assert report.ok == (not gone)
        if self._checked != self.out.read_bytes():
            self._check_file(report)
            self._checked = self.out.read_bytes()
        return report

    def _check_file(self, report):
        assert ptio.verify(self.out).ok
        read = values(self.torch, self.torch.load(self.out, weights_only=True))
        assert read.keys() == set(report.saved)
        for name, tensor in read.items():
            before = self.tensors[name]
            assert type(tensor) is type(before)
            assert tensor.dtype == before.dtype
            assert tensor.stride() == before.stride()
            assert tensor.requires_grad == before.requires_grad
            assert self.torch.equal(tensor, before)
        for one in read:
            for other in read:
                shares = self.storages[one] == self.storages[other] and read[one].numel()
                same = read[one].untyped_storage()._cdata == read[other].untyped_storage()._cdata
                assert same == bool(shares) or one == other

    def check_nothing(self, data, error=ptio.FormatError, match="nothing|data.pkl"):
        with pytest.raises(error, match=match):
            self.repair(data)
        assert not self.out.exists()
