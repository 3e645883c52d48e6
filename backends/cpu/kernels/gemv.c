/* SPDX-License-Identifier: MIT */
#include "for_mask_count.h"
#include "lanes.h"
#include "weights.h"

/*
 * GEMV: the sums over a row, for all instruction sets in the same order.
 *
 * A group of 32 columns is added to 32 lanes: lane j sums columns j, 32 + j, 64 + j, ... in this order, each product
 * rounded and then added. The lanes are then added in one fixed tree: lane j and lane j + 16, then j + 8, + 4, + 2, +
 * 1. Hence the same bits everywhere.
 *
 * A row is summed in blocks. The masks whose sums fit in registers select from each product as it is computed; the
 * others then select, mask by mask, from the block's products stored in L1. So each weight is read and converted once
 * for any number of masks.
 */

enum { MASKS_AT_ONCE = VEC_MASKS, BLOCK_GROUPS = 16, MOST_ROWS = 4 };

/* In all functions below `dtype`, `rows`, `n`, `more` and `keep` are constants where they are used. */

/* Some groups of rows that are summed side by side. */
struct block {
    struct weight_row rows[MOST_ROWS];
    const uint32_t *words[MOST_ROWS]; /* of the first group; the next group's are `pitch` words later */
    int64_t pitch;
    const float *x;
    int64_t groups;
    struct mglu_cpu_streams streams;
};

/* The sums of a row that are in registers. */
struct sums {
    lanes total, gates[MASKS_AT_ONCE];
};

/*
 * Adds the products of a group to the total, and what the first n masks select of them to the gate sums; stores them if
 * `keep` is set.
 */
MGLU_INLINE void multiply_group(const struct weight_group *weights, const float *x, const uint32_t *words,
                                const int64_t *mask_ids, mglu_dtype dtype, int n, int keep, struct sums *sums,
                                float *products)
{
    MGLU_UNROLL
    for (int part = 0; part < VEC_PARTS; part++) {
        vec p = multiply(weights, x, part, dtype);
        sums->total.part[part] = vec_add(sums->total.part[part], p);
        MGLU_UNROLL
        for (int i = 0; i < n; i++) {
            const uint32_t *word = words + mask_ids[i];
            sums->gates[i].part[part] = vec_add_masked(sums->gates[i].part[part], p, word, part);
        }
        if (keep)
            vec_store_f32(products + part * VEC_LANES, p);
    }
}

/* Adds the products of a block to the sums of its rows. */
MGLU_INLINE void multiply_block(const struct block *block, const int64_t *mask_ids, mglu_dtype dtype, int rows, int n,
                                int keep, struct sums *sums, float *products)
{
    const int has_masks = n > 0 || keep;
    const size_t ahead = (size_t)(has_masks ? block->streams.masked_prefetch : block->streams.plain_prefetch);
    const int64_t words_ahead = (int64_t)(ahead / group_bytes(dtype)) * block->pitch;
    const uint32_t *words[MOST_ROWS];

    MGLU_UNROLL
    for (int i = 0; i < rows; i++)
        words[i] = block->words[i];
    for (int64_t group = 0; group < block->groups; group++) {
        MGLU_UNROLL
        for (int i = 0; i < rows; i++) {
            const struct weight_group weights = group_of(block->rows[i], group, dtype);
            prefetch_weights(weights.weights, group_bytes(dtype), ahead);
            if (has_masks)
                prefetch_words(words[i], words_ahead);
            multiply_group(&weights, block->x + group * MGLU_GROUP_COLUMNS, words[i], mask_ids, dtype, n, keep,
                           &sums[i], products + group * MGLU_GROUP_COLUMNS);
            words[i] += block->pitch;
        }
    }
}

/* Adds what one mask selects of a block's products to its gate sum. */
MGLU_INLINE void add_selected(const struct block *block, int32_t mask_id, const float *products, lanes *gate)
{
    const uint32_t *words = block->words[0] + mask_id;
    lanes s = *gate;

    for (int64_t group = 0; group < block->groups; group++) {
        MGLU_UNROLL
        for (int part = 0; part < VEC_PARTS; part++)
            s.part[part] = vec_add_masked_at(s.part[part], products + group * MGLU_GROUP_COLUMNS + part * VEC_LANES,
                                             words + group * block->pitch, part);
    }
    *gate = s;
}

