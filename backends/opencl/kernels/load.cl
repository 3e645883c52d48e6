/* SPDX-License-Identifier: MIT */

/* Weights and inputs are loaded in units of eight columns: 16 bytes of f16 or bf16, adjacent for adjacent items. */
#define UNIT_COLUMNS 8

/* Converts eight halves to f32. */
MGLU_INLINE float8 widen_halves(ushort8 halves)
{
#if HALF_FORM == 0
    return vload_half8(0, (const __private half *)&halves);
#else
    /* Integers and one exact subtraction, for compilers that convert through memory. No operand is subnormal. */
    uint8 bits = convert_uint8(halves);
    uint8 magnitude = (bits & 0x7fff) << 13;
    uint8 number = magnitude + 0x38000000u + select((uint8)0, (uint8)0x38000000u, magnitude >= 0x0f800000u);
    uint8 small = as_uint8(as_float8(magnitude + 0x38800000u) - 0x1p-14f);
    return as_float8(select(number, small, magnitude < 0x00800000u) | (bits & 0x8000) << 16);
#endif
}

MGLU_INLINE float8 widen_bf16(ushort8 halves)
{
    return as_float8(convert_uint8(halves) << 16);
}

/* A row of weights. Its stride is a multiple of 64 bytes; scales, one for each group, are for quantised rows only. */
struct row {
    __global const uchar *weights;
    __global const ushort *scales;
};

#define GROUP_UNITS (MGLU_GROUP_COLUMNS / UNIT_COLUMNS)

/* scale * quant, exactly. The first two units of a group of q4_0 are the low nibbles of its bytes, the others high. */
MGLU_INLINE float8 load_quantised(const struct row *row, uint unit)
{
    const uint group = unit / GROUP_UNITS, part = unit % GROUP_UNITS;
    const float scale = vload_half(group, (__global const half *)row->scales);

    if (WEIGHT == MGLU_DTYPE_Q8_0)
        return scale * convert_float8(((__global const char8 *)row->weights)[unit]);
    const uchar8 bytes = ((__global const uchar8 *)row->weights)[2 * group + part % 2];
    return scale * (convert_float8(bytes >> (uchar8)(part / 2 * 4) & (uchar8)15) - 8.0f);
}

/* Unit `unit` of a row. WEIGHT is a constant. */
MGLU_INLINE float8 load_weights(const struct row *row, uint unit)
{
    switch (WEIGHT) {
    case MGLU_DTYPE_F32:
        return ((__global const float8 *)row->weights)[unit];
    case MGLU_DTYPE_F16:
        return widen_halves(((__global const ushort8 *)row->weights)[unit]);
    case MGLU_DTYPE_BF16:
        return widen_bf16(((__global const ushort8 *)row->weights)[unit]);
    case MGLU_DTYPE_Q8_0:
    case MGLU_DTYPE_Q4_0:
        return load_quantised(row, unit);
    default:
        return (float8)NAN;
    }
}

MGLU_INLINE float load_element(__global const void *from, size_t index, uint dtype)
{
    if (dtype == MGLU_DTYPE_F32)
        return ((__global const float *)from)[index];
    if (dtype == MGLU_DTYPE_F16)
        return vload_half(index, (__global const half *)from);
    return mglu_bf16_to_f32(((__global const ushort *)from)[index]);
}

/*
 * Unit `unit` of the row of x that begins at element `start`, of which `columns` exist, then zeros. Elements are
 * aligned to their own size only. The branch on the dtype is uniform, so that one program serves all dtypes.
 */
MGLU_INLINE float8 load_input(__global const void *x, size_t start, uint unit, uint columns, uint dtype)
{
    const uint column = unit * UNIT_COLUMNS;
    if (column + UNIT_COLUMNS <= columns) {
        if (dtype == MGLU_DTYPE_F32)
            return vload8(unit, (__global const float *)x + start);
        const ushort8 bits = vload8(unit, (__global const ushort *)x + start);
        return dtype == MGLU_DTYPE_F16 ? widen_halves(bits) : widen_bf16(bits);
    }
    float rest[UNIT_COLUMNS];
    for (uint j = 0; j < UNIT_COLUMNS; j++)
        rest[j] = column + j < columns ? load_element(x, start + column + j, dtype) : 0.0f;
    return vload8(0, rest);
}

MGLU_INLINE void store_element(__global void *to, size_t index, uint dtype, float value)
{
    if (dtype == MGLU_DTYPE_F32)
        ((__global float *)to)[index] = value;
    else
        ((__global ushort *)to)[index] = dtype == MGLU_DTYPE_F16 ? mglu_f32_to_f16(value) : mglu_f32_to_bf16(value);
}
