/* SPDX-License-Identifier: MIT */

/*
 * Sums of rows: for ROWS rows and TOKENS tokens at a time, the total and what each mask selects of it.
 *
 * A work-group has LINES lines of SLICES items. The items of a line share its rows: item s takes step s, SLICES + s,
 * ... of each row. Their sums are then added in a fixed tree.
 */

#define SUMS (MATRICES + MASKS) /* of a row and token: the total, the second matrix's, then one for each mask */

#if SLICES == 1
/* One item has the whole row: it adds in eight lanes, and starts afresh every SEGMENT steps so that no chain of
 * additions is long. */
typedef float8 lanes_t;
#define STEP_UNITS 4
#define SEGMENT    16u
#define LANES(p)   (p)
#define FOLD(l)    fold(l)
#else
/* Many items have few columns each, and registers are for more rows. */
typedef float lanes_t;
#define STEP_UNITS 1
#define SEGMENT    0xffffffffu
#define LANES(p)   fold(p)
#define FOLD(l)    (l)
#endif

MGLU_INLINE float fold(float8 v)
{
    float4 four = v.lo + v.hi;
    float2 two = four.lo + four.hi;
    return two.lo + two.hi;
}

/* Where an item's rows and tokens lie. */
struct place {
    struct row weights[ROWS];
    struct row values[ROWS];
    __global const uint *masks[ROWS];
    size_t x[TOKENS];        /* elements */
    __global const int *ids; /* of the one token when routed */
};

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

/* Adds what the masks select. `unit` is the unit's number within its group of 32 columns. */
MGLU_INLINE void add_masked(lanes_t sums[TOKENS][SUMS], const float8 products[TOKENS],
                            const uint words[MASKS], uint unit)
{
#pragma unroll
    for (int i = 0; i < MASKS; i++) {
        const int8 lanes = mask_lanes(words[i], unit);
#pragma unroll
        for (int t = 0; t < TOKENS; t++)
            sums[t][MATRICES + i] += LANES(keep(products[t], lanes));
    }
}
#endif

/* Adds one step of a row. */
MGLU_INLINE void add_step(lanes_t sums[TOKENS][SUMS], const struct place *place, int r, uint step,
                          const float8 x[STEP_UNITS][TOKENS], uint n_masks)
{
#if MASKS > 0
    uint words[MASKS];
    load_words(words, place->masks[r] + (size_t)(step * STEP_UNITS / GROUP_UNITS) * n_masks, place->ids);
#endif
#pragma unroll
    for (int u = 0; u < STEP_UNITS; u++) {
        const uint unit = step * STEP_UNITS + u;
        const float8 w = load_weights(&place->weights[r], unit);
        float8 products[TOKENS];
#pragma unroll
        for (int t = 0; t < TOKENS; t++) {
            products[t] = w * x[u][t];
            sums[t][0] += LANES(products[t]);
        }
#if MATRICES == 2
        const float8 v = load_weights(&place->values[r], unit);
#pragma unroll
        for (int t = 0; t < TOKENS; t++)
            sums[t][1] += LANES(v * x[u][t]);
#endif
#if MASKS > 0
        add_masked(sums, products, words, unit % GROUP_UNITS);
#endif
    }
}

/* The sums of this item's part of its rows. */
MGLU_INLINE void sum_slice(float sums[ROWS][TOKENS][SUMS], const struct place *place, __global const void *x,
                           uint slice, const struct mglu_rows_job *job)
{
    const uint step_columns = STEP_UNITS * UNIT_COLUMNS;
    const uint steps = (job->columns + step_columns - 1) / step_columns;

#pragma unroll
    for (int r = 0; r < ROWS; r++)
#pragma unroll
        for (int t = 0; t < TOKENS; t++)
#pragma unroll
            for (int i = 0; i < SUMS; i++)
                sums[r][t][i] = 0.0f;
    for (uint first = slice; first < steps;) {
        const uint end = steps - first > SEGMENT ? first + SEGMENT : steps;
        lanes_t lanes[ROWS][TOKENS][SUMS];

#pragma unroll
        for (int r = 0; r < ROWS; r++)
#pragma unroll
            for (int t = 0; t < TOKENS; t++)
#pragma unroll
                for (int i = 0; i < SUMS; i++)
                    lanes[r][t][i] = (lanes_t)0.0f;
        for (; first < end; first += SLICES) {
            float8 inputs[STEP_UNITS][TOKENS];
#pragma unroll
            for (int u = 0; u < STEP_UNITS; u++)
#pragma unroll
                for (int t = 0; t < TOKENS; t++)
                    inputs[u][t] =
                        load_input(x, place->x[t], first * STEP_UNITS + u, job->columns, job->x_dtype);
#pragma unroll
            for (int r = 0; r < ROWS; r++)
                add_step(lanes[r], place, r, first, inputs, job->n_masks);
        }
#pragma unroll
        for (int r = 0; r < ROWS; r++)
#pragma unroll
            for (int t = 0; t < TOKENS; t++)
#pragma unroll
                for (int i = 0; i < SUMS; i++)
                    sums[r][t][i] += FOLD(lanes[r][t][i]);
    }
}

