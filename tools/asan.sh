#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the C tests and the Python tests under AddressSanitizer and UndefinedBehaviorSanitizer, and
# proves first that both are in the binary.   Usage: asan.sh PYTHON [PYTEST ARGUMENT...]
# PYTHON has all that the tests need; the sanitized package stands before its own.
set -euo pipefail

python=$1
shift
site=$PWD/build/sanitize/site
export PTIO_SANITIZE=1 PTIO_WERROR=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1

echo "== C tests, leaks included"
SANITIZE=1 ASAN_OPTIONS=detect_leaks=1 tests/c/run.sh

echo "== build"
rm -rf "$site"
"$python" -m pip -q install --no-build-isolation --no-deps --target "$site" .

# A sanitizer's run-time library has to be the first one in the process. Python and NumPy keep
# memory until they exit, so leaks are left to the C tests.
preload="$(gcc -print-file-name=libasan.so):$(gcc -print-file-name=libubsan.so)"
run() {
    env LD_PRELOAD="$preload" PYTHONPATH="$site" PYTHONMALLOC=malloc \
        ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 "$@"
}

echo "== proof that the sanitizers are in"
extension=$(run "$python" -c 'import ptio._core; print(ptio._core.__file__)')
echo "$extension"
[[ $extension == "$site"/* ]] || { echo "that is not the sanitized build" >&2; exit 1; }
symbols=$(nm -D --undefined-only "$extension")
for symbol in __asan_report_load __ubsan_handle; do
    grep -q "$symbol" <<<"$symbols" || { echo "no $symbol* in it" >&2; exit 1; }
    echo "refers to $(grep -c "$symbol" <<<"$symbols") functions $symbol*"
done

# What stands above the handle is Python, and so is what these files start in processes of their
# own: the other tests reach all of the C code under it.
above=()
for name in 'cli*' 'convert*' merge slim run torch_stories torch_load_processes 'scan*'; do
    above+=(--ignore-glob="*/test_$name.py")
done

echo "== Python tests, but those that mostly start other processes, or are of Python code alone"
run "$python" -m pytest -p no:cacheprovider -m "not slow" "${above[@]}" "$@"
