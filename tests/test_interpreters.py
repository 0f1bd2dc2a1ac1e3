# SPDX-License-Identifier: Apache-2.0
"""Interpreters other than the usual one, and the end of one. Each in a process of its own."""

import sysconfig

import pytest
from support import checkpoints
from support.children import run_raw

_SUBINTERPRETER = """
import sys
try:
    import _interpreters as interpreters  # from Python 3.13 on
except ImportError:
    import _xxsubinterpreters as interpreters
import warnings
warnings.simplefilter("ignore")

code = '''
import sys
sys.path[:] = {path!r}
try:
    import ptio._core
except ImportError as error:
    said = type(error).__name__ + ": " + str(error)
else:
    said = "imported"
with open({out!r}, "w") as file:
    file.write(said)
'''
interpreters.run_string(interpreters.create(), code.format(path=sys.path, out=sys.argv[1]))
"""


def test_a_subinterpreter_gets_an_import_error(tmp_path):
    out = tmp_path / "said"
    done = run_raw(_SUBINTERPRETER, out)
    assert done.returncode == 0, done.stderr
    said = out.read_text()
    assert said.startswith("ImportError: ")
    assert "subinterpreter" in said


def test_after_a_subinterpreter_the_main_one_goes_on(tmp_path, save):
    path = save({"w": checkpoints.tensor("float32", [1.0])})
    loads = "import ptio\nassert ptio.load(sys.argv[2])['w'][0] == 1\n"
    done = run_raw(_SUBINTERPRETER + loads, tmp_path / "said", path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("mmap", [True, False])
def test_the_end_of_python_with_all_in_use(save, mmap):
    """Arrays, open handles, a save that was begun and cycles of these are left to the end."""
    path = save({"w": checkpoints.tensor("float32", [1.0, 2.0]), "x": [1]})
    code = (
        "import sys, gc, ptio, builtins\n"
        "gc.disable()\n"
        "mmap = sys.argv[2] == 'True'\n"
        "loaded = ptio.load(sys.argv[1], mmap=mmap)\n"
        "handle = ptio.open(sys.argv[1], mmap=mmap)\n"
        "part = handle.get_slice('w')\n"
        "view = memoryview(handle['w'])\n"
        "loaded['loop'] = [loaded, handle, part, view]\n"
        "builtins.kept = loaded, handle, part, view\n"
        "sys.kept = ptio.load(sys.argv[1], mmap=mmap)\n"
        "def at_end(): assert ptio.load(sys.argv[1])['w'][1] == 2\n"
        "import atexit; atexit.register(at_end)\n"
    )
    done = run_raw(code, path, mmap)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python has a GIL")
def test_a_free_threaded_python_gets_its_gil_back():
    """The module does not say that it can do without."""
    code = "import warnings; warnings.simplefilter('ignore'); import sys, ptio\n"
    done = run_raw(code + "assert sys._is_gil_enabled()", PYTHON_GIL="")
    assert done.returncode == 0, done.stderr
