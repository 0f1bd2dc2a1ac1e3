# SPDX-License-Identifier: Apache-2.0
"""ptio never imports torch: importing it, loading, verifying, and the command line."""

import pytest
from support import checkpoints, children

CODE = """
import importlib.abc, json, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"{name} is blocked")

path, *blocked = sys.argv[1:]
if blocked:
    sys.meta_path.insert(0, Blocked())
import ptio
after_import = sorted(sys.modules)
obj = ptio.load(path, verify=True)
obj = ptio.load(path, mmap=False, unknown="inert")
assert ptio.verify(path).ok
from ptio.cli import main
for verb in ("ls", "verify"):
    try:
        status = main([verb, path])
    except SystemExit as e:
        status = e.code
    assert not status, (verb, status)
print(json.dumps([after_import, sorted(sys.modules)]))
"""


@pytest.fixture
def path(save):
    dtypes = ("float32", "bfloat16", "float8_e5m2", "complex32", "uint16")
    obj = {name: checkpoints.tensor(name, bytes(16)) for name in dtypes}
    return save({**obj, "sizes": (1, 2), "dtype": checkpoints.Global("torch", "bits8")})


@pytest.mark.parametrize("blocked", [(), ("torch", "rich", "fsspec", "safetensors", "lightning")])
def test_nothing_imports_torch(path, blocked):
    for modules in children.run(CODE, path, *blocked):
        tops = {name.partition(".")[0] for name in modules}
        assert "ptio" in tops
        assert not tops & {"torch", "fsspec", "safetensors", "lightning", "functorch"}


def test_import_loads_nothing_heavy(path):
    after_import, _ = children.run(CODE, path)
    tops = {name.partition(".")[0] for name in after_import}
    heavy = {"rich", "argparse", "asyncio", "multiprocessing", "unittest", "email", "http"}
    assert not tops & heavy - _imported_by("numpy", "ml_dtypes")


def _imported_by(*modules):
    code = f"import json, sys\nimport {', '.join(modules)}\n"
    code += "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    return set(children.run(code))
