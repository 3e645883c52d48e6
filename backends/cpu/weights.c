/* SPDX-License-Identifier: MIT */
#include "backends/cpu/cpu.h"
#include "common/core/mask_format.h"

/* The packed arrays are used in place: only their addresses are stored. */

/* An array without elements may have no address; kernels add offsets of 0 and mask ids to this one. */
static const uint32_t zero_words[MGLU_MAX_MASKS];

static struct mglu_cpu_matrix matrix(const mglu_packed_matrix *packed, int64_t columns)
{
    return (struct mglu_cpu_matrix){
        .rows = packed->data ? packed->data : (const void *)zero_words,
        .stride_bytes = columns ? packed->stride_bytes : 0,
        .groups = (int64_t)mglu_format_groups((mglu_index)columns),
        .masks = zero_words,
        .scales = packed->scales,
        .scale_stride = packed->scale_stride_bytes,
        .streams = mglu_cpu_this_machine()->streams,
    };
}

mglu_status mglu_cpu_weights_create(void *backend, int32_t ordinal, const mglu_packed_weights *packed, void **weights)
{
    const mglu_host *host = ((const struct mglu_cpu_backend *)backend)->host;
    struct mglu_cpu_weights *made = mglu_cpu_allocate(host, sizeof *made);

    if (!made)
        return host->fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    *made = (struct mglu_cpu_weights){
        .packed = *packed,
        .weight = matrix(&packed->weight, packed->hidden_size),
        .value = matrix(&packed->value_weight, packed->hidden_size),
        .router = matrix(&packed->router, packed->hidden_size),
        .down = matrix(&packed->down, packed->intermediate_size),
    };
    if (packed->masks)
        made->weight.masks = packed->masks;
    made->weight.n_masks = packed->n_masks;
    *weights = made;
    return MGLU_OK;
}

void mglu_cpu_weights_destroy(void *backend, void *weights)
{
    mglu_cpu_release(((const struct mglu_cpu_backend *)backend)->host, weights, sizeof(struct mglu_cpu_weights));
}

uint64_t mglu_cpu_weights_bytes(void *backend, const void *weights)
{
    return 0;
}
