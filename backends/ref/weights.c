/* SPDX-License-Identifier: MIT */
#include "backends/ref/ref.h"

/* The packed arrays are used in place: only their addresses are stored. */

mglu_status mglu_ref_weights_create(void *backend, int32_t ordinal, const mglu_packed_weights *packed, void **weights)
{
    const mglu_host *host = ((const struct mglu_ref_backend *)backend)->host;
    mglu_packed_weights *made =
        host->allocator.allocate(host->allocator.user, sizeof *made, _Alignof(mglu_packed_weights));

    if (!made)
        return host->fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    *made = *packed;
    *weights = made;
    return MGLU_OK;
}

void mglu_ref_weights_destroy(void *backend, void *weights)
{
    const mglu_host *host = ((const struct mglu_ref_backend *)backend)->host;

    host->allocator.release(host->allocator.user, weights, sizeof(mglu_packed_weights), _Alignof(mglu_packed_weights));
}

uint64_t mglu_ref_weights_bytes(void *backend, const void *weights)
{
    return 0;
}
