/* SPDX-License-Identifier: MIT */
#include "tests/unit/cpu/isas.h"
#include "tests/unit/sample.h"

/* Which kernels compute which batches, and the memory for them. */

enum { MOST_TOKENS = 40 };

static struct mglu_cpu_plan plan_of(const struct mglu_cpu_isa *isa, mglu_dtype dtype, int32_t n_masks)
{
    const mglu_packed_weights packed = {
        .kind = n_masks ? MGLU_KIND_MASKED : MGLU_KIND_PLAIN,
        .dtype = dtype,
        .hidden_size = 2048,
        .intermediate_size = 512,
        .n_masks = n_masks,
    };
    const mglu_layer_desc layer = {.x_dtype = MGLU_DTYPE_F32, .max_batch = MOST_TOKENS};

    return mglu_cpu_make_plan(isa, &packed, &layer);
}

/* AVX2 has blocks of 8 tokens, AVX-512 of 16. */
static const struct {
    const char *isa;
    mglu_dtype dtype;
    int32_t n_masks;
    int by_gemm[12]; /* batches; every other one up to 24 tokens is computed by GEMV */
} batches[] = {
    {"avx2", MGLU_DTYPE_F16, 0, {8, 13, 14, 15, 16, 21, 22, 23, 24}},
    {"avx2", MGLU_DTYPE_BF16, 4, {13, 14, 15, 16, 21, 22, 23, 24}},
    {"avx2", MGLU_DTYPE_Q4_0, 0, {8, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23}},
    {"avx512", MGLU_DTYPE_F16, 0, {10, 11, 12, 13, 14, 15, 16, 21, 22, 23, 24}},
    {"avx512", MGLU_DTYPE_F32, 1, {13, 14, 15, 16, 21, 22, 23, 24}},
};

static int is_in(const int *tokens, int32_t batch)
{
    for (int i = 0; i < 12 && tokens[i]; i++)
        if (tokens[i] == batch)
            return 1;
    return 0;
}

static void gemm_computes_no_batch_with_few_tokens_in_its_last_block(void **state)
{
    const struct mglu_cpu_isa *isa = isa_of(state);

    for (size_t i = 0; i < sizeof batches / sizeof batches[0]; i++) {
        if (strcmp(batches[i].isa, isa->name) != 0)
            continue;
        const struct mglu_cpu_plan plan = plan_of(isa, batches[i].dtype, batches[i].n_masks);
        for (int32_t batch = 1; batch < 24; batch++)
            assert_int_equal(mglu_cpu_uses_gemm(&plan, &plan.project_batches, batch), is_in(batches[i].by_gemm, batch));
    }
}

static void no_smaller_batch_needs_more_memory(void **state)
{
    const struct mglu_cpu_isa *isa = isa_of(state);
    const mglu_context_desc context = {.struct_size = sizeof context, .max_isa = isa->name};
    const mglu_layer_desc layer = {.struct_size = sizeof layer, .max_batch = MOST_TOKENS};

    for (int32_t n_masks = 0; n_masks <= MGLU_MAX_MASKS; n_masks += 4) {
        const mglu_kind kind = n_masks ? MGLU_KIND_MASKED : MGLU_KIND_PLAIN;
        struct sample sample =
            sample_make(&(struct sample_shape){kind, MGLU_DTYPE_F16, 96, 40, 33, n_masks, WITH_DOWN}, 1);
        struct rig rig = rig_make("cpu", &context, &sample.desc, &layer);
        for (int64_t batch = 1; batch <= MOST_TOKENS; batch++)
            assert_true(mglu_layer_workspace_size_for(rig.layer, batch) >=
                        mglu_layer_workspace_size_for(rig.layer, batch - 1));
        rig_free(&rig);
        sample_free(&sample);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gemm_computes_no_batch_with_few_tokens_in_its_last_block),
        cmocka_unit_test(no_smaller_batch_needs_more_memory),
    };

    return run_on_isas(tests, sizeof tests / sizeof tests[0]);
}
