/* SPDX-License-Identifier: MIT */
#ifndef MGLU_MUTATION_CPU_H
#define MGLU_MUTATION_CPU_H

/* The longer faults of the CPU backend outside its vector kernels. */

#include "backends/cpu/cpu.h"
#include "common/core/convert.h"
#include "common/core/mask_format.h"
#include "common/core/quantise.h"

#include <math.h>
#include <sched.h>
#include <string.h>

static inline int64_t fault_columns(const struct mglu_cpu_layer *layer)
{
    const mglu_packed_weights *packed = &layer->weights->packed;

    return packed->output_size > 0 ? packed->output_size : packed->intermediate_size;
}

static inline const void *fault_x(const struct mglu_cpu_layer *layer, const struct mglu_cpu_token_workspace *own)
{
    return layer->plan.use_bf16 ? (const void *)own->x_bf16 : own->x;
}

/* Faults 1 and 42: the columns of x from `first` on are set to 0. */
static inline void fault_drop_columns(const struct mglu_cpu_layer *layer, const struct mglu_cpu_token_workspace *own,
                                      int64_t first)
{
    for (int64_t k = first; k < layer->weights->packed.hidden_size; k++) {
        if (layer->plan.use_bf16)
            own->x_bf16[k] = 0;
        if (!layer->plan.use_bf16 || layer->weights->packed.router.data)
            own->x[k] = 0;
    }
}

/* Fault 5: the masks of a row are read as if no row had a partial last group. */
static inline void fault_project_short_pitch(const struct mglu_cpu_layer *layer, const struct mglu_cpu_gemv *job)
{
    int64_t missing = layer->weights->packed.hidden_size % MGLU_GROUP_COLUMNS != 0;

    for (int32_t r = 0; r < job->rows; r++) {
        float gates[MGLU_MAX_MASKS][MGLU_CPU_BLOCK_ROWS];
        struct mglu_cpu_matrix matrix = *job->matrix;
        struct mglu_cpu_gemv one = *job;

        one.matrix = &matrix;
        one.first_row += r;
        one.rows = 1;
        one.totals += r;
        one.gates = gates;
        matrix.masks -= one.first_row * missing * matrix.n_masks;
        layer->plan.project_gemv(&one);
        for (int32_t i = 0; i < job->n; i++)
            job->gates[i][r] = gates[i][0];
    }
}

/* Fault 6. */
static inline void fault_ids_below_8(const struct mglu_cpu_token_workspace *own, int32_t terms)
{
    for (int32_t i = 0; i < terms; i++)
        own->mask_ids[i] &= 7;
}

/* Fault 8. */
static inline void fault_swap(float (*gates)[MGLU_CPU_BLOCK_ROWS], float (*values)[MGLU_CPU_BLOCK_ROWS], int32_t terms)
{
    for (int32_t i = 0; i < terms; i++) {
        for (int32_t r = 0; r < MGLU_CPU_BLOCK_ROWS; r++) {
            float gate = gates[i][r];
            gates[i][r] = values[i][r];
            values[i][r] = gate;
        }
    }
}

/* Fault 11. The gates already include the bias. */
static inline void fault_bias_after(const struct mglu_cpu_layer *layer, const struct mglu_cpu_token_workspace *own,
                                    int64_t row, int32_t rows, float (*gates)[MGLU_CPU_BLOCK_ROWS])
{
    const mglu_packed_weights *packed = &layer->weights->packed;

    for (int32_t i = 0; i < layer->plan.terms; i++) {
        const float *bias = packed->gate_bias ? packed->gate_bias + own->mask_ids[i] * packed->intermediate_size : 0;
        for (int32_t r = 0; bias && r < rows; r++)
            gates[i][r] -= bias[row + r];
        layer->backend->isa->elementwise->activate[layer->desc.activation](gates[i], MGLU_CPU_BLOCK_ROWS,
                                                                           layer->desc.silu_beta);
        for (int32_t r = 0; bias && r < rows; r++)
            gates[i][r] += bias[row + r];
    }
}

/* Faults 17 and 47. */
static inline void fault_round(float *values, int32_t count, mglu_dtype dtype)
{
    for (int32_t i = 0; i < count; i++) {
        float value = values[i];
        mglu_store_element(&value, dtype, 0, value);
        values[i] = mglu_load_element(&value, dtype, 0);
    }
}

/* Fault 21. */
static inline size_t fault_dense_stride(const mglu_packed_matrix *packed, int64_t columns)
{
    size_t padded = (size_t)mglu_format_groups((mglu_index)columns) * MGLU_GROUP_COLUMNS;

    return packed->stride_bytes / padded * (size_t)columns;
}

/* Fault 27: act(p g) v. The value is divided by the p that will multiply the product. */
static inline void fault_weigh_gates(const struct mglu_cpu_token_workspace *own, int32_t terms,
                                     float (*gates)[MGLU_CPU_BLOCK_ROWS], float (*values)[MGLU_CPU_BLOCK_ROWS])
{
    for (int32_t i = 0; i < terms; i++) {
        for (int32_t r = 0; own->p[i] != 0 && r < MGLU_CPU_BLOCK_ROWS; r++) {
            gates[i][r] *= own->p[i];
            values[i][r] /= own->p[i];
        }
    }
}

