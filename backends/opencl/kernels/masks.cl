/* SPDX-License-Identifier: MIT */

/* Selects lanes of a sum by eight mask bits, without multiplying by them. */

#if MASK_FORM == 0
/* All ones in the lanes whose bit is set, by comparison. */
MGLU_INLINE int8 mask_lanes(uint word, uint unit)
{
    const uint8 bits = (uint8)(1, 2, 4, 8, 16, 32, 64, 128);
    return ((uint8)(word >> unit * UNIT_COLUMNS) & bits) != (uint8)0;
}
#elif MASK_FORM == 1
/* The same by shifts: left to the sign bit, then arithmetically right. */
MGLU_INLINE int8 mask_lanes(uint word, uint unit)
{
    const uint8 shifts = (uint8)(31, 30, 29, 28, 27, 26, 25, 24);
    return as_int8((uint8)(word >> unit * UNIT_COLUMNS) << shifts) >> 31;
}
#elif MASK_FORM == 2
/* The bit moved to the sign, the only bit that select() reads. */
MGLU_INLINE int8 mask_lanes(uint word, uint unit)
{
    const uint8 shifts = (uint8)(31, 30, 29, 28, 27, 26, 25, 24);
    return as_int8((uint8)(word >> unit * UNIT_COLUMNS) << shifts);
}
#else
/* The same in one shift, where `unit` is a constant: the word is then broadcast to all lanes once for all units. */
MGLU_INLINE int8 mask_lanes(uint word, uint unit)
{
    const uint8 shifts = (uint8)(31, 30, 29, 28, 27, 26, 25, 24);
    return as_int8((uint8)word << shifts - unit * UNIT_COLUMNS);
}
#endif

MGLU_INLINE float8 keep(float8 products, int8 lanes)
{
#if MASK_FORM >= 2
    return select((float8)0.0f, products, lanes);
#else
    return as_float8(as_int8(products) & lanes);
#endif
}
