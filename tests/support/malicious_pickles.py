# SPDX-License-Identifier: Apache-2.0
"""Pickles that call what no checkpoint may, one for each name, in every protocol and in every
kind of file. They are written byte by byte; nothing here is ever unpickled."""

from support import checkpoints, legacy_files, zip_files
from support import pickle_asm as asm

_NAMES = """
os.system os.popen os.execv os.execl os.spawnl os.spawnv os.posix_spawn os.startfile os.remove
os.unlink os.rename os.kill os.putenv posix.system posix.popen posix.execv nt.system
subprocess.Popen subprocess.run subprocess.call subprocess.check_call subprocess.check_output
subprocess.getoutput subprocess.getstatusoutput pty.spawn commands.getoutput popen2.popen2
builtins.eval builtins.exec builtins.compile builtins.getattr builtins.setattr builtins.open
builtins.__import__ builtins.globals builtins.breakpoint builtins.input builtins.map
__builtin__.eval __builtin__.execfile __builtin__.apply __builtin__.getattr __builtin__.file
importlib.import_module importlib.reload runpy.run_path runpy.run_module runpy._run_code
code.interact code.InteractiveInterpreter codeop.compile_command timeit.timeit timeit.main
pdb.run pdb.set_trace bdb.Bdb profile.run cProfile.run cProfile.runctx trace.Trace
doctest.debug_script webbrowser.open platform.popen ctypes.CDLL ctypes.cdll.LoadLibrary
_ctypes.dlopen mmap.mmap socket.socket socket.create_connection ssl.get_server_certificate
urllib.request.urlopen urllib.request.urlretrieve http.client.HTTPConnection httplib.HTTP
requests.api.get ftplib.FTP smtplib.SMTP telnetlib.Telnet asyncio.create_subprocess_shell
shutil.rmtree shutil.copyfile shutil.move pathlib.Path.unlink tempfile.mktemp io.open _io.FileIO
logging.FileHandler sys.exit sys.modules sys.settrace types.CodeType types.FunctionType
functools.partial functools.reduce operator.attrgetter operator.itemgetter operator.methodcaller
_operator.attrgetter itertools.starmap pickle.loads pickle.load _pickle.loads marshal.loads
dill.loads cloudpickle.loads cloudpickle.cloudpickle._make_function joblib.load numpy.load
numpy.testing._private.utils.runstring torch.load torch.hub.load torch.ops.load_library
torch.jit.load torch.storage._load_from_bytes torch.package.PackageImporter
torch._inductor.codecache.compile_file pip.main pip._internal.main ensurepip._run_pip venv.create
pydoc.locate pydoc.pipepager pkgutil.resolve_name zipimport.zipimporter signal.signal
multiprocessing.Process threading.Thread sqlite3.connect gc.get_objects inspect.currentframe
"""
NAMES = _NAMES.split()

_PROTOCOLS = (0, 1, 2, 3, 4, 5)


def _pickle(module, name, protocol):
    callee = asm.stack_global(module, name) if protocol >= 4 else asm.global_(module, name)
    argument = asm.op("STRING", "x") if protocol == 0 else asm.text("x")
    return asm.program(asm.call(callee, argument), protocol=protocol)


def _legacy(pickled):
    parts = legacy_files.parts_of([checkpoints.tensor("int8", b"1")])
    parts.obj = pickled
    return parts.join()


_KINDS = {
    "bare": lambda pickled: pickled,
    "zip": lambda pickled: checkpoints.archive(pickled),
    "deflated": lambda pickled: zip_files.write(
        [zip_files.deflated(b"a/data.pkl", pickled), *checkpoints.entries(b"", stem="a")[1:]]
    ),
    "legacy": _legacy,
}


def files():
    """(name of the file, name of the global, bytes) of each."""
    kinds = list(_KINDS.items())
    for number, whole in enumerate(NAMES):
        module, _, name = whole.rpartition(".")
        protocol = _PROTOCOLS[number % len(_PROTOCOLS)]
        kind, make = kinds[number // len(_PROTOCOLS) % len(kinds)]
        suffix = "pkl" if kind == "bare" else "pt"
        yield f"{whole}-{protocol}-{kind}.{suffix}", whole, make(_pickle(module, name, protocol))
