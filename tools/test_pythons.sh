#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs ptio as a user would, from source, on other Pythons, and runs the tests that need no
# torch and are not slow.   Usage: test_pythons.sh [VERSION...]; a version that is not on this machine is skipped.
# Python 3.10 gets the oldest NumPy and ml_dtypes that pyproject.toml allows.
set -euo pipefail

[ $# -gt 0 ] || set -- 3.10 3.12 3.13

find_python() { # newest VERSION.x of pyenv, else pythonVERSION of the path
    local found=
    if command -v pyenv >/dev/null; then
        found=$(ls -d "$(pyenv root)/versions/$1".*/bin/python 2>/dev/null | sort -V | tail -1)
    fi
    if [ -z "$found" ]; then
        found=$(command -v "python$1") && "$found" -c '' 2>/dev/null || return 1
    fi
    echo "$found"
}

# What these files show is about the C code or Python code that is the same everywhere.
alike=()
for name in lenient sweeps scan_hidden scan_many_names leaks differential damaged_bytes memory \
    save_memory convert_files; do
    alike+=("--ignore=tests/test_$name.py")
done

for version in "$@"; do
    if ! python=$(find_python "$version"); then
        echo "== Python $version: NOT HERE, skipped"
        continue
    fi
    echo "== Python $version: $python"
    venv=".venv-$version"
    [ -e "$venv/bin/pip" ] || "$python" -m venv "$venv"
    "$venv/bin/pip" -q install --upgrade pip
    "$venv/bin/pip" -q install --force-reinstall --no-deps .
    "$venv/bin/pip" -q install "ptio[test]"
    if [ "$version" = 3.10 ]; then
        "$venv/bin/pip" -q install "numpy==1.23.*" "ml_dtypes==0.5.0"
    fi
    "$venv/bin/python" -m pytest -p no:cacheprovider -q -m "not torch and not slow" "${alike[@]}" \
        -n logical --maxprocesses 8 --dist worksteal
done
