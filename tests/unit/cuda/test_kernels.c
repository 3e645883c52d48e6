/* SPDX-License-Identifier: MIT */
#include "tests/unit/cuda/kernels.h"

#include "tests/unit/cuda/shim/shim.h"

#include <math.h>

/* Every kernel of the CUDA backend on the host, against the reference. */

/* Shapes that fill blocks, strips and warps completely and partly. */
static const struct kernel_size sizes[] = {{1, 1}, {64, 16}, {70, 21}, {333, 33}, {31, 5}, {256, 48}, {129, 17}};

enum { SIZES = sizeof sizes / sizeof sizes[0] };

/* How tensor cores add changes no address: sanitizers see one model. */
enum { MODELS = TEST_IS_SLOW ? 1 : MGLU_SHIM_TENSOR_CORES };

static struct sample_shape shape_of(mglu_dtype dtype, int32_t n_masks, size_t index)
{
    return kernel_shape(sizes[index % SIZES], dtype, n_masks);
}

static void test_simt_kernels_of_every_dtype_and_mask_count(void **state)
{
    uint32_t seed = 1;

    for (size_t i = 0; i < KERNEL_DTYPES; i++)
        for (size_t x = 0; x < KERNEL_DTYPES; x++)
            for (int32_t n_masks = 0; n_masks <= MGLU_MAX_MASKS; n_masks++, seed++)
                kernel_check(&(struct kernel_case){.shape = shape_of(kernel_dtypes[i], n_masks, seed),
                                                   .x = kernel_dtypes[x],
                                                   .batch = 1 + seed % 3},
                             seed);
}

static void test_quantised_kernels_of_every_mask_count(void **state)
{
    uint32_t seed = 50;

    for (int dtype = MGLU_DTYPE_Q8_0; dtype <= MGLU_DTYPE_Q4_0; dtype++) {
        for (int32_t n_masks = 0; n_masks <= MGLU_MAX_MASKS; n_masks++, seed++) {
            struct sample_shape shape = shape_of(MGLU_DTYPE_F32, n_masks, seed);
            shape.parts = seed % 2 ? WITH_DOWN : WITH_BIASES;
            kernel_check(&(struct kernel_case){.shape = shape,
                                               .quantised = (mglu_dtype)dtype,
                                               .x = kernel_dtypes[seed % KERNEL_DTYPES],
                                               .batch = 1 + seed % 2},
                         seed);
        }
    }
}

/* Every kernel of an engine, with each model of how tensor cores add. */
static void check_tensor_cores(enum mglu_cuda_engine engine, int32_t most_masks)
{
    uint32_t seed = 100;

    for (int model = 0; model < MODELS; model++) {
        mglu_shim_set_tensor_core((mglu_shim_tensor_core)model);
        for (size_t i = 1; i < KERNEL_DTYPES; i++)
            for (int32_t n_masks = 0; n_masks <= most_masks; n_masks++, seed++)
                kernel_check(&(struct kernel_case){.shape = shape_of(kernel_dtypes[i], n_masks, seed),
                                                   .engine = engine,
                                                   .x = kernel_dtypes[i],
                                                   .batch = 1 + seed % 17},
                             seed);
    }
    mglu_shim_set_tensor_core(MGLU_SHIM_EXACT_TERMS);
}

static void test_tensor_core_kernels_of_8_tokens(void **state)
{
    check_tensor_cores(MGLU_CUDA_MMA8, MGLU_MAX_MASKS);
}

static void test_tensor_core_kernels_of_16_tokens(void **state)
{
    check_tensor_cores(MGLU_CUDA_MMA16, 8);
}

/* Truncation errors then add up over the whole row. */
static void test_long_rows_of_one_sign_on_every_model_of_tensor_cores(void **state)
{
    for (int model = 0; model < MODELS; model++) {
        mglu_shim_set_tensor_core((mglu_shim_tensor_core)model);
        for (int32_t n_masks = 0; n_masks <= 2; n_masks++) {
            struct sample_shape shape = shape_of(kernel_dtypes[1 + n_masks % 2], n_masks, 1);
            shape.h = 14336;
            kernel_check(&(struct kernel_case){.shape = shape,
                                               .engine = MGLU_CUDA_MMA8,
                                               .x = shape.dtype,
                                               .activation = MGLU_ACTIVATION_IDENTITY,
                                               .is_positive = 1},
                         (uint32_t)model);
        }
    }
    mglu_shim_set_tensor_core(MGLU_SHIM_EXACT_TERMS);
}

