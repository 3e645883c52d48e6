/* SPDX-License-Identifier: MIT */
#include "weights.h"

#include <string.h>

/*
 * GEMV for three to twelve tokens at once, where registers are few. A panel holds some groups of two rows, converted to
 * f32 once for all tokens and masks. The sums of both rows for up to six tokens are in registers while the panel is
 * multiplied, first without a mask and then with each, so that a vector of weights, or what a mask selects of it,
 * serves all tokens, and a vector of x both rows. Nothing is transposed, as lanes are columns.
 *
 * The order of additions: a lane adds the products of every eighth column of a panel, from the first to the last,
 * fused; the panels are added one after the other, and last the lanes. A sum depends on its row, its mask and x alone.
 */

enum {
    PANEL_ROWS = 2,
    MOST_PANEL_GROUPS = 16,
    PANEL_COLUMNS = MOST_PANEL_GROUPS * MGLU_GROUP_COLUMNS,
    MOST_TILE = 6, /* 12 sums, 2 weights and an x of 16 registers */
    MOST_TOKENS = MGLU_CPU_GEMV_MOST_TOKENS,
    MOST_MASKS = 11, /* with more, sums of pairs are as fast */
    NO_MASK = -1
};

/* Some groups of two rows, and their weights as f32. */
struct panel {
    int64_t first_group, groups;
    struct weight_row rows[PANEL_ROWS];
    const uint32_t *words[PANEL_ROWS]; /* of the first group and mask */
    int64_t pitch;                     /* from group to group */
    size_t ahead;                      /* prefetch distance of the weights in bytes, and of the words */
    int64_t words_ahead;
    _Alignas(64) float weights[PANEL_ROWS][PANEL_COLUMNS];
};

/* Of each token, the sum of each row. */
typedef vec list_sums[MOST_TOKENS][PANEL_ROWS];

/* A product is then rounded no more often than the c of docs/semantics.md allows: 4 times for each group of a panel. */
static int64_t panel_groups(int64_t groups)
{
    return groups < 16 ? 4 : groups < 32 ? 6 : groups <= 1024 ? 8 : MOST_PANEL_GROUPS;
}

/* Where a tile takes its weights from: from the rows, for the panel too; from the panel; what a mask selects of it. */
enum source { FROM_ROWS, FROM_PANEL, SELECTED };

/* In the functions below `source`, `dtype` and `tokens` are constants where they are used. */

MGLU_INLINE vec load_weights(struct panel *panel, int row, int64_t group, int part, int32_t mask, enum source source,
                             mglu_dtype dtype)
{
    float *of_panel = panel->weights[row] + group * MGLU_GROUP_COLUMNS + part * VEC_LANES;

    if (source == FROM_PANEL)
        return vec_load_f32(of_panel);
    if (source == SELECTED)
        return vec_load_selected(of_panel, panel->words[row] + group * panel->pitch + mask, part);
    const struct weight_group weights = group_of(panel->rows[row], group, dtype);
    const vec w = load_part(&weights, part, dtype);
    vec_store_f32(of_panel, w);
    return w;
}

MGLU_INLINE void prefetch_group(const struct panel *panel, int64_t group, mglu_dtype dtype)
{
    MGLU_UNROLL
    for (int i = 0; i < PANEL_ROWS; i++) {
        prefetch_weights(panel->rows[i].weights + (size_t)group * group_bytes(dtype), group_bytes(dtype), panel->ahead);
        if (panel->pitch > 0)
            prefetch_words(panel->words[i] + group * panel->pitch, panel->words_ahead);
    }
}

