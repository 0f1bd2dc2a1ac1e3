# SPDX-License-Identifier: Apache-2.0
"""What a person sees: the command on a terminal, in a pipe, with a shell that completes."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from support import checkpoints

FINE, USAGE = 0, 4
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@pytest.fixture
def path(save):
    weight = checkpoints.tensor("float32", range(6), (2, 3))
    return save({"model": {"fc.weight": weight, "\x1b[2Jevil": weight}, "epoch": 3}, "model.pt")


def on_terminal(*arguments, **settings):
    """(exit status, what appears) of the command with a terminal as its stdout."""
    pty = pytest.importorskip("pty")
    main, side = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", **settings}
    environment = {name: value for name, value in environment.items() if value is not None}
    command = [sys.executable, "-m", "ptio", *map(str, arguments)]
    with subprocess.Popen(command, stdin=side, stdout=side, stderr=side, env=environment) as child:
        os.close(side)
        seen = bytearray()
        while True:
            try:
                part = os.read(main, 65536)
            except OSError:  # how Linux says that the other side is closed
                break
            if not part:
                break
            seen += part
    os.close(main)
    return child.returncode, seen.decode().replace("\r\n", "\n")


def test_tree_has_colours_on_a_terminal(path):
    status, seen = on_terminal("tree", path, NO_COLOR=None)
    assert status == FINE
    assert "\x1b[1mepoch\x1b[0m: 3" in seen
    assert ESCAPE.sub("", seen).splitlines()[1:3] == ["dict of 2 items", "  model: dict of 2 items"]
    assert "\x1b[2J" not in seen


@pytest.mark.parametrize("settings", [{"NO_COLOR": "1"}, {"TERM": "dumb", "NO_COLOR": None}])
def test_no_colours_where_they_are_not_wanted(path, settings):
    status, seen = on_terminal("tree", path, **settings)
    assert status == FINE
    assert "\x1b" not in seen
    assert "epoch: 3" in seen


def test_ls_is_a_table(path):
    status, seen = on_terminal("ls", path)
    assert status == FINE
    lines = ESCAPE.sub("", seen).splitlines()
    assert lines[0].split() == ["name", "dtype", "shape", "size"]
    assert any(
        line.split() == ["model/fc.weight", "float32", "2", "x", "3", "24", "B"] for line in lines
    )
    assert "\x1b[2J" not in seen


def test_json_is_the_same_on_a_terminal(path):
    _, seen = on_terminal("ls", "--json", path)
    assert "\x1b" not in seen
    assert seen.startswith("{")


def test_verify_leaves_a_clean_line(path):
    status, seen = on_terminal("verify", path)
    assert status == FINE
    assert "ok" in ESCAPE.sub("", seen).splitlines()[-1]


def run(*arguments, **options):
    command = [sys.executable, "-m", "ptio", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **options)


def test_without_arguments_it_shows_the_help():
    done = run()
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert "inspect" in done.stderr and "examples:" in done.stderr


@pytest.mark.parametrize("verb", ["tree", "inspect", "ls"])
def test_a_closed_pipe_is_no_error(save, verb):
    path = save({str(i): checkpoints.tensor("int8", b"1") for i in range(3000)})
    command = [sys.executable, "-m", "ptio", verb, *(["--all"] if verb == "inspect" else []), path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        child.stdout.readline()
        child.stdout.close()
        assert child.stderr.read() == b""


@pytest.mark.skipif(os.name == "nt", reason="needs a shell")
def test_a_closed_stdout_is_no_error(path):
    command = f'exec "{sys.executable}" -m ptio ls "{path}" >&-'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (FINE, "")


def test_verbs_are_imported_when_they_are_used(path):
    code = (
        "import sys; from ptio.cli import main; main(sys.argv[1:]); "
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "ls", path], capture_output=True, text=True, check=True
    )
    loaded = set(done.stderr.split())
    assert "ptio.cli.ls" in loaded
    others = {
        "ptio.cli.tree",
        "ptio.cli.verify",
        "ptio._inspect.outline",
        "ptio._open",
        "ptio._save.save",
    }
    assert not loaded & (others | {"torch", "rich", "ptio._inspect.inspect"})


# --- completion


def complete(script, *words):
    """What bash offers for the last of the words."""
    quoted = " ".join(f'"{word}"' for word in words)
    code = f"{script}\nCOMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _ptio; "
    code += 'echo "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes_verbs_options_and_choices():
    script = run("completion", "bash").stdout
    assert {"ls", "tree", "diff", "--help"} <= set(complete(script, "ptio", ""))
    assert complete(script, "ptio", "ins") == ["inspect"]
    assert "--sort" in complete(script, "ptio", "ls", "--")
    assert complete(script, "ptio", "ls", "--so") == ["--sort"]
    assert complete(script, "ptio", "ls", "--sort", "") == ["size", "name", "dtype"]
    assert complete(script, "ptio", "completion", "z") == ["zsh"]
    assert complete(script, "ptio", "ls", "mod") == []  # bash goes on with files


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells(shell):
    done = run("completion", shell)
    assert done.returncode == FINE
    assert "ptio" in done.stdout
    if shutil.which(shell):
        checked = subprocess.run([shell, "-n"], input=done.stdout, text=True, capture_output=True)
        assert checked.returncode == 0, checked.stderr


def test_an_unknown_shell_is_wrong_usage():
    assert run("completion", "tcsh").returncode == USAGE
