/* SPDX-License-Identifier: MIT */
#include "layer_size.h"

#include "tools/common/report.h"

#include <mglu/pack.h>

/** Bytes of W in a file, where rows have no padding. */
static uint64_t matrix_bytes(const mglu_weights_desc *weights)
{
    const int64_t d = weights->intermediate_size, h = weights->hidden_size;
    const uint64_t elements = (uint64_t)d * (uint64_t)h;
    if (!mglu_dtype_is_quantised(weights->dtype))
        return elements * mglu_dtype_size(weights->dtype);
    return elements / (weights->dtype == MGLU_DTYPE_Q4_0 ? 2 : 1) + mglu_packed_scale_size(weights->dtype, d, h);
}

struct layer_size layer_size_of(const mglu_weights_desc *weights)
{
    const uint64_t matrix = matrix_bytes(weights);
    const uint64_t glu = 2 * matrix;
    if (weights->kind == MGLU_KIND_PLAIN)
        return (struct layer_size){.bytes = glu, .glu_bytes = glu};
    const uint64_t masks = mglu_packed_mask_size(weights->n_masks, weights->intermediate_size, weights->hidden_size);
    return (struct layer_size){.bytes = matrix + masks, .glu_bytes = glu};
}

bool layer_size_total(const mglu_file *file, const mglu_dtype *dtype, struct layer_size *total, size_t *layers,
                      size_t *masked)
{
    *total = (struct layer_size){0};
    *masked = 0;
    const char *prefix;
    for (*layers = 0; (prefix = mglu_file_layer_at(file, *layers)) != NULL; (*layers)++) {
        mglu_weights_desc weights = {.struct_size = sizeof weights};
        mglu_layer_desc desc = {.struct_size = sizeof desc};
        if (mglu_file_layer(file, prefix, &weights, &desc, NULL) != MGLU_OK)
            return report_library(NULL);
        if (dtype)
            weights.dtype = *dtype;
        const struct layer_size size = layer_size_of(&weights);
        total->bytes += size.bytes;
        total->glu_bytes += size.glu_bytes;
        *masked += weights.kind == MGLU_KIND_MASKED;
    }
    return true;
}

double layer_size_percent(struct layer_size size)
{
    return size.glu_bytes ? 100 * (double)size.bytes / (double)size.glu_bytes : 100;
}
