/* SPDX-License-Identifier: MIT */
#ifndef MGLU_BUILTIN_H
#define MGLU_BUILTIN_H

#include <mglu/backend.h>

/* The tables of the backends in this folder, each from its backend.c, or from its unbuilt.c where it is not built. */
extern const mglu_backend_fns mglu_fns_cpu;
extern const mglu_backend_fns mglu_fns_cuda;
extern const mglu_backend_fns mglu_fns_opencl;
extern const mglu_backend_fns mglu_fns_ref;

/* All of them, in the order in which devices are listed; ends with NULL. From builtin.c. */
extern const mglu_backend_fns *const mglu_builtin_backends[];

#endif
