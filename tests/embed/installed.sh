#!/bin/sh
# SPDX-License-Identifier: MIT
# installed.sh BUILD SOURCE COMPILER...: a program can be built with the installed files and pkg-config alone.
set -eu
build=$1 source=$2
shift 2
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

if ! meson install -C "$build" --no-rebuild --destdir "$root" >"$root/log" 2>&1; then
    cat "$root/log" >&2
    exit 1
fi
pc=$(find "$root" -name mglu.pc)
export PKG_CONFIG_PATH="$(dirname "$pc")" PKG_CONFIG_SYSROOT_DIR="$root"
flags=$(pkg-config --cflags --libs mglu)
"$@" "$source" -o "$root/program" $flags
library=$(dirname "$(find "$root" -name 'libmglu.so' | head -n 1)")
LD_LIBRARY_PATH=$library "$root/program" >"$root/printed"
[ -s "$root/printed" ]
