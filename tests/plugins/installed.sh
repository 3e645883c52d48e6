#!/bin/sh
# SPDX-License-Identifier: MIT
# installed.sh BUILD EXAMPLE TEST [PROGRAM]: the example backend builds with the installed files alone, passes TEST, and
# then the suite's cases that are exact (PROGRAM, installed too; golden files need libmglu-io).
set -eu
build=$1 example=$2 test=$3 program=${4:-}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

# Runs a step whose output is printed only when it fails.
quietly() {
    if ! "$@" >"$root/log" 2>&1; then
        cat "$root/log" >&2
        exit 1
    fi
}

quietly meson install -C "$build" --no-rebuild --destdir "$root/system"
cp -r "$example" "$root/example"
pc=$(find "$root/system" -name mglu.pc)
export PKG_CONFIG_PATH="$(dirname "$pc")" PKG_CONFIG_SYSROOT_DIR="$root/system"
quietly meson setup "$root/built" "$root/example"
quietly meson compile -C "$root/built"

library=$(dirname "$(find "$root/system" -name libmglu.so)")
export LD_LIBRARY_PATH="$library" MGLU_TEST_PLUGIN="$root/built/mglu-sample.so"
"$test"
[ -z "$program" ] || "$(find "$root/system" -path "*/bin/$program")" --plugin "$MGLU_TEST_PLUGIN" --filter 'exact/*'
