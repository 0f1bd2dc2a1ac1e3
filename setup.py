# SPDX-License-Identifier: Apache-2.0
"""Builds the C extension ptio._core. Everything else about the package is in pyproject.toml.

Environment:
    PTIO_SANITIZE=1   AddressSanitizer and UndefinedBehaviorSanitizer
    PTIO_DEBUG=1      no optimisation, debug information, asserts
    PTIO_WERROR=1     warnings are errors
    PKG_CONFIG        the pkg-config program to ask
"""

import os
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from glob import glob

import numpy
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# pkg-config's name of each C library, and the package that brings its header and library.
LIBRARIES = {
    "libzip": {"Debian/Ubuntu": "libzip-dev", "Fedora": "libzip-devel", "Homebrew": "libzip"},
    "zlib": {"Debian/Ubuntu": "zlib1g-dev", "Fedora": "zlib-devel", "Homebrew": "zlib"},
    "libdeflate": {
        "Debian/Ubuntu": "libdeflate-dev",
        "Fedora": "libdeflate-devel",
        "Homebrew": "libdeflate",
    },
}
PKG_CONFIG_PACKAGES = {
    "Debian/Ubuntu": "pkg-config",
    "Fedora": "pkgconf-pkg-config",
    "Homebrew": "pkgconf",
}
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]


def is_on(switch):
    return os.environ.get(switch, "0") not in ("", "0")


def stop(missing, packages):
    advice = ", ".join(f"{package} ({system})" for system, package in packages.items())
    raise SystemExit(f"ptio needs {missing} to build: install {advice} and try again.")


def pkg_config(*arguments):
    command = [os.environ.get("PKG_CONFIG", "pkg-config"), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        stop("pkg-config", PKG_CONFIG_PACKAGES)
    return done.stdout.split() if done.returncode == 0 else None


def library_flags():
    """Compiler and linker flags of the C libraries; stops where one is missing."""
    for name, packages in LIBRARIES.items():
        if pkg_config("--exists", name) is None:
            stop(f"the C library {name}", packages)
    return pkg_config("--cflags", *LIBRARIES), pkg_config("--libs", *LIBRARIES)


def compile_flags():
    # Headers of Python and NumPy are system headers here, so that -Wconversion looks only at ours.
    system = [sysconfig.get_path("include"), sysconfig.get_path("platinclude"), numpy.get_include()]
    # _GNU_SOURCE: POSIX and what else a compiler shows without -std. _FILE_OFFSET_BITS: large files
    # on 32-bit machines. -Icsrc, never csrc/core: its
    # limits.h would stand before the system's.
    flags = ["-std=c11", "-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64", "-Icsrc", *WARNINGS]
    flags += ["-fvisibility=hidden", "-pthread"]
    flags += [part for path in dict.fromkeys(system) for part in ("-isystem", path)]
    flags += ["-O0", "-g", "-UNDEBUG"] if is_on("PTIO_DEBUG") else ["-O2"]
    if is_on("PTIO_SANITIZE"):
        flags += [*SANITIZERS, "-fno-omit-frame-pointer", "-g"]
    if is_on("PTIO_WERROR"):
        flags += ["-Werror"]
    return flags


def core_extension():
    cflags, libs = library_flags()
    sources = ["csrc/core/*.c", "csrc/core/*/*.c", "csrc/py/*.c"]
    headers = ["csrc/**/*.h", "csrc/**/*.def"]
    return Extension(
        "ptio._core",
        sources=sorted(path for pattern in sources for path in glob(pattern)),
        depends=sorted(path for pattern in headers for path in glob(pattern, recursive=True)),
        extra_compile_args=compile_flags() + cflags,
        extra_link_args=["-pthread", *libs, *(SANITIZERS if is_on("PTIO_SANITIZE") else [])],
    )


class BuildExt(build_ext):
    """Compiles the sources of the extension side by side."""

    def build_extensions(self):
        compile_one = self.compiler.compile

        def compile_all(sources, **options):
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                objects = pool.map(lambda source: compile_one([source], **options), sources)
                return [name for names in objects for name in names]

        self.compiler.compile = compile_all
        super().build_extensions()


def build_base():
    """A folder per kind of build, so that objects of one are never linked into another."""
    kinds = {"PTIO_SANITIZE": "sanitize", "PTIO_DEBUG": "debug"}
    return os.path.join("build", "-".join(k for s, k in kinds.items() if is_on(s)) or "release")


setup(
    ext_modules=[core_extension()],
    cmdclass={"build_ext": BuildExt},
    options={"build": {"build_base": build_base()}},
)
