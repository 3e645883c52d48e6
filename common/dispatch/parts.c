/* SPDX-License-Identifier: MIT */
#include "common/dispatch/parts.h"

#include "common/core/quantise.h"

int32_t mglu_term_count(const mglu_weights_desc *desc)
{
    return desc->kind == MGLU_KIND_MASKED ? desc->n_masks : 1;
}

size_t mglu_list_parts(const mglu_weights_desc *desc, mglu_packed_weights *packed, struct part parts[MAX_PARTS])
{
    int64_t h = desc->hidden_size, d = desc->intermediate_size, out = desc->output_size, terms = mglu_term_count(desc);
    const struct part all[MAX_PARTS] = {
        {"weight", &desc->weight, d, h, desc->dtype, &packed->weight, NULL, 1},
        {"value_weight", &desc->value_weight, d, h, desc->dtype, &packed->value_weight, NULL, 1},
        {"down", &desc->down, out, d, desc->dtype, &packed->down, NULL, 1},
        {"router", &desc->router, terms, h, MGLU_DTYPE_F32, &packed->router, NULL, 0},
        {"gate_bias", &desc->gate_bias, terms, d, MGLU_DTYPE_F32, NULL, &packed->gate_bias, 0},
        {"value_bias", &desc->value_bias, terms, d, MGLU_DTYPE_F32, NULL, &packed->value_bias, 0},
        {"down_bias", &desc->down_bias, 1, out, MGLU_DTYPE_F32, NULL, &packed->down_bias, 0},
    };
    size_t count = 0;

    for (size_t i = 0; i < MAX_PARTS; i++)
        if (all[i].source->data)
            parts[count++] = all[i];
    return count;
}

size_t mglu_part_stride(const struct part *part)
{
    return part->matrix ? mglu_packed_weight_stride_bytes(part->dtype, part->columns)
                        : (size_t)part->columns * sizeof(float);
}

size_t mglu_part_size(const struct part *part)
{
    return (size_t)part->rows * mglu_part_stride(part);
}

size_t mglu_part_scale_size(const struct part *part)
{
    return mglu_packed_scale_size(part->dtype, part->rows, part->columns);
}

size_t mglu_source_stride(const struct part *part)
{
    const mglu_array *source = part->source;

    return source->stride_bytes ? source->stride_bytes : mglu_row_bytes(source->dtype, (size_t)part->columns);
}

size_t mglu_source_scale_stride(const struct part *part)
{
    const mglu_array *source = part->source;

    return source->scale_stride_bytes ? source->scale_stride_bytes
                                      : mglu_scale_row_bytes(source->dtype, (size_t)part->columns);
}

void mglu_part_point_at(const struct part *part, const void *data, const void *scales)
{
    if (part->matrix)
        *part->matrix = (mglu_packed_matrix){
            .data = data,
            .stride_bytes = mglu_part_stride(part),
            .scales = mglu_dtype_is_quantised(part->dtype) ? scales : NULL,
            .scale_stride_bytes = mglu_packed_scale_stride_bytes(part->dtype, part->columns),
        };
    else
        *part->vector = data;
}

mglu_packed_weights mglu_weights_shape(const mglu_weights_desc *desc)
{
    mglu_packed_weights shape = {
        .struct_size = sizeof shape,
        .n_masks = desc->n_masks,
        .kind = desc->kind,
        .dtype = desc->dtype,
        .hidden_size = desc->hidden_size,
        .intermediate_size = desc->intermediate_size,
        .output_size = desc->output_size,
        .masks = desc->masks.data,
    };
    struct part parts[MAX_PARTS];
    size_t count = mglu_list_parts(desc, &shape, parts);

    for (size_t i = 0; i < count; i++)
        mglu_part_point_at(&parts[i], parts[i].source->data, parts[i].source->data);
    return shape;
}
