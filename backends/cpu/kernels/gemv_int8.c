/* SPDX-License-Identifier: MIT */
#include "for_mask_count.h"
#include "weights.h"

#include <math.h>
#include <string.h>

/*
 * GEMV of integers: quantised weights with x quantised to 8 bits, for layers that allow it (accuracy class C).
 *
 * Of a group of 32 columns the products and their sums are exact. A register's sums become floats, are multiplied by
 * the scale of the group's weights times that of its x, and added to the groups before. Without masks, every
 * other register has a chain of additions of its own, to hide their latency. So a sum depends on its row, its mask and
 * x alone, not on the other masks or tokens, except that unmasked sums use two chains.
 *
 * A row is summed in blocks of groups. More masks than have registers take two passes over a block, which the second
 * one finds in the first-level cache.
 *
 * What a bytes_<isa>.h defines: bytes, BYTE_GROUPS (groups in a register); for the first `groups` of them, the others
 * being zeros, bytes_load, bytes_load_nibbles (low nibbles of a group first, then high ones, less 8), and bytes_select,
 * which keeps the bytes whose bits are set in the groups' mask words; bytes_magnitude and bytes_signed, such that
 * bytes_dot(bytes_magnitude(w), bytes_signed(x, w)) has products of w and x, and has them of a part of w where the
 * other bytes of the magnitude are zeros; and bytes_broadcast_scales.
 */

/* Groups of a block: their scales are multiplied at once. Masks whose sums are in registers in one pass. */
enum { BLOCK_GROUPS = 64, MASKS_AT_ONCE = 8, MOST_PASSES = 2, CHAINS = 2 };

/* Prefetch distance in bytes: measured on a Zen 3, where PREFETCH_DISTANCE is 10 % slower. */
enum { INT8_PREFETCH = 1024 };

/* Outside of these, and where x is not finite, a product of scales might not be a normal number. */
#define LEAST_MAGNITUDE 0x1p-80f
#define MOST_MAGNITUDE  0x1p96f

/* The largest magnitude of a group, as an integer, so that the order is the same and NaN is above all. */
static uint32_t largest_bits(const float *x)
{
    uint32_t largest = 0;

    for (int j = 0; j < MGLU_GROUP_COLUMNS; j++) {
        uint32_t bits;
        memcpy(&bits, x + j, sizeof bits);
        bits &= 0x7fffffffu;
        largest = bits > largest ? bits : largest;
    }
    return largest;
}

/* To the nearest integer, ties to even: the sum has it in its last bits. */
MGLU_INLINE int8_t nearest(float v)
{
    const float sum = v + 0x1.8p23f;
    int32_t bits;

    memcpy(&bits, &sum, sizeof bits);
    return (int8_t)bits;
}

static void quantise_x(const float *x, int64_t groups, void *quantised)
{
    float *scales = quantised;
    int8_t *quants = (int8_t *)mglu_cpu_quants(quantised, groups);

    memset(quantised, 0, mglu_cpu_quantised_bytes(groups));
    for (int64_t group = 0; group < groups; group++, x += MGLU_GROUP_COLUMNS, quants += MGLU_GROUP_COLUMNS) {
        const uint32_t bits = largest_bits(x);
        float largest, times;

        if (bits == 0)
            continue;
        memcpy(&largest, &bits, sizeof largest);
        if (!(largest >= LEAST_MAGNITUDE && largest <= MOST_MAGNITUDE)) {
            scales[0] = NAN;
            return;
        }
        scales[group] = largest / 127;
        times = 127 / largest;
        for (int j = 0; j < MGLU_GROUP_COLUMNS; j++)
            quants[j] = nearest(x[j] * times);
    }
}

/*
 * Products of two groups' scales, for up to BLOCK_GROUPS groups. The last vector is written whole, beyond the groups,
 * but nothing beyond them is read.
 */
