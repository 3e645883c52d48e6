/* SPDX-License-Identifier: MIT */
#include "tests/unit/cpu/isas.h"
#include "tests/unit/sample.h"

/* Which kernels compute which batches, and the memory for them. */

enum { MOST_TOKENS = 40 };

static struct mglu_cpu_plan plan_of(const struct mglu_cpu_isa *isa, mglu_dtype dtype, int32_t n_masks, uint32_t flags)
{
    const mglu_packed_weights packed = {
        .kind = n_masks ? MGLU_KIND_MASKED : MGLU_KIND_PLAIN,
        .dtype = dtype,
        .hidden_size = 2048,
        .intermediate_size = 512,
        .n_masks = n_masks,
    };
    const mglu_layer_desc layer = {.flags = flags, .x_dtype = MGLU_DTYPE_F32, .max_batch = MOST_TOKENS};

    return mglu_cpu_make_plan(isa, &packed, &layer);
}

/* Batches of 1 to 24 tokens, by GEMV (-) and by GEMM (+). AVX2 has blocks of 8 tokens, AVX-512 of 16. */
static const struct {
    const char *isa;
    mglu_dtype dtype;
    int32_t n_masks;
    uint32_t flags;
    const char *kernels;
} batches[] = {
    {"avx2", MGLU_DTYPE_F16, 0, 0, "-------+----++++----++++"},
    {"avx2", MGLU_DTYPE_BF16, 4, 0, "------------++++----++++"},
    {"avx2", MGLU_DTYPE_Q4_0, 0, 0, "-------+----++++++++++++"},
    {"avx512", MGLU_DTYPE_F16, 0, 0, "---------+++++++----++++"},
    {"avx512", MGLU_DTYPE_F32, 1, 0, "------------++++----++++"},
    {"avx512", MGLU_DTYPE_Q4_0, 1, MGLU_LAYER_ALLOW_QUANTISED_X, "---+++++++++++++++++++++"},
    {"avx512", MGLU_DTYPE_Q8_0, 16, MGLU_LAYER_ALLOW_QUANTISED_X, "----------++++++++++++++"},
    {"avx512", MGLU_DTYPE_F16, 4, MGLU_LAYER_REPRODUCIBLE, "------------------------"},
};

static void gemm_computes_the_batches_for_which_it_is_faster(void **state)
{
    const struct mglu_cpu_isa *isa = isa_of(state);

    for (size_t i = 0; i < sizeof batches / sizeof batches[0]; i++) {
        if (strcmp(batches[i].isa, isa->name) != 0)
            continue;
        const struct mglu_cpu_plan plan = plan_of(isa, batches[i].dtype, batches[i].n_masks, batches[i].flags);
        char kernels[] = "------------------------";
        for (int32_t batch = 1; kernels[batch - 1]; batch++)
            if (mglu_cpu_uses_gemm(&plan, &plan.project_batches, batch))
                kernels[batch - 1] = '+';
        assert_string_equal(kernels, batches[i].kernels);
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
        cmocka_unit_test(gemm_computes_the_batches_for_which_it_is_faster),
        cmocka_unit_test(no_smaller_batch_needs_more_memory),
    };

    return run_on_isas(tests, sizeof tests / sizeof tests[0]);
}
