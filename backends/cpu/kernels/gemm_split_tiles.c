/* SPDX-License-Identifier: MIT */
#include "gemm_tiles.h"
#include "weights.h"

/*
 * GEMM by tiles where weights or x are not bf16. Numbers are split into parts of bf16, each what the parts before it
 * left: x in f32 into three and in f16 into two, rounded to nearest; weights in f16 and q4_0, which have 11 and 14
 * bits, into two, rounded towards zero. Parts are exact but for subnormals, which the instructions flush, and so are
 * the products of two parts.
 *
 * The products of x's part 0 are the main sum. All others, 2^-8 of these and less, are another sum, which is added at
 * the end of a panel. Those of part 1 of a weight and part 2 of x, up to 2^-25, are left out. So a product is rounded
 * as described in gemm_tiles.c, with two additions to a sum for each group where weights have two parts, once more at
 * the end of its panel, and by less than a unit more for all that is small. This is within c + 1, of docs/semantics.md,
 * from LEAST_GROUPS to MOST_GROUPS; a sum may be rounded so often, since products are not.
 *
 * Parts of what is not finite, or rounds to infinity, give sums that are not finite.
 */

enum { LEAST_GROUPS = 12, MOST_GROUPS = 1600, MOST_OF_HALF_PANELS = 352, MOST_WEIGHT_PARTS = 2, FILLED_AHEAD = 1 };

/* In all functions below `dtype` and the number of parts of x are constants where they are used. */

MGLU_INLINE int parts_of(mglu_dtype dtype)
{
    return dtype == MGLU_DTYPE_BF16 ? 1 : 2;
}

/*
 * Half panels of two parts leave room for x in the first-level cache, but the sums of so many panels would be rounded
 * too often in long rows.
 */
MGLU_INLINE int32_t panel_groups(int64_t groups, mglu_dtype dtype)
{
    return parts_of(dtype) > 1 && groups <= MOST_OF_HALF_PANELS ? PANEL_GROUPS / 2 : PANEL_GROUPS;
}

/* A panel of weights in the making: tiles are [group][row tile][part]. */
struct panel {
    const struct mglu_cpu_gemm *job;
    const struct part *part;
    char *tiles;
};

/* The upper halves of two vectors, in the order of their columns. */
MGLU_INLINE __m512i upper_halves(const vec group[2])
{
    static const _Alignas(64)
        uint16_t odd[MGLU_GROUP_COLUMNS] = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31,
                                            33, 35, 37, 39, 41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61, 63};

    return _mm512_permutex2var_epi16(_mm512_castps_si512(group[0]), _mm512_load_si512(odd),
                                     _mm512_castps_si512(group[1]));
}

/* Takes a part of a group's columns, rounded towards zero, and leaves what remains of them. */
MGLU_INLINE __m512i take_part(vec group[2])
{
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000);
    vec part[2];

    for (int half = 0; half < 2; half++) {
        part[half] = _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(group[half]), upper));
        group[half] = _mm512_sub_ps(group[half], part[half]);
    }
    return upper_halves(part);
}

/* The same, rounded to nearest. */
MGLU_INLINE __m512i take_nearest(vec group[2])
{
    const __m512i part = (__m512i)_mm512_cvtne2ps_pbh(group[1], group[0]);

    for (int half = 0; half < 2; half++) {
        const __m256i columns = half ? _mm512_extracti64x4_epi64(part, 1) : _mm512_castsi512_si256(part);
        const __m512i wide = _mm512_slli_epi32(_mm512_cvtepu16_epi32(columns), 16);
        group[half] = _mm512_sub_ps(group[half], _mm512_castsi512_ps(wide));
    }
    return part;
}

/* One group of a row, in the row's place in the tiles of its parts. */
MGLU_INLINE void fill_row(const struct mglu_cpu_gemm *job, int64_t row, int64_t at, mglu_dtype dtype, char *to)
{
    const struct weight_group weights = group_of(row_from(job->matrix, row, at, dtype), 0, dtype);
    const uint32_t mask = job->mask == MGLU_CPU_NO_MASK ? ~0u : mask_words(job->matrix, row, at)[job->mask];
    vec group[2];

    if (dtype == MGLU_DTYPE_BF16) {
        _mm512_store_si512(to, _mm512_maskz_mov_epi16(mask, _mm512_loadu_si512(weights.weights)));
        return;
    }
    for (int half = 0; half < 2; half++)
        group[half] = vec_select(load_part(&weights, half, dtype), mask, half);
    _mm512_store_si512(to, take_part(group));
    _mm512_store_si512(to + TILE_BYTES, upper_halves(group));
}

