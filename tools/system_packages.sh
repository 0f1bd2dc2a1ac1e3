#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes sure that the compiler, the C libraries and Python's own parts are there; installs what
# is missing where apt-get is.
#   system_packages.sh PYTHON          to build ptio
#   system_packages.sh PYTHON fuzz     clang and its libFuzzer
set -euo pipefail

python=${1:-python3}
command -v "$python" >/dev/null || { echo "ptio: there is no $python; set PYTHON" >&2; exit 1; }
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
    echo "ptio: $python is Python $version, ptio needs 3.10 or newer; set PYTHON" >&2
    exit 1
fi

missing=()
need() { # PACKAGE COMMAND...: the package is missing unless the command succeeds
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

install_missing() {
    [ ${#missing[@]} -eq 0 ] && return 0
    local as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    if command -v apt-get >/dev/null && { [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null; }; then
        echo "ptio: installing ${missing[*]}"
        export DEBIAN_FRONTEND=noninteractive
        if "${as_root[@]}" apt-get update -qq &&
            "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}"; then
            missing=()
            return
        fi
    fi
    echo "ptio: please install these packages (names of Debian and Ubuntu): ${missing[*]}" >&2
    exit 1
}

has_c_compiler() { echo 'int main(void) { return 0; }' | cc -x c - -o /dev/null; }
has_libfuzzer() {
    echo 'int LLVMFuzzerTestOneInput(const char *p, unsigned long n) { return n > 0 && *p; }' |
        clang -fsanitize=fuzzer,address -x c - -o /dev/null
}

if [ "${2:-}" = fuzz ]; then
    need clang command -v clang
    need llvm command -v llvm-symbolizer
    install_missing
    # Its own package in newer releases, named after the version.
    need "libclang-rt-$(clang -dumpversion | cut -d . -f 1)-dev" has_libfuzzer
else
    need gcc has_c_compiler
    echo '#include <stdlib.h>' | cc -E - >/dev/null 2>&1 || missing+=(libc6-dev)
    need pkg-config command -v pkg-config
    need libzip-dev pkg-config --exists libzip
    need zlib1g-dev pkg-config --exists zlib
    need libdeflate-dev pkg-config --exists libdeflate
    need "python$version-venv" "$python" -c 'import ensurepip, venv'
    need "python$version-dev" "$python" -c '
import os, sysconfig
os.stat(os.path.join(sysconfig.get_path("include"), "Python.h"))'
fi
install_missing
