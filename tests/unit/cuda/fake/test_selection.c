/* SPDX-License-Identifier: MIT */
#include "use.h"

#include <stdio.h>

/* Which kernel is selected for a layer and a batch, and what the log says of it. */

/* A layer and a batch, and the kernel that is selected for them on sm_90. */
static void the_kernel_is_that_of_the_selection_table(void **state)
{
    static const struct {
        int32_t n_masks; /* 0: plain */
        mglu_dtype dtype, x;
        uint32_t flags;
        int64_t batch;
        const char *forced, *symbol;
        unsigned int threads;
    } cases[] = {
        {1, MGLU_DTYPE_F16, MGLU_DTYPE_F16, 0, 1, "", "mglu_simt_f16_xf16_m1", 128},
        {3, MGLU_DTYPE_F16, MGLU_DTYPE_F16, 0, 1, "", "mglu_mma8_f16_xf16_m4", 128},
        {2, MGLU_DTYPE_BF16, MGLU_DTYPE_BF16, 0, 2, "", "mglu_mma8_bf16_xbf16_m2", 128},
        {0, MGLU_DTYPE_F16, MGLU_DTYPE_F16, 0, 9, "", "mglu_mma16_f16_xf16_glu", 128},
        {0, MGLU_DTYPE_F16, MGLU_DTYPE_BF16, 0, 9, "", "mglu_simt_f16_xhalf_glu", 128},
        {9, MGLU_DTYPE_F32, MGLU_DTYPE_F32, 0, 9, "", "mglu_simt_f32_xf32_m16", 128},
        {1, MGLU_DTYPE_F16, MGLU_DTYPE_F16, MGLU_LAYER_REPRODUCIBLE, 1, "", "mglu_mma8_f16_xf16_m1", 128},
        {3, MGLU_DTYPE_F16, MGLU_DTYPE_F16, 0, 1, "simt:8", "mglu_simt_f16_xf16_m4", 256},
        {3, MGLU_DTYPE_F16, MGLU_DTYPE_F16, 0, 1, "mma16", "mglu_mma16_f16_xf16_m4", 128},
        {3, MGLU_DTYPE_F32, MGLU_DTYPE_F32, 0, 1, "mma16", "mglu_simt_f32_xf32_m4", 128},
        {2, MGLU_DTYPE_F32, MGLU_DTYPE_F32, 0, 1, "simt:16", "mglu_simt_f32_xf32_m2", 512},
        {9, MGLU_DTYPE_F32, MGLU_DTYPE_F32, 0, 1, "simt:16", "mglu_simt_f32_xf32_m16", 256},
        {3, MGLU_DTYPE_F16, MGLU_DTYPE_F16, 0, 1, "ring", "mglu_ring_f16_xf16_m4", 128},
        {0, MGLU_DTYPE_BF16, MGLU_DTYPE_F32, 0, 5, "ring", "mglu_ring_bf16_xf32_glu", 128},
        {9, MGLU_DTYPE_F32, MGLU_DTYPE_F32, 0, 1, "ring:16", "mglu_ring_f32_xf32_m16", 256},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct sample_shape shape = {
            cases[i].n_masks ? MGLU_KIND_MASKED : MGLU_KIND_PLAIN, cases[i].dtype, 64, 16, 0, cases[i].n_masks, 0};
        struct sample sample = sample_make(&shape, 3);
        mglu_layer_desc layer = {.struct_size = sizeof layer, .flags = cases[i].flags, .max_batch = 16};
        mglu_memory *x, *y;
        struct rig rig;

        layer.x_dtype = cases[i].x;
        setenv("MGLU_CUDA_VARIANT", cases[i].forced, 1);
        rig = rig_make("cuda", NULL, &sample.desc, &layer);
        assert_ok(mglu_memory_create(rig.device, 16 * 64 * sizeof(float), &x));
        assert_ok(mglu_memory_create(rig.device, 16 * 16 * sizeof(float), &y));
        fake_log_clear();
        assert_ok(rig_forward(&rig, (mglu_forward_args){.batch = cases[i].batch,
                                                        .x.data = mglu_memory_data(x),
                                                        .y.data = mglu_memory_data(y)}));
        assert_int_equal(fake_launch_count(), 1);
        assert_string_equal(fake_launch_at(0).symbol, cases[i].symbol);
        assert_int_equal(fake_launch_at(0).block_x, cases[i].threads);
        mglu_memory_destroy(&x);
        mglu_memory_destroy(&y);
        rig_free(&rig);
        sample_free(&sample);
    }
    unsetenv("MGLU_CUDA_VARIANT");
}

