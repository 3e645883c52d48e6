/* SPDX-License-Identifier: MIT */
#include "int8_kernels.h"

/*
 * GEMV of q4_0 with x quantised to 8 bits, in AVX-512 VNNI. A nibble is multiplied as it is, without sign, and without
 * being moved to the place of its column: a register of bytes has the low nibbles of four groups, columns 0 to 15 of
 * each, another the high ones, columns 16 to 31, and x is put into the same order. A sum begins with -8 times the sum
 * of its x, as a weight is its nibble less 8; a mask replaces by 8 what it does not select.
 *
 * So four lanes have the sum of a group, exact. They are converted to floats, multiplied by the scale of the group's
 * weights times that of its x, and added to those of the previous groups. A sum depends on its row, its mask and x
 * alone.
 */

enum { STEP_GROUPS = 4, BLOCK_STEPS = BLOCK_GROUPS / STEP_GROUPS };

enum { QUAD = 4, QUADS = MGLU_MAX_MASKS / QUAD, MOST_TOKENS = MGLU_CPU_INT8_MOST_TOKENS };

/* Bytes of four groups: columns 0 to 15 of each, and 16 to 31. */
struct halves {
    __m512i low, high;
};

/* A token's x of four groups, what a sum begins with, and for each lane the scale of x times that of the weights. */
struct columns {
    struct halves x;
    __m512i first;
    vec scale;
};

/* The sums of a row for a token. */
struct sums {
    vec total, gates[MGLU_MAX_MASKS];
};

/* Of a block of a row: its weights, the products of its scales with those of each token, and its masks' bits. */
struct row {
    const char *weights;
    int64_t first_group;
    float products[MOST_TOKENS][BLOCK_GROUPS + VEC_LANES];
    _Alignas(64) uint64_t bits[BLOCK_STEPS][QUADS][2 * QUAD];
};

/* In the functions below `shape` is a constant where they are used, and so is `groups`, except at the end of a row: the
 * groups of a step, 1 to 4. */

MGLU_INLINE struct halves load_nibbles(const char *weights, int groups)
{
    const __m512i both = _mm512_maskz_loadu_epi32((__mmask16)((1u << 4 * groups) - 1), weights);
    const __m512i low = _mm512_set1_epi8(15);

    return (struct halves){_mm512_and_si512(both, low), _mm512_and_si512(_mm512_srli_epi16(both, 4), low)};
}

/* Adds to each lane the products of a group's bytes. */
MGLU_INLINE __m512i dot(__m512i sum, struct halves nibbles, struct halves x)
{
    return _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(sum, nibbles.low, x.low), nibbles.high, x.high);
}

MGLU_INLINE struct halves load_x(const char *x, int groups)
{
    const unsigned int parts = (1u << 4 * groups) - 1;
    const __m512i first = _mm512_maskz_loadu_epi64((__mmask8)parts, x);
    const __m512i second = _mm512_maskz_loadu_epi64((__mmask8)(parts >> 8), x + sizeof first);

    return (struct halves){_mm512_shuffle_i64x2(first, second, _MM_SHUFFLE(2, 0, 2, 0)),
                           _mm512_shuffle_i64x2(first, second, _MM_SHUFFLE(3, 1, 3, 1))};
}

MGLU_INLINE __m512i eights(void)
{
    return _mm512_set1_epi8(8);
}

MGLU_INLINE struct columns load_columns(const struct mglu_cpu_gemv *job, int64_t group, const float *products,
                                        int groups)
{
    const __m512i group_of_lane = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    const __m512i zero = _mm512_setzero_si512();
    const __m128 scales = _mm_maskz_loadu_ps((__mmask8)((1u << groups) - 1), products);
    const char *quants = mglu_cpu_quants(job->x, job->matrix->groups);
    const struct halves x = load_x(quants + group * MGLU_GROUP_COLUMNS, groups);

    return (struct columns){
        .x = x,
        .first = _mm512_sub_epi32(zero, dot(zero, (struct halves){eights(), eights()}, x)),
        .scale = _mm512_permutexvar_ps(group_of_lane, _mm512_castps128_ps512(scales)),
    };
}

