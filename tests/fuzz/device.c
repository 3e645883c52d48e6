/* SPDX-License-Identifier: MIT */
#include "fuzz.h"

enum { MOST_ISAS = 16 };

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

const struct fuzz_isa *fuzz_isas(void)
{
    static struct fuzz_isa isas[MOST_ISAS + 1];
    mglu_device_info info = {.struct_size = sizeof info};

    if (isas[0].device)
        return isas;
    fuzz_require(mglu_device_get_info(fuzz_device("cpu"), &info) == MGLU_OK, "no description of the CPU");
    for (int i = 0; info.instruction_sets[i]; i++) {
        const mglu_context_desc desc = {
            .struct_size = sizeof desc, .num_threads = 1, .max_isa = info.instruction_sets[i]};
        mglu_context *context; /* lives until the process ends */

        fuzz_require(i < MOST_ISAS, "more instruction sets than this target has room for");
        fuzz_require(mglu_context_create(&desc, &context) == MGLU_OK, "no context");
        fuzz_require(mglu_device_pick(context, "cpu", &isas[i].device) == MGLU_OK, "no device");
        isas[i].name = desc.max_isa;
    }
    return isas;
}