#if GLU
MGLU_INLINE float activate(float gate, uint activation, float beta)
{
    if (activation == SILU)
        return silu(gate, beta);
    if (activation == GELU_ERF)
        return gelu_erf(gate);
    if (activation == GELU_TANH)
        return gelu_tanh(gate);
    if (activation == RELU)
        return relu(gate);
    return activation == SIGMOID ? sigmoid(gate) : gate;
}
#endif

/* What a row's sums come to. `routing` points at the token's in the workspace. */
MGLU_INLINE float finish(const float sums[SUMS], size_t row, __global const float *gate_bias,
                         __global const float *value_bias, __global const int *ids, __global const float *p,
                         const struct mglu_rows_job *job)
{
#if GLU
    const int terms = MASKS > 0 ? MASKS : 1;
    float z = 0.0f;
#pragma unroll
    for (int i = 0; i < terms; i++) {
        const size_t at = (ROUTED ? (size_t)ids[i] : (size_t)i) * job->bias_stride + row;
        float gate = sums[MASKS > 0 ? 1 + i : 0];
        float value = MASKS > 0 ? sums[0] - gate : sums[SUMS - 1];
        if (job->parts & MGLU_HAS_GATE_BIAS)
            gate += gate_bias[at];
        if (job->parts & MGLU_HAS_VALUE_BIAS)
            value += value_bias[at];
        float term = activate(gate, job->activation, job->beta) * value;
        z += ROUTED ? p[i] * term : term;
    }
    return z;
#else
    return job->parts & MGLU_HAS_GATE_BIAS ? sums[0] + gate_bias[row] : sums[0];
#endif
}

/* Adds the sums of a line's items in a fixed tree; item 0 has them then. Every item of the work-group takes part. */
MGLU_INLINE void add_slices(float sums[SUMS], __local float (*shared)[SLICES > 1 ? SLICES / 2 : 1], uint slice)
{
#if SLICES > 1
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
#endif
}

__kernel __attribute__((reqd_work_group_size(SLICES *LINES, 1, 1))) void
mglu_rows(__global const uchar *weights, __global const ushort *scales, __global const uchar *values,
          __global const ushort *value_scales, __global const uint *masks, __global const void *x, __global void *y,
          __global const void *residual, __global const float *gate_bias, __global const float *value_bias,
          __global const int *workspace, const struct mglu_rows_job job)
{
#if SLICES > 1
    __local float shared[LINES][SUMS][SLICES / 2];
#endif
    const uint passes = (job.tokens + TOKENS - 1) / TOKENS;
    const uint slice = get_local_id(0) % SLICES, line = get_local_id(0) / SLICES;
    const uint pass = get_group_id(0) % passes;
    const uint first_row = (uint)(get_group_id(0) / passes * LINES + line) * ROWS;
    const size_t groups = mglu_format_groups(job.columns);
    struct place place;
    float sums[ROWS][TOKENS][SUMS];

    /* Rows and tokens that are not there are computed as the last one is, and not stored. */
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        const size_t row = min(first_row + r, job.rows - 1);
        place.weights[r].weights = weights + row * job.weight_stride;
        place.weights[r].scales = scales + row * groups;
        place.values[r].weights = values + row * job.weight_stride;
        place.values[r].scales = value_scales + row * groups;
        place.masks[r] = masks + row * groups * job.n_masks;
    }
#pragma unroll
    for (int t = 0; t < TOKENS; t++) {
        const size_t token = min(pass * TOKENS + t, job.tokens - 1);
        place.x[t] = job.x_offset + token * job.x_stride;
    }
    place.ids = workspace + job.ids_offset + (size_t)pass * MASKS;
    sum_slice(sums, &place, x, slice, &job);
#pragma unroll
    for (int r = 0; r < ROWS; r++)
#pragma unroll
        for (int t = 0; t < TOKENS; t++) {
            const size_t token = pass * TOKENS + t, row = job.first_row + first_row + r;
#if SLICES > 1
            add_slices(sums[r][t], shared[line], slice);
#endif
            if (slice != 0 || token >= job.tokens || first_row + r >= job.rows)
                continue;
            float value = finish(sums[r][t], row, gate_bias, value_bias, place.ids,
                                 (__global const float *)workspace + job.p_offset + token * MASKS, &job);
            if (job.parts & MGLU_HAS_RESIDUAL)
                value += load_element(residual, job.residual_offset + token * job.residual_stride + row, job.y_dtype);
            store_element(y, job.y_offset + token * job.y_stride + row, job.y_dtype, value);
        }
}