static void multiply_scales(const uint16_t *of_weights, const float *of_x, int64_t groups, float *products)
{
    int64_t group = 0;

    for (; group + VEC_LANES <= groups; group += VEC_LANES)
        vec_store_f32(products + group, vec_mul(vec_load_f16(of_weights + group), vec_load_f32(of_x + group)));
    for (; group < groups; group++)
        vec_store_f32(products + group, vec_mul(vec_broadcast_f16(of_weights[group]), vec_broadcast(of_x + group)));
}

/* The sums of one token in one pass. */
struct sums {
    vec total[CHAINS], gates[MASKS_AT_ONCE];
};

/* Where the weights, the mask words and each token's x of a block lie, and the products of their scales. */
struct block {
    int64_t groups;
    const char *weights;
    const uint32_t *words; /* of the first group; the next group's are `pitch` further */
    int64_t pitch;
    const int32_t *mask_ids; /* of the masks of this pass; NULL: the first ones of `words` */
    const char *x[MGLU_CPU_INT8_MOST_TOKENS];
    const float *scales[MGLU_CPU_INT8_MOST_TOKENS];
};

/* What a kernel is compiled for: all are constants where they are used. */
struct shape {
    mglu_dtype dtype;
    int n, has_ids, tokens;
};

MGLU_INLINE bytes load_quants(const char *weights, int64_t group, mglu_dtype dtype, int groups)
{
    if (dtype == MGLU_DTYPE_Q8_0)
        return bytes_load(weights + group * MGLU_GROUP_COLUMNS, groups);
    return bytes_load_nibbles(weights + group * MGLU_Q4_0_GROUP_BYTES, groups);
}

/* What the i-th mask of this pass selects of a register. */
MGLU_INLINE bytes select_quants(const struct block *block, int64_t group, bytes magnitude, int i, struct shape shape,
                                int groups)
{
    const int32_t mask = shape.has_ids ? block->mask_ids[i] : i;

    return bytes_select(magnitude, block->words + group * block->pitch + mask, block->pitch, groups);
}

/*
 * Adds a register's groups to the sums. What masks select is kept for several tokens; for one token that would only
 * take registers.
 */
MGLU_INLINE void add_groups(const struct block *block, int64_t group, struct shape shape, int groups, int chain,
                            struct sums *sums)
{
    const bytes w = load_quants(block->weights, group, shape.dtype, groups), magnitude = bytes_magnitude(w);
    const int kept = shape.tokens > 1 ? shape.n : 0;
    bytes selected[MASKS_AT_ONCE];

    MGLU_UNROLL
    for (int i = 0; i < kept; i++)
        selected[i] = select_quants(block, group, magnitude, i, shape, groups);
    MGLU_UNROLL
    for (int t = 0; t < shape.tokens; t++) {
        const bytes x = bytes_signed(bytes_load(block->x[t] + group * MGLU_GROUP_COLUMNS, BYTE_GROUPS), w);
        const vec scale = bytes_broadcast_scales(block->scales[t] + group);
        sums[t].total[chain] = vec_fma(bytes_dot(magnitude, x), scale, sums[t].total[chain]);
        MGLU_UNROLL
        for (int i = 0; i < shape.n; i++) {
            const bytes part = kept ? selected[i] : select_quants(block, group, magnitude, i, shape, groups);
            sums[t].gates[i] = vec_fma(bytes_dot(part, x), scale, sums[t].gates[i]);
        }
    }
}

MGLU_INLINE void copy_sums(struct sums *to, const struct sums *from, struct shape shape)
{
    MGLU_UNROLL
    for (int t = 0; t < shape.tokens; t++) {
        for (int chain = 0; chain < CHAINS; chain++)
            to[t].total[chain] = from[t].total[chain];
        MGLU_UNROLL
        for (int i = 0; i < shape.n; i++)
            to[t].gates[i] = from[t].gates[i];
    }
}

