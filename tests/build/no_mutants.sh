#!/bin/sh
# SPDX-License-Identifier: MIT
# no_mutants.sh HEADER COMPILER... -- LIBRARY...: a build without -Dmutants=true has nothing of the seeded faults.
#  - the header turns every mutation point into the right code alone;
#  - no symbol and no text of a library or its objects has the word.
set -eu
header=$1
shift
failed=0
compiler=
while [ "$1" != -- ]; do
    compiler="$compiler $1"
    shift
done
shift

expand() {
    printf '#include "%s"\n%s\n' "$header" "$1" | $compiler -E -P -x c - | tr -d ' \n'
}

points='MUT(1,a+b,c)MUT_WRAP(2,f,g(d))MUT_DO(3,h)'
expanded=$(expand "$points")
if [ "$expanded" != '(a+b)(g(d))((void)0)' ]; then
    echo "$points becomes $(echo "$expanded" | cut -c 1-200)" >&2
    failed=1
fi

for library; do
    # Debug information names the header: only what a program has in memory counts.
    seen=$({ nm -a "$library"; nm -D "$library"; strings -d "$library"; } 2>/dev/null)
    found=$(echo "$seen" | grep -i mutant || true)
    if [ -n "$found" ]; then
        printf '%s:\n%s\n' "$library" "$found" >&2
        failed=1
    fi
    if [ "$(echo "$seen" | grep -c mglu_)" -lt 20 ]; then
        echo "$library: suspiciously little was found in it" >&2
        failed=1
    fi
done
exit $failed
