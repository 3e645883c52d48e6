/* SPDX-License-Identifier: MIT */
#include "backends/builtin.h"

const mglu_backend_fns mglu_fns_cuda = {
    .abi = MGLU_BACKEND_ABI,
    .struct_size = sizeof(mglu_backend_fns),
    .name = "cuda",
    .unavailable = "this version of mglu has no CUDA backend yet",
};
