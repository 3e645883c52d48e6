/* SPDX-License-Identifier: MIT */

/*
 * Sums of rows distributed over many work-items of few columns each, so that registers hold more rows.
 *
 * A work-group has LINES lines of SLICES items. The items of a line share its rows: item s sums the units s, SLICES +
 * s, ... of each row. Their sums are then added in a fixed tree.
 */

#if SLICES > 1
#if MASKS > 0
#if MASKS % 4 == 0 && !ROUTED
#define WORDS_AT_ONCE 4
#else
#define WORDS_AT_ONCE 1
#endif

/* The words of a group for the masks that are summed. */
MGLU_INLINE void load_words(uint words[MASKS], __global const uint *group, __global const int *ids)
{
#pragma unroll
    for (int i = 0; i < MASKS; i += WORDS_AT_ONCE) {
#if ROUTED
        words[i] = group[ids[i]];
#elif WORDS_AT_ONCE == 4
        uint4 four = ((__global const uint4 *)group)[i / 4];
        words[i] = four.x;
        words[i + 1] = four.y;
        words[i + 2] = four.z;
        words[i + 3] = four.w;
#else
        words[i] = group[i];
#endif
    }
}

/* Adds the masks' selections. `unit` is the unit's number within its group of 32 columns. */
MGLU_INLINE void add_masked(float sums[TOKENS][SUMS], const float8 products[TOKENS],
                            const uint words[MASKS], uint unit)
{
#pragma unroll
    for (int i = 0; i < MASKS; i++) {
        const int8 lanes = mask_lanes(words[i], unit);
#pragma unroll
        for (int t = 0; t < TOKENS; t++)
            sums[t][MATRICES + i] += fold(keep(products[t], lanes));
    }
}
#endif

/* Adds one unit of a row. */
MGLU_INLINE void add_unit(float sums[TOKENS][SUMS], const struct place *place, int r, uint unit,
                          const float8 x[TOKENS], uint n_masks)
{
    const float8 w = load_weights(&place->weights[r], unit);
    float8 products[TOKENS];
#if MASKS > 0
    uint words[MASKS];
    load_words(words, place->masks[r] + mglu_format_mask_word_in_row(unit / GROUP_UNITS, 0, n_masks), place->ids);
#endif
#pragma unroll
    for (int t = 0; t < TOKENS; t++) {
        products[t] = w * x[t];
        sums[t][0] += fold(products[t]);
    }
#if MATRICES == 2
    const float8 v = load_weights(&place->values[r], unit);
#pragma unroll
    for (int t = 0; t < TOKENS; t++)
        sums[t][1] += fold(v * x[t]);
#endif
#if MASKS > 0
    add_masked(sums, products, words, unit % GROUP_UNITS);
#endif
}

/* The sums of this item's units of its rows. */
MGLU_INLINE void sum_rows(float sums[ROWS][TOKENS][SUMS], const struct place *place, __global const void *x, uint slice,
                          const struct mglu_rows_job *job)
{
    const uint units = (job->columns + UNIT_COLUMNS - 1) / UNIT_COLUMNS;

#pragma unroll
    for (int r = 0; r < ROWS; r++)
#pragma unroll
        for (int t = 0; t < TOKENS; t++)
#pragma unroll
            for (int i = 0; i < SUMS; i++)
                sums[r][t][i] = 0.0f;
    for (uint unit = slice; unit < units; unit += SLICES) {
        float8 inputs[TOKENS];
#pragma unroll
        for (int t = 0; t < TOKENS; t++)
            inputs[t] = load_input(x, place->x[t], unit, job->columns, job->x_dtype);
#pragma unroll
        for (int r = 0; r < ROWS; r++)
            add_unit(sums[r], place, r, unit, inputs, job->n_masks);
    }
}

/* Adds the sums of a line's items in a fixed tree; item 0 gets the result. Called by every item of the work-group. */
MGLU_INLINE void add_slices(float sums[SUMS], __local float (*shared)[SLICES / 2], uint slice)
{
    for (uint middle = SLICES / 2; middle > 0; middle /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (slice >= middle && slice < 2 * middle)
#pragma unroll
            for (int i = 0; i < SUMS; i++)
                shared[i][slice - middle] = sums[i];
        barrier(CLK_LOCAL_MEM_FENCE);
        if (slice < middle)
#pragma unroll
            for (int i = 0; i < SUMS; i++)
                sums[i] += shared[i][slice];
    }
}
#endif
