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

enum { MASKS_AT_ONCE = VEC_MASKS, BLOCK_GROUPS = 16 };

/* Some groups of a row. */
struct block {
    struct weight_row row;
    const uint32_t *words; /* of the first group; the next group's are `pitch` words later */
    int64_t pitch;
    const float *x;
    int64_t groups;
};

/*
 * Adds the products of a block to the total, and what the first n masks select of them to the gate sums; stores them if
 * `keep` is set. `dtype`, `n` and `keep` are constants where this is used.
 */
MGLU_INLINE void multiply_block(const struct block *block, const int32_t *mask_ids, mglu_dtype dtype, int n, int keep,
                                lanes *total, lanes *gates, float *products)
{
    const struct weight_row row = block->row;
    const uint32_t *words[MASKS_AT_ONCE];
    lanes t = *total, s[MASKS_AT_ONCE];

    MGLU_UNROLL
    for (int i = 0; i < n; i++) {
        words[i] = block->words + mask_ids[i];
        s[i] = gates[i];
    }
    for (int64_t group = 0; group < block->groups; group++) {
        const struct weight_group weights = group_of(row, group, dtype);
        prefetch_weights(weights.weights, group_bytes(dtype), PREFETCH_DISTANCE);
        MGLU_UNROLL
        for (int part = 0; part < VEC_PARTS; part++) {
            vec p = multiply(&weights, block->x + group * MGLU_GROUP_COLUMNS, part, dtype);
            t.part[part] = vec_add(t.part[part], p);
            MGLU_UNROLL
            for (int i = 0; i < n; i++)
                s[i].part[part] = vec_add_masked(s[i].part[part], p, words[i][group * block->pitch], part);
            if (keep)
                vec_store_f32(products + group * MGLU_GROUP_COLUMNS + part * VEC_LANES, p);
        }
    }
    *total = t;
    MGLU_UNROLL
    for (int i = 0; i < n; i++)
        gates[i] = s[i];
}

/* Adds what one mask selects of a block's products to its gate sum. */
MGLU_INLINE void add_selected(const struct block *block, int32_t mask_id, const float *products, lanes *gate)
{
    const uint32_t *words = block->words + mask_id;
    lanes s = *gate;

    for (int64_t group = 0; group < block->groups; group++) {
        MGLU_UNROLL
        for (int part = 0; part < VEC_PARTS; part++)
            s.part[part] = vec_add_masked_at(s.part[part], products + group * MGLU_GROUP_COLUMNS + part * VEC_LANES,
                                             words[group * block->pitch], part);
    }
    *gate = s;
}

/* Row r's total and its gate sums, those of the first n masks in registers. `dtype`, `n` and `more` are constants. */
MGLU_INLINE void sum_row(const struct mglu_cpu_gemv *job, int32_t r, mglu_dtype dtype, int n, int more)
{
    const struct mglu_cpu_matrix *matrix = job->matrix;
    const int64_t row = job->first_row + r, groups = matrix->groups;
    const int64_t most = more ? BLOCK_GROUPS : groups;
    _Alignas(64) float products[BLOCK_GROUPS * MGLU_GROUP_COLUMNS];
    lanes total = lanes_zero(), gates[MGLU_MAX_MASKS];

    for (int32_t i = 0; i < (more ? job->n : n); i++)
        gates[i] = lanes_zero();
    for (int64_t group = 0; group < groups; group += most) {
        const struct block block = {
            .row = row_from(matrix, row, group, dtype),
            .words = mask_words(matrix, row, group),
            .pitch = mask_pitch(matrix),
            .x = (const float *)job->x + group * MGLU_GROUP_COLUMNS,
            .groups = groups - group < most ? groups - group : most,
        };
        multiply_block(&block, job->mask_ids, dtype, n, more, &total, gates, products);
        for (int32_t i = n; more && i < job->n; i++)
            add_selected(&block, job->mask_ids[i], products, &gates[i]);
    }
    job->totals[r] = lanes_reduce(total);
    for (int32_t i = 0; i < (more ? job->n : n); i++)
        job->gates[i][r] = lanes_reduce(gates[i]);
}

/*
 * The totals of PLAIN_ROWS rows, `apart` rows from each other, interleaved by groups: some machines read several
 * streams faster than one. The summation order is that of sum_row().
 */
MGLU_INLINE void sum_plain_rows(const struct mglu_cpu_gemv *job, int32_t r, int32_t apart, mglu_dtype dtype)
{
    struct weight_row rows[PLAIN_ROWS];
    lanes totals[PLAIN_ROWS];

    for (int i = 0; i < PLAIN_ROWS; i++) {
        rows[i] = row_from(job->matrix, job->first_row + r + i * apart, 0, dtype);
        totals[i] = lanes_zero();
    }
    for (int64_t group = 0; group < job->matrix->groups; group++) {
        const float *x = (const float *)job->x + group * MGLU_GROUP_COLUMNS;
        for (int i = 0; i < PLAIN_ROWS; i++) {
            const struct weight_group weights = group_of(rows[i], group, dtype);
            prefetch_weights(weights.weights, group_bytes(dtype), PLAIN_PREFETCH);
            MGLU_UNROLL
            for (int part = 0; part < VEC_PARTS; part++)
                totals[i].part[part] = vec_add(totals[i].part[part], multiply(&weights, x, part, dtype));
        }
    }
    for (int i = 0; i < PLAIN_ROWS; i++)
        job->totals[r + i * apart] = lanes_reduce(totals[i]);
}

/*
 * One call. Rows without masks are interleaved, as some machines read several streams faster than one; quantised rows
 * are compute-bound, would not become faster and would spill registers.
 */
MGLU_INLINE void sum_matrix(const struct mglu_cpu_gemv *job, mglu_dtype dtype, int n, int more)
{
    const int side_by_side = PLAIN_ROWS > 1 && !is_quantised(dtype) && n == 0;
    const int32_t apart = side_by_side ? job->rows / PLAIN_ROWS : 0;

    for (int32_t r = 0; r < apart; r++)
        sum_plain_rows(job, r, apart, dtype);
    for (int32_t r = apart * PLAIN_ROWS; r < job->rows; r++)
        sum_row(job, r, dtype, n, more);
}

/* A kernel for each number of masks whose sums fit the registers, one for more, and the function that selects one. */
#define KERNEL_OF_COUNT(n, type, TYPE)                                                                                 \
    static void gemv_##type##_##n(const struct mglu_cpu_gemv *job)                                                     \
    {                                                                                                                  \
        sum_matrix(job, MGLU_DTYPE_##TYPE, n, 0);                                                                      \
    }
#define ENTRY_OF_COUNT(n, type, TYPE) [n] = gemv_##type##_##n,
#define KERNELS_OF_DTYPE(type, TYPE)                                                                                   \
    VEC_FOR_MASK_COUNTS(KERNEL_OF_COUNT, type, TYPE)                                                                   \
    static void gemv_##type##_more(const struct mglu_cpu_gemv *job)                                                    \
    {                                                                                                                  \
        sum_matrix(job, MGLU_DTYPE_##TYPE, MASKS_AT_ONCE, 1);                                                          \
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
