# SPDX-License-Identifier: Apache-2.0
"""`ptio run X` is `python X`, with torch.load replaced: what a program sees, prints, ends with."""

import os
import re
import subprocess
import sys
import zipapp

import pytest

pytestmark = pytest.mark.slow

USAGE = 4
PTIO_RUN = ("-m", "ptio", "run")


@pytest.fixture
def python(tmp_path):
    """Runs python in tmp_path; returns (status, stdout, stderr)."""

    def run(*arguments, stdin="", **environment):
        settings = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment}
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=120,
            cwd=tmp_path,
            env=settings,
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def same(python):
    """Runs a program with python and with ptio run, proves that both do the same, returns it."""

    def run(*arguments, **options):
        expected = python(*arguments, **options)
        assert python(*PTIO_RUN, *arguments, **options) == expected
        return expected

    return run


@pytest.fixture
def files(tmp_path):
    """Writes files given by name without .py; "package/module" makes folders."""

    def write(**texts):
        for name, text in texts.items():
            path = tmp_path / (name + ".py")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)

    return write


WORLD = """
import sys
print(__name__, __file__, __spec__ and vars(__spec__).keys(), __package__, __builtins__)
print(type(__loader__), globals().get("__cached__"), __doc__)
print(sorted(globals()), sys.modules["__main__"].__dict__ is globals())
print(sys.argv, sys.path, sys.orig_argv[1:], sys.flags, sys.warnoptions, sys._xoptions)
print(sorted(sys.modules))
import inspect, os, signal
print(len(inspect.stack()), os.getcwd(), sys.stdin, sys.stdout, sys.stderr, sys.getrecursionlimit())
print({name: value for name, value in os.environ.items() if name != "PYTHONPATH"})
print([(s, signal.getsignal(s)) for s in signal.valid_signals() if signal.getsignal(s)])
"""


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--help",),
        ("-h", "-m", "x"),
        ("--", "a", "--", "--version"),
        ("", "a b", "@file", os.fsdecode(b"\xff"), "ü"),
    ],
)
def test_what_a_program_sees(same, files, arguments):
    files(program=WORLD)
    status, out, _ = same("program.py", *arguments)
    assert status == 0
    assert "numpy" not in out


def test_what_a_module_sees(same, files):
    files(**{"package/__init__": "", "package/program": WORLD})
    status, out, _ = same("-m", "package.program", "--help", "--", "-m")
    assert status == 0
    assert "package.program" in out


@pytest.mark.parametrize("options", [("-u",), ("-X", "dev", "-W", "ignore"), ("-O", "-B")])
def test_options_of_python_reach_the_program(python, files, options):
    files(program=WORLD)
    expected = python(*options, "program.py", "x")
    assert expected[0] == 0
    assert python(*options, *PTIO_RUN, "program.py", "x") == expected
    *others, last = options
    if len(last) == 2:
        assert python(*others, last + "m", "ptio", "run", "program.py", "x") == expected


def test_options_of_the_installed_command_do_not(python, files):
    files(program=WORLD, command="import sys, ptio.cli; sys.exit(ptio.cli.main())")
    expected = python("program.py", "x")
    assert python("-s", "-O", "command.py", "run", "program.py", "x") == expected


def test_python_that_cannot_load_the_patch_is_refused(python, files):
    files(program="print('here')")
    if python("-E", "-c", "import ptio")[0] != 0:
        pytest.skip("ptio is found by PYTHONPATH only")
    status, out, err = python("-E", *PTIO_RUN, "program.py")
    assert (status, out) == (USAGE, "")
    assert "-E" in err


