# SPDX-License-Identifier: Apache-2.0
"""The other files that hold tensors: TorchScript, torch.package, torch.export, safetensors."""

import json

from support import checkpoints, zip_files
from support import pickle_asm as asm

from . import STORAGE, attack

EVIL = asm.program(asm.call(asm.global_("os", "system"), asm.text("echo hostile")))


def archive_of(members):
    """From names below the top directory and their bytes."""
    return zip_files.write(
        [zip_files.Entry(b"m/" + name.encode(), data) for name, data in members.items()]
    )


def _object(module, name, *state):
    """As C++ and Python pickle an instance."""
    made = asm.global_(module, name) + asm.op("EMPTY_TUPLE") + asm.op("NEWOBJ")
    return made + asm.dict_of(*state) + asm.op("BUILD")


SCRIPT = {
    "data.pkl": asm.program(_object("__torch__", "M", asm.text("w"), asm.tensor())),
    "code/__torch__.py": b"class M(Module):\n  pass\n",
    "constants.pkl": asm.program(asm.op("EMPTY_TUPLE")),
    "data/0": STORAGE["0"],
    "version": b"3\n",
}


def torchscript(members=()):
    return archive_of({**SCRIPT, **dict(members)})


PACKAGE = {
    ".data/extern_modules": b"torch\n",
    ".data/version": b"6\n",
    ".data/0.storage": STORAGE["0"],
    "p/w.pkl": asm.program(asm.tensor()),
    "version": b"3\n",
    "byteorder": b"little",
}


def package(members=()):
    return archive_of({**PACKAGE, **dict(members)})


def weight(**changed):
    """The entry of a tensor in the config of a .pt2 archive."""
    meta = {
        "dtype": 7,
        "sizes": [{"as_int": 2}, {"as_int": 2}],
        "strides": [{"as_int": 2}, {"as_int": 1}],
        "storage_offset": {"as_int": 0},
        "layout": 7,
        "requires_grad": False,
    }
    entry = {"path_name": "weight_0", "is_param": True, "use_pickle": False}
    return {**entry, "tensor_meta": {**meta, **changed.pop("meta", {})}, **changed}


def exported(config=None, **members):
    config = {"config": {"w": weight()}} if config is None else config
    text = config if isinstance(config, bytes) else json.dumps(config).encode()
    made = {
        "archive_format": b"pt2",
        "byteorder": b"little",
        "data/weights/model_weights_config.json": text,
        "data/weights/weight_0": STORAGE["0"],
        "version": b"3\n",
    }
    return archive_of({**made, **members})


def opaque():
    """A sound file with an object of an unknown class that has items, too."""
    made = _object("nets", "Net", asm.text("w"), asm.tensor())
    filled = asm.op("MARK") + asm.number(1) + asm.op("APPENDS")
    return checkpoints.archive(asm.program(made + filled), STORAGE, records=False)


# --- attacks


@attack("1", "Forbidden", says=r"os\.system")
def forbidden_names_in_every_pickle_of_a_container():
    """NEWOBJ of the archive's own classes is data; other names are not."""
    yield torchscript({"data.pkl": EVIL})
    yield torchscript({"constants.pkl": EVIL})
    yield package({"p/w.pkl": EVIL})
    yield package({"p/second.pkl": EVIL})
    yield package({".data/ts_code/0/data.pkl": EVIL})
    inner = checkpoints.archive(EVIL)
    pickled = {"config": {"w": weight(use_pickle=True)}}
    yield exported(pickled, **{"data/weights/weight_0": inner})
    yield exported(pickled, **{"data/weights/weight_0": inner, "data/constants/m.pt": inner})


@attack("3", "Forbidden")
def names_that_begin_like_those_of_a_script():
    for module in ("__torch__x", "__torch", "torch.jit", "torch.jit._picklex"):
        yield torchscript({"data.pkl": asm.program(_object(module, "system"))})


@attack("6", "Bounds|Malformed|Limit")
def weights_that_leave_their_member():
    sizes = [{"as_int": 2}, {"as_int": 3}]
    for meta in (
        {"sizes": sizes},
        {"storage_offset": {"as_int": 1}},
        {"storage_offset": {"as_int": 2**63}},
        {"strides": [{"as_int": 2**61}, {"as_int": 1}]},
        {"strides": [{"as_int": -1}, {"as_int": 1}]},
        {"strides": [{"as_int": 1}]},
        {"sizes": [{"as_int": True}, {"as_int": 2}]},
        {"sizes": [{"as_int": 2**64}, {"as_int": 1}]},
    ):
        yield exported({"config": {"w": weight(meta=meta)}})