/* Adds the products of a panel with the x of some tokens to their sums. */
MGLU_SPECIALISED void add_tile(struct panel *panel, const struct mglu_cpu_gemv *jobs, int32_t mask, enum source source,
                               mglu_dtype dtype, int tokens, vec (*sums)[PANEL_ROWS])
{
    const float *x[MOST_TILE];
    vec s[MOST_TILE][PANEL_ROWS];

    MGLU_UNROLL
    for (int t = 0; t < tokens; t++) {
        x[t] = (const float *)jobs[t].x + panel->first_group * MGLU_GROUP_COLUMNS;
        MGLU_UNROLL
        for (int i = 0; i < PANEL_ROWS; i++)
            s[t][i] = vec_zero();
    }
    MGLU_ROLLED
    for (int64_t group = 0; group < panel->groups; group++) {
        if (source == FROM_ROWS)
            prefetch_group(panel, group, dtype);
        MGLU_UNROLL
        for (int part = 0; part < VEC_PARTS; part++) {
            vec w[PANEL_ROWS];
            MGLU_UNROLL
            for (int i = 0; i < PANEL_ROWS; i++)
                w[i] = load_weights(panel, i, group, part, mask, source, dtype);
            MGLU_UNROLL
            for (int t = 0; t < tokens; t++) {
                const vec v = vec_load_f32_once(x[t] + group * MGLU_GROUP_COLUMNS + part * VEC_LANES);
                MGLU_UNROLL
                for (int i = 0; i < PANEL_ROWS; i++)
                    s[t][i] = vec_fma(w[i], v, s[t][i]);
            }
        }
    }
    MGLU_UNROLL
    for (int t = 0; t < tokens; t++) {
        MGLU_UNROLL
        for (int i = 0; i < PANEL_ROWS; i++)
            sums[t][i] = vec_add(sums[t][i], s[t][i]);
    }
}

typedef void add_tile_fn(struct panel *panel, const struct mglu_cpu_gemv *jobs, int32_t mask, vec (*sums)[PANEL_ROWS]);

