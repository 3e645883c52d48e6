/* SPDX-License-Identifier: MIT */
#include "quants_vnni.h"

#include <string.h>

/*
 * GEMM of integers in AVX-512 VNNI with tokens in the lanes, for x that is packed in blocks of 16 tokens. The sums of a
 * group and the order of groups are those of gemm_int8.h, and so are the bits.
 *
 * A panel has the quants of some rows and groups as they are stored, as unsigned bytes: four columns of a row are one
 * operand for all tokens, so that nothing is transposed. Quants that a mask does not select are those of a weight of
 * zero.
 */

enum {
    BLOCK_ROWS = 32,
    MOST_BLOCKS = 4, /* of tokens at a time */
    PANEL_GROUPS = 16,
    GROUP_QUADS = MGLU_GROUP_COLUMNS / 4,
    QUAD_BYTES = 4 * VEC_LANES,
};

/* A group of a block of x: eight quads, four columns of each token; the start of the sums, and the scale, of each. */
enum {
    STARTS = GROUP_QUADS * QUAD_BYTES,
    SCALES = STARTS + QUAD_BYTES,
    BLOCK_GROUP_BYTES = SCALES + QUAD_BYTES,
    GROUP_WORDS = BLOCK_GROUP_BYTES / QUAD_BYTES
};

/* Rows and blocks of a tile: 16 sums of integers and most of 16 of floats are in registers, or 12 of both. */
enum { SINGLE_ROWS = 16, PAIR_ROWS = 8, TRIPLE_ROWS = 4, MOST_TILE_ROWS = 16, MOST_TILE_BLOCKS = 3 };

/* Memory that is read next: of each row of a panel so many bytes, `stride` apart. */
struct ahead {
    uintptr_t from;
    size_t stride, bytes;
};

/* Few rows, so that it stays in the first-level cache. */
struct panel {
    _Alignas(64) char quants[MOST_TILE_ROWS][PANEL_GROUPS * MGLU_GROUP_COLUMNS];
    _Alignas(64) float scale[MOST_TILE_ROWS][PANEL_GROUPS];
    float start[MOST_TILE_ROWS][PANEL_GROUPS]; /* -MGLU_CPU_INT8_START times the scale */
    int32_t first_row, rows;                   /* in the block of rows */
    int64_t first_group;
    int32_t groups;
    struct ahead weights, scales, words; /* of the next panel; no bytes where it is in the cache */
};

/* Some blocks of tokens and their sums, [row][token]. */
struct tokens {
    const char *x;
    size_t block_bytes;
    int32_t blocks;
    _Alignas(64) float sums[BLOCK_ROWS][MOST_BLOCKS * VEC_LANES];
};

/*
 * Prefetches a share of some rows: that of two groups of a panel. It is done between sums, since a prefetch occupies a
 * buffer of the first-level cache until its line has arrived.
 */
MGLU_INLINE void prefetch_share(const struct ahead *ahead, int32_t row, int32_t rows, int32_t group)
{
    const size_t groups = PANEL_GROUPS * 64, first = (ahead->bytes * (size_t)group + groups - 1) / groups;
    const size_t end = (ahead->bytes * (size_t)(group + 2) + groups - 1) / groups;

    for (size_t line = first; line < end; line++)
        for (int32_t r = row; r < row + rows; r++)
            __builtin_prefetch((const void *)(ahead->from + (size_t)r * ahead->stride + line * 64), 0, 2);
}

/* Adds the products of a group of some rows and blocks of tokens. */
MGLU_INLINE void add_group(const struct panel *panel, int32_t row, int rows, int32_t group, const char *x,
                           size_t block_bytes, int blocks, vec sums[][MOST_TILE_BLOCKS])
{
    __m512i integers[MOST_TILE_ROWS][MOST_TILE_BLOCKS];

    MGLU_UNROLL
    for (int r = 0; r < rows; r++) {
        MGLU_UNROLL
        for (int b = 0; b < blocks; b++)
            integers[r][b] = _mm512_load_si512(x + (size_t)b * block_bytes + STARTS);
    }
    MGLU_UNROLL
    for (int quad = 0; quad < GROUP_QUADS; quad++) {
        __m512i of_tokens[MOST_TILE_BLOCKS];
        MGLU_UNROLL
        for (int b = 0; b < blocks; b++)
            of_tokens[b] = _mm512_load_si512(x + (size_t)b * block_bytes + quad * QUAD_BYTES);
        MGLU_UNROLL
        for (int r = 0; r < rows; r++) {
            const char *four = panel->quants[row + r] + group * MGLU_GROUP_COLUMNS + 4 * quad;
            const __m512i weights = _mm512_set1_epi32(*(const int32_t *)(const void *)four);
            MGLU_UNROLL
            for (int b = 0; b < blocks; b++)
                integers[r][b] = _mm512_dpbusd_epi32(integers[r][b], weights, of_tokens[b]);
        }
    }
    MGLU_UNROLL
    for (int r = 0; r < rows; r++) {
        const vec scale = vec_broadcast(&panel->scale[row + r][group]);
        const vec start = vec_broadcast(&panel->start[row + r][group]);
        MGLU_UNROLL
        for (int b = 0; b < blocks; b++) {
            const vec scaled = vec_fma(_mm512_castsi512_ps(integers[r][b]), scale, start);
            sums[r][b] = vec_fma(scaled, vec_load_f32(x + (size_t)b * block_bytes + SCALES), sums[r][b]);
        }
    }
}