static void test_every_batch(void **state)
{
    for (int engine = 0; engine < MGLU_CUDA_ENGINES; engine++)
        for (int64_t batch = 1; batch <= 17; batch++)
            kernel_check(&(struct kernel_case){.shape = shape_of(MGLU_DTYPE_F16, 2, 2),
                                               .engine = (enum mglu_cuda_engine)engine,
                                               .x = MGLU_DTYPE_F16,
                                               .y = MGLU_DTYPE_F16,
                                               .batch = batch},
                         (uint32_t)batch);
}

static void test_more_strips_than_the_grid_has(void **state)
{
    for (int engine = 0; engine < MGLU_CUDA_ENGINES; engine++)
        kernel_check(
            &(struct kernel_case){
                .shape = {.kind = MGLU_KIND_MASKED, .dtype = MGLU_DTYPE_BF16, .h = 70, .d = 75, .n_masks = 3},
                .engine = (enum mglu_cuda_engine)engine,
                .x = MGLU_DTYPE_BF16,
                .batch = engine == MGLU_CUDA_SIMT ? 5 : 37,
                .grid_y = 2},
            7);
}

/* As many warps as are resident at once, where there are few strips or many columns. */
static void test_warps_by_strips_of_a_multiprocessor_and_by_columns(void **state)
{
    static const struct {
        enum mglu_cuda_engine engine;
        enum mglu_cuda_form form;
        uint32_t rows, columns, multiprocessors, warps;
    } cases[] = {
        {MGLU_CUDA_SIMT, MGLU_CUDA_MASKS_1, 14336, 4096, 132, 4},
        {MGLU_CUDA_SIMT, MGLU_CUDA_MASKS_1, 8192, 2048, 170, 4},
        {MGLU_CUDA_SIMT, MGLU_CUDA_MASKS_1, 3072, 768, 132, 16},
        {MGLU_CUDA_SIMT, MGLU_CUDA_MASKS_8, 3072, 768, 132, 8},
        {MGLU_CUDA_SIMT, MGLU_CUDA_MASKS_1, 16, 64, 132, 4},
        {MGLU_CUDA_SIMT, MGLU_CUDA_SUM, 4096, 14336, 132, 8},
        {MGLU_CUDA_SIMT, MGLU_CUDA_SUM, 65536, 32768, 132, 16},
        {MGLU_CUDA_MMA8, MGLU_CUDA_MASKS_1, 3072, 768, 132, 4},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct mglu_cuda_variant variant = {cases[i].engine, MGLU_DTYPE_F16, MGLU_CUDA_X_SAME, cases[i].form};

        assert_int_equal(mglu_cuda_warps(variant, cases[i].rows, cases[i].columns, cases[i].multiprocessors),
                         cases[i].warps);
    }
}

static void test_any_number_of_warps(void **state)
{
    for (uint32_t warps = 1; warps <= MGLU_CUDA_MAX_WARPS; warps += 5)
        kernel_check(&(struct kernel_case){.shape = shape_of(MGLU_DTYPE_F16, 5, 3), .warps = warps}, warps);
}

static void test_every_output_type_and_activation(void **state)
{
    uint32_t seed = 200;

    for (int engine = 0; engine <= MGLU_CUDA_MMA8; engine++)
        for (size_t y = 0; y < KERNEL_DTYPES; y++)
            for (int a = MGLU_ACTIVATION_SILU; a < MGLU_ACTIVATION_COUNT; a++, seed++)
                kernel_check(&(struct kernel_case){.shape = shape_of(MGLU_DTYPE_F16, 4, seed),
                                                   .engine = (enum mglu_cuda_engine)engine,
                                                   .x = MGLU_DTYPE_F16,
                                                   .y = kernel_dtypes[y],
                                                   .activation = (mglu_activation)a,
                                                   .batch = 2},
                             seed);
}

static void test_an_unknown_activation_gives_nan(void **state)
{
    for (int engine = 0; engine <= MGLU_CUDA_MMA8; engine++) {
        struct kernel_run run = kernel_prepare(&(struct kernel_case){.shape = shape_of(MGLU_DTYPE_F16, 2, 1),
                                                                     .engine = (enum mglu_cuda_engine)engine,
                                                                     .x = MGLU_DTYPE_F16,
                                                                     .batch = 1},
                                               1);
        run.test.activation = (mglu_activation)MGLU_ACTIVATION_COUNT;
        kernel_forward(&run);
        for (int64_t column = 0; column < run.columns; column++)
            assert_true(isnan(kernel_y(&run, 0, column)));
        kernel_free(&run);
    }
}

