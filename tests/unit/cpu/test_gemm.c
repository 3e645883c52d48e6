/* SPDX-License-Identifier: MIT */
#include "tests/unit/cpu/gemm_check.h"

#include "backends/cpu/kernels/gemm_order.h"

#include <float.h>
#include <math.h>

/* GEMM of large batches, against sums in double. */

enum { MOST_ROWS = 40, WIDE = 291 /* columns, enough for tiles */, WIDER = 419 /* also in parts */ };

static int reuses_gemm(const struct mglu_cpu_isa *isa)
{
    return is_reused(isa, offsetof(struct mglu_cpu_isa, gemm));
}

static int reuses_gemm_bf16(const struct mglu_cpu_isa *isa)
{
    return is_reused(isa, offsetof(struct mglu_cpu_isa, gemm_bf16));
}

static const struct mglu_cpu_isa *isa_with_own_gemm(void **state)
{
    const struct mglu_cpu_isa *isa = isa_of(state);

    if (reuses_gemm(isa) && reuses_gemm_bf16(isa) && !isa->gemm_tiles)
        skip();
    return isa;
}

/* The kernel of tiles for rows of h columns, if there is one and this process may use it. */
static struct kernel tiles_of(const struct mglu_cpu_isa *isa, int64_t h)
{
    const struct mglu_cpu_tiles *tiles = isa->gemm_tiles;

    if (!tiles || (int64_t)mglu_format_groups((mglu_index)h) < tiles->least_groups || !mglu_cpu_may_use_tiles())
        return (struct kernel){0};
    return (struct kernel){.run = tiles->gemm, .of = isa->gemm, .takes_bf16 = 1};
}

static void check_tiles(const struct mglu_cpu_isa *isa, struct problem p, uint64_t seed)
{
    const struct kernel tiles = tiles_of(isa, p.h);

    p.dtype = MGLU_DTYPE_BF16;
    if (tiles.run)
        check_kernel(p, &tiles, seed);
}

/* The kernel of numbers in parts for rows of h columns, if there is one and this process may use it. */
static struct kernel split_of(const struct mglu_cpu_isa *isa, mglu_dtype dtype, int64_t h, int32_t parts_of_x)
{
    const struct mglu_cpu_split_tiles *split = isa->gemm_split;
    const int64_t groups = (int64_t)mglu_format_groups((mglu_index)h);

    if (!split || groups < split->least_groups || groups > split->most_groups || !mglu_cpu_may_use_tiles())
        return (struct kernel){0};
    return (struct kernel){.run = split->gemm[dtype][parts_of_x - 1],
                           .of = isa->gemm,
                           .parts_of_x = parts_of_x,
                           .split_x = split->pack_x[parts_of_x - 1]};
}

static void check_split(const struct mglu_cpu_isa *isa, struct problem p, uint64_t seed)
{
    for (p.dtype = MGLU_DTYPE_F32; p.dtype < MGLU_DTYPE_COUNT; p.dtype++)
        for (p.parts_of_x = 1; p.parts_of_x <= MGLU_CPU_MOST_PARTS; p.parts_of_x++) {
            const struct kernel split = split_of(isa, p.dtype, p.h, p.parts_of_x);
            if (split.run)
                check_kernel(p, &split, seed);
        }
}

/* The case for each dtype of weights, and for x in bf16 where there are kernels for it. */
static void check_all(const struct mglu_cpu_isa *isa, struct problem p, uint64_t seed)
{
    const struct kernel bf16 = {.run = isa->gemm_bf16, .of = isa->gemm, .takes_bf16 = 1};

    for (p.dtype = MGLU_DTYPE_F32; p.dtype < MGLU_DTYPE_COUNT; p.dtype++)
        if (isa->gemm->gemm[p.dtype] && !reuses_gemm(isa))
            check_kernel(p, &(struct kernel){.run = isa->gemm->gemm[p.dtype], .of = isa->gemm}, seed);
    p.dtype = MGLU_DTYPE_BF16;
    if (bf16.run && !reuses_gemm_bf16(isa))
        check_kernel(p, &bf16, seed);
    check_tiles(isa, p, seed);
    check_split(isa, p, seed);
}

static void gemm_is_within_the_bound_for_every_number_of_tokens(void **state)
{
    const struct mglu_cpu_isa *isa = isa_with_own_gemm(state);

    for (int32_t tokens = 1; tokens <= MOST_TOKENS; tokens = (int32_t)next_size(tokens, 20))
        for (enum fill fill = FILL_REAL; fill <= FILL_INTEGERS; fill++) {
            struct problem p = {.h = 67, .rows = 5, .n_masks = 2, .tokens = tokens, .fill = fill};
            check_all(isa, p, (uint64_t)tokens);
            p.h = WIDE;
            check_tiles(isa, p, (uint64_t)tokens);
            p.h = WIDER;
            check_split(isa, p, (uint64_t)tokens);
        }
}