/* Adds a block to the sums, which are in registers meanwhile. */
MGLU_INLINE void add_block(const struct block *in_memory, struct sums *results, struct shape shape)
{
    const struct block block = *in_memory;
    const int other = shape.n == 0;
    struct sums sums[MGLU_CPU_INT8_MOST_TOKENS];
    int64_t group = 0;

    copy_sums(sums, results, shape);
    for (; group + 2 * BYTE_GROUPS <= block.groups; group += 2 * BYTE_GROUPS) {
        prefetch_weights(block.weights + (size_t)group * group_bytes(shape.dtype),
                         2 * BYTE_GROUPS * group_bytes(shape.dtype), INT8_PREFETCH);
        add_groups(&block, group, shape, BYTE_GROUPS, 0, sums);
        add_groups(&block, group + BYTE_GROUPS, shape, BYTE_GROUPS, other, sums);
    }
    if (group + BYTE_GROUPS <= block.groups) {
        add_groups(&block, group, shape, BYTE_GROUPS, 0, sums);
        group += BYTE_GROUPS;
    }
    if (group < block.groups)
        add_groups(&block, group, shape, 1, other, sums);
    copy_sums(results, sums, shape);
}

typedef void add_block_fn(const struct block *block, struct sums *sums);

/* The kernels of a dtype for each number of masks: with all masks or some, and with all masks for several tokens. */
struct block_kernels {
    add_block_fn *all[MASKS_AT_ONCE + 1], *some[MASKS_AT_ONCE + 1], *several_tokens[MASKS_AT_ONCE + 1];
};

