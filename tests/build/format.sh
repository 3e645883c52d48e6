#!/bin/sh
# SPDX-License-Identifier: MIT
# format.sh SOURCE: clang-format 14 with .clang-format changes no C file or header that git tracks. Other versions
# differ in details: the test is skipped where only they are installed.
set -eu
cd "$1"
skip() {
    echo "skipped: $1"
    exit 77
}

format=
for name in clang-format-14 clang-format; do
    if "$name" --version 2>/dev/null | grep -q 'version 14\.'; then
        format=$name
        break
    fi
done
[ -n "$format" ] || skip 'clang-format 14 was not found'
files=$(git ls-files '*.c' '*.h' 2>/dev/null) || skip 'not a git checkout'
[ "$(echo "$files" | wc -l)" -gt 100 ] || { echo 'git lists suspiciously few files' >&2; exit 1; }

if ! echo "$files" | xargs "$format" --dry-run -Werror --ferror-limit=1; then
    echo "to format them: git ls-files '*.c' '*.h' | xargs $format -i" >&2
    exit 1
fi