MGLU_INLINE void fill_group(const struct panel *panel, int32_t group, mglu_dtype dtype)
{
    char *to = panel->tiles + (size_t)(group * ROW_TILES * parts_of(dtype)) * TILE_BYTES;

    for (int tile = 0; tile < ROW_TILES; tile++, to += parts_of(dtype) * TILE_BYTES)
        for (int r = 0; r < TILE_SIDE; r++)
            fill_row(panel->job, row_of(panel->job, tile * TILE_SIDE + r), panel->part->first_group + group, dtype,
                     to + r * TILE_ROW_BYTES);
}

/*
 * Adds the products of a group. The tile registers, which must be literals: the main sums of the two tiles of rows in 0
 * and 2, the others' in 1 and 3; a part of each tile of rows in 4 and 5; part 2 of x in 6, then part 0; part 1 in 7. A
 * sum takes as long as three or four products, so that the next ones are of other sums.
 */
MGLU_INLINE void multiply_group(const struct weight_tiles *w, const char *x, int parts, int parts_of_x)
{
    store_before_tiles();
    _tile_loadd(4, w->first, w->row);
    _tile_loadd(5, w->first + w->second, w->row);
    if (parts_of_x > 2) {
        _tile_loadd(6, x + 2 * TILE_BYTES, TILE_ROW_BYTES);
        _tile_dpbf16ps(1, 4, 6);
        _tile_dpbf16ps(3, 5, 6);
    }
    _tile_loadd(6, x, TILE_ROW_BYTES);
    _tile_dpbf16ps(0, 4, 6);
    if (parts_of_x > 1) {
        _tile_loadd(7, x + TILE_BYTES, TILE_ROW_BYTES);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_dpbf16ps(2, 5, 6);
    if (parts == 1)
        return;
    _tile_loadd(4, w->first + TILE_BYTES, w->row);
    _tile_dpbf16ps(0, 4, 6);
    if (parts_of_x > 1)
        _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, w->first + w->second + TILE_BYTES, w->row);
    if (parts_of_x > 1)
        _tile_dpbf16ps(3, 5, 7);
    _tile_dpbf16ps(2, 5, 6);
}

/* The main sums and the others of a panel for a block of tokens. Where `fill` is set, the panel is made on the way. */
MGLU_INLINE void sum_panel(const struct panel *panel, int fill, struct weight_tiles w, const char *x, mglu_dtype dtype,
                           int parts_of_x, float *sums)
{
    const int32_t groups = panel->part->groups;

    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int32_t group = 0; fill && group < FILLED_AHEAD && group < groups; group++)
        fill_group(panel, group, dtype);
    for (int32_t group = 0; group < groups; group++, w.first += w.group, x += parts_of_x * TILE_BYTES) {
        if (fill && group + FILLED_AHEAD < groups)
            fill_group(panel, group + FILLED_AHEAD, dtype);
        multiply_group(&w, x, parts_of(dtype), parts_of_x);
    }
    _tile_stored(0, sums, TILE_ROW_BYTES);
    _tile_stored(1, sums + BLOCK_SUMS, TILE_ROW_BYTES);
    _tile_stored(2, sums + TILE_SUMS, TILE_ROW_BYTES);
    _tile_stored(3, sums + BLOCK_SUMS + TILE_SUMS, TILE_ROW_BYTES);
}

/* What a panel adds to the sums of a block of tokens: the main sums, then the others. */
struct addends {
    struct part part;
    int32_t block;
    _Alignas(64) float sums[2 * BLOCK_SUMS];
};

/* Before the last panel all sums are [row][token]. */
static void add_panel(const struct mglu_cpu_gemm *job, struct addends *of)
{
    enum { NOT_FINITE = 0x99 }; /* NaN of both kinds, and both infinities */
    float *to = job->sums + (size_t)of->block * BLOCK_SUMS;

    for (int r = 0; r < ROWS; r++) {
        float *sums = of->sums + r * VEC_LANES, *before = to + r * VEC_LANES;
        vec sum = vec_add(vec_load_f32(sums), vec_load_f32(sums + BLOCK_SUMS));
        if (of->part.first_group > 0)
            sum = vec_add(vec_load_f32(before), sum);
        vec_store_f32(of->part.is_last ? sums : before, sum);
        if (of->part.is_last && r < job->rows && _mm512_fpclass_ps_mask(sum, NOT_FINITE))
            *job->not_finite |= (uint32_t)1 << r;
    }
    if (of->part.is_last)
        transpose_block(of->sums, job->count - of->block * TILE_SIDE, to);
}

/*
 * Tiles that were stored can't be read at once, so the sums of a panel are added while the next ones are computed. The
 * first tokens fill the panel.
 */
