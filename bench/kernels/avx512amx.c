/* SPDX-License-Identifier: MIT */
#include "loops_vnni.h"

#include <sys/syscall.h>
#include <unistd.h>

enum { TILE_ROWS = 16, TILE_BYTES = 64 };

/** As many whole tiles as there are registers. */
static const struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t columns[16];
    uint8_t rows[16];
} tile_shape = {.palette = 1, .columns = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}};

/** Linux lets a process use tiles once it has asked. */
static bool may_use_tiles(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, TILE_DATA = 18 };

    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0;
}

/**
 * A step is one product of tiles, four of which are independent: more than the latency. The tiles are zero, since the
 * time does not depend on what is in them.
 */
static float tiles_bf16(int64_t steps, float start)
{
    _tile_loadconfig(&tile_shape);
    for (int64_t step = 0; step < steps; step += 4) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_release();
    return start;
}

/* The library's kernels of integers do not use tiles, so that these are no limit of them. */
const struct kernels kernels_avx512amx = {
    .isa = "avx512-amx",
    .prepare = may_use_tiles,
    .read = {read_blocks, read_side_by_side},
    .units = {[UNIT_F32] = {"fma_f32", multiply_add, F32_OPERATIONS},
              [UNIT_BF16] = {"tiles_bf16", tiles_bf16, 2 * TILE_ROWS *TILE_ROWS *TILE_BYTES / 2},
              [UNIT_INT8] = {"dot_int8", dot_int8, INT8_OPERATIONS}},
};
