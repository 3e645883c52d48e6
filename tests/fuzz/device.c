/* SPDX-License-Identifier: MIT */
#include "fuzz.h"

/*
 * Apart from fuzz.c: the engine looks at the counters of everything that is linked after each input, and the targets
 * that need no device are faster without the backends.
 */

mglu_context *fuzz_context(void)
{
    const mglu_context_desc desc = {.struct_size = sizeof desc, .num_threads = 1};
    static mglu_context *context;

    if (!context)
        fuzz_require(mglu_context_create(&desc, &context) == MGLU_OK, "no context");
    return context;
}

mglu_device *fuzz_device(const char *backend)
{
    mglu_device *device;

    fuzz_require(mglu_device_pick(fuzz_context(), backend, &device) == MGLU_OK, "no device");
    return device;
}
