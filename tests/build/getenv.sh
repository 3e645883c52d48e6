#!/bin/sh
# SPDX-License-Identifier: MIT
# getenv.sh SOURCE: the library reads the environment by common/core/variable.h only, which ignores it in a program that
# has more rights than its user.
set -eu
cd "$1"
files=$(find common backends -name '*.[ch]' ! -path common/core/variable.h)
[ "$(echo "$files" | wc -l)" -gt 100 ] || { echo 'suspiciously few files were found' >&2; exit 1; }
found=$(grep -nE '(^|[^_a-z])(secure_)?getenv *\(|\benviron\b' $files || true)
[ -z "$found" ] || { printf 'the environment is read other than by mglu_variable():\n%s\n' "$found" >&2; exit 1; }
