# SPDX-License-Identifier: Apache-2.0
"""ptio convert: a checkpoint in another format."""

from __future__ import annotations

import argparse
from typing import Any

from ptio._rewrite.convert import convert
from ptio._rewrite.new_checkpoint import shard_size
from ptio.cli import _writing
from ptio.cli._exit import Exit

_EXAMPLES = """\
examples:
  ptio convert pytorch_model.bin model.safetensors
  ptio convert checkpoint.pt model.safetensors --select ema
  ptio convert checkpoint.pt model --shard-size 5GB
  ptio convert model.safetensors model.pt
  ptio convert old.pt new.pt               a file of torch 1.5 or older, as a zip archive
"""


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "convert",
        description="Write a checkpoint in another format: that of torch.save, safetensors, or a "
        "directory of shards with an index. To safetensors and into shards goes the state dict "
        "of the model; tensors that share memory are written once, and are restored by "
        "converting back.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("src", metavar="SRC", help="a file, or a directory of a sharded model")
    parser.add_argument("dst", metavar="DST", help="*.pt, *.safetensors, or a directory for shards")
    parser.add_argument(
        "--shard-size", type=_size, metavar="SIZE", help="of one file, like 5GB: writes shards"
    )
    parser.add_argument("--select", metavar="NAME", help="where the state dict is, e.g. ema")
    parser.add_argument("--flatten", action="store_true", help="all tensors, as a.b.c")
    parser.add_argument(
        "--strip-prefix",
        action="append",
        default=[],
        metavar="PREFIX",
        help="leave out of names, e.g. module.",
    )
    _writing.add_arguments(parser)
    parser.set_defaults(run=run)


def _size(text: str) -> int | None:
    try:
        return shard_size(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e)) from None


def run(arguments: Any) -> int:
    if arguments.flatten and arguments.select is not None:
        arguments.parser.error("--flatten is of the whole file, --select of a part: choose one")
    if arguments.shard_size is None:
        _writing.require_format(arguments, arguments.dst)
    report = _writing.attempt(
        arguments,
        arguments.src,
        lambda: convert(
            arguments.src,
            arguments.dst,
            to=arguments.to,
            max_shard_size=arguments.shard_size,
            select=arguments.select,
            flatten=arguments.flatten,
            strip_prefix=arguments.strip_prefix,
            overwrite=arguments.force,
            progress=_writing.wants_bar(arguments),
        ),
    )
    if isinstance(report, int):
        return report
    _writing.show(arguments, report)
    return Exit.FINE