/* Whether four groups' words of all masks fit a register; else four masks at a time are put into one. */
MGLU_INLINE int fit_a_register(struct shape shape)
{
    return shape.n <= QUAD && !shape.has_ids;
}

/* The words of masks `first` to first + 3, of those that there are, in each group. */
MGLU_INLINE __m512i load_words(const struct mglu_cpu_gemv *job, const uint32_t *words, int first, struct shape shape,
                               int groups)
{
    const int count = shape.n - first < QUAD ? shape.n - first : QUAD;
    const __mmask8 masks = (__mmask8)((1u << count) - 1);
    const int64_t pitch = shape.has_ids ? mask_pitch(job->matrix) : shape.n;
    __m512i all = _mm512_setzero_si512();

    if (fit_a_register(shape))
        return _mm512_maskz_loadu_epi32((__mmask16)((1u << count * groups) - 1), words);
    MGLU_UNROLL
    for (int group = 0; group < groups; group++) {
        const uint32_t *of_group = words + group * pitch;
        __m128i four = _mm_setzero_si128();
        if (shape.has_ids)
            four = _mm_mmask_i32gather_epi32(four, masks, _mm_maskz_loadu_epi32(masks, job->mask_ids + first), of_group,
                                             sizeof *of_group);
        else
            four = _mm_maskz_loadu_epi32(masks, of_group + first);
        all = _mm512_mask_broadcast_i32x4(all, (__mmask16)(0xfu << 4 * group), four);
    }
    return all;
}

/*
 * Puts together the bits of columns 0 to 15 of four groups, for each of four masks, then those of columns 16 to 31.
 * `pitch` is the number of words of a group.
 */
MGLU_INLINE __m512i order_bits(__m512i words, int pitch)
{
    const __m512i group = _mm512_set1_epi64(0x0003000200010000);
    const __m512i half =
        _mm512_setr_epi64(0x0000000000000000, 0x0002000200020002, 0x0004000400040004, 0x0006000600060006,
                          0x0001000100010001, 0x0003000300030003, 0x0005000500050005, 0x0007000700070007);
    const __m512i first = _mm512_mullo_epi16(group, _mm512_set1_epi16((short)(2 * pitch)));

    return _mm512_permutexvar_epi16(_mm512_add_epi16(first, half), words);
}

/* A block's bits are ordered before they are used: compilers move what was just stored from register to register. */
MGLU_INLINE void order_block(const struct mglu_cpu_gemv *job, const uint32_t *words, int64_t groups, struct shape shape,
                             uint64_t bits[BLOCK_STEPS][QUADS][2 * QUAD])
{
    const int64_t pitch = shape.has_ids ? mask_pitch(job->matrix) : shape.n;
    const int register_pitch = fit_a_register(shape) ? shape.n : QUAD;
    const size_t ahead = INT8_PREFETCH / MGLU_Q4_0_GROUP_BYTES * (size_t)pitch * sizeof *words;

    for (int64_t group = 0; group < groups; group += STEP_GROUPS, words += STEP_GROUPS * pitch) {
        prefetch_weights(words, STEP_GROUPS * (size_t)shape.n * sizeof *words, ahead);
        MGLU_UNROLL
        for (int i = 0; i < shape.n; i += QUAD) {
            const __m512i of_masks = groups - group >= STEP_GROUPS
                                         ? load_words(job, words, i, shape, STEP_GROUPS)
                                         : load_words(job, words, i, shape, (int)(groups - group));
            _mm512_store_si512(bits[group / STEP_GROUPS][i / QUAD], order_bits(of_masks, register_pitch));
        }
    }
}

/* Prepares a block of groups of row r. */
MGLU_INLINE void begin_block(const struct mglu_cpu_gemv *jobs, int32_t r, int64_t first, int64_t groups,
                             struct shape shape, struct row *row)
{
    const struct weight_row weights = row_from(jobs->matrix, jobs->first_row + r, first, MGLU_DTYPE_Q4_0);

