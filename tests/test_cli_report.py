# SPDX-License-Identifier: Apache-2.0
"""`ptio report`: one HTML page that needs nothing else, whatever the file is called inside."""

import json
import os
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from support import checkpoints

FINE, UNREADABLE, USAGE = 0, 2, 4
NAN = float("nan")
VOID = {"meta", "link", "img", "br", "hr", "input", "wbr"}


class Page(HTMLParser):
    """The document, as a browser's parser sees it before any script runs."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.open = [], [], []
        self.data = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        names = ("src", "href", "action", "data", "poster", "background")
        self.links += [value for name, value in attributes if name in names]
        assert not any(name.startswith("on") for name, _ in attributes)
        if tag not in VOID:
            self.open.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, text):
        if self.open and self.open[-1][1].get("id") == "data":
            self.data += text


@pytest.fixture
def report(ptio_command, tmp_path):
    """(the page, what is in its block of JSON)."""

    def make(path, *options, expect=FINE):
        target = tmp_path / "page.html"
        status, _, err = ptio_command("report", path, "-o", target, "--force", *options)
        assert (status, err) == (expect, "")
        text = target.read_text("ascii")
        page = Page(text)
        assert not page.open
        assert page.links == []
        assert page.tags.count("script") == 2
        assert "http-equiv" in text and "default-src 'none'" in text
        for outside in ("http://", "https://", "@import", "url(", "fetch(", "innerHTML", "eval("):
            assert outside not in text.replace("http://www.w3.org/2000/svg", ""), outside
        return page, json.loads(page.data)

    return make


@pytest.fixture
def path(save):
    weight = checkpoints.tensor("float32", np.arange(100), (10, 10), requires_grad=True)
    obj = {"model": {"w": weight, "tied": weight, "nan": checkpoints.tensor("float32", [NAN, 1])}}
    obj |= {"epoch": 3, "net": checkpoints.Global("my", "Net")}
    obj["c"] = checkpoints.tensor("complex64", [1j])
    return save(obj, "model.pt")


def test_everything_is_in_the_page(report, path):
    page, data = report(path)
    assert "table" not in page.tags  # the script makes them
    assert data["title"] == str(path)
    tensors = {tensor["name"]: tensor for tensor in data["tensors"]}
    assert list(tensors) == ["model/w", "model/tied", "model/nan", "c"]
    w = tensors["model/w"]
    assert (w["dtype"], w["shape"], w["nbytes"], w["grad"]) == ("float32", ["10", "10"], 400, True)
    stats = w["stats"]
    assert (stats["min"], stats["max"], stats["mean"]) == (0, 99, 49.5)
    assert stats["std"] == pytest.approx(np.arange(100).std())
    assert (sum(stats["hist"]), stats["zeros"]) == (100, 1)
    assert tensors["model/tied"]["storage"] == w["storage"]
    assert tensors["model/tied"]["stats"] == stats
    assert tensors["model/nan"]["stats"]["nan"] == 1
    assert tensors["c"]["stats"] is None
    assert {g["name"]: g["verdict"] for g in data["globals"]}["my.Net"] == "unknown"
    assert data["members"][0]["name"] == "archive/data.pkl"
    assert [1, "epoch", "value", "3"] in data["tree"]
    assert data["file"]["problems"] == []


def test_no_values_reads_no_tensor(report, path):
    _, data = report(path, "--no-values")
    assert all("stats" not in tensor for tensor in data["tensors"])


def test_a_damaged_file_has_a_page_too(report, path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    _, data = report(path, expect=UNREADABLE)
    assert data["tensors"] == []
    assert "cut off" in data["file"]["problems"][0]


HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "<img src=x onerror=alert(1)>",
    "&lt;b&gt;",
    "'\"`${alert(1)}",
    "__PTIO_DATA__",
    "\u202egnp.exe",
    "\u2028\u2029\x00\x1b[2J",
    "\ud800",
    "__proto__",
    "x" * 100_000,
    "",
]


def test_hostile_names_stay_text(report, save):
    obj = {name: checkpoints.tensor("int8", [i]) for i, name in enumerate(HOSTILE)}
    obj |= {name + "2": {name: name} for name in HOSTILE}
    obj["g"] = checkpoints.Global("<b>m", "</script>N")
    page, data = report(save(obj))
    assert page.tags == ["html", "head", "meta", "meta", "meta", "meta", "title", "style"] + [
        "body",
        "main",
        "noscript",
        "script",
        "script",
    ]
    assert len(data["tensors"]) == len(HOSTILE)
    assert data["tensors"][0]["name"] == HOSTILE[0]

    def texts(value):
        if isinstance(value, str):
            yield value
        elif isinstance(value, (dict, list)):
            for part in value.values() if isinstance(value, dict) else value:
                yield from texts(part)

    assert all(text.isprintable() and len(text) <= 1000 for text in texts(data))


def test_nothing_is_replaced_without_force(ptio_command, path):
    before = path.read_bytes()
    status, _, err = ptio_command("report", path, "-o", path)
    assert status == UNREADABLE
    assert "--force" in err
    assert path.read_bytes() == before


def test_it_says_where_it_went(ptio_command, path, tmp_path):
    target = tmp_path / "p.html"
    status, out, _ = ptio_command("report", path, "-o", target)
    assert status == FINE
    assert out.startswith(f"{target}: ")
    status, out, _ = ptio_command("report", path, "-o", target, "--force", "--json")
    assert json.loads(out) == {
        "path": str(path),
        "output": str(target),
        "bytes": target.stat().st_size,
        "ok": True,
    }
    assert ptio_command("report", path)[0] == USAGE


def browser():
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((found for found in map(shutil.which, names) if found), None)


@pytest.mark.slow
@pytest.mark.skipif(browser() is None, reason="no browser is installed")
def test_a_browser_shows_it(ptio_command, save, tmp_path):
    obj = {name: checkpoints.tensor("float32", [i, i + 1]) for i, name in enumerate(HOSTILE)}
    obj["layers"] = {f"fc.{i}": checkpoints.tensor("float32", range(50)) for i in range(30)}
    target = tmp_path / "page.html"
    assert ptio_command("report", save(obj), "-o", target)[0] == FINE
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    done = subprocess.run(
        [browser(), *options, "--virtual-time-budget=5000", "--dump-dom", f"file://{target}"],
        capture_output=True,
        timeout=120,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    dom = done.stdout.decode()
    assert dom.count("<svg") >= 30, done.stderr.decode()[-2000:]
    for title in ("Where the bytes are", "Tensors", "Structure", "Members of the archive"):
        assert f">{title}<" in dom
    assert "&lt;/script&gt;" in dom
    assert "<img" not in dom
    assert "Made by ptio" in dom  # the script came to its end
