#!/bin/sh
# SPDX-License-Identifier: MIT
# compile.sh LOG NVCC ARGUMENT...: runs nvcc and writes ptxas's report on each kernel (registers, spills) to LOG, where
# the test cuda-registers reads it.
set -eu
log=$1
shift
if ! "$@" -Xptxas -v 2>"$log"; then
    cat "$log" >&2
    exit 1
fi