/* A function for each size of tile, and a table of them. They are not inlined: compilers would spill sums. */
#define FOR_TILES(CASE, ...) CASE(3, __VA_ARGS__) CASE(4, __VA_ARGS__) CASE(5, __VA_ARGS__) CASE(6, __VA_ARGS__)
#define TILE_FN(tokens, name, source, TYPE)                                                                            \
    static __attribute__((noinline)) void name##_##tokens(struct panel *panel, const struct mglu_cpu_gemv *jobs,       \
                                                          int32_t mask, vec(*sums)[PANEL_ROWS])                        \
    {                                                                                                                  \
        add_tile(panel, jobs, mask, source, MGLU_DTYPE_##TYPE, tokens, sums);                                          \
    }
#define TILE_ENTRY(tokens, name, ...) [tokens] = name##_##tokens,
#define TILES(name, source, TYPE)                                                                                      \
    FOR_TILES(TILE_FN, name, source, TYPE)                                                                             \
    static add_tile_fn *const name[] = {FOR_TILES(TILE_ENTRY, name, source)};

TILES(tiles_f32, FROM_ROWS, F32)
TILES(tiles_f16, FROM_ROWS, F16)
TILES(tiles_bf16, FROM_ROWS, BF16)
TILES(tiles_q8_0, FROM_ROWS, Q8_0)
TILES(tiles_q4_0, FROM_ROWS, Q4_0)
TILES(tiles_of_panel, FROM_PANEL, F32)
TILES(tiles_selected, SELECTED, F32)

/* The sums of all tokens, without or with a mask; `first_tile` has the tiles of the first tokens. */
static void add_list(struct panel *panel, const struct mglu_cpu_gemv *jobs, int32_t mask,
                     add_tile_fn *const *first_tile, add_tile_fn *const *other_tiles, list_sums sums)
{
    const int32_t tokens = jobs->tokens, first = tokens <= MOST_TILE ? tokens : (tokens + 1) / 2;

    first_tile[first](panel, jobs, mask, sums);
    if (first < tokens)
        other_tiles[tokens - first](panel, jobs + first, mask, sums + first);
}

/* Rows r[0] and r[1] of a job. */
MGLU_INLINE void begin_rows(const struct mglu_cpu_gemv *jobs, const int32_t *r, mglu_dtype dtype, struct panel *panel)
{
    const struct mglu_cpu_matrix *matrix = jobs->matrix;

    panel->first_group = 0;
    panel->pitch = mask_pitch(matrix);
    panel->ahead = (size_t)(jobs->n > 0 ? matrix->streams.masked_prefetch : matrix->streams.plain_prefetch);
    panel->words_ahead = (int64_t)(panel->ahead / group_bytes(dtype)) * panel->pitch;
    for (int i = 0; i < PANEL_ROWS; i++) {
        panel->rows[i] = row_from(matrix, jobs->first_row + r[i], 0, dtype);
        panel->words[i] = mask_words(matrix, jobs->first_row + r[i], 0);
    }
}

/* Goes on to the next groups of its rows. */
MGLU_INLINE void next_panel(mglu_dtype dtype, struct panel *panel)
{
    panel->first_group += panel->groups;
    for (int i = 0; i < PANEL_ROWS; i++) {
        panel->rows[i].weights += (size_t)panel->groups * group_bytes(dtype);
        if (is_quantised(dtype))
            panel->rows[i].scales += panel->groups;
        panel->words[i] += panel->groups * panel->pitch;
    }
}

static void store_sums(const struct mglu_cpu_gemv *jobs, const int32_t *r, const list_sums *sums)
{
    for (int t = 0; t < jobs->tokens; t++)
        for (int i = 0; i < PANEL_ROWS; i++) {
            jobs[t].totals[r[i]] = vec_reduce(sums[0][t][i]);
            for (int32_t mask = 0; mask < jobs->n; mask++)
                jobs[t].gates[mask][r[i]] = vec_reduce(sums[1 + mask][t][i]);
        }
}

MGLU_INLINE void sum_rows(const struct mglu_cpu_gemv *jobs, const int32_t *r, mglu_dtype dtype,
                          add_tile_fn *const *tiles)
{
    const int64_t groups = jobs->matrix->groups, most = panel_groups(groups);
    struct panel panel;
    list_sums sums[1 + MOST_MASKS];

    begin_rows(jobs, r, dtype, &panel);
    memset(sums, 0, (size_t)(1 + jobs->n) * sizeof sums[0]);
    for (; panel.first_group < groups; next_panel(dtype, &panel)) {
        const int64_t left = groups - panel.first_group;
        panel.groups = left < most ? left : most;
        add_list(&panel, jobs, NO_MASK, tiles, tiles_of_panel, sums[0]);
        for (int32_t mask = 0; mask < jobs->n; mask++)
            add_list(&panel, jobs, mask, tiles_selected, tiles_selected, sums[1 + mask]);
    }
    store_sums(jobs, r, (const list_sums *)sums);
}

/* One call. Rows that are summed side by side are a half of all rows apart; of an odd number one is summed twice. */
MGLU_INLINE void sum_matrix(const struct mglu_cpu_gemv *jobs, mglu_dtype dtype, add_tile_fn *const *tiles)
{
    const int32_t apart = jobs->rows / 2;

    for (int32_t r = 0; r < jobs->rows - apart; r++)
        sum_rows(jobs, (const int32_t[]){r, r + apart}, dtype, tiles);
}

#define KERNEL_OF_DTYPE(type, TYPE)                                                                                    \
    static void panels_##type(const struct mglu_cpu_gemv *jobs)                                                        \
    {                                                                                                                  \
        sum_matrix(jobs, MGLU_DTYPE_##TYPE, tiles_##type);                                                             \
    }

KERNEL_OF_DTYPE(f32, F32)
KERNEL_OF_DTYPE(f16, F16)
KERNEL_OF_DTYPE(bf16, BF16)
KERNEL_OF_DTYPE(q8_0, Q8_0)
KERNEL_OF_DTYPE(q4_0, Q4_0)

const struct mglu_cpu_gemv_tokens KERNEL(gemv_panels) = {
    .least_batch = 3,
    .most_tokens = {12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12},
    .gemv = {[MGLU_DTYPE_F32] = panels_f32,
             [MGLU_DTYPE_F16] = panels_f16,
             [MGLU_DTYPE_BF16] = panels_bf16,
             [MGLU_DTYPE_Q8_0] = panels_q8_0,
             [MGLU_DTYPE_Q4_0] = panels_q4_0},
};
