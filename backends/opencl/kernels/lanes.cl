/* SPDX-License-Identifier: MIT */

/*
 * Sums of rows on processors with vector units: each work-item sums whole rows in 32 lanes. Lane j sums columns j, 32 +
 * j, ... of a block; the blocks are added one after the other, so that no chain of additions is long.
 *
 * A block of x is widened once for all rows of the item. The first mask selects from each product as it is computed.
 * The sums of more would not fit in registers: those select from the block's products, mask by mask.
 */

#if SLICES == 1
#define BLOCK_GROUPS 64 /* 8 KiB of x and 8 KiB of products */
#define BLOCK_UNITS  (BLOCK_GROUPS * GROUP_UNITS)

/* Prefetch distance of weights in bytes. A plain row has two streams, and more rows are read at a time. */
#define IS_QUANTISED (WEIGHT == MGLU_DTYPE_Q8_0 || WEIGHT == MGLU_DTYPE_Q4_0)
#define GROUP_BYTES  (MGLU_GROUP_COLUMNS * (WEIGHT == MGLU_DTYPE_F32 ? 4 : IS_QUANTISED ? 1 : 2))
#define AHEAD        (MASKS > 0 ? 8192 : 1024)

/*
 * OpenCL C's prefetch() has no effect on PoCL. The compiler's builtin is used only where it compiles directly to
 * machine code: drivers that go through SPIR-V fail on it.
 */
#if (defined(__x86_64__) || defined(__aarch64__)) && !defined(__SPIR__) && !defined(__SPIRV__)
#define ASK_FOR(address) __builtin_prefetch(address)
#else
#define ASK_FOR(address) prefetch(address, 64)
#endif

/* The lanes of one sum. */
struct lanes {
    float8 part[GROUP_UNITS];
};

MGLU_INLINE void clear(struct lanes *sum)
{
#pragma unroll
    for (uint part = 0; part < GROUP_UNITS; part++)
        sum->part[part] = (float8)0.0f;
}

MGLU_INLINE float fold_lanes(const struct lanes *sum)
{
    return fold((sum->part[0] + sum->part[2]) + (sum->part[1] + sum->part[3]));
}

/* Adds a mask's selection from a group's products. */
MGLU_INLINE void add_selected(struct lanes *sum, const float8 products[GROUP_UNITS], uint word)
{
#pragma unroll
    for (uint part = 0; part < GROUP_UNITS; part++)
        sum->part[part] += keep(products[part], mask_lanes(word, part));
}

/* Some groups of a row, and the x that belongs to them. */
struct block {
    struct row weights, values;
    __global const uint *words; /* of its first group */
    const float8 *x;
    uint first, groups, n_masks;
};

/* Sums the matrices and the first mask's selection, and stores the products for the other masks. */
MGLU_INLINE void multiply_block(float sums[SUMS], float8 products[BLOCK_UNITS], const struct block *block, uint mask_id)
{
    __global const uint *words = block->words + mask_id;
    struct lanes total, other;

    clear(&total);
    clear(&other);
    for (uint group = 0; group < block->groups; group++) {
        const size_t ahead = (size_t)(block->first + group) * GROUP_BYTES + AHEAD;
        float8 p[GROUP_UNITS];

        ASK_FOR(block->weights.weights + ahead);
#if MATRICES == 2
        ASK_FOR(block->values.weights + ahead);
#endif
#pragma unroll
        for (uint part = 0; part < GROUP_UNITS; part++) {
            const uint at = group * GROUP_UNITS + part, unit = block->first * GROUP_UNITS + at;
            p[part] = load_weights(&block->weights, unit) * block->x[at];
            total.part[part] += p[part];
#if MATRICES == 2
            other.part[part] += load_weights(&block->values, unit) * block->x[at];
#endif
#if MASKS > 1
            products[at] = p[part];
#endif
        }
#if MASKS > 0
        add_selected(&other, p, words[mglu_format_mask_word_in_row(group, 0, block->n_masks)]);
#endif
    }
    sums[0] += fold_lanes(&total);
#if SUMS > 1
    sums[1] += fold_lanes(&other);
#endif
}

/* The sum of a mask's selection from a block's products. */
MGLU_INLINE float select_block(const float8 products[BLOCK_UNITS], const struct block *block, uint mask_id)
{
    __global const uint *words = block->words + mask_id;
    struct lanes sum;

    clear(&sum);
    for (uint group = 0; group < block->groups; group++)
        add_selected(&sum, products + group * GROUP_UNITS,
                     words[mglu_format_mask_word_in_row(group, 0, block->n_masks)]);
    return fold_lanes(&sum);
}

/* Adds a block of row r. */
MGLU_INLINE void add_block(float sums[SUMS], struct block *block, const struct place *place, uint r)
{
    float8 products[BLOCK_UNITS];

    block->weights = place->weights[r];
    block->values = place->values[r];
    block->words = place->masks[r] + mglu_format_mask_word_in_row(block->first, 0, block->n_masks);
    multiply_block(sums, products, block, ROUTED ? place->ids[0] : 0);
    for (uint i = 1; i < MASKS; i++)
        sums[MATRICES + i] += select_block(products, block, ROUTED ? place->ids[i] : i);
}

/* The sums of a work-item's rows, for its one token. */
MGLU_INLINE void sum_rows(float sums[ROWS][TOKENS][SUMS], const struct place *place, __global const void *x, uint slice,
                          const struct mglu_rows_job *job)
{
    const uint groups = (uint)mglu_format_groups(job->columns);
    float8 inputs[BLOCK_UNITS];

    for (uint r = 0; r < ROWS; r++)
        for (uint i = 0; i < SUMS; i++)
            sums[r][0][i] = 0.0f;
    for (uint first = 0; first < groups; first += BLOCK_GROUPS) {
        struct block block = {.x = inputs,
                              .first = first,
                              .groups = min(groups - first, (uint)BLOCK_GROUPS),
                              .n_masks = job->n_masks};
        for (uint u = 0; u < block.groups * GROUP_UNITS; u++)
            inputs[u] = load_input(x, place->x[0], first * GROUP_UNITS + u, job->columns, job->x_dtype);
        for (uint r = 0; r < ROWS; r++)
            add_block(sums[r][0], &block, place, r);
    }
}
#endif
