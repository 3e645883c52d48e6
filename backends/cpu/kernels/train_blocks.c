/* SPDX-License-Identifier: MIT */
#include "narrow.h"
#include "train.h"
#include "weights.h"

#include <string.h>

/* Blocks of training: reading, masking, transposing and writing them. */

/* The same row of the next block: rows are too far apart for the hardware to prefetch them. */
MGLU_INLINE void prefetch_next(const char *row, size_t row_bytes)
{
    for (size_t line = 0; line < row_bytes; line += 64)
        __builtin_prefetch((const void *)((uintptr_t)row + row_bytes + line), 0, 2);
}

MGLU_INLINE void load_row(const char *from, int32_t columns, mglu_dtype dtype, float *row)
{
    uint32_t part[MGLU_CPU_TRAIN_BLOCK] = {0};

    prefetch_next(from, MGLU_CPU_TRAIN_BLOCK * element_bytes(dtype));
    if (columns < MGLU_CPU_TRAIN_BLOCK) {
        memcpy(part, from, (size_t)columns * element_bytes(dtype));
        from = (const char *)part;
    }
    for (int column = 0; column < MGLU_CPU_TRAIN_BLOCK; column += VEC_LANES)
        vec_store_f32(row + column, load_elements(from, column, dtype));
}

MGLU_INLINE void load(const char *from, size_t stride_bytes, int32_t rows, int32_t columns, mglu_dtype dtype,
                      mglu_cpu_train_row *block)
{
    for (int32_t r = 0; r < rows; r++)
        load_row(from + (size_t)r * stride_bytes, columns, dtype, block[r]);
    if (rows < MGLU_CPU_TRAIN_BLOCK)
        memset(block + rows, 0, (size_t)(MGLU_CPU_TRAIN_BLOCK - rows) * sizeof *block);
}

static void load_f32(const char *from, size_t stride_bytes, int32_t rows, int32_t columns, mglu_cpu_train_row *block)
{
    load(from, stride_bytes, rows, columns, MGLU_DTYPE_F32, block);
}

static void load_bf16(const char *from, size_t stride_bytes, int32_t rows, int32_t columns, mglu_cpu_train_row *block)
{
    load(from, stride_bytes, rows, columns, MGLU_DTYPE_BF16, block);
}

/* Copies `columns` elements; the whole row by a copy of constant size. */
MGLU_INLINE void copy_row(const void *row, int32_t columns, size_t element_size, char *to)
{
    if (columns == MGLU_CPU_TRAIN_BLOCK)
        memcpy(to, row, MGLU_CPU_TRAIN_BLOCK * element_size);
    else
        memcpy(to, row, (size_t)columns * element_size);
}

static void store_f32(const mglu_cpu_train_row *block, char *to, size_t stride_bytes, int32_t rows, int32_t columns)
{
    uint32_t row[MGLU_CPU_TRAIN_BLOCK];

    for (int32_t r = 0; r < rows; r++) {
        prefetch_next(to + (size_t)r * stride_bytes, sizeof row);
        for (int32_t c = 0; c < MGLU_CPU_TRAIN_BLOCK; c++)
            row[c] = narrow_to_f32(block[r][c]);
        copy_row(row, columns, sizeof *row, to + (size_t)r * stride_bytes);
    }
}

static void store_bf16(const mglu_cpu_train_row *block, char *to, size_t stride_bytes, int32_t rows, int32_t columns)
{
    uint16_t row[MGLU_CPU_TRAIN_BLOCK];

    for (int32_t r = 0; r < rows; r++) {
        prefetch_next(to + (size_t)r * stride_bytes, sizeof row);
        for (int32_t c = 0; c < MGLU_CPU_TRAIN_BLOCK; c++)
            row[c] = narrow_to_bf16(block[r][c]);
        copy_row(row, columns, sizeof *row, to + (size_t)r * stride_bytes);
    }
}

static void mask(const mglu_cpu_train_row *block, const uint32_t *words, size_t stride, int32_t rows,
                 mglu_cpu_train_row *masked)
{
    for (int32_t r = 0; r < rows; r++)
        for (int part = 0; part < VEC_PARTS; part++)
            vec_store_f32(masked[r] + part * VEC_LANES,
                          vec_select(vec_load_f32(block[r] + part * VEC_LANES), words[(size_t)r * stride], part));
    if (rows < MGLU_CPU_TRAIN_BLOCK)
        memset(masked + rows, 0, (size_t)(MGLU_CPU_TRAIN_BLOCK - rows) * sizeof *masked);
}

static void transpose(const mglu_cpu_train_row *block, mglu_cpu_train_row *transposed)
{
    for (int row = 0; row < MGLU_CPU_TRAIN_BLOCK; row += VEC_LANES) {
        for (int column = 0; column < MGLU_CPU_TRAIN_BLOCK; column += VEC_LANES) {
            vec part[VEC_LANES];
            MGLU_UNROLL
            for (int i = 0; i < VEC_LANES; i++)
                part[i] = vec_load_f32(block[row + i] + column);
            vec_transpose(part);
            MGLU_UNROLL
            for (int i = 0; i < VEC_LANES; i++)
                vec_store_f32(transposed[column + i] + row, part[i]);
        }
    }
}

/* Writes a row of gradients, or adds it to what is there. */
MGLU_INLINE void write_row(float *row, int32_t columns, int add, float *to)
{
    for (int32_t c = 0; add && c < columns; c++)
        row[c] += to[c];
    copy_row(row, columns, sizeof *row, (char *)to);
}

MGLU_INLINE void weight_gradients_of_row(const struct mglu_cpu_train_gradients *job, int32_t r)
{
    const uint32_t *masks = job->masks + (size_t)r * job->mask_stride;
    const size_t at = (size_t)r * job->row_stride;
    float dweight[MGLU_CPU_TRAIN_BLOCK], dlogits[MGLU_CPU_TRAIN_BLOCK];

    memcpy(dweight, job->sums[r], sizeof dweight);
    for (int32_t i = 0; i < job->n_masks; i++) {
        const float *sums = job->sums[(size_t)(1 + i) * job->sums_gap + (size_t)r];
        for (int part = 0; part < VEC_PARTS; part++) {
            const int c = part * VEC_LANES;
            const vec of_mask = vec_load_f32(sums + c);
            vec_store_f32(dweight + c, vec_add(vec_load_f32(dweight + c), vec_select(of_mask, masks[i], part)));
            vec_store_f32(dlogits + c, vec_mul(vec_load_f32(job->weight[r] + c), of_mask));
        }
        if (job->dlogits)
            write_row(dlogits, job->columns, job->add, job->dlogits + (size_t)i * job->mask_gap + at);
    }
    if (job->dweight)
        write_row(dweight, job->columns, job->add, job->dweight + at);
}

static void weight_gradients(const struct mglu_cpu_train_gradients *job)
{
    for (int32_t r = 0; r < job->rows; r++)
        weight_gradients_of_row(job, r);
}

const struct mglu_cpu_train_blocks KERNEL(train_blocks) = {
    .load = {[MGLU_DTYPE_F32] = load_f32, [MGLU_DTYPE_BF16] = load_bf16},
    .store = {[MGLU_DTYPE_F32] = store_f32, [MGLU_DTYPE_BF16] = store_bf16},
    .mask = mask,
    .transpose = transpose,
    .weight_gradients = weight_gradients,
};
