#!/bin/sh
# SPDX-License-Identifier: MIT
# check.sh GROFF MGLU HEADERS PAGE...: the pages are correct to groff and say what they are; each command of mglu has
# one; each function that libmglu(3) names is in the headers.
set -eu
groff=$1 mglu=$2 headers=$3
shift 3
failed=0
fail() {
    echo "$1" >&2
    failed=1
}

names=
for page in "$@"; do
    warnings=$("$groff" -man -Tutf8 -ww -z "$page" 2>&1)
    [ -z "$warnings" ] || fail "$page: $warnings"
    name=$(basename "$page" | sed 's/\.[13]$//')
    grep -q "^$name \\\\- [a-z]" "$page" || fail "$page: has no line NAME with $name and a summary"
    names="$names $name"
done
commands=$("$mglu" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p')
[ -n "$commands" ] || fail "mglu --help lists no command"
for command in $commands; do
    case "$names " in *" mglu-$command "*) ;; *) fail "mglu $command has no manual page" ;; esac
done
for page in "$@"; do
    case $page in *libmglu.3) functions=$(grep -o '^\.BR mglu_[a-z_]* ()' "$page" | sed 's/\.BR \(.*\) ()/\1/') ;; esac
done
[ -n "$functions" ] || fail "libmglu(3) names no function"
for function in $functions; do
    grep -q "^MGLU_API.*[ *]$function(" "$headers"/*.h || fail "libmglu(3) names $function, which no header has"
done
exit $failed
