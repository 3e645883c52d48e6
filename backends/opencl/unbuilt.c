/* SPDX-License-Identifier: MIT */
#include "backends/builtin.h"

const mglu_backend_fns mglu_fns_opencl = {
    .abi = MGLU_BACKEND_ABI,
    .struct_size = sizeof(mglu_backend_fns),
    .name = "opencl",
    .unavailable = "built without the OpenCL headers",
};