/* The sums of a tile: some rows of a panel and some blocks of tokens. */
MGLU_INLINE void sum_tile(struct tokens *tokens, const struct panel *panel, int32_t row, int rows, int32_t block,
                          int blocks)
{
    const char *x = tokens->x + (size_t)block * tokens->block_bytes + (size_t)panel->first_group * BLOCK_GROUP_BYTES;
    vec sums[MOST_TILE_ROWS][MOST_TILE_BLOCKS];

    MGLU_UNROLL
    for (int r = 0; r < rows; r++) {
        MGLU_UNROLL
        for (int b = 0; b < blocks; b++)
            sums[r][b] = vec_zero();
    }
    for (int32_t group = 0; group < panel->groups; group++, x += BLOCK_GROUP_BYTES) {
        if (group % 2 == 0 && block == 0 && panel->weights.bytes) {
            prefetch_share(&panel->weights, row, rows, group);
            prefetch_share(&panel->scales, row, rows, group);
            prefetch_share(&panel->words, row, rows, group);
        }
        add_group(panel, row, rows, group, x, tokens->block_bytes, blocks, sums);
    }
    MGLU_UNROLL
    for (int r = 0; r < rows; r++) {
        float *to = tokens->sums[panel->first_row + row + r] + block * VEC_LANES;
        MGLU_UNROLL
        for (int b = 0; b < blocks; b++, to += VEC_LANES)
            vec_store_f32(to, panel->first_group ? vec_add(vec_load_f32(to), sums[r][b]) : sums[r][b]);
    }
}

/* Functions of their own, since gcc 12 spills sums where all are in one. */
#define TILE(name, rows, blocks)                                                                                       \
    static __attribute__((noinline)) void name(struct tokens *tokens, const struct panel *panel, int32_t row,          \
                                               int32_t block)                                                          \
    {                                                                                                                  \
        sum_tile(tokens, panel, row, rows, block, blocks);                                                             \
    }

TILE(sum_single, SINGLE_ROWS, 1)
TILE(sum_pair, PAIR_ROWS, 2)
TILE(sum_triple, TRIPLE_ROWS, 3)

static void sum_panel(struct tokens *tokens, const struct panel *panel)
{
    if (tokens->blocks == 1)
        sum_single(tokens, panel, 0, 0);
    else if (tokens->blocks == 3)
        for (int32_t row = 0; row < PAIR_ROWS; row += TRIPLE_ROWS)
            sum_triple(tokens, panel, row, 0);
    else
        for (int32_t block = 0; block < tokens->blocks; block += 2)
            sum_pair(tokens, panel, 0, block);
}

/* Rows beyond the last of the block repeat that one. */
MGLU_INLINE int64_t row_of(const struct mglu_cpu_gemm_int8 *job, int32_t r)
{
    return job->first_row + (r < job->rows ? r : job->rows - 1);
}

/* The panel after this one, or the first of the next block of rows; for masks it is the same, and in the cache. */
static void look_ahead(const struct mglu_cpu_gemm_int8 *job, int32_t mask, mglu_dtype dtype, struct panel *panel)
{
    const struct mglu_cpu_matrix *matrix = job->matrix;
    const int64_t next = panel->first_group + PANEL_GROUPS;
    const int64_t group = next < matrix->groups ? next : 0;
    const int64_t row = job->first_row + panel->first_row + (next < matrix->groups ? 0 : BLOCK_ROWS);
    const struct weight_row from = row_from(matrix, row, group, dtype);
    const size_t pitch = (size_t)mask_pitch(matrix) * sizeof(uint32_t),
                 groups = mask == MGLU_CPU_NO_MASK ? PANEL_GROUPS : 0;

    panel->weights = (struct ahead){(uintptr_t)from.weights, matrix->stride_bytes, groups * group_bytes(dtype)};
    panel->scales = (struct ahead){(uintptr_t)from.scales, matrix->scale_stride, groups * sizeof(uint16_t)};
    panel->words =
        (struct ahead){(uintptr_t)mask_words(matrix, row, group), (size_t)matrix->groups * pitch, groups * pitch};
}

