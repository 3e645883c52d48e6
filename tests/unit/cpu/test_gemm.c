/* SPDX-License-Identifier: MIT */
#include "tests/unit/cpu/gemm_problem.h"

#include "backends/cpu/kernels/gemm_order.h"

#include <math.h>

/* GEMM of large batches, against sums in double. */

enum { MOST_ROWS = 40, MOST_TOKENS = 70, GUARD = 64, WIDE = 291 /* columns, enough for tiles */ };

/* A GEMM kernel, and the dtype of its x. */
struct kernel {
    mglu_cpu_gemm_fn *run;
    const struct mglu_cpu_gemm_kernels *of;
    int takes_bf16;
};

/* Makes the tokens of a job the blocks that its kernel needs, to be freed. */
static float *pack_tokens(const struct problem *p, const struct kernel *kernel, const int32_t *tokens,
                          struct mglu_cpu_gemm *job)
{
    const size_t element_bytes = kernel->takes_bf16 ? sizeof(uint16_t) : sizeof(float);
    const size_t words = (size_t)p->matrix.groups * MGLU_GROUP_COLUMNS * element_bytes / sizeof(float);
    const int32_t block = kernel->of->block_tokens;
    float *blocks = make((size_t)(job->count / block + 1) * (size_t)block * words * sizeof *blocks);

    for (int32_t first = 0; first < job->count; first += block)
        kernel->of->pack_x(&(struct mglu_cpu_pack_x){
            .x = kernel->takes_bf16 ? (const char *)p->x_bf16 : (const char *)p->x,
            .x_stride = p->x_columns * element_bytes,
            .tokens = tokens + first,
            .count = job->count - first < block ? job->count - first : block,
            .words = (int64_t)words,
            .packed = blocks + (size_t)first * words,
        });
    job->x = (const char *)blocks;
    job->x_stride = (size_t)block * words * sizeof *blocks;
    return blocks;
}

/* Floats of the sums of so many tokens, which are written in whole blocks. */
static size_t count_sums(const struct kernel *kernel, int32_t tokens)
{
    const int32_t block = kernel->of->block_tokens;

    return (size_t)((tokens + block - 1) / block * block * kernel->of->tile_rows);
}

/* Twice the tokens in the order 1, 0, 3, 2, ...: a last one without a partner stays in place, and some are listed
 * twice. */
static int32_t list_tokens(const struct problem *p, int32_t *tokens)
{
    int32_t count = p->tokens + p->tokens / 3;

    for (int32_t i = 0; i < count; i++)
        tokens[i] = i < p->tokens ? ((i ^ 1) < p->tokens ? i ^ 1 : i) : i - p->tokens;
    return count;
}

static void expect_sum(const struct problem *p, int64_t row, int32_t token, int32_t mask, float got)
{
    const double units = fmin((double)p->h, 8 + sqrt((double)p->h));
    const float *x = p->x + (size_t)token * p->x_columns;
    double want = 0, magnitude = 0;

    for (int64_t column = 0; column < p->h; column++) {
        double product = (double)x[column] * p->values[row * p->h + column];
        uint32_t word = mask < 0 ? ~0u : p->masks[(row * p->matrix.groups + column / 32) * p->n_masks + mask];
        magnitude += fabs(product);
        want += mglu_format_mask_bit(word, (mglu_index)column) ? product : 0;
    }
    if (!(fabs((double)got - want) <= (p->fill == FILL_INTEGERS ? 0 : units * 0x1p-24 * magnitude)))
        fail_msg("%s fill=%d h=%d row=%d token=%d mask=%d: got %a, want %a, error %g of %g units",
                 mglu_dtype_name(p->dtype), (int)p->fill, (int)p->h, (int)row, (int)token, (int)mask, (double)got, want,
                 fabs((double)got - want) / (0x1p-24 * magnitude), units);
}

