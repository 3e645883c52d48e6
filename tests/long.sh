#!/bin/sh
# SPDX-License-Identifier: MIT
# long.sh COMMAND...: runs a command; where MGLU_TEST_QUICK asks for no more than what is quick, exits 77, which Meson
# counts as skipped.
if [ -n "${MGLU_TEST_QUICK:-}" ]; then
    echo "skipped: too long for MGLU_TEST_QUICK"
    exit 77
fi
exec "$@"