    row->weights = weights.weights;
    row->first_group = first;
    MGLU_UNROLL
    for (int t = 0; t < shape.tokens; t++)
        multiply_scales(weights.scales, (const float *)jobs[t].x + first, groups, row->products[t]);
    if (shape.n > 0)
        order_block(jobs, mask_words(jobs->matrix, jobs->first_row + r, first), groups, shape, row->bits);
}

MGLU_INLINE struct halves select_nibbles(struct halves nibbles, const uint64_t *bits)
{
    return (struct halves){_mm512_mask_blend_epi8((__mmask64)bits[0], eights(), nibbles.low),
                           _mm512_mask_blend_epi8((__mmask64)bits[QUAD], eights(), nibbles.high)};
}

MGLU_INLINE vec add_products(vec sum, struct halves nibbles, const struct columns *columns)
{
    return vec_fma(_mm512_cvtepi32_ps(dot(columns->first, nibbles, columns->x)), columns->scale, sum);
}

/* Adds a step to the sums of each token, from this group of the block on. */
MGLU_INLINE void add_step(const struct mglu_cpu_gemv *jobs, const struct row *row, int64_t group, struct shape shape,
                          int groups, struct sums *sums)
{
    const char *weights = row->weights + group * MGLU_Q4_0_GROUP_BYTES;
    const struct halves nibbles = load_nibbles(weights, groups);
    struct columns columns[MOST_TOKENS];

    prefetch_weights(weights, STEP_GROUPS * MGLU_Q4_0_GROUP_BYTES, INT8_PREFETCH);
    MGLU_UNROLL
    for (int t = 0; t < shape.tokens; t++) {
        columns[t] = load_columns(&jobs[t], row->first_group + group, row->products[t] + group, groups);
        sums[t].total = add_products(sums[t].total, nibbles, &columns[t]);
    }
    MGLU_UNROLL
    for (int i = 0; i < shape.n; i++) {
        const uint64_t *bits = row->bits[group / STEP_GROUPS][i / QUAD] + i % QUAD;
        const struct halves selected = select_nibbles(nibbles, bits);
        MGLU_UNROLL
        for (int t = 0; t < shape.tokens; t++)
            sums[t].gates[i] = add_products(sums[t].gates[i], selected, &columns[t]);
    }
}

MGLU_INLINE struct sums zero_sums(int n)
{
    struct sums sums;

    sums.total = vec_zero();
    MGLU_UNROLL
    for (int i = 0; i < n; i++)
        sums.gates[i] = vec_zero();
    return sums;
}

/* Row r for all tokens. */
MGLU_INLINE void sum_row(const struct mglu_cpu_gemv *jobs, int32_t r, struct shape shape)
{
    struct sums sums[MOST_TOKENS];
    struct row row;

    MGLU_UNROLL
    for (int t = 0; t < shape.tokens; t++)
        sums[t] = zero_sums(shape.n);
    for (int64_t first = 0; first < jobs->matrix->groups; first += BLOCK_GROUPS) {
        const int64_t left = jobs->matrix->groups - first, groups = left < BLOCK_GROUPS ? left : BLOCK_GROUPS;
        int64_t group = 0;
        begin_block(jobs, r, first, groups, shape, &row);
        for (; group + STEP_GROUPS <= groups; group += STEP_GROUPS)
            add_step(jobs, &row, group, shape, STEP_GROUPS, sums);
        if (group < groups)
            add_step(jobs, &row, group, shape, (int)(groups - group), sums);
    }
    MGLU_UNROLL
    for (int t = 0; t < shape.tokens; t++) {
        jobs[t].totals[r] = vec_reduce(sums[t].total);
        for (int i = 0; i < shape.n; i++)
            jobs[t].gates[i][r] = vec_reduce(sums[t].gates[i]);
    }
}

MGLU_INLINE void sum_matrix(const struct mglu_cpu_gemv *jobs, struct shape shape)
{
    for (int32_t r = 0; r < jobs->rows; r++)
        sum_row(jobs, r, shape);
}

KERNELS_OF_DTYPE(q4_0, Q4_0)