MGLU_INLINE void fill_scales(const uint16_t *of_row, int32_t groups, mglu_dtype dtype, float *scale, float *start)
{
    const __m256i halves = _mm256_maskz_loadu_epi16((__mmask16)((1u << groups) - 1), of_row);
    const vec scales = vec_mul(_mm512_cvtph_ps(halves), scale_factor(dtype));

    vec_store_f32(scale, scales);
    vec_store_f32(start, vec_mul(scales, _mm512_set1_ps(-MGLU_CPU_INT8_START)));
}

/* The quants of two groups of a row that its mask words select; NULL: all. The second group may be padding. */
MGLU_INLINE void fill_two(const char *from, const uint32_t *words, int64_t pitch, int groups, mglu_dtype dtype,
                          char *to)
{
    if (words) {
        const uint64_t second = groups > 1 ? words[pitch] : 0;
        _mm512_store_si512(to, select_quants(from, words[0] | second << 32, dtype));
    } else {
        _mm512_store_si512(to, load_quants(from, dtype));
    }
}

MGLU_INLINE void fill_quants(const char *from, const uint32_t *words, int64_t pitch, int32_t groups, mglu_dtype dtype,
                             char *to)
{
    const size_t weight_bytes = group_bytes(dtype);

    if (groups == PANEL_GROUPS) {
        MGLU_UNROLL
        for (int group = 0; group < PANEL_GROUPS; group += 2)
            fill_two(from + (size_t)group * weight_bytes, words ? words + group * pitch : NULL, pitch, 2, dtype,
                     to + group * MGLU_GROUP_COLUMNS);
        return;
    }
    for (int32_t group = 0; group < groups; group += 2)
        fill_two(from + (size_t)group * weight_bytes, words ? words + group * pitch : NULL, pitch, groups - group,
                 dtype, to + group * MGLU_GROUP_COLUMNS);
}

/* The weights that a mask selects, or all. */
MGLU_INLINE void fill_panel(const struct mglu_cpu_gemm_int8 *job, int32_t mask, mglu_dtype dtype, struct panel *panel)
{
    const int64_t pitch = mask_pitch(job->matrix);

    for (int32_t r = 0; r < panel->rows; r++) {
        const int64_t row = row_of(job, panel->first_row + r);
        const struct weight_row from = row_from(job->matrix, row, panel->first_group, dtype);
        const uint32_t *words =
            mask == MGLU_CPU_NO_MASK ? NULL : mask_words(job->matrix, row, panel->first_group) + mask;
        fill_scales(from.scales, panel->groups, dtype, panel->scale[r], panel->start[r]);
        fill_quants(from.weights, words, pitch, panel->groups, dtype, panel->quants[r]);
    }
    look_ahead(job, mask, dtype, panel);
}

static void fill_q8_0(const struct mglu_cpu_gemm_int8 *job, int32_t mask, struct panel *panel)
{
    fill_panel(job, mask, MGLU_DTYPE_Q8_0, panel);
}

static void fill_q4_0(const struct mglu_cpu_gemm_int8 *job, int32_t mask, struct panel *panel)
{
    fill_panel(job, mask, MGLU_DTYPE_Q4_0, panel);
}

typedef void fill_fn(const struct mglu_cpu_gemm_int8 *job, int32_t mask, struct panel *panel);

/* All sums of the rows for some blocks of tokens. */
static void sum_tokens(const struct mglu_cpu_gemm_int8 *job, int32_t mask, fill_fn *fill, struct tokens *tokens)
{
    const int64_t groups = job->matrix->groups;
    struct panel panel;

    panel.rows = tokens->blocks > 1 ? PAIR_ROWS : SINGLE_ROWS;
    for (panel.first_group = 0; panel.first_group < groups; panel.first_group += PANEL_GROUPS) {
        const int64_t left = groups - panel.first_group;
        panel.groups = left < PANEL_GROUPS ? (int32_t)left : PANEL_GROUPS;
        for (panel.first_row = 0; panel.first_row < BLOCK_ROWS; panel.first_row += panel.rows) {
            fill(job, mask, &panel);
            sum_panel(tokens, &panel);
        }
    }
}

