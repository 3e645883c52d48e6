/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CORE_MASK_FORMAT_H
#define MGLU_CORE_MASK_FORMAT_H

/*
 * The packed format, version 1: the one definition for C, CUDA and OpenCL C (embedded there at build time).
 *
 * The columns of a row form groups of 32. The masks of a group are adjacent, one 32-bit word each:
 *
 *   masks   [row][group][mask]            weights  [row][column]
 *
 *            mask 0     mask 1    ...  mask n_m-1   mask 0
 *          +----------+----------+---+------------+----------+--
 *   row r  | word     | word     |...| word       | word     | ...
 *          +----------+----------+---+------------+----------+--
 *          |<--------- group 0: columns 0..31 --->|<- group 1: columns 32..63
 *
 *   word [r][g][i]:   bit   31          ...          2        1        0      (little-endian in memory)
 *                     column 32g+31     ...       32g+2    32g+1     32g
 *
 *   bit = 1: the weight belongs to the gate.  bit = 0: to the value.  Padding columns: weight 0, bit 0.
 *
 * Quantised weights have an f16 scale for each group, in a separate contiguous array [row][group]:
 *
 *   q8_0   32 bytes a group, byte j is column j, signed                            weight = scale * byte
 *   q4_0   16 bytes a group, byte j has column j in bits 0..3, j + 16 in bits 4..7   weight = scale * (nibble - 8)
 */

#if defined(__OPENCL_C_VERSION__)
#define MGLU_FORMAT_FN static inline
typedef uint mglu_u32;
typedef ulong mglu_index;
#elif defined(__CUDACC__)
#define MGLU_FORMAT_FN __host__ __device__ static inline
typedef unsigned int mglu_u32;
typedef unsigned long long mglu_index;
#else
#include <stdint.h>
#define MGLU_FORMAT_FN static inline
typedef uint32_t mglu_u32;
typedef uint64_t mglu_index;
_Static_assert(sizeof(mglu_u32) * 8 == 32, "a mask word has one bit for each column of a group");
#endif

/* Columns in a group, bits in a mask word. */
#define MGLU_GROUP_COLUMNS 32

/* Row strides of weights are multiples of this many bytes. */
#define MGLU_ROW_ALIGNMENT 64

/* Bytes of a group of q4_0, and the nibble for zero. */
#define MGLU_Q4_0_GROUP_BYTES 16
#define MGLU_Q4_0_ZERO        8

/* Groups that hold `columns` columns. */
MGLU_FORMAT_FN mglu_index mglu_format_groups(mglu_index columns)
{
    return (columns + MGLU_GROUP_COLUMNS - 1) / MGLU_GROUP_COLUMNS;
}

/* Words from a group's word of a mask to the next group's word of that mask, where `n_masks` are adjacent. */
MGLU_FORMAT_FN mglu_index mglu_format_mask_pitch(mglu_u32 n_masks)
{
    return n_masks;
}

/* Index of the word with mask `mask` of group `group`, counted from the first word of its row. */
MGLU_FORMAT_FN mglu_index mglu_format_mask_word_in_row(mglu_index group, mglu_u32 mask, mglu_u32 n_masks)
{
    return group * mglu_format_mask_pitch(n_masks) + mask;
}

/* Index of the word with mask `mask` of group `group` of row `row`, in rows of `groups` groups. */
MGLU_FORMAT_FN mglu_index mglu_format_mask_word(mglu_index row, mglu_index group, mglu_u32 mask, mglu_index groups,
                                                mglu_u32 n_masks)
{
    return mglu_format_mask_word_in_row(row * groups + group, mask, n_masks);
}

/* The bit of a column within its word. */
MGLU_FORMAT_FN mglu_u32 mglu_format_mask_bit(mglu_u32 word, mglu_index column)
{
    return (word >> (column % MGLU_GROUP_COLUMNS)) & 1u;
}

/* The valid bits of the word of `group` in a row of `columns` columns. */
MGLU_FORMAT_FN mglu_u32 mglu_format_valid_bits(mglu_index columns, mglu_index group)
{
    mglu_index left = columns - group * MGLU_GROUP_COLUMNS;
    return left >= MGLU_GROUP_COLUMNS ? 0xffffffffu : (1u << left) - 1u;
}

/* Row stride in bytes for `groups` groups of `group_bytes` bytes. */
MGLU_FORMAT_FN mglu_index mglu_format_group_stride(mglu_index groups, mglu_index group_bytes)
{
    return (groups * group_bytes + MGLU_ROW_ALIGNMENT - 1) / MGLU_ROW_ALIGNMENT * MGLU_ROW_ALIGNMENT;
}

/* Row stride in bytes for `columns` columns of `element_bytes` bytes: 1 for q8_0. */
MGLU_FORMAT_FN mglu_index mglu_format_stride_bytes(mglu_index columns, mglu_index element_bytes)
{
    return mglu_format_group_stride(mglu_format_groups(columns), MGLU_GROUP_COLUMNS * element_bytes);
}

/* The same for q4_0. */
MGLU_FORMAT_FN mglu_index mglu_format_q4_0_stride_bytes(mglu_index columns)
{
    return mglu_format_group_stride(mglu_format_groups(columns), MGLU_Q4_0_GROUP_BYTES);
}

/* Offset in a q4_0 row of the byte that has the nibble of a column. */
MGLU_FORMAT_FN mglu_index mglu_format_q4_0_byte(mglu_index column)
{
    return column / MGLU_GROUP_COLUMNS * MGLU_Q4_0_GROUP_BYTES + column % MGLU_Q4_0_GROUP_BYTES;
}

/* Right shift of that byte that gives the nibble: 0 or 4. */
MGLU_FORMAT_FN mglu_u32 mglu_format_q4_0_shift(mglu_index column)
{
    return (mglu_u32)(column % MGLU_GROUP_COLUMNS / MGLU_Q4_0_GROUP_BYTES * 4);
}

/* Index of the scale of a group of a row. */
MGLU_FORMAT_FN mglu_index mglu_format_scale(mglu_index row, mglu_index group, mglu_index groups)
{
    return row * groups + group;
}

#endif
