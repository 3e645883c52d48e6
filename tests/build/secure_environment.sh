#!/bin/sh
# SPDX-License-Identifier: MIT
# secure_environment.sh PROGRAM: a set-user-ID program ignores the MGLU_* variables. Only root can make one of another
# user, so the test is skipped (77) for others, and where the file system has no such programs.
set -eu
[ "$(id -u)" = 0 ] || { echo 'skipped: not root'; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
cp "$1" "$folder/program"

MGLU_NUM_THREADS=nonsense "$folder/program" && status=0 || status=$?
[ "$status" = 1 ] || { echo "without more rights the variable is read: status 1 was expected, not $status" >&2; exit 1; }
chown 65534 "$folder/program"
chmod 4755 "$folder/program"
MGLU_NUM_THREADS=nonsense "$folder/program" && status=0 || status=$?
[ "$status" = 0 ] || [ "$status" = 77 ] || echo "with more rights the variable is ignored: status 0 was expected, not $status" >&2
exit "$status"