#define BLOCK_KERNEL(name, TYPE, n, has_ids, tokens)                                                                   \
    static void name(const struct block *block, struct sums *sums)                                                     \
    {                                                                                                                  \
        add_block(block, sums, (struct shape){MGLU_DTYPE_##TYPE, n, has_ids, tokens});                                 \
    }
#define ALL_KERNEL(n, type, TYPE)  BLOCK_KERNEL(all_##type##_##n, TYPE, n, 0, 1)
#define SOME_KERNEL(n, type, TYPE) BLOCK_KERNEL(some_##type##_##n, TYPE, n, 1, 1)
#define TOKENS_KERNEL(n, type, TYPE)                                                                                   \
    BLOCK_KERNEL(several_tokens_##type##_##n, TYPE, n, 0, mglu_cpu_int8_tokens_per_call(n))
#define ENTRY(n, name) [n] = name##_##n,

#define BLOCK_KERNELS(type, TYPE)                                                                                      \
    FOR_MASK_COUNTS_8(ALL_KERNEL, type, TYPE)                                                                          \
    FOR_MASK_COUNTS_8(SOME_KERNEL, type, TYPE)                                                                         \
    FOR_MASK_COUNTS_3(TOKENS_KERNEL, type, TYPE)                                                                       \
    static const struct block_kernels kernels_##type = {                                                               \
        .all = {FOR_MASK_COUNTS_8(ENTRY, all_##type)},                                                                 \
        .some = {FOR_MASK_COUNTS_8(ENTRY, some_##type)},                                                               \
        .several_tokens = {FOR_MASK_COUNTS_3(ENTRY, several_tokens_##type)},                                           \
    };

BLOCK_KERNELS(q8_0, Q8_0)
BLOCK_KERNELS(q4_0, Q4_0)

/* How the masks of a job are cut into passes. */
struct passes {
    int count;
    int32_t first[MOST_PASSES], n[MOST_PASSES];
    add_block_fn *add_block[MOST_PASSES];
};

static struct passes passes_of(const struct mglu_cpu_gemv *jobs, const struct block_kernels *kernels)
{
    struct passes passes = {.count = jobs->n > MASKS_AT_ONCE ? 2 : 1};

    for (int pass = 0; pass < passes.count; pass++) {
        const int32_t first = pass * ((jobs->n + 1) / 2);
        const int32_t n = pass + 1 < passes.count ? (jobs->n + 1) / 2 : jobs->n - first;
        passes.first[pass] = first;
        passes.n[pass] = n;
        passes.add_block[pass] = jobs->tokens > 1 ? kernels->several_tokens[n]
                                 : jobs->mask_ids ? kernels->some[n]
                                                  : kernels->all[n];
    }
    return passes;
}

static void zero_sums(struct sums *sums, int32_t tokens, int32_t n)
{
    for (int32_t t = 0; t < tokens; t++) {
        for (int chain = 0; chain < CHAINS; chain++)
            sums[t].total[chain] = vec_zero();
        for (int32_t i = 0; i < n; i++)
            sums[t].gates[i] = vec_zero();
    }
}

static void store_sums(const struct mglu_cpu_gemv *jobs, int32_t r, const struct sums *sums, int32_t first, int32_t n)
{
    for (int32_t t = 0; t < jobs->tokens; t++) {
        jobs[t].totals[r] = vec_reduce(vec_add(sums[t].total[0], sums[t].total[1]));
        for (int32_t i = 0; i < n; i++)
            jobs[t].gates[first + i][r] = vec_reduce(sums[t].gates[i]);
    }
}

/* The block of row r that begins at a group, for all tokens. */
static struct block find_block(const struct mglu_cpu_gemv *jobs, int32_t r, int64_t group, mglu_dtype dtype,
                               float (*products)[BLOCK_GROUPS + VEC_LANES])
{
    const struct mglu_cpu_matrix *matrix = jobs->matrix;
    const int64_t row = jobs->first_row + r, left = matrix->groups - group;
    const struct weight_row weights = row_from(matrix, row, group, dtype);
    struct block block = {
        .groups = left < BLOCK_GROUPS ? left : BLOCK_GROUPS,
        .weights = weights.weights,
        .words = mask_words(matrix, row, group),
        .pitch = mask_pitch(matrix),
    };

    for (int32_t t = 0; t < jobs->tokens; t++) {
        block.x[t] = mglu_cpu_quants(jobs[t].x, matrix->groups) + group * MGLU_GROUP_COLUMNS;
        block.scales[t] = products[t];
        multiply_scales(weights.scales, (const float *)jobs[t].x + group, block.groups, products[t]);
    }
    return block;
}

/* Row r for all tokens. */
MGLU_INLINE void sum_row(const struct mglu_cpu_gemv *jobs, int32_t r, mglu_dtype dtype, const struct passes *passes)
{
    float products[MGLU_CPU_INT8_MOST_TOKENS][BLOCK_GROUPS + VEC_LANES];
    struct sums sums[MOST_PASSES][MGLU_CPU_INT8_MOST_TOKENS];

    for (int pass = 0; pass < passes->count; pass++)
        zero_sums(sums[pass], jobs->tokens, passes->n[pass]);
    for (int64_t group = 0; group < jobs->matrix->groups; group += BLOCK_GROUPS) {
        struct block block = find_block(jobs, r, group, dtype, products);
        const uint32_t *words = block.words;
        for (int pass = 0; pass < passes->count; pass++) {
            block.mask_ids = jobs->mask_ids ? jobs->mask_ids + passes->first[pass] : NULL;
            block.words = jobs->mask_ids ? words : words + passes->first[pass];
            passes->add_block[pass](&block, sums[pass]);
        }
    }
    for (int pass = 0; pass < passes->count; pass++)
        store_sums(jobs, r, sums[pass], passes->first[pass], passes->n[pass]);
}

/* Adds a register's groups of each of PLAIN_ROWS rows in turn. */
MGLU_INLINE void add_plain(const char *const *weights, const char *x, float (*products)[BLOCK_GROUPS + VEC_LANES],
                           int64_t group, mglu_dtype dtype, int chain, vec (*totals)[CHAINS])
{
    const bytes of_x = bytes_load(x + group * MGLU_GROUP_COLUMNS, BYTE_GROUPS);

    MGLU_UNROLL
    for (int i = 0; i < PLAIN_ROWS; i++) {
        const bytes w = load_quants(weights[i], group, dtype, BYTE_GROUPS);
        prefetch_weights(weights[i] + (size_t)group * group_bytes(dtype), group_bytes(dtype), PLAIN_PREFETCH);
        totals[i][chain] = vec_fma(bytes_dot(bytes_magnitude(w), bytes_signed(of_x, w)),
                                   bytes_broadcast_scales(products[i] + group), totals[i][chain]);
    }
}

/* The totals of PLAIN_ROWS rows, `apart` rows from each other, as sum_row() makes them. */
MGLU_INLINE void sum_plain_rows(const struct mglu_cpu_gemv *job, int32_t r, int32_t apart, mglu_dtype dtype)
{
    const int64_t groups = job->matrix->groups;
    float products[PLAIN_ROWS][BLOCK_GROUPS + VEC_LANES];
    const char *weights[PLAIN_ROWS];
    vec totals[PLAIN_ROWS][CHAINS];

    for (int i = 0; i < PLAIN_ROWS; i++)
        totals[i][0] = totals[i][1] = vec_zero();
    for (int64_t first = 0; first < groups; first += BLOCK_GROUPS) {
        const int64_t count = groups - first < BLOCK_GROUPS ? groups - first : BLOCK_GROUPS;
        const char *x = mglu_cpu_quants(job->x, groups) + first * MGLU_GROUP_COLUMNS;
        int64_t group = 0;
        MGLU_UNROLL
        for (int i = 0; i < PLAIN_ROWS; i++) {
            const struct weight_row row = row_from(job->matrix, job->first_row + r + i * apart, first, dtype);
            weights[i] = row.weights;
            multiply_scales(row.scales, (const float *)job->x + first, count, products[i]);
        }
        for (; group + CHAINS <= count; group += CHAINS) {
            add_plain(weights, x, products, group, dtype, 0, totals);
            add_plain(weights, x, products, group + 1, dtype, 1, totals);
        }
        if (group < count)
            add_plain(weights, x, products, group, dtype, 0, totals);
    }
    for (int i = 0; i < PLAIN_ROWS; i++)
        job->totals[r + i * apart] = vec_reduce(vec_add(totals[i][0], totals[i][1]));
}

/* One call. Plain rows of one token are read side by side: some machines bring in several streams faster than one. */
MGLU_INLINE void sum_matrix(const struct mglu_cpu_gemv *jobs, mglu_dtype dtype, const struct block_kernels *kernels)
{
    const int side_by_side = BYTE_GROUPS == 1 && PLAIN_ROWS > 1 && jobs->n == 0 && jobs->tokens == 1;
    const int32_t apart = side_by_side ? jobs->rows / PLAIN_ROWS : 0;
    const struct passes passes = passes_of(jobs, kernels);

    for (int32_t r = 0; r < apart; r++)
        sum_plain_rows(jobs, r, apart, dtype);
    for (int32_t r = apart * PLAIN_ROWS; r < jobs->rows; r++)
        sum_row(jobs, r, dtype, &passes);
}

static void gemv_q8_0(const struct mglu_cpu_gemv *jobs)
{
    sum_matrix(jobs, MGLU_DTYPE_Q8_0, &kernels_q8_0);
}

static void gemv_q4_0(const struct mglu_cpu_gemv *jobs)
{
    sum_matrix(jobs, MGLU_DTYPE_Q4_0, &kernels_q4_0);
}

const struct mglu_cpu_int8 KERNEL(int8) = {
    .quantise_x = quantise_x,
    .gemv = {[MGLU_DTYPE_Q8_0] = gemv_q8_0, [MGLU_DTYPE_Q4_0] = gemv_q4_0},
};
