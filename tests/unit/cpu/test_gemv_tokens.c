/* SPDX-License-Identifier: MIT */
#include "tests/unit/cpu/gemv_problem.h"
#include "tests/unit/sample.h"

#include <math.h>

/* GEMV for several tokens at once, and batches that it computes. */

/* The lanes of model_lanes(), each product added as it is. */
static float model_fused_lanes(const struct problem *p, int64_t row, int32_t mask)
{
    const char *weights = p->weights + p->matrix.stride_bytes * (size_t)row;
    const char *scales = p->scales + p->matrix.scale_stride * (size_t)row;
    float lanes[MGLU_GROUP_COLUMNS] = {0};

    for (int64_t column = 0; column < p->matrix.groups * MGLU_GROUP_COLUMNS; column++) {
        uint32_t word = mask < 0 ? ~0u : p->masks[(row * p->matrix.groups + column / 32) * p->n_masks + mask];
        if (mglu_format_mask_bit(word, (mglu_index)column))
            lanes[column % 32] =
                fmaf(mglu_load_weight(weights, scales, p->dtype, (size_t)column), p->x[column], lanes[column % 32]);
    }
    return fold(lanes, 16);
}

/* Eight lanes, a panel of some groups at a time; what a mask does not select is multiplied as +0. */
static float model_panels(const struct problem *p, int64_t row, int32_t mask)
{
    const char *weights = p->weights + p->matrix.stride_bytes * (size_t)row;
    const char *scales = p->scales + p->matrix.scale_stride * (size_t)row;
    const int64_t groups = p->matrix.groups, panel = groups < 16 ? 4 : groups < 32 ? 6 : groups <= 1024 ? 8 : 16;
    float lanes[8] = {0}, of_panel[8] = {0};

    for (int64_t column = 0; column < groups * MGLU_GROUP_COLUMNS; column++) {
        const uint32_t word = mask < 0 ? ~0u : p->masks[(row * groups + column / 32) * p->n_masks + mask];
        const float weight = mglu_format_mask_bit(word, (mglu_index)column)
                                 ? mglu_load_weight(weights, scales, p->dtype, (size_t)column)
                                 : 0;
        of_panel[column % 8] = fmaf(weight, p->x[column], of_panel[column % 8]);
        if ((column + 1) % (panel * MGLU_GROUP_COLUMNS) == 0 || column + 1 == groups * MGLU_GROUP_COLUMNS)
            for (int lane = 0; lane < 8; lane++) {
                lanes[lane] += of_panel[lane];
                of_panel[lane] = 0;
            }
    }
    return fold(lanes, 4);
}

enum { MOST_TOKENS = MGLU_CPU_GEMV_MOST_TOKENS };

/* The sums of rows 1.. of each token of a call. */
struct sums {
    float totals[MOST_TOKENS][MGLU_CPU_BLOCK_ROWS];
    float gates[MOST_TOKENS][MGLU_MAX_MASKS][MGLU_CPU_BLOCK_ROWS];
};

static void run_tokens(const struct mglu_cpu_gemv_tokens *kernels, const struct problem *problems, int32_t tokens,
                       struct sums *sums)
{
    struct mglu_cpu_gemv jobs[MOST_TOKENS] = {0};

    for (int32_t t = 0; t < tokens; t++)
        jobs[t] = (struct mglu_cpu_gemv){.matrix = &problems->matrix,
                                         .first_row = 1,
                                         .rows = ROWS - 1,
                                         .n = problems->n_masks,
                                         .x = problems[t].x,
                                         .totals = sums->totals[t],
                                         .gates = sums->gates[t],
                                         .tokens = tokens};
    kernels->gemv[problems->dtype](jobs);
}

/* Compares the sums of each token of the largest call with those of a model. */
static void check_largest(const struct problem *problems, int32_t tokens, model_fn *model, const struct sums *sums)
{
    for (int32_t t = 0; t < tokens; t++) {
        struct problem of_token = *problems;
        of_token.x = problems[t].x;
        for (int32_t r = 0; r < ROWS - 1; r++)
            for (int32_t mask = -1; mask < problems->n_masks; mask++)
                expect_same(&of_token, model, r + 1, mask, mask < 0 ? sums->totals[t][r] : sums->gates[t][mask][r]);
    }
}

/* The sums of a call for fewer tokens are those of the largest. */
static void check_smaller(const struct mglu_cpu_gemv_tokens *kernels, const struct problem *problems, int32_t tokens,
                          const struct sums *largest)
{
    struct sums sums;

    run_tokens(kernels, problems, tokens, &sums);
    for (int32_t t = 0; t < tokens; t++)
        for (int32_t r = 0; r < ROWS - 1; r++) {
            assert_true(same_bits(sums.totals[t][r], largest->totals[t][r]));
            for (int32_t mask = 0; mask < problems->n_masks; mask++)
                assert_true(same_bits(sums.gates[t][mask][r], largest->gates[t][mask][r]));
        }
}