MGLU_INLINE void multiply_matrix(const struct mglu_cpu_gemm *job, mglu_dtype dtype, int parts_of_x)
{
    _Alignas(64) char tiles[PANEL_GROUPS * ROW_TILES * MOST_WEIGHT_PARTS * TILE_BYTES];
    const int in_place = dtype == MGLU_DTYPE_BF16 && job->mask == MGLU_CPU_NO_MASK && job->rows == ROWS;
    const int64_t groups = job->matrix->groups;
    const int32_t most = panel_groups(groups, dtype);
    struct addends addends[2];
    int64_t done = 0;

    configure_tiles();
    for (int64_t group = 0; group < groups; group += most) {
        const struct part part = part_from(group, groups, most);
        const struct panel panel = {job, &part, tiles};
        const struct weight_tiles w =
            in_place ? tiles_in_place(job->matrix, job->first_row, group) : tiles_of_panel(tiles, parts_of(dtype));
        for (int32_t block = 0; block * TILE_SIDE < job->count; block++, done++) {
            const char *x = job->x + block * job->x_stride + group * parts_of_x * TILE_BYTES;
            struct addends *own = &addends[done % 2];
            own->part = part;
            own->block = block;
            if (block == 0 && !in_place)
                sum_panel(&panel, 1, w, x, dtype, parts_of_x, own->sums);
            else
                sum_panel(&panel, 0, w, x, dtype, parts_of_x, own->sums);
            if (done > 0)
                add_panel(job, &addends[(done - 1) % 2]);
        }
    }
    if (done > 0)
        add_panel(job, &addends[(done - 1) % 2]);
    _tile_release();
}

/* Packs x in f32: [group][part][pair of columns][token]. Tokens that are missing repeat the last one. */
MGLU_INLINE void pack_parts(const struct mglu_cpu_pack_x *job, int parts)
{
    float *to = job->packed;

    for (int64_t group = 0; group < job->words / (parts * VEC_LANES); group++) {
        vec columns[VEC_LANES][2], words[VEC_LANES];
        for (int32_t t = 0; t < VEC_LANES; t++) {
            const int32_t token = job->tokens[t < job->count ? t : job->count - 1];
            const char *x = job->x + (size_t)token * job->x_stride + (size_t)group * sizeof columns[t];
            columns[t][0] = vec_load_f32(x);
            columns[t][1] = vec_load_f32(x + sizeof(vec));
        }
        for (int part = 0; part < parts; part++) {
            for (int32_t t = 0; t < VEC_LANES; t++)
                words[t] = _mm512_castsi512_ps(take_nearest(columns[t]));
            vec_transpose(words);
            for (int32_t t = 0; t < VEC_LANES; t++, to += VEC_LANES)
                vec_store_f32(to, words[t]);
        }
    }
}

/* The kernels of one number of parts of x. */
#define KERNEL_OF_DTYPE(type, TYPE, parts_of_x)                                                                        \
    static void gemm_##type##_##parts_of_x(const struct mglu_cpu_gemm *job)                                            \
    {                                                                                                                  \
        multiply_matrix(job, MGLU_DTYPE_##TYPE, parts_of_x);                                                           \
    }
#define KERNELS_OF_PARTS(parts_of_x)                                                                                   \
    KERNEL_OF_DTYPE(f16, F16, parts_of_x)                                                                              \
    KERNEL_OF_DTYPE(bf16, BF16, parts_of_x)                                                                            \
    KERNEL_OF_DTYPE(q4_0, Q4_0, parts_of_x)                                                                            \
    static void pack_##parts_of_x(const struct mglu_cpu_pack_x *job)                                                   \
    {                                                                                                                  \
        pack_parts(job, parts_of_x);                                                                                   \
    }
#define ENTRIES_OF_DTYPE(type)                                                                                         \
    {                                                                                                                  \
        gemm_##type##_1, gemm_##type##_2, gemm_##type##_3                                                              \
    }

KERNELS_OF_PARTS(1)
KERNELS_OF_PARTS(2)
KERNELS_OF_PARTS(3)

const struct mglu_cpu_split_tiles mglu_gemm_split_tiles_avx512amx = {
    .least_groups = LEAST_GROUPS,
    .most_groups = MOST_GROUPS,
    .pack_x = {pack_1, pack_2, pack_3},
    .gemm =
        {
            [MGLU_DTYPE_F16] = ENTRIES_OF_DTYPE(f16),
            [MGLU_DTYPE_BF16] = ENTRIES_OF_DTYPE(bf16),
            [MGLU_DTYPE_Q4_0] = ENTRIES_OF_DTYPE(q4_0),
        },
};
