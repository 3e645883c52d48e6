/* SPDX-License-Identifier: MIT */
#include "weights.h"

/*
 * GEMV with two masks and more, in AVX2, for layers that need not be reproducible. A mask's selection from a group of
 * columns is reduced in a tree and added to the sum of the previous groups: so a sum is one register, compared with
 * four for the 32 lanes of gemv.c, and all sums stay in registers.
 *
 * Two or three masks select from the products. More masks select four at a time from sums of pairs: of the products p
 * and q of two neighbouring columns a mask selects 0, p, q or p + q. These are computed once and stored in four lanes;
 * the mask's two bits for the columns are the index of the lane. So one permute gives the selections of four masks from
 * a pair, and from two pairs in the two halves of a register. A mask costs three operations per 16 weights; selecting
 * from the products costs three per 8.
 *
 * The order of additions: two columns to a pair, two pairs to four columns (by selection: no columns are added here),
 * the four parts of a group as (0 + 1) + (2 + 3), group after group, and last across the register. A total is summed in
 * the same order. Hence a sum depends on its row, its mask, x and whether there are four masks.
 */

enum { AT_A_TIME = MGLU_CPU_PAIRS_OF_ALL, MOST_TIMES = MGLU_MAX_MASKS / AT_A_TIME };

MGLU_INLINE vec add_parts(const vec *parts)
{
    return vec_add(vec_add(parts[0], parts[1]), vec_add(parts[2], parts[3]));
}

MGLU_INLINE vec select_one(const vec *products, uint32_t word)
{
    vec parts[VEC_PARTS];

    MGLU_UNROLL
    for (int part = 0; part < VEC_PARTS; part++)
        parts[part] = vec_select(products[part], word, part);
    return add_parts(parts);
}

/* The lookup tables for a part of a group: in each half of a register the sums of its first pair, and of its second. */
struct pairs {
    vec first, second;
};

/* Computes {0, p0, p1, p0 + p1} and {0, p2, p3, p2 + p3} from {p0, p1, p2, p3}. */
MGLU_INLINE struct pairs make_pairs(vec p)
{
    const vec swapped = _mm256_permute_ps(p, _MM_SHUFFLE(2, 3, 0, 1));
    const vec both = vec_add(p, swapped);
    const vec neither_or_even = _mm256_blend_ps(p, vec_zero(), 0xaa);
    const vec both_or_odd = _mm256_blend_ps(p, both, 0x55);

    return (struct pairs){
        .first = _mm256_shuffle_ps(neither_or_even, both_or_odd, _MM_SHUFFLE(0, 1, 0, 1)),
        .second = _mm256_shuffle_ps(neither_or_even, both_or_odd, _MM_SHUFFLE(2, 3, 2, 3)),
    };
}

/* Two bits of each word, from bit `column` on, select one of the four lanes of each half. */
MGLU_INLINE vec select_pair(vec sums, __m256i words, int column)
{
    return _mm256_permutevar_ps(sums, _mm256_srli_epi32(words, column));
}

/* The selections of four masks from a group: four sums in each half. */
MGLU_INLINE vec select_four(const struct pairs *pairs, const uint32_t *words)
{
    const __m256i same = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)words));
    const __m256i of_half = _mm256_srlv_epi32(same, _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4));
    vec parts[VEC_PARTS];

    MGLU_UNROLL
    for (int part = 0; part < VEC_PARTS; part++)
        parts[part] = vec_add(select_pair(pairs[part].first, of_half, part * VEC_LANES),
                              select_pair(pairs[part].second, of_half, part * VEC_LANES + 2));
    return add_parts(parts);
}

/* The first of four masks. The last four overlap the previous four, so that only the group's words are read. */
MGLU_INLINE int32_t first_of_four(int32_t n, int time)
{
    const int32_t first = time * AT_A_TIME;

    return first + AT_A_TIME > n ? n - AT_A_TIME : first;
}

MGLU_INLINE void store_four(vec sum, float (*gates)[MGLU_CPU_BLOCK_ROWS], int32_t r)
{
    float four[AT_A_TIME];

    _mm_storeu_ps(four, _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps(sum, 1)));
    for (int i = 0; i < AT_A_TIME; i++)
        gates[i][r] = four[i];
}