/* Some groups of rows r, r + apart, ... */
MGLU_INLINE struct block make_block(const struct mglu_cpu_gemv *job, int32_t r, int32_t apart, mglu_dtype dtype,
                                    int rows, int64_t group, int64_t most)
{
    const struct mglu_cpu_matrix *matrix = job->matrix;
    struct block block = {
        .pitch = mask_pitch(matrix),
        .x = (const float *)job->x + group * MGLU_GROUP_COLUMNS,
        .groups = matrix->groups - group < most ? matrix->groups - group : most,
        .streams = matrix->streams,
    };

    MGLU_UNROLL
    for (int i = 0; i < rows; i++) {
        const int64_t row = job->first_row + r + i * apart;
        block.rows[i] = row_from(matrix, row, group, dtype);
        block.words[i] = mask_words(matrix, row, group);
    }
    return block;
}

MGLU_INLINE struct sums zero_sums(int n)
{
    struct sums sums;

    sums.total = lanes_zero();
    MGLU_UNROLL
    for (int i = 0; i < n; i++)
        sums.gates[i] = lanes_zero();
    return sums;
}

MGLU_INLINE void store_sums(const struct mglu_cpu_gemv *job, int32_t r, int n, const struct sums *sums)
{
    job->totals[r] = lanes_reduce(sums->total);
    MGLU_UNROLL
    for (int i = 0; i < n; i++)
        job->gates[i][r] = lanes_reduce(sums->gates[i]);
}

/* The sums of rows r, r + apart, ... with n masks, all in registers. */
MGLU_INLINE void sum_rows(const struct mglu_cpu_gemv *job, int32_t r, int32_t apart, mglu_dtype dtype, int rows, int n)
{
    const struct block block = make_block(job, r, apart, dtype, rows, 0, job->matrix->groups);
    int64_t mask_ids[MASKS_AT_ONCE];
    struct sums sums[MOST_ROWS];

    MGLU_UNROLL
    for (int i = 0; i < n; i++)
        mask_ids[i] = job->mask_ids[i];
    MGLU_UNROLL
    for (int i = 0; i < rows; i++)
        sums[i] = zero_sums(n);
    multiply_block(&block, mask_ids, dtype, rows, n, 0, sums, NULL);
    MGLU_UNROLL
    for (int i = 0; i < rows; i++)
        store_sums(job, r + i * apart, n, &sums[i]);
}

/* Row r's sums with more masks than there are registers for. */
MGLU_INLINE void sum_row_in_blocks(const struct mglu_cpu_gemv *job, int32_t r, mglu_dtype dtype)
{
    _Alignas(64) float products[BLOCK_GROUPS * MGLU_GROUP_COLUMNS];
    int64_t mask_ids[MASKS_AT_ONCE];
    struct sums sums = zero_sums(MASKS_AT_ONCE);
    lanes gates[MGLU_MAX_MASKS];

    for (int i = 0; i < MASKS_AT_ONCE; i++)
        mask_ids[i] = job->mask_ids[i];
    for (int32_t i = MASKS_AT_ONCE; i < job->n; i++)
        gates[i] = lanes_zero();
    for (int64_t group = 0; group < job->matrix->groups; group += BLOCK_GROUPS) {
        const struct block block = make_block(job, r, 0, dtype, 1, group, BLOCK_GROUPS);
        multiply_block(&block, mask_ids, dtype, 1, MASKS_AT_ONCE, 1, &sums, products);
        for (int32_t i = MASKS_AT_ONCE; i < job->n; i++)
            add_selected(&block, job->mask_ids[i], products, &gates[i]);
    }
    store_sums(job, r, MASKS_AT_ONCE, &sums);
    for (int32_t i = MASKS_AT_ONCE; i < job->n; i++)
        job->gates[i][r] = lanes_reduce(gates[i]);
}

