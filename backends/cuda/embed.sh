#!/bin/sh
# SPDX-License-Identifier: MIT
# embed.sh SYMBOL FILE SOURCE: writes an assembly file that defines the bytes of FILE as a hidden symbol.
set -eu
cat >"$3" <<ASSEMBLY
    .section .rodata
    .balign 64
    .globl $1
    .hidden $1
    .type $1, %object
$1:
    .incbin "$(realpath "$2")"
    .size $1, . - $1
    .section .note.GNU-stack, "", %progbits
ASSEMBLY
