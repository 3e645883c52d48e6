#!/bin/sh
# SPDX-License-Identifier: MIT
# reference.sh SOURCE VERSION FOLDER: writes FOLDER/html, the reference of the interface, and fails on any warning of
# Doxygen. Without a FOLDER it only checks.
set -eu
doxygen=$(command -v doxygen) || { echo 'skipped: doxygen was not found (package doxygen)'; exit 77; }
export MGLU_SOURCE="$1" MGLU_VERSION="$2" MGLU_REFERENCE="${3:-}"
if [ -z "$MGLU_REFERENCE" ]; then
    MGLU_REFERENCE=$(mktemp -d)
    trap 'rm -rf "$MGLU_REFERENCE"' EXIT
fi
"$doxygen" "$MGLU_SOURCE/docs/Doxyfile"
