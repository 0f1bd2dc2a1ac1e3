# SPDX-License-Identifier: Apache-2.0
"""The command line is what docs/cli.md says: its verbs, its options, the JSON of each verb."""

import argparse
import json
import re
from pathlib import Path

import pytest
from ptio.cli import VERBS, parser
from support import checkpoints

DOCS = Path(__file__).parents[1] / "docs" / "cli.md"
NAN = float("nan")
TYPES = {"str": str, "int": int, "bool": bool, "number": (int, float, str), "list": list}


def shapes():
    text = DOCS.read_text("utf-8")
    return {
        name: json.loads(body) for name, body in re.findall(r"```json (\w+)\n(.*?)```", text, re.S)
    }


def check(value, shape, where="$"):
    """Asserts that JSON has the documented shape."""
    if isinstance(shape, dict) and "*" in shape:
        assert isinstance(value, dict), where
        for key, item in value.items():
            check(item, shape["*"], f"{where}.{key}")
    elif isinstance(shape, dict):
        if value is None and where in ("$.writer", "$.tensors"):
            return
        assert isinstance(value, dict), where
        optional = {k for k, s in shape.items() if isinstance(s, str) and s.startswith("optional")}
        assert set(value) <= set(shape), (where, set(value) - set(shape))
        assert set(shape) - set(value) <= optional, (where, set(shape) - set(value))
        for key, item in value.items():
            check(item, shape[key], f"{where}.{key}")
    elif isinstance(shape, list):
        if value is None and where.endswith(".at"):
            return
        assert isinstance(value, list), where
        for item in value:
            check(item, shape[0], f"{where}[]")
    elif shape != "any":
        name = shape.removeprefix("optional ")
        if name.endswith("?"):
            if value is None:
                return
            name = name[:-1]
        assert isinstance(value, TYPES[name]), (where, value)
        assert name == "bool" or not isinstance(value, bool), (where, value)


@pytest.fixture
def told(ptio_command):
    def run(verb, *arguments):
        _, out, _ = ptio_command(verb, "--json", *arguments)
        (line,) = out.splitlines()
        assert line.isascii()
        return json.loads(line, parse_constant=lambda name: pytest.fail(name))

    return run


@pytest.fixture
def path(save):
    weight = checkpoints.tensor("float32", [[1, NAN], [2, 3]], (2, 2))
    obj = {"w": weight, "row": checkpoints.view(weight, (2,), (1,)), 5: [1, 2.5, NAN, None, "x"]}
    obj |= {"meta": float("inf"), "bits": checkpoints.tensor("bits8", b"1"), "big": 2**200}
    obj |= {"net": checkpoints.Global("my", "Net"), "scalar": checkpoints.tensor("int8", 1)}
    return save(obj, "model.pt")


@pytest.mark.parametrize("verb", ["ls", "inspect", "verify", "scan"])
def test_json_of_a_file(told, path, verb):
    check(told(verb, path), shapes()[verb])


def test_json_of_a_damaged_file(told, path):
    data = bytearray(path.read_bytes())
    data[data.index(b"\x00\x00\x80\x3f")] ^= 1
    path.write_bytes(data)
    found = told("verify", "--values", "--second-opinion", path)
    assert found["problems"] and found["notes"]
    check(found, shapes()["verify"])
    path.write_bytes(data[:100])
    found = told("inspect", path)
    assert found["problems"] and found["hints"]
    check(found, shapes()["inspect"])


def test_json_of_a_scan_that_finds_something(told, path):
    data = path.read_bytes()
    path.write_bytes(data[:-22] + b"\0" * 22)
    found = told("scan", path)
    assert {problem["kind"] for problem in found["problems"]} > {"ForbiddenError"}
    check(found, shapes()["scan"])
    path.write_bytes(data[:-2] + b"\5\0" + b"extra")
    found = told("scan", path)
    assert found["notes"] and found["unreferenced"] and found["globals"]
    check(found, shapes()["scan"])


def test_json_of_tree(told, path):
    check(told("tree", "--values", path), shapes()["tree"])


def test_json_of_diff(told, path, save):
    other = checkpoints.tensor("float32", [[1, 1], [2, 3]], (2, 2))
    found = told("diff", path, save({"w": other, "new": other}, "other.pt"))
    assert {change["kind"] for change in found["changes"]} >= {"elements", "added", "removed"}
    check(found, shapes()["diff"])


def test_json_of_what_is_written(told, path, tmp_path):
    found = told("extract", path, "-o", tmp_path / "out")
    assert found["written"] and found["skipped"]
    check(found, shapes()["extract"])
    check(told("report", path, "-o", tmp_path / "page.html"), shapes()["report"])


@pytest.mark.parametrize("verb", ["ls", "tree", "inspect", "verify", "extract", "report", "diff"])
def test_json_of_what_cannot_be_opened(told, tmp_path, verb):
    missing = tmp_path / "missing.pt"
    more = {"extract": ("-o", tmp_path / "x"), "report": ("-o", tmp_path / "y"), "diff": (missing,)}
    check(told(verb, missing, *more.get(verb, ())), shapes()["error"])


def verbs_of_the_parser():
    for action in parser(tuple(VERBS))._actions:
        if isinstance(action, argparse._SubParsersAction):
            return action.choices
    raise AssertionError


def test_every_verb_and_option_is_documented():
    text = DOCS.read_text("utf-8")
    for verb, verb_parser in verbs_of_the_parser().items():
        section = re.search(rf"^## {verb}\n(.*?)(?=^## |\Z)", text, re.S | re.M)
        if section is None:  # on a page of its own
            assert f"`{verb}`" in text, verb
            continue
        for action in verb_parser._actions:
            names = [name for name in action.option_strings if name not in ("-h", "--help")]
            assert not names or any(name in section[1] for name in names), (verb, names)


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_every_verb(ptio_command, verb):
    status, out, err = ptio_command(verb, "--help")
    assert (status, err) == (0, "")
    assert out.startswith(f"usage: ptio {verb} ")
    assert max(map(len, out.splitlines())) <= 100
