#!/bin/sh
# SPDX-License-Identifier: MIT
# headers.sh SOURCE HEADER...: the headers compile without a warning in every language that the library supports, with
# every compiler that is installed, and with enums as short as possible; and what interface.c expects of them holds.
# Headers are named as in #include, as mglu/mglu.h.
set -eu
source=$1
shift
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failed=0 count=0
warnings='-Wall -Wextra -Wpedantic -Wmissing-field-initializers -Wshadow -Werror'
includes="-I$source/include"
for header in "$@"; do
    includes="$includes -include $header"
done

# check COMPILER STANDARD FLAG...
check() {
    compiler=$1 standard=$2
    shift 2
    command -v "$compiler" >/dev/null || return 0
    count=$((count + 1))
    "$compiler" -std="$standard" $warnings "$@" $includes "$source/tests/build/interface.c" -o "$folder/interface" &&
        "$folder/interface" || { echo "failed: $compiler -std=$standard $*" >&2; failed=1; }
}

for enums in -fno-short-enums -fshort-enums; do
    for compiler in gcc clang; do
        for standard in c11 c17; do
            check $compiler $standard $enums -Wstrict-prototypes
        done
    done
    for compiler in g++ clang++; do
        for standard in c++11 c++17 c++20; do
            check $compiler $standard $enums -Wold-style-cast -x c++
        done
    done
done
[ "$count" -ge 4 ] || { echo 'skipped: install gcc and g++, or clang'; exit 77; }
exit $failed
