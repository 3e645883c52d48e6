#!/bin/sh
# SPDX-License-Identifier: MIT
# with_driver.sh DRIVER COMMAND...: runs a command with one OpenCL driver: pocl, rusticl (on llvmpipe) or
# oclgrind, whose findings are failures. Exits 77, which Meson counts as skipped, where that driver is not installed.
set -u
driver=$1
shift
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

skip() {
    echo "skipped: $driver is not installed: no $1"
    exit 77
}

case $driver in
pocl | rusticl)
    OCL_ICD_VENDORS=/etc/OpenCL/vendors/$driver.icd
    [ -f "$OCL_ICD_VENDORS" ] || skip "$OCL_ICD_VENDORS"
    export RUSTICL_ENABLE=llvmpipe
    ;;
oclgrind)
    library=/usr/lib/oclgrind/liboclgrind-rt-icd.so
    [ -f $library ] || skip $library
    OCL_ICD_VENDORS=$folder/oclgrind.icd
    echo $library >"$OCL_ICD_VENDORS"
    export OCLGRIND_DATA_RACES=1 OCLGRIND_CHECK_API=1 OCLGRIND_LOG="$folder/findings"
    ;;
*)
    echo "with_driver.sh: unknown driver $driver" >&2
    exit 2
    ;;
esac
export OCL_ICD_VENDORS
# For tests/unit/opencl/failing_driver.c, which has the loader's name.
MGLU_REAL_OPENCL=$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null | sed -n 's/.*libOpenCL\.so\.1 .*=> //p' | head -n 1)
export MGLU_REAL_OPENCL
# Leaks of drivers are ignored.
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0"

"$@"
status=$?
if [ -s "$folder/findings" ]; then
    echo "oclgrind found:"
    head -n 60 "$folder/findings"
    exit 1
fi
exit $status
