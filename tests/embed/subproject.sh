#!/bin/sh
# SPDX-License-Identifier: MIT
# subproject.sh SOURCE_TREE EXAMPLE: a Meson project that has mglu among its subprojects finds it by its name, builds
# without setting any option, and runs. It has Meson's default flags, which are for debugging; mglu has no warning with
# those either. Parts that take long to build are left out.
set -eu
tree=$1 example=$2
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

mkdir -p "$root/host/subprojects"
ln -s "$tree" "$root/host/subprojects/mglu"
cp "$example" "$root/host/main.c"
cat >"$root/host/meson.build" <<'MESON'
project('host', 'c')
executable('host', 'main.c', dependencies: dependency('mglu', fallback: 'mglu',
  default_options: ['werror=true', 'tests=disabled', 'tools=disabled', 'io=disabled', 'bench=disabled', 'cuda=disabled',
    'default_library=static']))
MESON
if ! { meson setup "$root/build" "$root/host" && ninja -C "$root/build" host; } >"$root/log" 2>&1; then
    cat "$root/log" >&2
    exit 1
fi
"$root/build/host"