/* Row r's total and gate sums: `singles` masks one at a time, or `quads` groups of four. Both are constants where this
 * is used. */
MGLU_INLINE void sum_row_by_pairs(const struct mglu_cpu_gemv *job, int32_t r, mglu_dtype dtype, int singles, int quads)
{
    const struct mglu_cpu_matrix *matrix = job->matrix;
    const struct weight_row row = row_from(matrix, job->first_row + r, 0, dtype);
    const uint32_t *words = mask_words(matrix, job->first_row + r, 0);
    const size_t ahead = (size_t)matrix->streams.masked_prefetch;
    const int64_t words_ahead = (int64_t)(ahead / group_bytes(dtype)) * mask_pitch(matrix);
    vec total = vec_zero(), gates[MOST_TIMES];

    for (int i = 0; i < singles + quads; i++)
        gates[i] = vec_zero();
    for (int64_t group = 0; group < matrix->groups; group++, words += mask_pitch(matrix)) {
        const struct weight_group weights = group_of(row, group, dtype);
        struct pairs pairs[VEC_PARTS];
        vec products[VEC_PARTS];
        prefetch_weights(weights.weights, group_bytes(dtype), ahead);
        prefetch_words(words, words_ahead);
        MGLU_UNROLL
        for (int part = 0; part < VEC_PARTS; part++) {
            products[part] = multiply(&weights, (const float *)job->x + group * MGLU_GROUP_COLUMNS, part, dtype);
            pairs[part] = make_pairs(products[part]);
        }
        total = vec_add(total, add_parts(products));
        for (int i = 0; i < singles; i++)
            gates[i] = vec_add(gates[i], select_one(products, words[job->mask_ids[i]]));
        for (int i = 0; i < quads; i++)
            gates[i] = vec_add(gates[i], select_four(pairs, words + first_of_four(job->n, i)));
    }
    job->totals[r] = vec_reduce(total);
    for (int i = 0; i < singles; i++)
        job->gates[i][r] = vec_reduce(gates[i]);
    for (int i = 0; i < quads; i++)
        store_four(gates[i], job->gates + first_of_four(job->n, i), r);
}

/* Four masks and more must be all masks of the matrix: mask_ids are assumed to be 0 to n - 1. */
MGLU_INLINE void sum_by_pairs(const struct mglu_cpu_gemv *job, mglu_dtype dtype)
{
    const int singles = job->n < AT_A_TIME ? job->n : 0, quads = singles ? 0 : (job->n + AT_A_TIME - 1) / AT_A_TIME;

    for (int32_t r = 0; r < job->rows; r++)
        if (singles == 2)
            sum_row_by_pairs(job, r, dtype, 2, 0);
        else if (singles == 3)
            sum_row_by_pairs(job, r, dtype, 3, 0);
        else if (quads == 1)
            sum_row_by_pairs(job, r, dtype, 0, 1);
        else if (quads == 2)
            sum_row_by_pairs(job, r, dtype, 0, 2);
        else
            sum_row_by_pairs(job, r, dtype, singles, quads);
}

static void pairs_f32(const struct mglu_cpu_gemv *job)
{
    sum_by_pairs(job, MGLU_DTYPE_F32);
}

static void pairs_f16(const struct mglu_cpu_gemv *job)
{
    sum_by_pairs(job, MGLU_DTYPE_F16);
}

static void pairs_bf16(const struct mglu_cpu_gemv *job)
{
    sum_by_pairs(job, MGLU_DTYPE_BF16);
}

static void pairs_q8_0(const struct mglu_cpu_gemv *job)
{
    sum_by_pairs(job, MGLU_DTYPE_Q8_0);
}

static void pairs_q4_0(const struct mglu_cpu_gemv *job)
{
    sum_by_pairs(job, MGLU_DTYPE_Q4_0);
}

mglu_cpu_gemv_fn *const mglu_gemv_pairs_avx2[MGLU_DTYPE_COUNT] = {
    [MGLU_DTYPE_F32] = pairs_f32,   [MGLU_DTYPE_F16] = pairs_f16,   [MGLU_DTYPE_BF16] = pairs_bf16,
    [MGLU_DTYPE_Q8_0] = pairs_q8_0, [MGLU_DTYPE_Q4_0] = pairs_q4_0,
};
