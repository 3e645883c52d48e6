#!/bin/sh
# SPDX-License-Identifier: MIT
# fast_math.sh SOURCE_TREE COMPILER...: neither Meson nor the compiler takes flags that change what floating point means,
# and what they say names the fault. Nothing is compiled but the probe.
set -eu
tree=$1
shift
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

configure() {
    rm -rf "$root/build"
    CC="$compiler" CFLAGS='' CPPFLAGS='' LDFLAGS='' meson setup "$root/build" "$tree" -Dcuda=disabled -Dopencl=disabled \
        -Dopenmp=disabled -Dio=disabled -Dtools=disabled -Dtests=disabled -Dbench=disabled -Ddocs=disabled "$@" \
        >"$root/log" 2>&1
}

fail() {
    cat "$root/log" >&2
    echo "$1" >&2
    exit 1
}

# refuse TEXT ARGUMENT...: configuring fails and says TEXT.
refuse() {
    text=$1
    shift
    if configure "$@"; then
        fail "meson setup $* was not refused"
    fi
    grep -q -e "ERROR: .*mglu needs IEEE 754 arithmetic.*$text" "$root/log" || fail "meson setup $* does not say: $text"
}

compiler=$*
refuse ': -ffast-math; .*flushed to zero' -Dc_args=-ffast-math
refuse ': -Ofast; .*NaN is taken for a number' -Dc_args=-Ofast
refuse ': -funsafe-math-optimizations; .*sums are simplified' -Dc_args=-funsafe-math-optimizations
refuse ': -ffast-math; .*flushed to zero' -Dc_link_args=-ffast-math
start_file=$($compiler -print-file-name=crtfastmath.o)
case $start_file in
/*) refuse ': subnormal results are flushed to zero' "-Dc_link_args=$start_file" ;;
esac
configure -Dc_args='-O3 -fno-math-errno' || fail 'meson setup refuses harmless flags'

echo '#include "common/core/half.h"' >"$root/source.c"
for flag in -ffast-math -Ofast -ffinite-math-only; do
    if $compiler -I "$tree" "$flag" -fsyntax-only "$root/source.c" 2>"$root/log"; then
        fail "common/core/half.h is compiled with $flag"
    fi
    grep -q 'error: .*mglu: compiled with -ffast-math' "$root/log" || fail "common/core/half.h does not say why not $flag"
done
$compiler -I "$tree" -O3 -fsyntax-only "$root/source.c"
