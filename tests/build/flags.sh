#!/bin/sh
# SPDX-License-Identifier: MIT
# flags.sh COMPILE_COMMANDS: no file is compiled with a flag that changes what floating point means.
set -eu
grep -q '"command"' "$1"
if grep -n -oE -e '-(ffast-math|Ofast|funsafe-math-optimizations|ffinite-math-only|fassociative-math|ffp-contract=(fast|on))' "$1"; then
    echo 'a file is compiled with the flags above' >&2
    exit 1
fi
