/* SPDX-License-Identifier: MIT */
#include <mglu/backend.h>

/* A plug-in without a table of its own: fuzz_plugin.c sets one before each load. */

MGLU_API extern const mglu_backend_fns *mglu_fuzz_table;
MGLU_API const mglu_backend_fns *mglu_backend_entry(uint32_t host_abi);

const mglu_backend_fns *mglu_fuzz_table;

const mglu_backend_fns *mglu_backend_entry(uint32_t host_abi)
{
    return mglu_fuzz_table;
}
