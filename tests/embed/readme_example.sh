#!/bin/sh
# SPDX-License-Identifier: MIT
# readme_example.sh PROGRAM README: the README's example prints what the README says it prints.
set -eu
documented=$(awk '/^```text$/ {inside = 1; next} /^```$/ {inside = 0} inside' "$2" | head -n 1)
printed=$(MGLU_BACKEND=cpu "$1")
[ -n "$documented" ]
if [ "$printed" != "$documented" ]; then
    printf 'the README says:  %s\nthe example says: %s\n' "$documented" "$printed" >&2
    exit 1
fi
