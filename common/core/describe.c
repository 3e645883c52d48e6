/* SPDX-License-Identifier: MIT */
#include "common/core/describe.h"

#include <stdio.h>

void mglu_describe_layer(const mglu_packed_weights *shape, int64_t most_tokens, char text[MGLU_LAYER_TEXT_SIZE])
{
    snprintf(text, MGLU_LAYER_TEXT_SIZE, "layer %lldx%lld n_m=%d %s batch<=%lld", (long long)shape->hidden_size,
             (long long)shape->intermediate_size, (int)shape->n_masks, mglu_dtype_name(shape->dtype),
             (long long)most_tokens);
}
