# SPDX-License-Identifier: Apache-2.0
"""Archives of torch.export (.pt2): the weights and constants of exported programs.

  data/weights/<model>_weights_config.json      {"config": {name: {"path_name": "weight_0",
  data/constants/<model>_constants_config.json    "use_pickle": false, "tensor_meta": {...}}}}
  data/weights/weight_0                         the bytes of a storage, or an archive of torch.save
  data/weights/<model>.pt, constants/<model>.pt an archive with all of them, until torch 2.8
  data/aotinductor/<model>/weights_config.json  {name: [file, shape, stride, offset]}

The programs themselves are not read.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from ptio._containers.base import Container, Options
from ptio._containers.described import Described, FromDescription
from ptio._containers.index import Index
from ptio._containers.json import parse_json, require, require_sizes
from ptio._containers.parts import Parts, closing_all
from ptio._containers.torchscript import ALWAYS
from ptio._errors import Error, FormatError, UnsupportedError

_FOLDERS = {"weights": "data/weights/", "constants": "data/constants/"}
_CONFIG = re.compile(r"data/(weights|constants)/(.+)_(?:weights|constants)_config\.json")
_ARCHIVE = re.compile(r"data/(weights|constants)/(.+)\.pt")
_COMPILED = re.compile(r"data/aotinductor/(.+)/weights_config\.json")
_KIND = "TORCH_EXPORT"
# torch._export.serde.schema.ScalarType
_DTYPES = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float16",
    7: "float32",
    8: "float64",
    9: "complex32",
    10: "complex64",
    11: "complex128",
    12: "bool",
    13: "bfloat16",
    28: "uint16",
    29: "float8_e4m3fn",
    30: "float8_e5m2",
    31: "float8_e4m3fnuz",
    32: "float8_e5m2fnuz",
    33: "float8_e8m0fnu",
    34: "uint32",
    35: "uint64",
}
_STRIDED = 7

Part = tuple[tuple[Any, ...], Container]


def open_exported(index: Index, options: Options) -> Parts:
    """`load` gives {"weights": {...}, "constants": {...}}; of several models a dict of those."""
    found: list[tuple[str, str, str, str]] = []
    for name in index.sizes:
        for how, pattern in (("config", _CONFIG), ("archive", _ARCHIVE)):
            match = pattern.fullmatch(name)
            if match:
                found.append((match[2], match[1], how, name))
        match = _COMPILED.fullmatch(name)
        if match:
            found.append((match[1], "weights", "compiled", name))
    if not found:
        raise UnsupportedError(
            "this torch.export archive has no weights beside its program or its libraries",
            kind=_KIND,
            hint="open it with torch.export.load, or with torch._inductor.aoti_load_package",
        )
    several = len({model for model, *_ in found}) > 1
    with closing_all() as parts:
        for model, what, how, name in found:
            key = (model, what) if several else (what,)
            if how == "archive":
                parts.append((key, index.inside(name, options)))
            elif how == "compiled":
                parts.extend(_compiled(index, name, key, options))
            else:
                parts.extend(_configured(index, name, what, key, options))
        return Parts("pt2", parts, index=index)


def _configured(
    index: Index, name: str, what: str, key: tuple[Any, ...], options: Options
) -> list[Part]:
    """What a config lists: storages as they are in one container, each archive in its own."""
    config = require(parse_json(index.read(name), "the config").get("config"), dict, "config")
    folder = _FOLDERS[what]
    raw = []
    with closing_all() as made:
        for fqn, meta in config.items():
            try:
                file = require(require(meta, dict, "an entry").get("path_name"), str, "path_name")
                size = index.sizes.get(folder + file)
                if size is None:
                    raise FormatError(f"the archive has no member {folder + file}", kind=_KIND)
                if meta.get("use_pickle"):
                    part = _object(index, folder, file, options)
                    made.append(((*key, fqn), part))
                else:
                    raw.append(_tensor(fqn, file, size, meta))
            except Error as e:
                e.record = e.record or f"{name}: {fqn}"
                raise
        whole = FromDescription(
            index.whole(), options, raw, path=index.path, format="pt2", folder=folder
        )
        return [(key, whole), *made]


def _object(index: Index, folder: str, file: str, options: Options) -> Container:
    if file.startswith("custom_obj_"):  # written by C++
        options = replace(options, allow=(*options.allow, *ALWAYS))
        return index.inside(folder + file, options, ("data.pkl", "data/", ""))
    return index.inside(folder + file, options)


def _tensor(fqn: str, file: str, size: int, meta: dict[str, Any]) -> Described:
    tensor = require(meta.get("tensor_meta"), dict, "tensor_meta")
    dtype = _DTYPES.get(require(tensor.get("dtype"), int, "the dtype"))
    if dtype is None or tensor.get("layout", _STRIDED) != _STRIDED:
        text = f"dtype {tensor.get('dtype')!r} in layout {tensor.get('layout')!r} is not read"
        raise UnsupportedError(text, kind=_KIND)
    return Described(
        name=fqn,
        storage=file,
        storage_nbytes=size,
        dtype=dtype,
        shape=_numbers(tensor.get("sizes"), "the sizes"),
        stride=_numbers(tensor.get("strides"), "the strides"),
        offset=_numbers([tensor.get("storage_offset")], "the offset")[0],
        requires_grad=tensor.get("requires_grad") is True,
        parameter=meta.get("is_param") is True,
    )


def _numbers(value: Any, what: str) -> tuple[int, ...]:
    """[{"as_int": 3}, ...]"""
    items = require(value, list, what)
    return require_sizes([require(i, dict, what).get("as_int") for i in items], what)


def _compiled(index: Index, name: str, key: tuple[Any, ...], options: Options) -> list[Part]:
    """Weights that AOTInductor keeps as archives of torch.save: each tensor is a view of one."""
    views: dict[str, list[tuple[str, Any]]] = {}
    for fqn, entry in parse_json(index.read(name), "the config").items():
        if len(require(entry, list, "an entry")) != 4:
            raise FormatError("an entry has not 4 items", record=name, kind=_KIND)
        views.setdefault(require(entry[0], str, "the file"), []).append((fqn, entry))
    with closing_all() as parts:
        for file, entries in views.items():
            member = _FOLDERS["weights"] + file
            if member not in index.sizes:
                text = f"the archive has no member {member}"
                raise FormatError(text, record=name, kind=_KIND)
            parts.append((key, _views(index, member, entries, options)))
        return list(parts)


def _views(
    index: Index, member: str, entries: list[tuple[str, Any]], options: Options
) -> Container:
    inner = index.inside(member, options)
    try:
        rows = inner.tensors()
        if len(rows) != 1 or rows[0].storage is None:
            raise FormatError("this is no single tensor", record=member, kind=_KIND)
        row = rows[0]
        tensors = [
            Described(
                name=fqn,
                storage=str(row.storage),
                storage_nbytes=row.storage_nbytes,
                dtype=row.dtype,
                shape=require_sizes(shape, "the shape"),
                stride=require_sizes(stride, "the stride"),
                offset=require_sizes([offset], "the offset")[0],
            )
            for fqn, (_, shape, stride, offset) in entries
        ]
    finally:
        inner.close()
    return index.views(member, tensors, options)
