#!/bin/sh
# SPDX-License-Identifier: MIT
# mask_words.sh SOURCE: kernels find mask words by the functions of common/core/mask_format.h, not by arithmetic with the
# number of masks. (CUDA kernels have a layout of their own, tile_layout.h; logits of a router have rows of n_masks, too.)
set -eu
cd "$1"
files=$(find backends/cpu backends/opencl/kernels backends/ref -name '*.[ch]' -o -name '*.cl')
[ "$(echo "$files" | wc -l)" -gt 30 ] || { echo 'suspiciously few kernels were found' >&2; exit 1; }
found=$(grep -nE '(\*|\+=) *[a-z_>.-]*\bn_masks\b|\bn_masks \*' $files | grep -v -e 'token \* job.n_masks' -e 'sizeof' || true)
[ -z "$found" ] || { printf 'mask words addressed by hand:\n%s\n' "$found" >&2; exit 1; }