/* The rows that fill steps of `rows` rows, a part of the job's rows apart; returns how many. */
MGLU_INLINE int32_t sum_side_by_side(const struct mglu_cpu_gemv *job, mglu_dtype dtype, int rows, int n)
{
    const int32_t apart = job->rows / rows;

    for (int32_t r = 0; r < apart; r++)
        sum_rows(job, r, apart, dtype, rows, n);
    return apart * rows;
}

/* Short rows with masks are faster one after the other; the more masks, the longer these are. */
MGLU_INLINE int32_t masked_rows(const struct mglu_cpu_matrix *matrix, int n)
{
    const size_t longest = n <= 2 ? 2048 : 4096;

    return matrix->stride_bytes > longest ? matrix->streams.masked_rows : 1;
}

/*
 * One call. Rows are summed side by side where the machine reads several streams faster than one, except quantised
 * ones, which are limited by arithmetic, and those whose sums would not fit the registers.
 */
MGLU_INLINE void sum_matrix(const struct mglu_cpu_gemv *job, mglu_dtype dtype, int n)
{
    const int32_t streams = n > 0 ? masked_rows(job->matrix, n) : job->matrix->streams.plain_rows;
    int32_t r = 0;

    if (n == 0 && streams == 4 && !is_quantised(dtype))
        r = sum_side_by_side(job, dtype, 4, n);
    else if (n <= VEC_MASKS_OF_TWO_ROWS && streams == 2 && !is_quantised(dtype))
        r = sum_side_by_side(job, dtype, 2, n);
    for (; r < job->rows; r++)
        sum_rows(job, r, 0, dtype, 1, n);
}

MGLU_INLINE void sum_matrix_in_blocks(const struct mglu_cpu_gemv *job, mglu_dtype dtype)
{
    for (int32_t r = 0; r < job->rows; r++)
        sum_row_in_blocks(job, r, dtype);
}

/* A kernel for each number of masks whose sums fit the registers, one for more, and the function that selects one. */
#define KERNEL_OF_COUNT(n, type, TYPE)                                                                                 \
    static void gemv_##type##_##n(const struct mglu_cpu_gemv *job)                                                     \
    {                                                                                                                  \
        sum_matrix(job, MGLU_DTYPE_##TYPE, n);                                                                         \
    }
#define ENTRY_OF_COUNT(n, type, TYPE) [n] = gemv_##type##_##n,
#define KERNELS_OF_DTYPE(type, TYPE)                                                                                   \
    VEC_FOR_MASK_COUNTS(KERNEL_OF_COUNT, type, TYPE)                                                                   \
    static void gemv_##type##_more(const struct mglu_cpu_gemv *job)                                                    \
    {                                                                                                                  \
        sum_matrix_in_blocks(job, MGLU_DTYPE_##TYPE);                                                                  \
    }                                                                                                                  \
    static void gemv_##type(const struct mglu_cpu_gemv *job)                                                           \
    {                                                                                                                  \
        static mglu_cpu_gemv_fn *const of_count[] = {VEC_FOR_MASK_COUNTS(ENTRY_OF_COUNT, type, TYPE)};                 \
        (job->n <= MASKS_AT_ONCE ? of_count[job->n] : gemv_##type##_more)(job);                                        \
    }

KERNELS_OF_DTYPE(f32, F32)
KERNELS_OF_DTYPE(f16, F16)
KERNELS_OF_DTYPE(bf16, BF16)
KERNELS_OF_DTYPE(q8_0, Q8_0)
KERNELS_OF_DTYPE(q4_0, Q4_0)

mglu_cpu_gemv_fn *const KERNEL(gemv)[MGLU_DTYPE_COUNT] = {
    [MGLU_DTYPE_F32] = gemv_f32,   [MGLU_DTYPE_F16] = gemv_f16,   [MGLU_DTYPE_BF16] = gemv_bf16,
    [MGLU_DTYPE_Q8_0] = gemv_q8_0, [MGLU_DTYPE_Q4_0] = gemv_q4_0,
};