static void gemm_is_within_the_bound_for_every_number_of_rows_and_masks(void **state)
{
    const struct mglu_cpu_isa *isa = isa_with_own_gemm(state);

    for (int32_t rows = 1; rows <= MOST_ROWS; rows = (int32_t)next_size(rows, 18))
        for (enum fill fill = FILL_REAL; fill <= FILL_INTEGERS; fill++) {
            struct problem p = {
                .h = 41, .rows = rows, .n_masks = rows % (MGLU_MAX_MASKS + 1), .tokens = 9, .fill = fill};
            check_all(isa, p, (uint64_t)rows);
            p.h = WIDE;
            check_tiles(isa, p, (uint64_t)rows);
            p.h = WIDER;
            check_split(isa, p, (uint64_t)rows);
        }
}

/* Every h up to 200, and those around the ends of panels and around the changes of the number of chains. */
static int64_t next_h(int64_t h)
{
    static const int64_t larger[] = {223,  225,  255,  256,  257,  511,  512,   513,   991,   993,
                                     1023, 1025, 2047, 2049, 4096, 4099, 11264, 11265, 32768, 32801};

    if (h < 200)
        return next_size(h, 66);
    for (size_t i = 0; i < sizeof larger / sizeof larger[0]; i++)
        if (larger[i] > h)
            return larger[i];
    return 0;
}

/* Of the longest rows, where that is slow, only those whose errors add up. */
static int is_tested(int64_t h, enum fill fill)
{
    return !TEST_IS_SLOW || h < 5000 || fill == FILL_FALLING;
}

static void gemm_keeps_the_error_bound_at_every_hidden_size(void **state)
{
    const struct mglu_cpu_isa *isa = isa_with_own_gemm(state);

    for (int64_t h = 1; h > 0; h = next_h(h))
        for (enum fill fill = FILL_REAL; fill < FILL_COUNT; fill++)
            if (is_tested(h, fill))
                check_all(isa, (struct problem){.h = h, .rows = 3, .n_masks = 1, .tokens = 7, .fill = fill},
                          (uint64_t)h);
}

static void rows_without_columns_sum_to_zero(void **state)
{
    const struct mglu_cpu_isa *isa = isa_with_own_gemm(state);

    check_all(isa, (struct problem){.h = 0, .rows = 3, .n_masks = 2, .tokens = 9}, 1);
}

/* Runs a kernel on the first `count` of `tokens`. */
static void run_first(const struct problem *p, const struct kernel *kernel, const int32_t *tokens, int32_t count,
                      float *sums)
{
    uint32_t not_finite = 0;
    struct mglu_cpu_gemm job = {
        .matrix = &p->matrix, .rows = p->rows, .mask = 0, .count = count, .sums = sums, .not_finite = &not_finite};
    float *packed = pack_tokens(p, kernel, tokens, &job);

    kernel->run(&job);
    free(packed);
}

/* A token's bits in batches of every size, at every index. */
static void check_bits(const struct kernel *kernel, mglu_dtype dtype)
{
    struct problem p = make_problem((struct problem){.h = WIDER,
                                                     .parts_of_x = kernel->parts_of_x,
                                                     .rows = 7,
                                                     .n_masks = 1,
                                                     .tokens = MOST_TOKENS,
                                                     .dtype = dtype},
                                    1);
    const int32_t rows = kernel->of->tile_rows;
    float *all = make(count_sums(kernel, MOST_TOKENS) * sizeof *all),
          *some = make(count_sums(kernel, MOST_TOKENS) * sizeof *all);
    int32_t tokens[MOST_TOKENS];

    for (int32_t i = 0; i < MOST_TOKENS; i++)
        tokens[i] = i;
    run_first(&p, kernel, tokens, MOST_TOKENS, all);
    for (int32_t first = 0; first < MOST_TOKENS; first++) {
        run_first(&p, kernel, tokens + first, MOST_TOKENS - first, some);
        for (int32_t i = first; i < MOST_TOKENS; i++)
            assert_memory_equal(all + i * rows, some + (i - first) * rows, (size_t)p.rows * sizeof *all);
    }
    free(all), free(some);
    free_problem(&p);
}

static void a_sum_does_not_depend_on_the_other_tokens(void **state)
{
    const struct mglu_cpu_isa *isa = isa_with_own_gemm(state);
    const struct kernel tiles = tiles_of(isa, WIDER), split = split_of(isa, MGLU_DTYPE_F16, WIDER, 3);

    if (!reuses_gemm(isa))
        check_bits(&(struct kernel){.run = isa->gemm->gemm[MGLU_DTYPE_F16], .of = isa->gemm}, MGLU_DTYPE_F16);
    if (tiles.run)
        check_bits(&tiles, MGLU_DTYPE_BF16);
    if (split.run)
        check_bits(&split, MGLU_DTYPE_F16);
}

