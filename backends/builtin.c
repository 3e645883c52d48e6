/* SPDX-License-Identifier: MIT */
#include "backends/builtin.h"

const mglu_backend_fns *const mglu_builtin_backends[] = {
    &mglu_fns_cuda, &mglu_fns_opencl, &mglu_fns_cpu, &mglu_fns_ref, NULL,
};