static void keep_line(void *user, mglu_log_level level, const char *text)
{
    snprintf(user, 256, "%s", text);
}

/* On sm_120, whose shared memory is the smallest. */
static void a_forced_engine_that_a_layer_cannot_have_is_named_with_the_reason(void **state)
{
    static const struct {
        const char *forced;
        mglu_kind kind;
        mglu_dtype dtype;
        int64_t h;
        const char *reason; /* NULL: it has it */
    } cases[] = {
        {"ring", MGLU_KIND_PLAIN, MGLU_DTYPE_F16, 8192, NULL},
        {"ring", MGLU_KIND_PLAIN, MGLU_DTYPE_F32, 8191, NULL},
        {"ring", MGLU_KIND_PLAIN, MGLU_DTYPE_F32, 8192, "ring is not used as requested: two blocks of weights"},
        {"mma8", MGLU_KIND_PLAIN, MGLU_DTYPE_F32, 64, "mma8 is not used as requested: no tensor core kernel"},
        {"simt", MGLU_KIND_MASKED, MGLU_DTYPE_F32, 64, NULL},
    };

    fake_settings()->architecture = fake_settings()->written_for = 120;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct sample_shape shape = {
            cases[i].kind, cases[i].dtype, cases[i].h, 16, 0, cases[i].kind == MGLU_KIND_MASKED ? 2 : 0, 0};
        char line[256] = "";
        const mglu_logger logger = {.user = line, .log = keep_line};
        const mglu_context_desc context = {.struct_size = sizeof context, .logger = &logger};
        const mglu_layer_desc layer = {.struct_size = sizeof layer, .max_batch = 1};
        struct sample sample = sample_make(&shape, 3);
        struct rig rig;

        setenv("MGLU_CUDA_VARIANT", cases[i].forced, 1);
        rig = rig_make("cuda", &context, &sample.desc, &layer);
        if (cases[i].reason)
            assert_non_null(strstr(line, cases[i].reason));
        else
            assert_string_equal(line, "");
        rig_free(&rig);
        sample_free(&sample);
    }
    unsetenv("MGLU_CUDA_VARIANT");
}

/* A persistent kernel has no more blocks of threads than the device holds, and more shared memory than others. */
static void the_ring_is_launched_once_for_what_is_resident(void **state)
{
    const struct sample_shape shape = {MGLU_KIND_MASKED, MGLU_DTYPE_F16, 256, 400, 0, 4, 0};
    mglu_layer_desc layer = {.struct_size = sizeof layer, .x_dtype = MGLU_DTYPE_F16, .max_batch = 2};
    struct sample sample = sample_make(&shape, 3);
    mglu_memory *x, *y;
    struct rig rig;

    fake_settings()->multiprocessors = 2;
    setenv("MGLU_CUDA_VARIANT", "ring", 1);
    rig = rig_make("cuda", NULL, &sample.desc, &layer);
    assert_int_equal(mglu_layer_accuracy(rig.layer), MGLU_ACCURACY_A);
    assert_ok(mglu_memory_create(rig.device, 2 * 256 * sizeof(uint16_t), &x));
    assert_ok(mglu_memory_create(rig.device, 2 * 400 * sizeof(float), &y));
    fake_log_clear();
    assert_ok(rig_forward(
        &rig, (mglu_forward_args){.batch = 2, .x.data = mglu_memory_data(x), .y.data = mglu_memory_data(y)}));
    assert_int_equal(fake_launch_count(), 1);
    assert_string_equal(fake_launch_at(0).symbol, "mglu_ring_f16_xf16_m4");
    assert_int_equal(fake_launch_at(0).grid_x, 8);
    assert_int_equal(fake_launch_at(0).grid_y, 1);
    assert_true(fake_launch_at(0).shared_bytes > 48 << 10);
    unsetenv("MGLU_CUDA_VARIANT");
    mglu_memory_destroy(&x);
    mglu_memory_destroy(&y);
    rig_free(&rig);
    sample_free(&sample);
}