/* The sums of a block of tokens, [row][token], as [token][row]. */
static void store_block(const struct tokens *tokens, int32_t block, int32_t count, float *to)
{
    for (int32_t row = 0; row < BLOCK_ROWS; row += VEC_LANES) {
        vec rows[VEC_LANES];
        MGLU_UNROLL
        for (int r = 0; r < VEC_LANES; r++)
            rows[r] = vec_load_f32(tokens->sums[row + r] + block * VEC_LANES);
        vec_transpose(rows);
        for (int t = 0; t < VEC_LANES && t < count; t++)
            vec_store_f32(to + t * BLOCK_ROWS + row, rows[t]);
    }
}

static void sum_list(const struct mglu_cpu_gemm_int8 *job, int32_t list, fill_fn *fill)
{
    struct tokens tokens = {.x = job->packed + (size_t)job->first_block[list] * job->block_bytes,
                            .block_bytes = job->block_bytes};
    int32_t left = job->first[list + 1] - job->first[list];
    float *to = job->sums + (size_t)job->first[list] * BLOCK_ROWS;

    while (left > 0) {
        const int32_t blocks = (left + VEC_LANES - 1) / VEC_LANES;
        tokens.blocks = blocks < MOST_BLOCKS ? blocks : MOST_BLOCKS;
        sum_tokens(job, list - 1, fill, &tokens);
        for (int32_t block = 0; block < tokens.blocks; block++)
            store_block(&tokens, block, left - block * VEC_LANES, to + block * VEC_LANES * BLOCK_ROWS);
        left -= MOST_BLOCKS * VEC_LANES;
        to += MOST_BLOCKS * VEC_LANES * BLOCK_ROWS;
        tokens.x += MOST_BLOCKS * job->block_bytes;
    }
}

static void sum_lists(const struct mglu_cpu_gemm_int8 *job, fill_fn *fill)
{
    if (job->matrix->groups == 0)
        memset(job->sums, 0, (size_t)job->first[job->lists] * BLOCK_ROWS * sizeof *job->sums);
    else
        for (int32_t list = 0; list < job->lists; list++)
            sum_list(job, list, fill);
}

static void gemm_q8_0(const struct mglu_cpu_gemm_int8 *job)
{
    sum_lists(job, fill_q8_0);
}

static void gemm_q4_0(const struct mglu_cpu_gemm_int8 *job)
{
    sum_lists(job, fill_q4_0);
}

/* The quads of two groups of a block; those of the second only where it is not padding. */
MGLU_INLINE void pack_quads(const char *const *quants, int64_t group, int32_t count, char *to)
{
    vec quads[VEC_LANES];

    MGLU_UNROLL
    for (int t = 0; t < VEC_LANES; t++)
        quads[t] = vec_load_f32(quants[t] + group * MGLU_GROUP_COLUMNS);
    vec_transpose(quads);
    for (int32_t i = 0; i < count * GROUP_QUADS; i++)
        _mm512_store_ps(to + i / GROUP_QUADS * BLOCK_GROUP_BYTES + i % GROUP_QUADS * QUAD_BYTES, quads[i]);
}

/* Tokens beyond the last of the block repeat that one. */
static void pack_x(const struct mglu_cpu_pack_x *job)
{
    const int64_t groups = job->words / GROUP_WORDS;
    const char *x[VEC_LANES], *quants[VEC_LANES];

    for (int t = 0; t < VEC_LANES; t++) {
        x[t] = job->x + (size_t)job->tokens[t < job->count ? t : job->count - 1] * job->x_stride;
        quants[t] = mglu_cpu_quants(x[t], groups);
    }
    for (int64_t group = 0; group < groups; group++) {
        const struct mglu_cpu_quantised_group at = mglu_cpu_quantised_group(groups, group);
        char *to = (char *)job->packed + group * BLOCK_GROUP_BYTES;
        if (group % 2 == 0)
            pack_quads(quants, group, group + 1 < groups ? 2 : 1, to);
        for (int t = 0; t < VEC_LANES; t++) {
            memcpy(to + STARTS + 4 * t, x[t] + at.start, sizeof(int32_t));
            memcpy(to + SCALES + 4 * t, x[t] + at.scale, sizeof(float));
        }
    }
}

const struct mglu_cpu_packed_gemm_int8 mglu_gemm_int8_tokens_avx512vnni = {
    .pack_x = pack_x,
    .block_tokens = VEC_LANES,
    .group_words = GROUP_WORDS,
    .gemm = {[MGLU_DTYPE_Q8_0] = gemm_q8_0, [MGLU_DTYPE_Q4_0] = gemm_q4_0},
    .least_blocks = {[MGLU_DTYPE_Q8_0] = 1, [MGLU_DTYPE_Q4_0] = 2},
};
