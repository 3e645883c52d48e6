/* SPDX-License-Identifier: MIT */
#include "tests/unit/cpu/gemv_problem.h"

#include <math.h>

/* Runs the kernel on rows 1.. of the problem and compares every sum. */
static void check_problem(mglu_cpu_gemv_fn *sums, const struct problem *p, const void *x, model_fn *model)
{
    float totals[MGLU_CPU_BLOCK_ROWS], gates[MGLU_MAX_MASKS][MGLU_CPU_BLOCK_ROWS];
    const struct mglu_cpu_gemv job = {.matrix = &p->matrix,
                                      .first_row = 1,
                                      .rows = ROWS - 1,
                                      .n = p->n,
                                      .mask_ids = p->n ? p->ids : NULL,
                                      .x = x,
                                      .totals = totals,
                                      .gates = p->n ? gates : NULL};

    sums(&job);
    for (int32_t r = 0; r < ROWS - 1; r++) {
        expect_same(p, model, r + 1, -1, totals[r]);
        for (int32_t i = 0; i < p->n; i++)
            expect_same(p, model, r + 1, p->ids[i], gates[i][r]);
    }
}

static void select_all_masks(struct problem *p)
{
    p->n = p->n_masks;
    for (int32_t i = 0; i < p->n; i++)
        p->ids[i] = i;
}

/* As many ids as there are masks, in any order, some twice. */
static void select_some_masks(struct problem *p, uint64_t seed)
{
    p->n = p->n_masks;
    for (int32_t i = 0; i < p->n; i++)
        p->ids[i] = (int32_t)(next_random(&seed) % (uint32_t)p->n_masks);
}

static void gemv_adds_in_the_documented_order(void **state)
{
    const struct mglu_cpu_isa *isa = ISA_WITH_OWN(state, gemv);

    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (mglu_dtype dtype = 0; dtype < MGLU_DTYPE_COUNT; dtype++)
            for (int32_t n_masks = 0; n_masks <= MGLU_MAX_MASKS; n_masks++)
                for (enum fill fill = FILL_REAL; fill < FILL_COUNT; fill++) {
                    struct problem p = {.h = sizes[s], .n_masks = n_masks, .dtype = dtype};
                    make_problem(&p, fill, s * 1000 + (uint64_t)n_masks);
                    select_all_masks(&p);
                    check_problem(isa->gemv[p.dtype], &p, p.x, model_lanes);
                    select_some_masks(&p, s);
                    check_problem(isa->gemv[p.dtype], &p, p.x, model_lanes);
                    free_problem(&p);
                }
}

static void gemv_lookup_adds_in_its_documented_order(void **state)
{
    const struct mglu_cpu_isa *isa = ISA_WITH_OWN(state, gemv_lookup);

    if (!isa->gemv_lookup)
        skip();
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (mglu_dtype dtype = 0; dtype < MGLU_DTYPE_COUNT; dtype++)
            for (int32_t n_masks = MGLU_CPU_LEAST_LOOKUP; n_masks <= MGLU_MAX_MASKS; n_masks++)
                for (enum fill fill = FILL_REAL; fill < FILL_COUNT; fill++) {
                    struct problem p = {.h = sizes[s], .n_masks = n_masks, .dtype = dtype};
                    make_problem(&p, fill, s * 1000 + (uint64_t)n_masks);
                    select_all_masks(&p);
                    check_problem(isa->gemv_lookup[p.dtype], &p, p.x, model_lookup);
                    free_problem(&p);
                }
}

static void gemv_pairs_adds_in_its_documented_order(void **state)
{
    const struct mglu_cpu_isa *isa = ISA_WITH_OWN(state, gemv_pairs);

    if (!isa->gemv_pairs)
        skip();
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (mglu_dtype dtype = 0; dtype < MGLU_DTYPE_COUNT; dtype++)
            for (int32_t n_masks = MGLU_CPU_LEAST_PAIRS; isa->gemv_pairs[dtype] && n_masks <= MGLU_MAX_MASKS; n_masks++)
                for (enum fill fill = FILL_REAL; fill < FILL_COUNT; fill++) {
                    struct problem p = {.h = sizes[s], .n_masks = n_masks, .dtype = dtype};
                    make_problem(&p, fill, s * 1000 + (uint64_t)n_masks);
                    select_all_masks(&p);
                    check_problem(isa->gemv_pairs[p.dtype], &p, p.x,
                                  n_masks < MGLU_CPU_PAIRS_OF_ALL ? model_pairs : model_pairs_of_columns);
                    select_some_masks(&p, s);
                    p.n = MGLU_CPU_LEAST_PAIRS + (int32_t)s % (MGLU_CPU_PAIRS_OF_ALL - MGLU_CPU_LEAST_PAIRS);
                    check_problem(isa->gemv_pairs[p.dtype], &p, p.x, model_pairs);
                    free_problem(&p);
                }
}