/* The tensor-core kernels flip signs, which would turn an infinite weight into NaN where the contract requires a
 * select. */
static void infinite_weights_do_not_run_on_tensor_cores(void **state)
{
    const struct sample_shape shape = {MGLU_KIND_MASKED, MGLU_DTYPE_F16, 64, 16, 0, 4, 0};
    mglu_layer_desc layer = {.struct_size = sizeof layer, .x_dtype = MGLU_DTYPE_F16, .max_batch = 16};
    const uint16_t infinite = 0x7c00;

    for (int k = 0; k < 2; k++) {
        struct sample sample = sample_make(&shape, 3);
        struct rig rig;

        if (k == 1)
            memcpy((char *)sample.memory[0] + 77 * sizeof infinite, &infinite, sizeof infinite);
        sample.desc.flags = MGLU_WEIGHTS_ALLOW_NONFINITE;
        rig = rig_make("cuda", NULL, &sample.desc, &layer);
        assert_int_equal(mglu_layer_accuracy(rig.layer), k == 1 ? MGLU_ACCURACY_A : MGLU_ACCURACY_B);
        rig_free(&rig);
        sample_free(&sample);
    }
}

static void keep_kernel_line(void *user, mglu_log_level level, const char *text)
{
    if (level == MGLU_LOG_DEBUG && strstr(text, ": kernel "))
        snprintf((char *)user + strlen(user), 1024 - strlen(user), "%s\n", text);
}

/* 40 and 20 rows are three strips and two, of which a multiprocessor holds 8 with 64 registers. */
static void the_log_names_the_kernels_of_a_layer(void **state)
{
    char lines[1024] = "";
    const mglu_logger logger = {.level = MGLU_LOG_DEBUG, .log = keep_kernel_line, .user = lines};
    const mglu_context_desc desc = {.struct_size = sizeof desc, .logger = &logger};
    struct use use;

    fake_settings()->multiprocessors = 1;
    assert_ok(use_make(&use, &desc, NULL));
    assert_string_equal(lines, "cuda: layer 70x40 n_m=3 f16 batch<=3: kernel mglu_simt_f16_xf32_m2, simt on sm_90, "
                               "4 warps 64 registers 0.38 waves: the tensor core kernels have no routing\n"
                               "cuda: layer 70x40 n_m=3 f16 batch<=3: kernel mglu_simt_f16_xf32_sum, simt on sm_90, "
                               "4 warps 64 registers 0.25 waves: the down-projection, whose x is f32\n");
    use_free(&use);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_kernel_is_that_of_the_selection_table, reset, no_leak),
        cmocka_unit_test_setup_teardown(a_forced_engine_that_a_layer_cannot_have_is_named_with_the_reason, reset,
                                        no_leak),
        cmocka_unit_test_setup_teardown(the_ring_is_launched_once_for_what_is_resident, reset, no_leak),
        cmocka_unit_test_setup_teardown(infinite_weights_do_not_run_on_tensor_cores, reset, no_leak),
        cmocka_unit_test_setup_teardown(the_log_names_the_kernels_of_a_layer, reset, no_leak),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
