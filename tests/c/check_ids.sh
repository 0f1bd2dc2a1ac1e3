#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Every check of the core is named by a test, and every check that a test names exists.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
id='"[A-Z][0-9]*\.[a-z][a-z0-9_-]*"'
named=$(mktemp) made=$(mktemp)
trap 'rm -f "$named" "$made"' EXIT
cat "$here"/../../csrc/core/*.[ch] | grep -oE "$id" | sort -u >"$made"
# T0.*, Z0.*: errors that the tests themselves make
cat "$here"/test_*.c | grep -oE "$id" | grep -v '^"[A-Z]0\.' | sort -u >"$named"
comm -23 "$made" "$named" | sed 's/^/no test names /'
comm -13 "$made" "$named" | sed 's/^/the core has no /'
cmp -s "$made" "$named"