/* Every number of tokens that a call for n_masks masks computes of some batch: see struct mglu_cpu_gemv_tokens. */
static void check_batches(const struct mglu_cpu_gemv_tokens *kernels, const struct problem *problems, model_fn *model)
{
    const int32_t most = kernels->most_tokens[problems->n_masks];
    int checked[MOST_TOKENS + 1] = {0};
    struct sums largest;

    run_tokens(kernels, problems, most, &largest);
    check_largest(problems, most, model, &largest);
    for (int32_t batch = kernels->least_batch; batch < 3 * most; batch++) {
        const int32_t calls = (batch + most - 1) / most;
        for (int32_t tokens = batch / calls; tokens <= (batch + calls - 1) / calls; tokens++)
            if (!checked[tokens]++)
                check_smaller(kernels, problems, tokens, &largest);
    }
}

static void check_gemv_tokens(const struct mglu_cpu_gemv_tokens *kernels, model_fn *model)
{
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (mglu_dtype dtype = 0; dtype < MGLU_DTYPE_COUNT; dtype++)
            for (int32_t n_masks = 0; n_masks <= MGLU_MAX_MASKS && kernels->most_tokens[n_masks];
                 n_masks += TEST_IS_SLOW ? 3 : 1) {
                const enum fill fill = (enum fill)((s + (size_t)n_masks) % FILL_COUNT);
                struct problem p[MOST_TOKENS];
                for (int32_t t = 0; t < MOST_TOKENS; t++) {
                    p[t] = (struct problem){.h = sizes[s], .n_masks = n_masks, .dtype = dtype};
                    make_problem(&p[t], fill, s * 1000 + (uint64_t)n_masks * 10 + (uint64_t)t);
                }
                check_batches(kernels, p, model);
                for (int32_t t = 0; t < MOST_TOKENS; t++)
                    free_problem(&p[t]);
            }
}

static void gemv_of_several_tokens_adds_in_the_order_of_gemv(void **state)
{
    const struct mglu_cpu_isa *isa = ISA_WITH_OWN(state, gemv_tokens);

    if (!isa->gemv_tokens)
        skip();
    check_gemv_tokens(isa->gemv_tokens, model_lanes);
}

static void fused_gemv_rounds_each_product_with_its_sum(void **state)
{
    const struct mglu_cpu_isa *isa = ISA_WITH_OWN(state, gemv_fused);

    if (!isa->gemv_fused)
        skip();
    check_gemv_tokens(isa->gemv_fused, isa->gemv_tokens ? model_fused_lanes : model_panels);
}

/* One forward of a batch of tokens with the same x. */
static void check_places(struct rig *rig, const struct sample_shape *of, int64_t batch)
{
    uint32_t seed = 7;
    float *x = sample_array(MGLU_DTYPE_F32, (size_t)of->h, 1, &seed);
    float *xs = calloc((size_t)(batch * of->h), sizeof *xs), *y = calloc((size_t)(batch * of->out), sizeof *y);

    for (int64_t token = 0; token < batch; token++)
        memcpy(xs + token * of->h, x, (size_t)of->h * sizeof *x);
    assert_ok(rig_forward(rig, (mglu_forward_args){.batch = batch, .x = {.data = xs}, .y = {.data = y}}));
    for (int64_t token = 1; token < batch; token++)
        if (memcmp(y, y + token * of->out, (size_t)of->out * sizeof *y) != 0)
            fail_msg("%d masks, batch of %d: token %d differs from token 0", (int)of->n_masks, (int)batch, (int)token);
    free(x), free(xs), free(y);
}

static void a_token_has_the_same_bits_at_every_place_in_its_batch(void **state)
{
    enum { MOST_BATCH = 17 };
    const struct mglu_cpu_isa *isa = isa_of(state);
    const mglu_context_desc context = {.struct_size = sizeof context, .max_isa = isa->name};
    const mglu_layer_desc desc = {.struct_size = sizeof desc, .max_batch = MOST_BATCH};

    for (int32_t n_masks = 0; n_masks <= 5; n_masks++) {
        const struct sample_shape of = {
            n_masks ? MGLU_KIND_MASKED : MGLU_KIND_PLAIN, MGLU_DTYPE_F16, 300, 17, 3, n_masks, WITH_DOWN};
        struct sample sample = sample_make(&of, 1);
        struct rig rig = rig_make("cpu", &context, &sample.desc, &desc);
        for (int64_t batch = 2; batch <= MOST_BATCH; batch++)
            check_places(&rig, &of, batch);
        rig_free(&rig);
        sample_free(&sample);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gemv_of_several_tokens_adds_in_the_order_of_gemv),
        cmocka_unit_test(fused_gemv_rounds_each_product_with_its_sum),
        cmocka_unit_test(a_token_has_the_same_bits_at_every_place_in_its_batch),
    };

    return run_on_isas(tests, sizeof tests / sizeof tests[0]);
}
