/* SPDX-License-Identifier: MIT */
#include "forward_case.h"

/* Every target against the reference backend, element by element, within the error bound. */

static void every_dtype_activation_and_kind_is_within_the_bound(void **state)
{
    for (size_t i = 0; i < DTYPES; i++)
        for (int activation = 0; activation < MGLU_ACTIVATION_COUNT; activation++)
            for (int kind = 0; kind <= MGLU_KIND_PLAIN; kind++) {
                struct shape_case test = base_case(i);
                test.layer.activation = (mglu_activation)activation;
                test.shape.kind = (mglu_kind)kind;
                test.shape.n_masks = kind == MGLU_KIND_MASKED ? 3 : 0;
                test.shape.parts = activation % 2 ? WITH_BIASES : 0;
                run_case(&test, 11);
            }
}

static void every_mask_count_is_within_the_bound(void **state)
{
    for (int32_t n_masks = 1; n_masks <= MGLU_MAX_MASKS; n_masks++)
        for (size_t i = 0; i < DTYPES; i += 2) {
            struct shape_case test = base_case(i);
            test.shape.n_masks = n_masks;
            test.shape.parts = WITH_BIASES;
            run_case(&test, 23);
        }
}

static void odd_shapes_and_batches_are_within_the_bound(void **state)
{
    static const int64_t hs[] = {0, 1, 7, 31, 32, 33, 64, 65, 129, 1000}, ds[] = {0, 1, 15, 16, 17, 33, 67},
                         batches[] = {1, 2, 3, 33};

    for (size_t i = 0; i < sizeof hs / sizeof hs[0]; i++)
        for (size_t j = 0; j < sizeof ds / sizeof ds[0]; j++) {
            struct shape_case test = base_case((i + j) % DTYPES);
            test.shape.h = hs[i];
            test.shape.d = ds[j];
            test.batch = batches[(i + 3 * j) % 4];
            test.shape.parts = (j % 2 ? WITH_DOWN : 0) | (i % 2 ? WITH_BIASES : 0);
            test.residual = j % 3 == 1;
            run_case(&test, 31);
        }
}

static void routed_layers_are_within_the_bound(void **state)
{
    for (int routing = 1; routing <= 2; routing++)
        for (int32_t top_k = 1; top_k <= 5; top_k += 2)
            for (size_t i = 0; i < DTYPES; i++) {
                struct shape_case test = base_case(i);
                test.shape.n_masks = 5;
                test.shape.parts = WITH_ROUTER | WITH_DOWN | (i % 2 ? WITH_BIASES : 0);
                test.layer.top_k = top_k;
                test.routing = routing;
                test.batch = 5;
                run_case(&test, 47);
            }
}

static void layers_with_quantised_x_are_within_their_bound(void **state)
{
    for (size_t i = 0; i < QUANTISED_X_CASES; i++) {
        struct shape_case test = quantised_x_case(i);
        run_case(&test, 113);
    }
}

static void class_c_is_for_quantised_layers_that_allow_it_and_need_not_be_reproducible(void **state)
{
    static const struct {
        uint32_t flags;
        mglu_dtype dtype;
        int may_round;
    } cases[] = {
        {0, MGLU_DTYPE_Q8_0, 0},
        {MGLU_LAYER_ALLOW_QUANTISED_X, MGLU_DTYPE_Q8_0, 1},
        {MGLU_LAYER_ALLOW_QUANTISED_X, MGLU_DTYPE_Q4_0, 1},
        {MGLU_LAYER_ALLOW_QUANTISED_X, MGLU_DTYPE_F16, 0},
        {MGLU_LAYER_ALLOW_QUANTISED_X | MGLU_LAYER_REPRODUCIBLE, MGLU_DTYPE_Q8_0, 0},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (size_t t = 0; t < target_count; t++) {
            struct shape_case test = base_case(0);
            test.shape.dtype = cases[i].dtype;
            test.layer.flags = cases[i].flags;
            struct sample sample = sample_make(&test.shape, 137);
            struct rig rig = open_target(&targets[t], &sample.desc, &test.layer);
            const int has_kernels = targets[t].max_isa && strcmp(targets[t].max_isa, "baseline") != 0;
            assert_int_equal(mglu_layer_accuracy(rig.layer),
                             has_kernels && cases[i].may_round ? MGLU_ACCURACY_C : MGLU_ACCURACY_A);
            rig_free(&rig);
            sample_free(&sample);
        }
}

static void a_whole_feed_forward_block_of_real_size_is_within_the_bound(void **state)
{
    struct shape_case test = base_case(1);

    test.shape = (struct sample_shape){MGLU_KIND_MASKED, MGLU_DTYPE_F16, 768, 640, 768, 4, WITH_DOWN};
    test.residual = 1;
    run_case(&test, 59);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_dtype_activation_and_kind_is_within_the_bound),
        cmocka_unit_test(every_mask_count_is_within_the_bound),
        cmocka_unit_test(odd_shapes_and_batches_are_within_the_bound),
        cmocka_unit_test(routed_layers_are_within_the_bound),
        cmocka_unit_test(layers_with_quantised_x_are_within_their_bound),
        cmocka_unit_test(class_c_is_for_quantised_layers_that_allow_it_and_need_not_be_reproducible),
        cmocka_unit_test(a_whole_feed_forward_block_of_real_size_is_within_the_bound),
    };

    return cmocka_run_group_tests(tests, find_targets, forget_targets);
}
