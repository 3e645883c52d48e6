/* SPDX-License-Identifier: MIT */
#include "backends/ref/kernels/kernels.h"
#include "common/core/describe.h"

mglu_status mglu_ref_supports(void *backend, int32_t ordinal, const mglu_layer_plan *plan)
{
    return MGLU_OK;
}

mglu_status mglu_ref_layer_create(void *backend, int32_t ordinal, const mglu_layer_plan *plan, void *weights,
                                  void **layer)
{
    const mglu_host *host = ((const struct mglu_ref_backend *)backend)->host;
    struct mglu_ref_layer *made =
        host->allocator.allocate(host->allocator.user, sizeof *made, _Alignof(struct mglu_ref_layer));

    char text[MGLU_LAYER_TEXT_SIZE];

    if (!made)
        return host->fail(MGLU_ERROR_OUT_OF_MEMORY, "out of memory");
    *made = (struct mglu_ref_layer){.desc = plan->desc, .packed = *(const mglu_packed_weights *)weights};
    mglu_describe_layer(&made->packed, plan->desc.max_batch, text);
    host->log(host, MGLU_LOG_DEBUG, "ref: %s: kernel reference, double, one token at a time: it is the oracle", text);
    *layer = made;
    return MGLU_OK;
}

void mglu_ref_layer_destroy(void *backend, void *layer)
{
    const mglu_host *host = ((const struct mglu_ref_backend *)backend)->host;

    host->allocator.release(host->allocator.user, layer, sizeof(struct mglu_ref_layer),
                            _Alignof(struct mglu_ref_layer));
}

int64_t mglu_ref_output_columns(const mglu_packed_weights *packed)
{
    return packed->output_size ? packed->output_size : packed->intermediate_size;
}

/* One token's scratch and its y in double: tokens are computed one after the other. */
size_t mglu_ref_workspace_size(void *backend, int32_t ordinal, const mglu_layer_plan *plan, int64_t batch)
{
    return (mglu_ref_token_scratch(plan->shape) + (size_t)mglu_ref_output_columns(plan->shape)) * sizeof(double);
}

mglu_accuracy mglu_ref_layer_accuracy(void *backend, const void *layer)
{
    return MGLU_ACCURACY_A;
}
