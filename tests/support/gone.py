# SPDX-License-Identifier: Apache-2.0
"""Checkpoints with objects whose classes cannot be imported afterwards. Needs torch."""

import contextlib
import importlib.util
import io
import pathlib
import sys
import types

_SOURCE = pathlib.Path(__file__).with_name("gone_classes.py")


def load():
    """The module of support/gone_classes.py under the name `gone`, which nobody can import."""
    spec = importlib.util.spec_from_file_location("gone", _SOURCE)
    module = importlib.util.module_from_spec(spec)
    with importable(module):
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def importable(*modules):
    """Inside, the modules can be imported by their names."""
    known = {module.__name__: module for module in modules}
    packages = {name.partition(".")[0] for name in known} - {*known}
    known.update({name: types.ModuleType(name) for name in packages})
    sys.modules.update(known)
    try:
        yield
    finally:
        for name in known:
            del sys.modules[name]


def make_class(module, name):
    """A class of attributes in a module of its own, which is given in the class's `home`."""
    made = type(name, (), {"__module__": module, "home": types.ModuleType(module)})
    setattr(made.home, name, made)
    return made


def script_tree(torch):
    """Objects as those in the pickle of a TorchScript archive: tensors among the attributes."""
    Net, Block = make_class("__torch__.net", "Net"), make_class("__torch__.block", "Block")
    net, net.training, net.first, net.second = Net(), True, Block(), Block()
    net.scale, net.names = torch.rand(()), ["a"]
    net.first.weight, net.second.weight, net.second.bias = (torch.rand(n) for n in (2, 3, 4))
    return saved({"data": net, "constants": (torch.ones(2),)}, torch, Net.home, Block.home)


def omegaconf(torch):
    """{"lr": 0.1, "layers": [1, 2], "model": {"name": "x"}} as omegaconf pickles it."""
    kinds = {"DictConfig": "dictconfig", "ListConfig": "listconfig", "AnyNode": "nodes"}
    classes = {name: make_class(f"omegaconf.{home}", name) for name, home in kinds.items()}

    def make(value, parent=None):
        kind = {dict: "DictConfig", list: "ListConfig"}.get(type(value), "AnyNode")
        node = classes[kind]()
        node._metadata, node._parent = {"optional": True}, parent
        if type(value) is dict:
            node._content = {key: make(child, node) for key, child in value.items()}
        elif type(value) is list:
            node._content = [make(child, node) for child in value]
        else:
            node._val = value
        return node

    config = make({"lr": 0.1, "layers": [1, 2], "model": {"name": "x"}})
    return saved(config, torch, *[cls.home for cls in classes.values()])


def saved(obj, torch, *modules, **options):
    """torch.save's bytes; the modules are importable while it runs."""
    file = io.BytesIO()
    with importable(*modules):
        torch.save(obj, file, **options)
    return file.getvalue()