@attack("24", "Malformed|Unsupported")
def configs_that_are_none():
    yield exported({"config": {"w": weight(path_name="../../weight_0")}})
    yield exported({"config": {"w": weight(path_name=7)}})
    yield exported({"config": {"w": weight(path_name="missing")}})
    yield exported({"config": {"w": weight(meta={"dtype": 999})}})
    yield exported({"config": []})
    yield exported({"config": {"w": None}})
    yield exported(b"{")
    yield exported(b'{"config": {}, "config": {}}')
    yield exported(b"[" * 100_000)
    yield exported(b'{"config": NaN}')


@attack("26", "Ambiguous")
def a_second_pickle_of_a_container():
    for members in (SCRIPT, PACKAGE):
        entries = [zip_files.Entry(b"m/" + n.encode(), d) for n, d in members.items()]
        twice = zip_files.Entry(next(e.name for e in entries if e.name.endswith(b".pkl")), EVIL)
        yield zip_files.write([*entries, twice])


@attack("28", "Ambiguous")
def a_pickle_that_only_the_directory_calls_otherwise():
    """Where the names say which pickles there are, one of them would vanish."""
    entries = [zip_files.Entry(b"m/" + n.encode(), d) for n, d in PACKAGE.items()]
    entry = next(entry for entry in entries if entry.name == b"m/p/w.pkl")
    entry.local_name, entry.name = entry.name, b"m/p/w.pkx"
    yield zip_files.write(entries)


@attack("45", "Limit")
def many_greedy_pickles():
    """Each alone is within what a file may need."""
    sets = asm.program(asm.op("MARK") + asm.op("EMPTY_SET") * 250_000 + asm.op("TUPLE"), protocol=4)
    yield package({f"p/{i}.pkl": sets for i in range(20)})
    inner = checkpoints.archive(sets)
    config = {f"w{i}": weight(use_pickle=True, path_name=f"weight_{i}") for i in range(20)}
    members = {f"data/weights/weight_{i}": inner for i in range(20)}
    yield exported({"config": config}, **members)


def _safetensors(header, data=STORAGE["0"]):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def _listed(**changed):
    return {"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], **changed}}


def safetensors():
    return _safetensors(_listed())


@attack("6", "Bounds|Malformed|Unsupported|Limit")
def safetensors_that_leave_the_file():
    for changed in (
        {"data_offsets": [0, 17]},
        {"data_offsets": [16, 0]},
        {"data_offsets": [-16, 0]},
        {"data_offsets": [2**64, 2**64 + 16]},
        {"data_offsets": [0, 2**63]},
        {"data_offsets": [0]},
        {"data_offsets": [True, 16]},
        {"shape": [5]},
        {"shape": [-4]},
        {"shape": [2**62, 4]},
        {"shape": [4.0]},
        {"shape": [1] * 65 + [4]},
        {"dtype": "F33"},
        {"dtype": 7},
    ):
        yield _safetensors(_listed(**changed))


@attack("27", "Malformed|Ambiguous")
def safetensors_that_two_readers_read_differently():
    entry = json.dumps(_listed()["w"]).encode()
    yield _safetensors(b'{"w": %s, "w": %s}' % (entry, entry))
    yield _safetensors(b'{"w": %s}x' % entry)
    yield _safetensors(_listed(), STORAGE["0"] + b"hidden")
    yield _safetensors({**_listed(), "v": _listed(data_offsets=[8, 16], shape=[2])["w"]})
    yield _safetensors({"w": _listed(data_offsets=[4, 16], shape=[3])["w"]})


@attack("42", "Malformed|Unsupported|Limit")
def safetensors_headers_beyond_the_end():
    for size in (0, 1, 200, 2**31, 2**32, 2**63, 2**64 - 1):
        yield size.to_bytes(8, "little") + json.dumps(_listed()).encode() + STORAGE["0"]


@attack("20", "Malformed|Limit|Unsupported")
def safetensors_headers_of_a_hundred_thousand_levels():
    yield _safetensors(b'{"w": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    yield _safetensors(b'{"a": ' * 100_000 + b"1" + b"}" * 100_000)


@attack("47", "Malformed|Limit|Unsupported")
def safetensors_numbers_of_a_million_digits():
    header = b'{"w": {"dtype": "F32", "shape": [' + b"9" * 1_000_000 + b"]}}"
    yield _safetensors(header)
