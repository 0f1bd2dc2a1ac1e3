#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Static analysis of the C sources; fails where there is a finding.
#   tools/analyze.sh gcc PYTHON          gcc -fanalyzer: what may happen on a path through a function
#   tools/analyze.sh clang-tidy PYTHON   patterns that are mostly mistakes, see .clang-tidy
# PYTHON has NumPy, whose headers csrc/py includes.
set -eu
cd "$(dirname "$0")/.."
tool=$1 python=$2
includes=$("$python" -c 'import numpy, sysconfig
print("-isystem", sysconfig.get_path("include"), "-isystem", numpy.get_include())')
flags="-std=c11 -D_GNU_SOURCE -Icsrc $includes"
case $tool in
gcc) set -- "${GCC:-gcc}" $flags -O2 -fanalyzer -Wall -Wextra -Werror -c -o /dev/null {} ;;
clang-tidy) set -- "${CLANG_TIDY:-clang-tidy}" --quiet {} -- $flags ;;
esac
ls csrc/core/*.c csrc/py/*.c | xargs -P "$(getconf _NPROCESSORS_ONLN)" -I {} "$@"
