#!/bin/sh
# SPDX-License-Identifier: MIT
# symbols.sh SHARED STATIC VERSION HEADER...: the symbols of a library. - stands for a form that was not built.
#  - every global symbol of its objects (the static library) begins with mglu_;
#  - the shared library exports exactly what the headers mark with MGLU_API, all with the version;
#  - it calls nothing that prints, aborts or exits;
#  - it needs no library but those of C, of OpenMP and of sanitizers, and libmglu: drivers are opened at run time.
set -eu
shared=$1 static=$2 version=$3
shift 3
failed=0

fail() {
    echo "$1:" >&2
    echo "$2" >&2
    failed=1
}

if [ "$static" != - ]; then
    global=$(nm -g --defined-only "$static" 2>/dev/null | awk 'NF == 3 {print $3}' | sort -u)
    strange=$(echo "$global" | grep -v -E '^(mglu_|_*(odr_)?asan|\.)' || true)
    [ -z "$strange" ] || fail 'global symbols without the prefix mglu_' "$strange"
    [ "$(echo "$global" | wc -l)" -gt 50 ] || fail 'the static library has suspiciously few symbols' "$global"
fi
[ "$shared" != - ] || exit $failed

declared=$(cat "$@" | tr '\n' ' ' | grep -oE 'MGLU_API [^;]*' | grep -oE 'mglu_[a-z0-9_]+ ?\(' | tr -d ' (' | sort -u)
versioned=$(nm -D --defined-only "$shared" | awk 'NF == 3 && $2 != "A" {print $3}' |
    grep -v -E '^(_*(odr_)?asan|_init$|_fini$)' | sort -u)
unversioned=$(echo "$versioned" | grep -v "@@$version\$" || true)
[ -z "$unversioned" ] || fail "exported without the version $version" "$unversioned"
exported=$(echo "$versioned" | sed 's/@.*//')
difference=$(printf '%s\n%s\n' "$declared" "$exported" | sort | uniq -u)
[ -z "$difference" ] || fail 'declared but not exported, or exported but not declared' "$difference"

forbidden='^(abort|exit|_exit|quick_exit|__assert_fail|printf|fprintf|vprintf|vfprintf|puts|fputs|putchar|perror|stdout|stderr|__printf_chk|__fprintf_chk)(@|$)'
called=$(nm -D --undefined-only "$shared" | awk '{print $NF}' | grep -E "$forbidden" || true)
[ -z "$called" ] || fail 'the library must not print, abort or exit' "$called"

allowed='^lib(c|m|dl|pthread|gomp|omp|mglu|[a-z]*san|clang_rt.*)\.so|^ld-linux'
needed=$(readelf -d "$shared" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -v -E "$allowed" || true)
[ -z "$needed" ] || fail 'the library must not need' "$needed"

count=$(echo "$exported" | wc -l)
[ "$count" -gt 1 ] || fail 'the list of exports is suspiciously short' "$exported"
exit $failed
