/* SPDX-License-Identifier: MIT */
#include "amx.h"
#include "train.h"

/*
 * Panels of training in pairs of bf16, in Intel AMX: 32 rows and 32 columns are four tiles of sums. A group of a left
 * panel is two tiles, one below the other, and a group of a right panel two tiles side by side.
 */

enum {
    SUMS_BYTES = sizeof(mglu_cpu_train_row),
    RIGHT_BYTES = 2 * TILE_ROW_BYTES,
    LOWER_SUMS = TILE_SIDE * 32,
    GROUP_BYTES = 2 * TILE_BYTES
};

static void load_sums(const float *sums)
{
    _tile_loadd(0, sums, SUMS_BYTES);
    _tile_loadd(1, sums + TILE_SIDE, SUMS_BYTES);
    _tile_loadd(2, sums + LOWER_SUMS, SUMS_BYTES);
    _tile_loadd(3, sums + LOWER_SUMS + TILE_SIDE, SUMS_BYTES);
}

static void clear_sums(void)
{
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}

static void store_sums(float *sums)
{
    _tile_stored(0, sums, SUMS_BYTES);
    _tile_stored(1, sums + TILE_SIDE, SUMS_BYTES);
    _tile_stored(2, sums + LOWER_SUMS, SUMS_BYTES);
    _tile_stored(3, sums + LOWER_SUMS + TILE_SIDE, SUMS_BYTES);
}

/* Lines of a panel that is multiplied next. */
static void prefetch(const char *from, int64_t bytes)
{
    for (int64_t line = 0; line < bytes; line += 64)
        _mm_prefetch(from + line, _MM_HINT_T1);
}

/* One left panel. Of the next right panel it prefetches `share` bytes in each group, from `next_right` on. */
static void multiply_panel(const struct mglu_cpu_product *job, const char *left, const char *next_right, int64_t share,
                           float *sums)
{
    const char *right = job->right;

    if (job->add)
        load_sums(sums);
    else
        clear_sums();
    for (int64_t group = 0; group < job->groups; group++) {
        _tile_loadd(4, left, TILE_ROW_BYTES);
        _tile_loadd(6, right, RIGHT_BYTES);
        _tile_loadd(7, right + TILE_ROW_BYTES, RIGHT_BYTES);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        prefetch(left + job->left_stride, GROUP_BYTES);
        _tile_loadd(5, left + TILE_BYTES, TILE_ROW_BYTES);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
        prefetch(next_right, share);
        left += GROUP_BYTES;
        right += GROUP_BYTES;
        next_right += GROUP_BYTES;
    }
    store_sums(sums);
}

static void multiply(const struct mglu_cpu_product *job)
{
    const int64_t share = GROUP_BYTES / job->panels;

    store_before_tiles();
    for (int64_t panel = 0; panel < job->panels; panel++)
        multiply_panel(job, job->left + (size_t)panel * job->left_stride, job->next_right + panel * share, share,
                       job->sums[(size_t)panel * job->sums_stride]);
    store_before_tiles();
}

static void begin(void)
{
    configure_tiles();
}

static void end(void)
{
    _tile_release();
}

const struct mglu_cpu_train_panels mglu_train_bf16_avx512amx = {
    .name = "amx",
    .dtype = MGLU_DTYPE_BF16,
    .panel_rows = 2 * TILE_SIDE,
    .most_groups = 16,
    .pack_left = mglu_train_pack_left_avx512bf16,
    .pack_right = mglu_train_pack_right_avx512bf16,
    .multiply = multiply,
    .begin = begin,
    .end = end,
};
