/* SPDX-License-Identifier: MIT */
#include "layer_size.h"

#include "tools/common/report.h"

#include <mglu/pack.h>

struct layer_size layer_size_of(const mglu_weights_desc *weights)
{
    const uint64_t elements = (uint64_t)weights->intermediate_size * (uint64_t)weights->hidden_size;
    const uint64_t matrix = elements * mglu_dtype_size(weights->dtype);
    const uint64_t glu = 2 * matrix;
    if (weights->kind == MGLU_KIND_PLAIN)
        return (struct layer_size){.bytes = glu, .glu_bytes = glu};
    const uint64_t masks = mglu_packed_mask_size(weights->n_masks, weights->intermediate_size, weights->hidden_size);
    return (struct layer_size){.bytes = matrix + masks, .glu_bytes = glu};
}

bool layer_size_total(const mglu_file *file, struct layer_size *total, size_t *layers, size_t *masked)
{
    *total = (struct layer_size){0};
    *masked = 0;
    const char *prefix;
    for (*layers = 0; (prefix = mglu_file_layer_at(file, *layers)) != NULL; (*layers)++) {
        mglu_weights_desc weights;
        mglu_layer_desc desc;
        if (mglu_file_layer(file, prefix, &weights, &desc, NULL) != MGLU_OK)
            return report_library(NULL);
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
