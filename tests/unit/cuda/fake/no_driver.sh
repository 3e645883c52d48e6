#!/bin/sh
# SPDX-License-Identifier: MIT
# no_driver.sh MGLU: the library with the CUDA backend inside, where there is no driver or only rubbish in its place.
set -eu
mglu=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# Expects that cuda is unavailable because of $1, and that auto picks another device.
expect() {
    "$mglu" devices >"$folder/devices"
    if ! grep -q "^  cuda .*unavailable: .*libcuda.so.1: $1" "$folder/devices" || ! grep -q '^\*' "$folder/devices"; then
        echo "expected: $1; got:" >&2
        cat "$folder/devices" >&2
        exit 1
    fi
}

echo rubbish >"$folder/libcuda.so.1"
LD_LIBRARY_PATH=$folder expect '\(file too short\|invalid ELF header\)'
rm "$folder/libcuda.so.1"
if ! ldconfig -p | grep -q 'libcuda\.so\.1'; then
    expect 'cannot open shared object file'
fi