static void check_mask(const struct problem *p, const struct kernel *kernel, int32_t mask)
{
    int32_t tokens[2 * MOST_TOKENS], count = list_tokens(p, tokens);
    const int32_t most = kernel->of->tile_rows;
    const size_t floats = count_sums(kernel, count);
    float *sums = make((floats + GUARD) * sizeof *sums);
    struct mglu_cpu_gemm job = {.matrix = &p->matrix, .mask = mask, .count = count, .sums = sums};

    float *packed = pack_tokens(p, kernel, tokens, &job);
    for (job.first_row = 0; job.first_row < p->rows; job.first_row += most) {
        job.rows = p->rows - job.first_row < most ? (int32_t)(p->rows - job.first_row) : most;
        kernel->run(&job);
        for (int32_t i = 0; i < count; i++)
            for (int32_t r = 0; r < job.rows; r++)
                expect_sum(p, job.first_row + r, tokens[i], mask, sums[i * most + r]);
    }
    for (size_t i = 0; i < GUARD; i++)
        assert_true(sums[floats + i] == 0);
    free(sums), free(packed);
}

static void check_kernel(struct problem p, const struct kernel *kernel, uint64_t seed)
{
    p = make_problem(p, seed);
    check_mask(&p, kernel, MGLU_CPU_NO_MASK);
    for (int32_t mask = 0; mask<p.n_masks; mask += p.n_masks> 4 ? 5 : 1)
        check_mask(&p, kernel, mask);
    free_problem(&p);
}

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
    return (struct kernel){tiles->gemm, isa->gemm, 1};
}

static void check_tiles(const struct mglu_cpu_isa *isa, struct problem p, uint64_t seed)
{
    const struct kernel tiles = tiles_of(isa, p.h);

    p.dtype = MGLU_DTYPE_BF16;
    if (tiles.run)
        check_kernel(p, &tiles, seed);
}

/* The case for each dtype of weights, and for x in bf16 where there are kernels for it. */
static void check_all(const struct mglu_cpu_isa *isa, struct problem p, uint64_t seed)
{
    const struct kernel bf16 = {isa->gemm_bf16, isa->gemm, 1};

    for (p.dtype = MGLU_DTYPE_F32; p.dtype < MGLU_DTYPE_COUNT; p.dtype++)
        if (isa->gemm->gemm[p.dtype] && !reuses_gemm(isa))
            check_kernel(p, &(struct kernel){isa->gemm->gemm[p.dtype], isa->gemm, 0}, seed);
    p.dtype = MGLU_DTYPE_BF16;
    if (bf16.run && !reuses_gemm_bf16(isa))
        check_kernel(p, &bf16, seed);
    check_tiles(isa, p, seed);
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
        }
}

/* Every h up to 200, and those around the ends of panels and around the changes of the number of chains. */
static int64_t next_h(int64_t h)
{
    static const int64_t larger[] = {223, 225,  255,  256,  257,  511,  512,  513,   991,
                                     993, 1023, 1025, 2047, 2049, 4096, 4099, 32768, 32801};

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
    struct mglu_cpu_gemm job = {.matrix = &p->matrix, .rows = p->rows, .mask = 0, .count = count, .sums = sums};
    float *packed = pack_tokens(p, kernel, tokens, &job);

    kernel->run(&job);
    free(packed);
}

/* A token's bits in batches of every size, at every index. */
static void check_bits(const struct kernel *kernel, mglu_dtype dtype)
{
    struct problem p =
        make_problem((struct problem){.h = 333, .rows = 7, .n_masks = 1, .tokens = MOST_TOKENS, .dtype = dtype}, 1);
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
    const struct kernel tiles = tiles_of(isa, 333);

    if (!reuses_gemm(isa))
        check_bits(&(struct kernel){isa->gemm->gemm[MGLU_DTYPE_F16], isa->gemm, 0}, MGLU_DTYPE_F16);
    if (tiles.run)
        check_bits(&tiles, MGLU_DTYPE_BF16);
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
    };

    return run_on_isas(tests, sizeof tests / sizeof tests[0]);
}