static uint16_t *x_in_bf16(const struct problem *p)
{
    uint16_t *x = make((size_t)p->matrix.groups * 64, 64);

    for (int64_t column = 0; column < p->h; column++)
        x[column] = mglu_f32_to_bf16(p->x[column]);
    return x;
}

static void bf16_gemv_of_integers_is_exact(void **state)
{
    const struct mglu_cpu_isa *isa = ISA_WITH_OWN(state, gemv_bf16);

    if (!isa->gemv_bf16)
        skip();
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (int32_t n_masks = 0; n_masks <= MGLU_MAX_MASKS; n_masks++) {
            struct problem p = {.h = sizes[s], .n_masks = n_masks, .dtype = MGLU_DTYPE_BF16};
            make_problem(&p, FILL_INTEGERS, s);
            uint16_t *x = x_in_bf16(&p);
            select_all_masks(&p);
            check_problem(isa->gemv_bf16, &p, x, model_lanes);
            select_some_masks(&p, s);
            check_problem(isa->gemv_bf16, &p, x, model_lanes);
            free(x);
            free_problem(&p);
        }
}

/* The bound of docs/semantics.md for class A: min(h, 8 + sqrt h) units of the sum of magnitudes. */
static void check_bf16_error(const struct mglu_cpu_isa *isa, const struct problem *p, const uint16_t *x)
{
    float totals[MGLU_CPU_BLOCK_ROWS], gates[MGLU_MAX_MASKS][MGLU_CPU_BLOCK_ROWS];
    const double units = fmin((double)p->h, 8 + sqrt((double)p->h));

    isa->gemv_bf16(&(struct mglu_cpu_gemv){
        .matrix = &p->matrix, .rows = ROWS, .n = p->n, .mask_ids = p->ids, .x = x, .totals = totals, .gates = gates});
    for (int32_t r = 0; r < ROWS; r++) {
        double total = 0, gate = 0, magnitude = 0;
        for (int64_t column = 0; column < p->h; column++) {
            double product =
                (double)mglu_load_element(p->weights + p->matrix.stride_bytes * (size_t)r, p->dtype, (size_t)column) *
                (double)mglu_bf16_to_f32(x[column]);
            uint32_t word = p->masks[(r * p->matrix.groups + column / 32) * p->n_masks + p->ids[0]];
            total += product;
            magnitude += fabs(product);
            gate += mglu_format_mask_bit(word, (mglu_index)column) ? product : 0;
        }
        assert_true(fabs((double)totals[r] - total) <= units * 0x1p-24 * magnitude);
        assert_true(fabs((double)gates[0][r] - gate) <= units * 0x1p-24 * magnitude);
    }
}

static void bf16_gemv_keeps_the_error_bound(void **state)
{
    const struct mglu_cpu_isa *isa = ISA_WITH_OWN(state, gemv_bf16);

    if (!isa->gemv_bf16)
        skip();
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        struct problem p = {.h = sizes[s], .n_masks = 1, .dtype = MGLU_DTYPE_BF16};
        make_problem(&p, FILL_REAL, s);
        uint16_t *x = x_in_bf16(&p);
        select_all_masks(&p);
        check_bf16_error(isa, &p, x);
        free(x);
        free_problem(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gemv_adds_in_the_documented_order),
        cmocka_unit_test(gemv_pairs_adds_in_its_documented_order),
        cmocka_unit_test(gemv_lookup_adds_in_its_documented_order),
        cmocka_unit_test(bf16_gemv_of_integers_is_exact),
        cmocka_unit_test(bf16_gemv_keeps_the_error_bound),
    };

    return run_on_isas(tests, sizeof tests / sizeof tests[0]);
}