static void test_biases_residual_and_down_projection(void **state)
{
    uint32_t seed = 300;

    for (int engine = 0; engine <= MGLU_CUDA_MMA8; engine++) {
        for (int parts = 0; parts <= (WITH_BIASES | WITH_DOWN | WITH_RESIDUAL); parts++, seed++) {
            struct sample_shape shape = shape_of(MGLU_DTYPE_BF16, (int32_t)(seed % 4), seed);
            shape.parts = parts & ~WITH_ROUTER;
            kernel_check(&(struct kernel_case){.shape = shape,
                                               .engine = (enum mglu_cuda_engine)engine,
                                               .x = MGLU_DTYPE_BF16,
                                               .y = kernel_dtypes[seed % KERNEL_DTYPES],
                                               .batch = 3,
                                               .gap = 3,
                                               .offset = 1},
                         seed);
        }
    }
}

static void test_routing_by_router_and_by_caller(void **state)
{
    uint32_t seed = 400;

    for (int given = 0; given <= 1; given++) {
        for (int32_t n_masks = 1; n_masks <= MGLU_MAX_MASKS; n_masks += 3) {
            for (int32_t top_k = 1; top_k <= n_masks; top_k += 2, seed++) {
                struct sample_shape shape = shape_of(MGLU_DTYPE_F16, n_masks, seed);
                shape.parts = WITH_BIASES | (given ? 0 : WITH_ROUTER) | (seed % 2 ? WITH_DOWN : 0);
                kernel_check(&(struct kernel_case){.shape = shape,
                                                   .x = kernel_dtypes[seed % KERNEL_DTYPES],
                                                   .top_k = top_k,
                                                   .given_routing = given,
                                                   .batch = 3,
                                                   .gap = given},
                             seed);
            }
        }
    }
}

static void test_ids_out_of_range_make_their_token_nan(void **state)
{
    static const int32_t wrong[] = {-1, 4, INT32_MAX, INT32_MIN};

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct kernel_run run = kernel_prepare(
            &(struct kernel_case){.shape = shape_of(MGLU_DTYPE_F32, 4, 2), .top_k = 2, .given_routing = 1, .batch = 3},
            1);
        run.ids[2 * 1 + (int)i % 2] = wrong[i];
        kernel_forward(&run);
        kernel_compare(&run);
        assert_true(isnan(kernel_y(&run, 1, 0)));
        assert_int_equal(run.bad_routing, 1);
        kernel_free(&run);
    }
}

/* All other tokens are finite; the token itself has NaN or the reference's result, never another finite number. */
static void check_special_x(enum mglu_cuda_engine engine, float special, mglu_activation activation)
{
    const struct kernel_case test = {.shape = shape_of(MGLU_DTYPE_F16, 3, 2),
                                     .engine = engine,
                                     .x = MGLU_DTYPE_F16,
                                     .activation = activation,
                                     .batch = 3};
    struct kernel_run plain = kernel_prepare(&test, 5), run = kernel_prepare(&test, 5);
    double want[3 * 21];
    struct rig rig = rig_make("ref", NULL, &run.sample.desc, &run.layer);

    kernel_set_x(&run, 1, 40, special);
    kernel_forward(&plain);
    kernel_forward(&run);
    assert_ok(mglu_forward_reference(rig.layer, &run.args, MGLU_ACCURACY_B, want, NULL));
    for (int64_t c = 0; c < run.columns; c++) {
        float got = kernel_y(&run, 1, c);
        assert_true(kernel_y(&run, 0, c) == kernel_y(&plain, 0, c));
        assert_true(kernel_y(&run, 2, c) == kernel_y(&plain, 2, c));
        assert_true(isnan(got) || (double)got == want[run.columns + c]);
        if (isnan(special))
            assert_true(isnan(got));
    }
    rig_free(&rig);
    kernel_free(&plain);
    kernel_free(&run);
}

static void test_special_values_of_x_stay_in_their_token(void **state)
{
    static const float special[] = {INFINITY, -INFINITY, NAN};

    for (int engine = 0; engine <= MGLU_CUDA_MMA8; engine++)
        for (size_t i = 0; i < 3; i++)
            for (int a = MGLU_ACTIVATION_SILU; a < MGLU_ACTIVATION_COUNT; a++)
                check_special_x((enum mglu_cuda_engine)engine, special[i], (mglu_activation)a);
}