/* The number of times that a product is rounded, against c of docs/semantics.md, class A. */
static void no_product_is_rounded_more_often_than_c(void **state)
{
    for (int64_t h = 1; h <= MGLU_CPU_GEMM_COLUMNS; h++)
        for (int64_t panel = PANEL_WORDS; panel <= 2 * PANEL_WORDS; panel *= 2) { /* a word may be two columns */
            int64_t chain = chain_columns((int64_t)mglu_format_groups((mglu_index)h));
            int64_t in_panel = h < panel ? h : panel, panels = (h + panel - 1) / panel;
            int64_t roundings = (chain < h ? chain : h) + panels - 1;
            for (int64_t chains = 1; chains * chain < in_panel; chains *= 2)
                roundings++;
            assert_true((double)roundings <= fmin((double)h, 8 + sqrt((double)h)));
        }
}

/* The same by tiles, which round it as gemm_tiles.c says. */
static void no_product_is_rounded_more_often_than_c_by_tiles(void **state)
{
    const int64_t in_panel = 15 + 1 + 7, panel = 256;

    for (int64_t h = 225; h <= MGLU_CPU_GEMM_COLUMNS; h++)
        assert_true((double)(in_panel + (h + panel - 1) / panel - 1) <= 8 + sqrt((double)h));
}

/* In parts, as gemm_split_tiles.c says; what it leaves out, and rounds in the smaller sums, is less than one unit. */
static void no_product_is_rounded_more_often_than_c_in_parts(void **state)
{
    const struct mglu_cpu_isa *isa = isa_of(state);

    if (!isa->gemm_split)
        skip();
    for (int64_t groups = isa->gemm_split->least_groups; groups <= isa->gemm_split->most_groups; groups++)
        for (int64_t parts = 1; parts <= 2; parts++) {
            const int64_t panel = parts > 1 && groups <= 352 ? 4 : 8, panels = (groups + panel - 1) / panel;
            const int64_t roundings = 15 + 1 + (parts * panel - 1) + 1 + panels - 1;
            const double h = (double)(groups * MGLU_GROUP_COLUMNS - 31); /* the shortest row of so many groups */
            assert_true((double)roundings + 1 <= 1 + 8 + sqrt(h));
        }
}

/* Infinite weights, an infinite x, and the largest of f32, which rounds to infinity in bf16, are noted by row. */
static void rows_without_finite_sums_are_noted(void **state)
{
    const struct mglu_cpu_isa *isa = isa_with_own_gemm(state);
    const struct kernel split = split_of(isa, MGLU_DTYPE_F16, WIDER, 3);
    static const float spoilers[] = {INFINITY, -INFINITY, NAN, FLT_MAX};

    if (!split.run)
        skip();
    for (size_t i = 0; i < sizeof spoilers / sizeof spoilers[0]; i++) {
        struct problem p = make_problem(
            (struct problem){.h = WIDER, .rows = 7, .tokens = 20, .dtype = MGLU_DTYPE_F16, .parts_of_x = 3}, 1);
        float *sums = make(count_sums(&split, p.tokens) * sizeof *sums);
        uint32_t not_finite = 0;
        struct mglu_cpu_gemm job = {.matrix = &p.matrix,
                                    .rows = p.rows,
                                    .mask = MGLU_CPU_NO_MASK,
                                    .count = p.tokens,
                                    .sums = sums,
                                    .not_finite = &not_finite};
        int32_t tokens[20];
        for (int32_t t = 0; t < 20; t++)
            tokens[t] = t;
        if (i < 3)
            mglu_store_element(p.weights + p.matrix.stride_bytes * 5, p.dtype, WIDER - 1, spoilers[i]);
        float *packed = pack_tokens(&p, &split, tokens, &job);
        split.run(&job);
        assert_int_equal(not_finite, i < 3 ? 1 << 5 : 0);
        free(packed);
        p.x[17 * p.x_columns + 300] = spoilers[i];
        packed = pack_tokens(&p, &split, tokens, &job);
        split.run(&job);
        assert_int_equal(not_finite, (1 << 7) - 1);
        free(packed), free(sums);
        free_problem(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gemm_is_within_the_bound_for_every_number_of_tokens),
        cmocka_unit_test(gemm_is_within_the_bound_for_every_number_of_rows_and_masks),
        cmocka_unit_test(gemm_keeps_the_error_bound_at_every_hidden_size),
        cmocka_unit_test(rows_without_columns_sum_to_zero),
        cmocka_unit_test(a_sum_does_not_depend_on_the_other_tokens),
        cmocka_unit_test(no_product_is_rounded_more_often_than_c),
        cmocka_unit_test(no_product_is_rounded_more_often_than_c_by_tiles),
        cmocka_unit_test(no_product_is_rounded_more_often_than_c_in_parts),
        cmocka_unit_test(rows_without_finite_sums_are_noted),
    };

    return run_on_isas(tests, sizeof tests / sizeof tests[0]);
}
