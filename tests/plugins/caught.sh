#!/bin/sh
# SPDX-License-Identifier: MIT
# caught.sh CONFORMANCE FOLDER: the suite detects every fault of broken.c, each with its own message, and reports what
# computed a case that failed, as the backend logged it. Prints `caught N of 12`.
set -u
conformance=$1 folder=$2
output=$(mktemp) reports=$(mktemp -d)
trap 'rm -rf "$output" "$reports"' EXIT
ulimit -c 0
caught=0 count=0

# Fault, the cases to run (all when empty; the first failure ends the run), and what the report must contain.
while IFS='|' read -r fault filter says; do
    count=$((count + 1))
    set -- --plugin "$folder/broken-$fault.so" --fail-fast
    [ -z "$filter" ] || set -- "$@" --filter "$filter"
    timeout 120 "$conformance" "$@" >"$output" 2>&1
    status=$?
    if [ "$status" -eq 1 ] && grep -q -E -e "$says" "$output"; then
        caught=$((caught + 1))
        echo "$fault: $(grep -E -m 1 -e "$says" "$output" | sed -e 's/^ *//' -e "s|$folder/||g")"
    else
        echo "$fault: NOT CAUGHT: exit status $status, expected a report with '$says', found:"
        tail -n 20 "$output"
    fi
done <<'FAULTS'
no-entry||not an mglu backend
newer-abi||has ABI 3, this library has 2
missing-slot||has no queue_wait
refuses-plain||mglu_layer_create gave unsupported
bf16-as-f16|w=bf16|y\[.*times the tolerance
changes-rounding|special/11|floating-point environment is not as before
writes-past-y||wrote outside y: .*behind the end of row
ignores-stride|padded|wrote outside y: .*behind the end of row 0
small-workspace||workspace|ended the program
reversed-masks||y\[.*times the tolerance
ignores-routing|route=|y\[.*times the tolerance
static-buffer|concurrent|thread [0-9]* of [0-9]*
FAULTS
echo "caught $caught of $count"

named=0
unset MGLU_LOG
"$conformance" --plugin "$folder/broken-reversed-masks.so" --fail-fast --json "$reports/json" --junit "$reports/junit" \
    >"$reports/text" 2>&1
"$conformance" --plugin "$folder/broken-small-workspace.so" --fail-fast >"$reports/crash" 2>&1
for report in "$reports"/*; do
    if grep -q 'computed by sample: layer [0-9]*x[0-9]* n_m=[0-9]* .*: kernel rows, scalar: the only one' "$report"; then
        named=$((named + 1))
    else
        echo "$report: the report does not say what computed the case that failed:"
        cat "$report"
    fi
done
[ "$caught" -eq 12 ] && [ "$count" -eq 12 ] && [ "$named" -eq 4 ]
