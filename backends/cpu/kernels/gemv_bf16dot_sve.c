/* SPDX-License-Identifier: MIT */
#include "for_mask_count.h"
#include "weights.h"

/*
 * GEMV of bf16 in SVE. BFDOT multiplies and adds pairs of bf16: half the work, but in another summation order, rounding
 * to odd and flushing subnormals, so reproducible layers do not use it. A sum is in as many registers as a group, each
 * of which is a chain of additions of its own. More masks than fit in registers need several passes over the rows.
 */

/* With vectors of 128 bits, the sums of six masks and the total take 28 of 32 registers. */
enum { VEC_COLUMNS = 2 * VEC_LANES, PARTS = MGLU_GROUP_COLUMNS / VEC_COLUMNS, MOST_MASKS = 6 };

/* In all functions below `n` is a constant where they are used. */

struct sums {
    vec total[PARTS], gates[MOST_MASKS][PARTS];
};

MGLU_INLINE svbfloat16_t select_pairs(svbfloat16_t pairs, const uint32_t *word, int part)
{
    const svbfloat16_t zero = svreinterpret_bf16_u16(svdup_u16(0));

    return svsel_bf16(predicate_half(predicate_load(word, part / 2), part % 2), pairs, zero);
}

/* Adds the products of one group to the total and to n gate sums. */
MGLU_INLINE void add_group(const char *weights, const char *x, const uint32_t *words, const int64_t *mask_ids, int n,
                           struct sums *sums)
{
    MGLU_UNROLL
    for (int part = 0; part < PARTS; part++) {
        const int64_t at = part * VEC_COLUMNS * (int64_t)sizeof(uint16_t);
        const svbfloat16_t w = svld1_bf16(svptrue_b16(), (const bfloat16_t *)(const void *)(weights + at));
        const svbfloat16_t columns = svld1_bf16(svptrue_b16(), (const bfloat16_t *)(const void *)(x + at));
        sums->total[part] = svbfdot_f32(sums->total[part], w, columns);
        MGLU_UNROLL
        for (int i = 0; i < n; i++)
            sums->gates[i][part] =
                svbfdot_f32(sums->gates[i][part], select_pairs(w, words + mask_ids[i], part), columns);
    }
}

MGLU_INLINE struct sums zero_sums(int n)
{
    struct sums sums;

    MGLU_UNROLL
    for (int part = 0; part < PARTS; part++) {
        sums.total[part] = vec_zero();
        MGLU_UNROLL
        for (int i = 0; i < n; i++)
            sums.gates[i][part] = vec_zero();
    }
    return sums;
}

MGLU_INLINE float reduce(const vec *parts)
{
    vec sum = parts[0];

    MGLU_UNROLL
    for (int part = 1; part < PARTS; part++)
        sum = vec_add(sum, parts[part]);
    return vec_reduce(sum);
}

/* The total and the n gate sums of row r. */
MGLU_INLINE void sum_row(const struct mglu_cpu_gemv *job, int32_t r, int n)
{
    const struct mglu_cpu_matrix *matrix = job->matrix;
    const size_t step = group_bytes(MGLU_DTYPE_BF16);
    const size_t ahead = (size_t)(n > 0 ? matrix->streams.masked_prefetch : matrix->streams.plain_prefetch);
    const int64_t pitch = mask_pitch(matrix), words_ahead = (int64_t)(ahead / step) * pitch;
    const char *weights = row_from(matrix, job->first_row + r, 0, MGLU_DTYPE_BF16).weights, *x = job->x;
    const uint32_t *words = mask_words(matrix, job->first_row + r, 0);
    struct sums sums = zero_sums(n);
    int64_t mask_ids[MOST_MASKS];

    MGLU_UNROLL
    for (int i = 0; i < n; i++)
        mask_ids[i] = job->mask_ids[i];
    for (int64_t group = 0; group < matrix->groups; group++, weights += step, x += step, words += pitch) {
        prefetch_weights(weights, step, ahead);
        if (n > 0)
            prefetch_words(words, words_ahead);
        add_group(weights, x, words, mask_ids, n, &sums);
    }
    job->totals[r] = reduce(sums.total);
    MGLU_UNROLL
    for (int i = 0; i < n; i++)
        job->gates[i][r] = reduce(sums.gates[i]);
}

#define KERNEL_OF_COUNT(n, ...)                                                                                        \
    static void gemv_##n(const struct mglu_cpu_gemv *job)                                                              \
    {                                                                                                                  \
        for (int32_t r = 0; r < job->rows; r++)                                                                        \
            sum_row(job, r, n);                                                                                        \
    }
#define ENTRY_OF_COUNT(n, ...) [n] = gemv_##n,

FOR_MASK_COUNTS_6(KERNEL_OF_COUNT, )

/* In passes of up to MOST_MASKS masks. */
void KERNEL(gemv_bf16)(const struct mglu_cpu_gemv *job)
{
    static mglu_cpu_gemv_fn *const of_count[MOST_MASKS + 1] = {FOR_MASK_COUNTS_6(ENTRY_OF_COUNT, )};
    struct mglu_cpu_gemv pass = *job;

    for (; pass.n > MOST_MASKS; pass.n -= MOST_MASKS, pass.mask_ids += MOST_MASKS, pass.gates += MOST_MASKS)
        of_count[MOST_MASKS](&pass);
    of_count[pass.n](&pass);
}
