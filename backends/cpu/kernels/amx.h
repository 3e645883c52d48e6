/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_AMX_H
#define MGLU_CPU_AMX_H

#include "inline.h"

#include <immintrin.h>

/*
 * The eight tile registers of Intel AMX, each of 16 rows of 64 bytes. A kernel configures them when it begins and
 * releases them when it ends: its thread is the host's, and switching from a thread with tiles in use takes longer.
 */

enum { TILE_SIDE = 16, TILE_ROW_BYTES = 64, TILE_BYTES = TILE_SIDE * TILE_ROW_BYTES };

/* The operand of LDTILECFG. */
struct tile_configuration {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

/* gcc 12 does not know which memory its intrinsics read: what they are to see must be stored before this. */
MGLU_INLINE void store_before_tiles(void)
{
    __asm__ volatile("" ::: "memory");
}

MGLU_INLINE void configure_tiles(void)
{
    struct tile_configuration all = {.palette = 1};

    for (int tile = 0; tile < 8; tile++) {
        all.row_bytes[tile] = TILE_ROW_BYTES;
        all.rows[tile] = TILE_SIDE;
    }
    __asm__ volatile("" ::"r"(&all) : "memory");
    _tile_loadconfig(&all);
}

#endif
