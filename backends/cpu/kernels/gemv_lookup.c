/* SPDX-License-Identifier: MIT */
#include "lanes.h"

/*
 * GEMV with many masks, in AVX-512, for layers that need not be reproducible: each mask has one lane. Of the products
 * of four columns a mask selects one of 16 sums. These are computed once, a table of one register; the mask's four bits
 * are the index of the lane. So one permute gives the selections of 16 masks from four columns: 24 operations for 32
 * columns, where each mask that selects from the products takes four. The tables take 22.
 *
 * A row is summed in blocks: first the products and the sums of the first two of each four columns, which are stored,
 * then the tables and what the masks look up in them. What tables load was stored long before.
 *
 * The order of additions: the four columns as ((0 + 1) + 2) + 3, unselected ones left out; in a block, four chains, of
 * every fourth table from the first to the fourth on; the chains as (0 + 1) + (2 + 3); block after block. A total is
 * summed as in gemv.c. Hence a sum depends on its row, its mask and x alone.
 */

enum { BLOCK_GROUPS = 16, COLUMNS = 4, TABLES = MGLU_GROUP_COLUMNS / COLUMNS, CHAINS = 4 };

_Static_assert(MGLU_MAX_MASKS <= VEC_LANES, "each mask has a lane");

/* In all functions below `dtype` is a constant where it is used. */

/* Some groups of a row. */
struct block {
    struct weight_row row;
    const uint32_t *words; /* of the first group; the next group's are `pitch` words later */
    int64_t pitch;
    int32_t groups;
    int32_t ahead; /* bytes of weights */
};

/* Its products, and the sums that masks select of the first two of each four: 0, a, b or a + b. */
struct products {
    _Alignas(64) float values[BLOCK_GROUPS][MGLU_GROUP_COLUMNS];
    float sums[BLOCK_GROUPS][MGLU_GROUP_COLUMNS];
};

/* From each {a, b, c, d} to {0, a, b, a + b}. */
MGLU_INLINE vec sums_of_two(vec p)
{
    const vec swapped = _mm512_permute_ps(p, _MM_SHUFFLE(2, 3, 0, 1));
    const vec both_or_odd = _mm512_mask_add_ps(p, 0x5555, p, swapped);

    return _mm512_maskz_shuffle_ps(0xeeee, p, both_or_odd, _MM_SHUFFLE(0, 1, 0, 0));
}

MGLU_INLINE void multiply_block(const struct block *block, const float *x, mglu_dtype dtype, struct products *products,
                                lanes *total)
{
    lanes sum = *total;

    for (int32_t group = 0; group < block->groups; group++) {
        const struct weight_group weights = group_of(block->row, group, dtype);
        prefetch_weights(weights.weights, group_bytes(dtype), (size_t)block->ahead);
        MGLU_UNROLL
        for (int part = 0; part < VEC_PARTS; part++) {
            const vec p = multiply(&weights, x + group * MGLU_GROUP_COLUMNS, part, dtype);
            sum.part[part] = vec_add(sum.part[part], p);
            vec_store_f32(products->values[group] + part * VEC_LANES, p);
            vec_store_f32(products->sums[group] + part * VEC_LANES, sums_of_two(p));
        }
    }
    *total = sum;
}

/* The sums that masks select of four columns: bits 0 and 1 of a lane's index select from the first two columns. */
MGLU_INLINE vec make_table(const float *products, const float *sums_of_two)
{
    const vec two = _mm512_broadcast_f32x4(_mm_load_ps(sums_of_two));
    const vec three = _mm512_mask_add_ps(two, 0xf0f0, two, _mm512_set1_ps(products[2]));

    return _mm512_mask_add_ps(three, 0xff00, three, _mm512_set1_ps(products[3]));
}

/* What all masks select of a block. */
MGLU_INLINE vec look_up_block(const struct block *block, const struct products *products, int32_t n,
                              int64_t words_ahead)
{
    const __mmask16 all_masks = (__mmask16)((1u << n) - 1);
    vec sums[CHAINS];

    MGLU_UNROLL
    for (int i = 0; i < CHAINS; i++)
        sums[i] = vec_zero();
    for (int32_t group = 0; group < block->groups; group++) {
        const uint32_t *words = block->words + group * block->pitch;
        const __m512i bits = _mm512_maskz_loadu_epi32(all_masks, words);
        prefetch_words(words, words_ahead);
        MGLU_UNROLL
        for (int i = 0; i < TABLES; i++) {
            const int first = i * COLUMNS;
            const vec table = make_table(products->values[group] + first, products->sums[group] + first);
            const __m512i index = _mm512_srli_epi32(bits, (unsigned int)first); /* of which four bits are used */
            sums[i % CHAINS] = vec_add(sums[i % CHAINS], _mm512_permutexvar_ps(index, table));
        }
    }
    return vec_add(vec_add(sums[0], sums[1]), vec_add(sums[2], sums[3]));
}

MGLU_INLINE struct block make_block(const struct mglu_cpu_gemv *job, int64_t row, int64_t group, mglu_dtype dtype)
{
    const struct mglu_cpu_matrix *matrix = job->matrix;
    const int64_t left = matrix->groups - group;

    return (struct block){
        .row = row_from(matrix, row, group, dtype),
        .words = mask_words(matrix, row, group),
        .pitch = mask_pitch(matrix),
        .groups = left < BLOCK_GROUPS ? (int32_t)left : BLOCK_GROUPS,
        .ahead = matrix->streams.masked_prefetch,
    };
}

MGLU_INLINE void sum_row(const struct mglu_cpu_gemv *job, int32_t r, mglu_dtype dtype)
{
    const float *x = job->x;
    struct products products;
    float gates[VEC_LANES];
    lanes total = lanes_zero();
    vec sums = vec_zero();

    for (int64_t group = 0; group < job->matrix->groups; group += BLOCK_GROUPS) {
        const struct block block = make_block(job, job->first_row + r, group, dtype);
        const int64_t words_ahead = block.ahead / (int64_t)group_bytes(dtype) * block.pitch;
        multiply_block(&block, x + group * MGLU_GROUP_COLUMNS, dtype, &products, &total);
        sums = vec_add(sums, look_up_block(&block, &products, job->n, words_ahead));
    }
    job->totals[r] = lanes_reduce(total);
    vec_store_f32(gates, sums);
    for (int32_t i = 0; i < job->n; i++)
        job->gates[i][r] = gates[i];
}

/* The masks must be all masks of the matrix: mask_ids are assumed to be 0 to n - 1. */
#define KERNEL_OF_DTYPE(type, TYPE)                                                                                    \
    static void lookup_##type(const struct mglu_cpu_gemv *job)                                                         \
    {                                                                                                                  \
        for (int32_t r = 0; r < job->rows; r++)                                                                        \
            sum_row(job, r, MGLU_DTYPE_##TYPE);                                                                        \
    }

KERNEL_OF_DTYPE(f32, F32)
KERNEL_OF_DTYPE(f16, F16)
KERNEL_OF_DTYPE(bf16, BF16)
KERNEL_OF_DTYPE(q8_0, Q8_0)
KERNEL_OF_DTYPE(q4_0, Q4_0)

mglu_cpu_gemv_fn *const mglu_gemv_lookup_avx512[MGLU_DTYPE_COUNT] = {
    [MGLU_DTYPE_F32] = lookup_f32,   [MGLU_DTYPE_F16] = lookup_f16,   [MGLU_DTYPE_BF16] = lookup_bf16,
    [MGLU_DTYPE_Q8_0] = lookup_q8_0, [MGLU_DTYPE_Q4_0] = lookup_q4_0,
};
