#!/bin/sh
# SPDX-License-Identifier: MIT
# flags.sh COMPILE_COMMANDS: no file is compiled with a flag that changes floating-point semantics, except the loops of
# mglu-bench that measure what a machine can do at most.
set -eu
grep -q '"command"' "$1"
if grep '"command"' "$1" | grep -v 'bench/kernels/' | grep -n -oE -e '-(ffast-math|Ofast|funsafe-math-optimizations|ffinite-math-only|fassociative-math|ffp-contract=(fast|on))'; then
    echo 'a file is compiled with the flags above' >&2
    exit 1
fi