/* A maximum, for example, would lose it; a NaN in x would reach y through the value too. */
static void test_nan_in_a_gate_alone_reaches_y(void **state)
{
    for (int engine = 0; engine <= MGLU_CUDA_MMA8; engine++) {
        for (int a = MGLU_ACTIVATION_SILU; a <= MGLU_ACTIVATION_IDENTITY; a++) {
            struct sample_shape shape = shape_of(MGLU_DTYPE_F16, 0, 2);
            shape.parts = WITH_BIASES;
            struct kernel_run run = kernel_prepare(&(struct kernel_case){.shape = shape,
                                                                         .engine = (enum mglu_cuda_engine)engine,
                                                                         .x = MGLU_DTYPE_F16,
                                                                         .activation = (mglu_activation)a},
                                                   1);
            ((float *)(uintptr_t)run.sample.desc.gate_bias.data)[3] = NAN;
            kernel_forward(&run);
            assert_true(isnan(kernel_y(&run, 0, 3)));
            assert_false(isnan(kernel_y(&run, 0, 2)));
            kernel_free(&run);
        }
    }
}

static void test_no_hidden_size_leaves_the_biases(void **state)
{
    for (int engine = 0; engine <= MGLU_CUDA_MMA8; engine++) {
        struct sample_shape shape = {MGLU_KIND_MASKED, MGLU_DTYPE_F16, 0, 20, 0, 2, WITH_BIASES};
        kernel_check(
            &(struct kernel_case){.shape = shape, .engine = (enum mglu_cuda_engine)engine, .x = MGLU_DTYPE_F16}, 1);
    }
}

static void test_no_intermediate_size_leaves_the_bias_of_the_down_projection(void **state)
{
    struct sample_shape shape = {MGLU_KIND_PLAIN, MGLU_DTYPE_F32, 9, 0, 20, 0, WITH_BIASES | WITH_DOWN | WITH_RESIDUAL};

    kernel_check(&(struct kernel_case){.shape = shape, .batch = 2}, 1);
}

/* The same bits for any order of threads, index in the batch, stride and alignment. */
static void test_bits_do_not_depend_on_order_or_place(void **state)
{
    for (int engine = 0; engine < MGLU_CUDA_ENGINES; engine++) {
        struct kernel_case test = {
            .shape = shape_of(MGLU_DTYPE_F16, 3, 3), .engine = (enum mglu_cuda_engine)engine, .x = MGLU_DTYPE_F16};
        struct kernel_run one = kernel_prepare(&test, 9);
        test.batch = 12;
        test.gap = 5;
        test.offset = 1;
        struct kernel_run many = kernel_prepare(&test, 9);

        for (int64_t c = 0; c < test.shape.h; c++) {
            float x;
            const uint16_t *from = one.args.x.data;
            assert_ok(mglu_convert(&from[c], MGLU_DTYPE_F16, &x, MGLU_DTYPE_F32, 1));
            kernel_set_x(&many, 10, c, x);
        }
        kernel_forward(&one);
        kernel_forward(&many);
        for (int64_t c = 0; c < one.columns; c++)
            assert_true(kernel_y(&one, 0, c) == kernel_y(&many, 10, c));
        kernel_free(&one);
        kernel_free(&many);
    }
}

/* An optional argument: the name of the test to run, or a pattern. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_simt_kernels_of_every_dtype_and_mask_count),
        cmocka_unit_test(test_quantised_kernels_of_every_mask_count),
        cmocka_unit_test(test_tensor_core_kernels_of_8_tokens),
        cmocka_unit_test(test_tensor_core_kernels_of_16_tokens),
        cmocka_unit_test(test_long_rows_of_one_sign_on_every_model_of_tensor_cores),
        cmocka_unit_test(test_every_batch),
        cmocka_unit_test(test_more_strips_than_the_grid_has),
        cmocka_unit_test(test_warps_by_strips_of_a_multiprocessor_and_by_columns),
        cmocka_unit_test(test_any_number_of_warps),
        cmocka_unit_test(test_every_output_type_and_activation),
        cmocka_unit_test(test_an_unknown_activation_gives_nan),
        cmocka_unit_test(test_biases_residual_and_down_projection),
        cmocka_unit_test(test_routing_by_router_and_by_caller),
        cmocka_unit_test(test_ids_out_of_range_make_their_token_nan),
        cmocka_unit_test(test_special_values_of_x_stay_in_their_token),
        cmocka_unit_test(test_nan_in_a_gate_alone_reaches_y),
        cmocka_unit_test(test_no_hidden_size_leaves_the_biases),
        cmocka_unit_test(test_no_intermediate_size_leaves_the_bias_of_the_down_projection),
        cmocka_unit_test(test_bits_do_not_depend_on_order_or_place),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("cuda kernels", tests, NULL, NULL);
}