/* Fault 29. */
static inline void fault_ids_in_order(const struct mglu_cpu_token_workspace *own, int32_t terms)
{
    for (int32_t i = 0; i < terms; i++)
        own->mask_ids[i] = i;
}

/* Fault 30. */
static inline void fault_drop_duplicates(const struct mglu_cpu_token_workspace *own, int32_t terms)
{
    for (int32_t i = 0; i < terms; i++)
        for (int32_t k = 0; k < i; k++)
            if (own->mask_ids[k] == own->mask_ids[i])
                own->p[i] = 0;
}

/* Fault 33: tasks sum in one shared array without a lock. */
static inline const float *fault_share_sums(float *z)
{
    static volatile float sums[MGLU_CPU_BLOCK_ROWS];

    for (int32_t r = 0; r < MGLU_CPU_BLOCK_ROWS; r++)
        sums[r] = 0;
    for (int32_t r = 0; r < MGLU_CPU_BLOCK_ROWS; r++)
        sums[r] += z[r];
    sched_yield();
    for (int32_t r = 0; r < MGLU_CPU_BLOCK_ROWS; r++)
        z[r] = sums[r];
    return z;
}

/* The totals of a block, summed in `parts` parts that are then added. */
static inline void fault_split_totals(const struct mglu_cpu_layer *layer, const void *x, int64_t row, int32_t rows,
                                      int64_t parts, float *totals)
{
    const size_t group_bytes = mglu_row_bytes(layer->weights->packed.dtype, MGLU_GROUP_COLUMNS);
    const size_t x_element = MGLU_GROUP_COLUMNS * (layer->plan.use_bf16 ? sizeof(uint16_t) : sizeof(float));
    const struct mglu_cpu_matrix *whole = &layer->weights->weight;

    memset(totals, 0, (size_t)rows * sizeof *totals);
    for (int64_t part = 0; part < parts; part++) {
        int64_t first = whole->groups * part / parts;
        struct mglu_cpu_matrix matrix = *whole;
        float sums[MGLU_CPU_BLOCK_ROWS];

        matrix.rows += (size_t)first * group_bytes;
        matrix.scales += (size_t)first * sizeof(uint16_t);
        matrix.groups = whole->groups * (part + 1) / parts - first;
        layer->plan.project_gemv(&(struct mglu_cpu_gemv){.matrix = &matrix,
                                                         .first_row = row,
                                                         .rows = rows,
                                                         .x = (const char *)x + (size_t)first * x_element,
                                                         .totals = sums});
        for (int32_t r = 0; r < rows; r++)
            totals[r] += sums[r];
    }
}

/* Fault 35: a batch of one sums its totals in two halves. */
static inline void fault_halve_sums(const struct mglu_cpu_chunk *chunk, const struct mglu_cpu_token_workspace *own,
                                    int64_t row, int32_t rows, float (*values)[MGLU_CPU_BLOCK_ROWS])
{
    const struct mglu_cpu_layer *layer = chunk->layer;
    float whole[MGLU_CPU_BLOCK_ROWS], halves[MGLU_CPU_BLOCK_ROWS];

    if (chunk->args->batch != 1)
        return;
    fault_split_totals(layer, fault_x(layer, own), row, rows, 1, whole);
    fault_split_totals(layer, fault_x(layer, own), row, rows, 2, halves);
    for (int32_t i = 0; i < layer->plan.terms; i++)
        for (int32_t r = 0; r < rows; r++)
            values[i][r] += halves[r] - whole[r];
}

/* Fault 36: forwards share one static workspace if it is large enough. */
static inline void *fault_scratch(const struct mglu_cpu_chunk *chunk)
{
    static _Alignas(64) char scratch[1 << 22];
    size_t size = (size_t)chunk->layer->plan.chunk_tokens * chunk->layer->layout.size;

    return size <= sizeof scratch ? scratch : chunk->args->workspace;
}

/* Fault 37. */
static inline char *fault_align_down(char *address)
{
    return (char *)((uintptr_t)address & ~(uintptr_t)15);
}

/* Fault 40. */
static inline void fault_write_past(const struct mglu_cpu_chunk *chunk, int64_t at, int64_t end)
{
    const mglu_dtype dtype = chunk->layer->desc.y_dtype;
    const mglu_output *y = &chunk->args->y;
    const float past = 1;

    if (end == fault_columns(chunk->layer))
        chunk->layer->backend->isa->elementwise->narrow[dtype](
            &past, mglu_cpu_element(y->data, y->byte_offset, y->row_stride, at, end, mglu_dtype_size(dtype)), 1);
}

/* Fault 46. */
static inline float fault_flush_small(float value)
{
    return fabsf(value) < 0x1p-10f ? 0.0f : value;
}

#endif
