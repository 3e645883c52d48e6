/* SPDX-License-Identifier: MIT */
#include "gemm_tiles.h"
#include "weights.h"

/*
 * GEMM by tiles: weights and x in bf16. One instruction multiplies 16 rows of a group of 32 columns, as they are
 * stored, with 16 tokens, whose x is packed as the instruction needs it: pairs of columns, [group][pair][token].
 *
 * Rows without a mask are loaded in place. Masked ones are copied to a panel while the first tokens are multiplied,
 * which takes other execution units. Two tiles of rows and two of tokens give four sums, so that a product need not
 * wait for the one before it.
 *
 * The instruction flushes subnormals. It adds the 16 pairs of columns in two chains, even and odd columns, adds those,
 * and adds that to the sum of the groups before. So in a panel of 8 groups a product is rounded at most 15 + 1 + 7
 * times, and once more for each further panel, which is within the c of docs/semantics.md from 8 groups on.
 */

enum { FILLED_AHEAD = 2 }; /* groups of a panel */

_Static_assert(MGLU_GROUP_COLUMNS * sizeof(uint16_t) == TILE_ROW_BYTES, "a group of bf16 is a row of a tile");

/* The rows of a job, those beyond its last repeating it. */
struct block_rows {
    const char *weights[ROWS];
    const uint32_t *masks[ROWS];
    int64_t mask_pitch;
};

/* A panel of masked weights in the making. */
struct panel {
    const struct block_rows *rows;
    const struct part *part;
    char *tiles;
};

static void find_rows(const struct mglu_cpu_gemm *job, struct block_rows *found)
{
    static const uint32_t everything = ~0u;
    const int masked = job->mask != MGLU_CPU_NO_MASK;

    found->mask_pitch = masked ? mask_pitch(job->matrix) : 0;
    for (int32_t r = 0; r < ROWS; r++) {
        const int64_t row = row_of(job, r);
        found->weights[r] = row_from(job->matrix, row, 0, MGLU_DTYPE_BF16).weights;
        found->masks[r] = masked ? mask_words(job->matrix, row, 0) + job->mask : &everything;
    }
}

/* All rows of one group of a panel. */
MGLU_INLINE void fill_group(const struct panel *panel, int32_t group)
{
    const int64_t at = panel->part->first_group + group, mask_at = at * panel->rows->mask_pitch;
    char *to = panel->tiles + group * ROW_TILES * TILE_BYTES;

    for (int tile = 0; tile < ROW_TILES; tile++, to += TILE_BYTES)
        for (int r = 0; r < TILE_SIDE; r++) {
            const int row = tile * TILE_SIDE + r;
            const __m512i weights = _mm512_loadu_si512(panel->rows->weights[row] + at * TILE_ROW_BYTES);
            _mm512_store_si512(to + r * TILE_ROW_BYTES,
                               _mm512_maskz_mov_epi16(panel->rows->masks[row][mask_at], weights));
        }
}

/* The sums of a panel for two blocks of tokens, or for one. Where `fill` is not NULL, the panel is made on the way. */
MGLU_INLINE void sum_tiles(struct weight_tiles w, const char *x, int64_t next_x, int two, int32_t groups,
                           const struct panel *fill, float *sums)
{
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int32_t group = 0; fill && group < FILLED_AHEAD && group < groups; group++)
        fill_group(fill, group);
    for (int32_t group = 0; group < groups; group++, w.first += w.group, x += TILE_BYTES) {
        if (fill && group + FILLED_AHEAD < groups)
            fill_group(fill, group + FILLED_AHEAD);
        store_before_tiles();
        _tile_loadd(4, w.first, w.row);
        _tile_stream_loadd(6, x, TILE_ROW_BYTES);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(5, w.first + w.second, w.row);
        _tile_dpbf16ps(1, 5, 6);
        if (two) {
            _tile_stream_loadd(7, x + next_x, TILE_ROW_BYTES);
            _tile_dpbf16ps(2, 4, 7);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, sums, TILE_ROW_BYTES);
    _tile_stored(1, sums + TILE_SUMS, TILE_ROW_BYTES);
    if (two) {
        _tile_stored(2, sums + 2 * TILE_SUMS, TILE_ROW_BYTES);
        _tile_stored(3, sums + 3 * TILE_SUMS, TILE_ROW_BYTES);
    }
}

/* Adds those of a panel to a block's, of which there are none before the first panel. */
static void add_sums(float *of_panel, int is_first, int is_last, float *sums)
{
    float *to = is_last ? of_panel : sums;

    for (int32_t i = 0; i < BLOCK_SUMS; i += VEC_LANES) {
        const vec added = vec_load_f32(of_panel + i);
        vec_store_f32(to + i, is_first ? added : vec_add(vec_load_f32(sums + i), added));
    }
}

/* Takes a panel's sums of a block of tokens. Before the last panel all sums are [row][token]. */
static void take_sums(const struct mglu_cpu_gemm *job, const struct part *part, int32_t block, float *of_panel)
{
    float *to = job->sums + (size_t)block * BLOCK_SUMS;

    add_sums(of_panel, part->first_group == 0, part->is_last, to);
    if (part->is_last)
        transpose_block(of_panel, job->count - block * TILE_SIDE, to);
}

/* Multiplies a panel with all tokens. It is filled with the first of them. */
static void multiply_panel(const struct mglu_cpu_gemm *job, const struct part *part, struct weight_tiles w,
                           const struct panel *fill)
{
    _Alignas(64) float of_panel[2 * BLOCK_SUMS];
    const int64_t stride = (int64_t)job->x_stride;

    for (int32_t block = 0; block * TILE_SIDE < job->count; block += 2) {
        const char *x = job->x + block * stride + part->first_group * TILE_BYTES;
        const int two = (block + 1) * TILE_SIDE < job->count;
        if (two && block == 0 && fill)
            sum_tiles(w, x, stride, 1, part->groups, fill, of_panel);
        else if (two)
            sum_tiles(w, x, stride, 1, part->groups, NULL, of_panel);
        else if (block == 0 && fill)
            sum_tiles(w, x, stride, 0, part->groups, fill, of_panel);
        else
            sum_tiles(w, x, stride, 0, part->groups, NULL, of_panel);
        take_sums(job, part, block, of_panel);
        if (two)
            take_sums(job, part, block + 1, of_panel + BLOCK_SUMS);
    }
}

static void gemm_tiles(const struct mglu_cpu_gemm *job)
{
    _Alignas(64) char tiles[ROW_TILES * PANEL_GROUPS * TILE_BYTES];
    const int in_place = job->mask == MGLU_CPU_NO_MASK && job->rows == ROWS;
    const int64_t groups = job->matrix->groups;
    struct block_rows rows;

    find_rows(job, &rows);
    configure_tiles();
    for (int64_t group = 0; group < groups; group += PANEL_GROUPS) {
        const struct part part = part_from(group, groups, PANEL_GROUPS);
        const struct panel panel = {&rows, &part, tiles};
        const struct weight_tiles w =
            in_place ? tiles_in_place(job->matrix, job->first_row, group) : tiles_of_panel(tiles, 1);
        multiply_panel(job, &part, w, in_place ? NULL : &panel);
    }
    _tile_release();
}

const struct mglu_cpu_tiles mglu_gemm_tiles_avx512amx = {
    .gemm = gemm_tiles,
    .least_groups = PANEL_GROUPS,
};
