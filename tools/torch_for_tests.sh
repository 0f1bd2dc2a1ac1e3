#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The torch that the tests compare with: the one version whose behaviour they were written for.
#
#   torch_for_tests.sh install PYTHON   tries to install it; fails only under REQUIRE_TORCH=1
#   torch_for_tests.sh check PYTHON     says loudly where it is missing
#
# PTIO_TORCH_INDEX: an additional package index, e.g. that of torch's CPU builds.
set -euo pipefail

version=2.13.0
action=$1
python=$2

is_there() {
    "$python" -c '
import importlib.metadata, sys
sys.exit(importlib.metadata.version("torch").split("+")[0] != sys.argv[1])' "$version" 2>/dev/null
}

install() {
    echo "installing torch $version"
    "$python" -m pip -q install "torch==$version" \
        ${PTIO_TORCH_INDEX:+--extra-index-url "$PTIO_TORCH_INDEX"}
}

is_there && exit 0
if [ "$action" = install ] || [ "${REQUIRE_TORCH:-0}" != 0 ]; then
    install && is_there && exit 0
fi
cat >&2 <<MESSAGE
**********************************************************************************************
  torch $version is not installed: EVERY TEST THAT COMPARES WITH torch IS SKIPPED.
  "make test" lists the skipped tests at its end. To run them: set PTIO_TORCH_INDEX to a package
  index that has torch $version, and run "REQUIRE_TORCH=1 make test".
**********************************************************************************************
MESSAGE
[ "${REQUIRE_TORCH:-0}" = 0 ]
