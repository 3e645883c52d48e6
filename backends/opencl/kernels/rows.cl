/* SPDX-License-Identifier: MIT */

/* The kernel: sums of rows and their epilogue. Loops over sums are unrolled so that the sums stay in registers. */

/* The result of a row's sums. `routing` points to that of the token in the workspace. */
MGLU_INLINE float finish(const float sums[SUMS], size_t row, __global const float *gate_bias,
                         __global const float *value_bias, __global const int *ids, __global const float *p,
                         const struct mglu_rows_job *job)
{
#if GLU
    const int terms = MASKS > 0 ? MASKS : 1;
    float z = 0.0f;
#if SLICES > 1
#pragma unroll
#endif
    for (int i = 0; i < terms; i++) {
        const size_t at = (ROUTED ? (size_t)ids[i] : (size_t)i) * job->bias_stride + row;
        float gate = sums[MASKS > 0 ? 1 + i : 0];
        float value = MASKS > 0 ? sums[0] - gate : sums[SUMS - 1];
        if (job->parts & MGLU_HAS_GATE_BIAS)
            gate += gate_bias[at];
        if (job->parts & MGLU_HAS_VALUE_BIAS)
            value += value_bias[at];
        float term = activate(gate, (mglu_activation)job->activation, job->beta) * value;
        z += ROUTED ? p[i] * term : term;
    }
    return z;
#else
    return job->parts & MGLU_HAS_GATE_BIAS ? sums[0] + gate_bias[row] : sums[0];
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

    /* Missing rows and tokens repeat the last one and are not stored. */
#if SLICES > 1
#pragma unroll
#endif
    for (int r = 0; r < ROWS; r++) {
        const size_t row = min(first_row + r, job.rows - 1);
        place.weights[r].weights = weights + row * job.weight_stride;
        place.weights[r].scales = scales + row * groups;
        place.values[r].weights = values + row * job.weight_stride;
        place.values[r].scales = value_scales + row * groups;
        place.masks[r] = masks + mglu_format_mask_word(row, 0, 0, groups, job.n_masks);
    }
#pragma unroll
    for (int t = 0; t < TOKENS; t++) {
        const size_t token = min(pass * TOKENS + t, job.tokens - 1);
        place.x[t] = job.x_offset + token * job.x_stride;
    }
    place.ids = workspace + job.ids_offset + (size_t)pass * MASKS;
    sum_rows(sums, &place, x, slice, &job);
#if SLICES > 1
#pragma unroll
#endif
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
