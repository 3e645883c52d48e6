#!/bin/sh
# SPDX-License-Identifier: MIT
# readme_example.sh PROGRAM README: the README's example prints what the README says it prints, whatever the user's
# MGLU_BACKEND names.
set -eu
documented=$(awk '/^```text$/ {inside = 1; next} /^```$/ {inside = 0} inside' "$2" | head -n 1)
[ -n "$documented" ]
for backend in '' auto host cuda opencl cpu ref; do
    printed=$(MGLU_BACKEND=$backend "$1")
    if [ "$printed" != "$documented" ]; then
        printf 'the README says:  %s\nthe example says: %s\n(MGLU_BACKEND=%s)\n' "$documented" "$printed" "$backend" >&2
        exit 1
    fi
done
