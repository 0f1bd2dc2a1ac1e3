#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds the core and the C tests with a plain compiler and runs them.
#   tests/c/run.sh [part of a test's name]
#   CC=clang SANITIZE=1      AddressSanitizer and UBSan        SANITIZE=thread   ThreadSanitizer
#   VALGRIND=1               under valgrind                    COVERAGE=1        line and branch coverage
#   CHECK_REMOVAL=1          switches every check off in turn: each time a test must fail
#                            (arguments go to check_removal.py: --list, ids)
#   CC="..." EMULATOR="..."  for another machine (tools/other_machines.sh): no system call fails there
set -eu
here=$(cd "$(dirname "$0")" && pwd)
core=$here/../../csrc/core
out=${OUT:-$(mktemp -d /tmp/ptio-ctests-XXXXXX)}
[ -n "${OUT:-}" ] || trap 'rm -rf "$out"' EXIT

# All of the core.
SOURCES=$(cd "$core" && ls *.c | sed 's/\.c$//')
TESTS=$(sed -n 's/^SUITE(\(.*\))$/test_\1/p' "$here/suites.def")

flags="-std=c11 -D_GNU_SOURCE -O2 -g -Wall -Wextra -Wconversion -Wshadow -Wsign-conversion -Werror -pthread"
flags="$flags -DPTIO_FAULT_INJECTION -iquote $core"
link="-lzip -lz -ldeflate -lpthread"
if [ "$(uname)" = Linux ] && [ -z "${EMULATOR:-}" ]; then
    flags="$flags -DPTIO_WRAPPED_CALLS"
    for call in pread pwrite fallocate fstat fstatfs mmap fcntl getentropy pthread_create sched_getaffinity; do link="$link -Wl,--wrap=$call"; done
fi
case "${SANITIZE:-}" in
"") ;;
thread) flags="$flags -fsanitize=thread" ;;
*) flags="$flags -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer" ;;
esac
# Where a check can be off, what it guards may be used before it is set: that is the point.
[ -z "${CHECK_REMOVAL:-}" ] || flags="$flags -DPTIO_CHECK_REMOVAL -w"
[ -z "${COVERAGE:-}" ] || flags="$flags -O0 --coverage"

objects=
compile() { # FOLDER NAME...
    folder=$1
    shift
    printf '%s\n' "$@" | xargs -P "$(getconf _NPROCESSORS_ONLN)" -I {} ${CC:-cc} $flags -c "$folder/{}.c" -o "$out/{}.o"
    for name in "$@"; do objects="$objects $out/$name.o"; done
}
compile "$core" $SOURCES
compile "$here" main faults sweep zip_builder archives pickle_builder $TESTS
[ -z "${COVERAGE:-}" ] || rm -f "$out"/*.gcda # counts would be added to older ones
${CC:-cc} $flags $objects $link -o "$out/ctests"

if [ -n "${CHECK_REMOVAL:-}" ]; then
    ${PYTHON:-python3} "$here/check_removal.py" "$out/ctests" "$@"
elif [ -n "${VALGRIND:-}" ]; then
    valgrind --quiet --leak-check=full --errors-for-leak-kinds=definite,indirect,possible --error-exitcode=9 "$out/ctests" "$@"
else
    ${EMULATOR:-} "$out/ctests" "$@"
fi
[ -z "${COVERAGE:-}" ] || ${PYTHON:-python3} "$here/coverage.py" "$out" "$core"
