#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds OUTDIR/glue, the fuzzer of fuzz_glue.c.
#   [PYTHON=python3] [CC=clang] build_glue.sh OUTDIR
# PYTHON has NumPy and ml_dtypes, and a libpython to link with.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
python=$(command -v "${PYTHON:-python3}")
out=$(mkdir -p "$1" && cd "$1" && pwd)
objects=$out/glue_objects
mkdir -p "$objects"

from_python() {
    "$python" - <<CODE
import sysconfig, numpy
value = sysconfig.get_config_var
print("-isystem", sysconfig.get_path("include"), "-isystem", sysconfig.get_path("platinclude"),
      "-isystem", numpy.get_include())
folder = value("LIBDIR") if value("Py_ENABLE_SHARED") else value("LIBPL")
print(f"-L{folder} -Wl,-rpath,{folder} -lpython{value('LDVERSION')}", value("LIBS"), value("SYSLIBS"),
      value("LINKFORSHARED"))
CODE
}
{ read -r includes; read -r libraries; } < <(from_python)

# The flags of setup.py, and the sanitizers.
sanitizers="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer"
flags="-std=c11 -D_GNU_SOURCE -I$root/csrc -fvisibility=hidden -pthread -O1 -g $sanitizers $includes"

compile() {
    ${CC:-clang} $flags -fsanitize=fuzzer-no-link -c "$1" -o "$objects/$(basename "$1" .c).o"
}
export -f compile
export flags objects CC
printf '%s\n' "$root"/csrc/core/*.c "$root"/csrc/py/*.c |
    xargs -P "$(nproc)" -I{} bash -ec 'compile {}'

"${CC:-clang}" $flags -DFUZZ_PYTHON="\"$python\"" -DFUZZ_FOLDER="\"$here\"" \
    -fsanitize=fuzzer "$here/fuzz_glue.c" "$objects"/*.o -o "$out/glue" \
    -Wl,--export-dynamic $libraries $(pkg-config --libs libzip zlib libdeflate)

rm -rf "$objects"