ENDINGS = {
    "nothing": "",
    "status": "import sys; sys.exit(7)",
    "large status": "import sys; sys.exit(1000)",
    "true": "import sys; sys.exit(True)",
    "none": "import sys; sys.exit(None)",
    "text": "import sys; sys.exit('what went wrong')",
    "tuple": "raise SystemExit(('a', 1))",
    "os._exit": "import os; os._exit(9)",
    "killed": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "exception": "def f():\n    raise ValueError('ä\\ud800')\nf()",
    "chained": """
try:
    {}["key"]
except KeyError as e:
    raise RuntimeError("two\\nlines") from e
""",
    "in context": "try:\n    1/0\nfinally:\n    open('missing')",
    "syntax": "x = 1\nif x\n    y = 2",
    "indentation": "x = 1\n  y = 2",
    "import": "import no_such_module",
    "recursion": "def f(): f()\nf()",
    "interrupted": "import os, signal\nos.kill(os.getpid(), signal.SIGINT)",
    "interrupt caught": """
import os, signal
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("caught")
""",
    "terminated": "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)",
    "at exit": """
import atexit, threading, time
atexit.register(print, "at exit")
threading.Thread(target=lambda: (time.sleep(0.1), print("thread"))).start()
print("main")
raise SystemExit(3)
""",
    "excepthook": """
import sys
sys.excepthook = lambda *exception: print("hook", exception[:2])
raise ValueError("x")
""",
    "failing excepthook": """
import sys
def hook(*exception):
    raise TypeError("in the hook")
sys.excepthook = hook
raise ValueError("x")
""",
    "warning": "import warnings; warnings.warn('careful', stacklevel=2)",
    "not closed": "import sys; sys.stdout.write('no newline'); 1/0",
    "closed output": "import os; os.close(1); print('x')",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_how_a_program_ends(same, files, ending):
    files(program=ENDINGS[ending])
    same("program.py")


@pytest.mark.parametrize("ending", ["status", "text", "chained", "syntax", "interrupted"])
def test_how_a_module_ends(same, files, ending):
    files(**{"package/__init__": "", "package/program": ENDINGS[ending]})
    same("-m", "package.program")


def test_what_is_not_there(same, files):
    files(**{"package/__init__": ""})
    for arguments in (["missing.py"], ["-m", "missing"], ["-m", "package.missing"], ["package"]):
        status, out, err = same(*arguments)
        assert status in (1, 2)
        assert out == ""
        assert err


def test_a_package_a_folder_and_an_archive(same, files, tmp_path):
    main = "import sys, beside\nprint(__name__, __file__, sys.argv, sys.path[0])"
    files(
        **{
            "package/__init__": "print('package')",
            "package/__main__": "from .other import name\nprint(name, __package__, __spec__.name)",
            "package/other": "name = __name__",
            "folder/__main__": main,
            "folder/beside": "",
        }
    )
    zipapp.create_archive(tmp_path / "folder", tmp_path / "archive.pyz")
    assert "package.other package" in same("-m", "package")[1]
    for program in ("folder", "archive.pyz"):
        status, out, _ = same(program, "--help")
        assert status == 0
        assert out.startswith("__main__")


def test_reading_the_standard_input(same, files):
    files(program="import sys\nprint(input(), sys.stdin.read())")
    assert same("program.py", stdin="one\ntwo\nthree")[1] == "one two\nthree\n"


def test_classes_of_the_program_can_be_pickled(same, files):
    files(
        program="""
import pickle
class Point:
    x = 1
print(pickle.loads(pickle.dumps(Point())).x, pickle.dumps(Point, 0))
"""
    )
    assert same("program.py")[0] == 0


WORKERS = """
import multiprocessing, sys
class Task:
    def __init__(self, n):
        self.n = n
def work(task):
    return task.n * 2, type(task).__module__, __name__
if __name__ == "__main__":
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        print(pool.map(work, [Task(1), Task(2)]))
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("program", [["program.py"], ["-m", "program"]], ids=["script", "module"])
def test_multiprocessing(same, files, method, program):
    files(program=WORKERS)
    status, out, _ = same(*program, method)
    assert status == 0
    assert "(4, " in out


def test_unittest_main(python, files):
    files(
        program="""
import unittest
class Test(unittest.TestCase):
    def test_bad(self):
        self.assertEqual(1, 2)
    def test_good(self):
        pass
unittest.main()
"""
    )
    for arguments in ([], ["-v"], ["Test.test_good"], ["--help"]):
        expected, done = (
            python("program.py", *arguments),
            python(*PTIO_RUN, "program.py", *arguments),
        )
        assert [re.sub(r"in [\d.]+s", "", str(part)) for part in done] == [
            re.sub(r"in [\d.]+s", "", str(part)) for part in expected
        ]


def test_the_users_sitecustomize_is_imported(same, files, tmp_path):
    files(**{"mine/sitecustomize": "import sys; sys.mine = __file__"})
    files(program="import sys, sitecustomize; print(sys.mine, sitecustomize)" + WORLD)
    path = os.pathsep.join(filter(None, [str(tmp_path / "mine"), os.environ.get("PYTHONPATH")]))
    assert same("program.py", PYTHONPATH=path)[0] == 0


def test_an_empty_pythonpath(same, files):
    if os.environ.get("PYTHONPATH"):
        pytest.skip("ptio is found by PYTHONPATH only")
    files(program=WORLD)
    same("program.py", PYTHONPATH="")


def test_run_within_run(python, files):
    files(program=WORLD)
    assert python(*PTIO_RUN, *PTIO_RUN, "program.py", "x") == python("program.py", "x")


@pytest.mark.parametrize("arguments", [[], ["-m"], ["-x"], ["-c", "pass"], ["--version"]])
def test_wrong_usage(python, arguments):
    status, out, err = python(*PTIO_RUN, *arguments)
    assert (status, out) == (USAGE, "")
    assert "usage: ptio run" in err


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help(python, option):
    status, out, err = python(*PTIO_RUN, option)
    assert (status, err) == (0, "")
    assert "-m MODULE" in out


def test_an_import_of_torch_that_fails(python, files):
    for text in ("1/0", "import no_such_library", "raise KeyboardInterrupt"):
        files(torch=text, program="import torch")
        expected, done = python("program.py"), python(*PTIO_RUN, "program.py")
        assert done[:2] == expected[:2]
        assert done[2].splitlines()[-1] == expected[2].splitlines()[-1]
        if sys.version_info >= (3, 11):  # 3.10 shows where the import was watched
            assert done == expected


def test_a_module_named_torch_that_is_not_torch(python, files):
    files(torch="name = 'mine'", program="import torch; print(torch.name)")
    status, out, err = python(*PTIO_RUN, "program.py")
    assert (status, out) == (0, "mine\n")
    assert err.startswith("ptio: torch.load is not replaced")
    assert err.count("\n") == 1


REPLACED = """
import ptio.torch
assert torch.load is torch.serialization.load is ptio.torch.load, torch.load
assert ptio.torch._patch.original('load').__module__ == "torch.serialization"
print("replaced")
"""
IMPORTS = {
    "torch": "import torch",
    "a part of torch": "from torch.nn import Linear; import torch",
    "ptio first": "import ptio.torch, torch",
    "ptio's load first": "from ptio.torch import load; import torch; assert torch.load is load",
    "looked for before": "import importlib.util; importlib.util.find_spec('torch'); import torch",
    "in a thread": """
import threading
def work():
    import torch
    assert torch.load.__module__.startswith("ptio"), torch.load
threads = [threading.Thread(target=work) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
import torch
""",
    "lazily": """
import importlib.util, sys
spec = importlib.util.find_spec("torch")
spec.loader = importlib.util.LazyLoader(spec.loader)
torch = sys.modules["torch"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(torch)
torch.load
""",
}


@pytest.mark.usefixtures("torch")
@pytest.mark.parametrize("way", IMPORTS)
def test_torch_load_is_replaced(python, files, way):
    files(program=IMPORTS[way] + REPLACED)
    assert python(*PTIO_RUN, "program.py") == (0, "replaced\n", "")


@pytest.mark.usefixtures("torch")
def test_torch_load_is_replaced_in_child_processes(python, files):
    files(
        program="""
import multiprocessing, subprocess, sys
def loads(_):
    import torch
    return torch.load.__module__
if __name__ == "__main__":
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            print(pool.map(loads, [0]))
    code = "import torch; print([torch.load.__module__])"
    print(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout)
"""
    )
    status, out, err = python(*PTIO_RUN, "program.py")
    assert (status, err) == (0, "")
    assert out.split() == ["['ptio.torch._load']"] * 3


@pytest.mark.usefixtures("torch")
def test_torch_itself_looks_the_same(same, files):
    files(
        program="""
import torch, inspect, sys, importlib.resources
print(torch.__spec__.name, type(torch.__spec__.loader), torch.__spec__.origin, torch.__path__)
print(len(inspect.getsource(torch)), importlib.resources.files("torch"))
"""
    )
    same("program.py")


def test_a_program_reads_its_checkpoint(python, files, torch, torch_save):
    path = torch_save({"w": torch.arange(3), "epoch": 2})
    files(program="import sys, torch; print(torch.load(sys.argv[1]))")
    status, out, err = python(*PTIO_RUN, "program.py", path)
    assert (status, err) == (0, "")
    assert out == "{'w': tensor([0, 1, 2]), 'epoch': 2}\n"
