#!/bin/sh
# Prints the version that include/mglu/version.h defines, for Meson's project().
set -eu
header="$(dirname "$0")/../include/mglu/version.h"
sed -n 's/^#define MGLU_VERSION_\(MAJOR\|MINOR\|PATCH\) //p' "$header" | paste -sd.
