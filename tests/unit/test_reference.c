/* SPDX-License-Identifier: MIT */
#include "sample.h"

#include <math.h>

/*
 * The reference backend against numbers computed by hand and against a direct transcription of the equations. Every
 * other backend is compared with the reference.
 */

static struct rig make_reference(const mglu_weights_desc *weights, mglu_layer_desc layer)
{
    layer.struct_size = sizeof layer;
    layer.max_batch = layer.max_batch ? layer.max_batch : 1;
    return rig_make("ref", NULL, weights, &layer);
}

/* W = [[1, 2], [3, 4]], one mask [[1, 0], [1, 1]], x = [5, 7]: gates 5 and 43, values 14 and 0. */
static const float small_weight[] = {1, 2, 3, 4}, small_x[] = {5, 7};
static const uint8_t small_mask[] = {1, 0, 1, 1};

static mglu_weights_desc small_layer(void)
{
    return (mglu_weights_desc){.struct_size = sizeof(mglu_weights_desc),
                               .hidden_size = 2,
                               .intermediate_size = 2,
                               .n_masks = 1,
                               .weight = {.data = small_weight, .dtype = MGLU_DTYPE_F32},
                               .masks = {small_mask, MGLU_MASK_BYTES}};
}

static void run_small(const mglu_weights_desc *weights, mglu_layer_desc layer, const mglu_forward_args *args, float *y)
{
    struct rig rig = make_reference(weights, layer);
    mglu_forward_args known = *args;

    known.batch = 1;
    known.x.data = small_x;
    known.y.data = y;
    assert_ok(rig_forward(&rig, known));
    rig_free(&rig);
}

static void each_activation_has_its_formula(void **state)
{
    const double g = 5, v = 14;
    const struct {
        mglu_activation activation;
        float beta;
        double want;
    } cases[] = {
        {MGLU_ACTIVATION_IDENTITY, 0, g * v},
        {MGLU_ACTIVATION_RELU, 0, g * v},
        {MGLU_ACTIVATION_SIGMOID, 0, 1 / (1 + exp(-g)) * v},
        {MGLU_ACTIVATION_SILU, 0, g / (1 + exp(-g)) * v},
        {MGLU_ACTIVATION_SILU, 0.25f, g / (1 + exp(-0.25 * g)) * v},
        {MGLU_ACTIVATION_SILU, -1, g / (1 + exp(g)) * v},
        {MGLU_ACTIVATION_GELU_ERF, 0, 0.5 * g * (1 + erf(g / sqrt(2))) * v},
        {MGLU_ACTIVATION_GELU_TANH, 0, 0.5 * g * (1 + tanh(sqrt(2 / M_PI) * (g + 0.044715 * g * g * g))) * v},
    };
    mglu_weights_desc weights = small_layer();
    float y[2];

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mglu_layer_desc layer = {.activation = cases[i].activation, .silu_beta = cases[i].beta};
        run_small(&weights, layer, &(mglu_forward_args){0}, y);
        assert_float_equal(y[0], cases[i].want, 1e-5);
        assert_true(y[1] == 0); /* its value is 0 */
    }
}

static void a_mask_bit_of_1_adds_the_weight_to_the_gate(void **state)
{
    const float value_bias[] = {0, 1};
    mglu_weights_desc weights = small_layer();
    float y[2];

    weights.value_bias = (mglu_array){.data = value_bias, .dtype = MGLU_DTYPE_F32};
    run_small(&weights, (mglu_layer_desc){.activation = MGLU_ACTIVATION_IDENTITY}, &(mglu_forward_args){0}, y);
    assert_true(y[0] == 5 * 14);
    assert_true(y[1] == 43);
}

static void biases_are_added_before_the_activation_and_the_product(void **state)
{
    const float gate_bias[] = {-6, 1}, value_bias[] = {1, 2};
    mglu_weights_desc weights = small_layer();
    float y[2];

    weights.gate_bias = (mglu_array){.data = gate_bias, .dtype = MGLU_DTYPE_F32};
    weights.value_bias = (mglu_array){.data = value_bias, .dtype = MGLU_DTYPE_F32};
    run_small(&weights, (mglu_layer_desc){.activation = MGLU_ACTIVATION_RELU}, &(mglu_forward_args){0}, y);
    assert_true(y[0] == 0);
    assert_true(y[1] == 44 * 2);
}

static void a_plain_glu_computes_gate_and_value_from_two_matrices(void **state)
{
    const float value_weight[] = {1, 1, 0, 1};
    mglu_weights_desc weights = small_layer();
    float y[2];

    weights.kind = MGLU_KIND_PLAIN;
    weights.n_masks = 0;
    weights.masks.data = NULL;
    weights.value_weight = (mglu_array){.data = value_weight, .dtype = MGLU_DTYPE_F32};
    run_small(&weights, (mglu_layer_desc){.activation = MGLU_ACTIVATION_IDENTITY}, &(mglu_forward_args){0}, y);
    assert_true(y[0] == 19 * 12);
    assert_true(y[1] == 43 * 7);
}

static void the_down_projection_adds_bias_and_residual(void **state)
{
    const float down[] = {1, 10, 0, -1, 2, 0}, down_bias[] = {1, 2, 3}, residual[] = {100, 200, 300};
    const float value_bias[] = {0, 1};
    mglu_weights_desc weights = small_layer();
    float y[3];

    weights.value_bias = (mglu_array){.data = value_bias, .dtype = MGLU_DTYPE_F32};
    weights.output_size = 3;
    weights.down = (mglu_array){.data = down, .dtype = MGLU_DTYPE_F32};
    weights.down_bias = (mglu_array){.data = down_bias, .dtype = MGLU_DTYPE_F32};
    run_small(&weights, (mglu_layer_desc){.activation = MGLU_ACTIVATION_IDENTITY},
              &(mglu_forward_args){.residual = {.data = residual}}, y); /* z = 70, 43 */
    assert_true(y[0] == 70 + 430 + 1 + 100);
    assert_true(y[1] == -43 + 2 + 200);
    assert_true(y[2] == 140 + 3 + 300);
}

/* Two masks, all ones and all zeros, distinguished by biases: term 0 is gate 19 value 3, term 1 is gate 2 value 19. */
static mglu_weights_desc two_masks(void)
{
    static const float weight[] = {1, 2}, gate_bias[] = {0, 2}, value_bias[] = {3, 0};
    static const uint8_t masks[] = {1, 1, 0, 0};

    return (mglu_weights_desc){.struct_size = sizeof(mglu_weights_desc),
                               .hidden_size = 2,
                               .intermediate_size = 1,
                               .n_masks = 2,
                               .weight = {.data = weight, .dtype = MGLU_DTYPE_F32},
                               .masks = {masks, MGLU_MASK_BYTES},
                               .gate_bias = {.data = gate_bias, .dtype = MGLU_DTYPE_F32},
                               .value_bias = {.data = value_bias, .dtype = MGLU_DTYPE_F32}};
}

static void callers_routing_weighs_the_terms_it_lists(void **state)
{
    static const struct {
        int32_t ids[2];
        float p[2];
        double want;
    } cases[] = {
        {{0, 1}, {1, 1}, 57 + 38},
        {{1, 0}, {0.5f, 2}, 0.5 * 38 + 2 * 57},
        {{1, 1}, {1, 0.25f}, 1.25 * 38}, /* duplicates add up */
        {{0, 1}, {0, 1}, 38},
    };
    mglu_weights_desc weights = two_masks();
    mglu_layer_desc layer = {.activation = MGLU_ACTIVATION_IDENTITY, .top_k = 2};
    float y;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mglu_forward_args args = {.routing_ids = {.data = cases[i].ids}, .routing_weights = {.data = cases[i].p}};
        run_small(&weights, layer, &args, &y);
        assert_true((double)y == cases[i].want);
    }
}

static void the_router_selects_the_largest_logits_and_their_softmax(void **state)
{
    static const float router[] = {0.1f, 0, 0.2f, 0}; /* logits 0.5 and 1 */
    mglu_weights_desc weights = two_masks();
    mglu_layer_desc layer = {.activation = MGLU_ACTIVATION_IDENTITY, .top_k = 1};
    double p = 1 / (1 + exp(-0.5));
    float y;

    weights.router = (mglu_array){.data = router, .dtype = MGLU_DTYPE_F32};
    run_small(&weights, layer, &(mglu_forward_args){0}, &y);
    assert_true(y == 38);
    layer.top_k = 2;
    run_small(&weights, layer, &(mglu_forward_args){0}, &y);
    assert_float_equal(y, p * 38 + (1 - p) * 57, 1e-4);
    layer.top_k = 0; /* a router that is not used */
    run_small(&weights, layer, &(mglu_forward_args){0}, &y);
    assert_true(y == 57 + 38);
}

/* The error of a logit of 1e12 is about 1e6: nothing next to a distance of 1e11, everything next to one of 1000. */
static void the_tolerance_of_huge_logits_is_finite_and_as_large_as_their_error_allows(void **state)
{
    const struct {
        float first, second; /* of the router */
        double least, most;  /* tolerance of y, whose terms are 57 and 38 */
    } cases[] = {
        {2e11f, 1.8e11f, 0, 1e-3},
        {2e11f, -2e11f, 0, 1e-3},
        {2e11f, 2e11f * (1 - 0x1p-24f), 57 + 38, 57 + 38 + 0.1},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const float router[] = {cases[i].first, 0, cases[i].second, 0};
        mglu_weights_desc weights = two_masks();
        mglu_layer_desc layer = {.activation = MGLU_ACTIVATION_IDENTITY, .top_k = 2};
        double want, tolerance;
        weights.router = (mglu_array){.data = router, .dtype = MGLU_DTYPE_F32};
        struct rig rig = make_reference(&weights, layer);
        const mglu_forward_args args = {.struct_size = sizeof args, .batch = 1, .x.data = small_x};
        assert_ok(mglu_forward_reference(rig.layer, &args, MGLU_ACCURACY_A, &want, &tolerance));
        assert_true(want == 57);
        assert_true(tolerance >= cases[i].least && tolerance <= cases[i].most);
        rig_free(&rig);
    }
}

static void the_lower_id_wins_a_tie_of_logits(void **state)
{
    static const float router[] = {1, 0, 1, 0};
    mglu_weights_desc weights = two_masks();
    float y;

    weights.router = (mglu_array){.data = router, .dtype = MGLU_DTYPE_F32};
    run_small(&weights, (mglu_layer_desc){.activation = MGLU_ACTIVATION_IDENTITY, .top_k = 1}, &(mglu_forward_args){0},
              &y);
    assert_true(y == 57);
}

static void a_routing_id_out_of_range_makes_its_token_nan_and_is_reported_once(void **state)
{
    static const float x[] = {5, 7, 5, 7};
    static const int32_t ids[] = {0, 2};
    static const float p[] = {1, 1};
    mglu_weights_desc weights = two_masks();
    struct rig rig =
        make_reference(&weights, (mglu_layer_desc){.activation = MGLU_ACTIVATION_IDENTITY, .top_k = 1, .max_batch = 2});
    float y[2];

    assert_ok(rig_forward(&rig, (mglu_forward_args){.batch = 2,
                                                    .x = {.data = x},
                                                    .y = {.data = y},
                                                    .routing_ids = {.data = ids},
                                                    .routing_weights = {.data = p}}));
    assert_true(y[0] == 57);
    assert_true(isnan(y[1]));
    assert_status(mglu_queue_wait(rig.queue), MGLU_ERROR_BAD_ROUTING);
    assert_ok(mglu_queue_wait(rig.queue));
    rig_free(&rig);
}

static void activations_reach_their_limits_at_infinite_gates(void **state)
{
    static const struct {
        mglu_activation activation;
        float at_minus_infinity, at_infinity;
    } cases[] = {
        {MGLU_ACTIVATION_SILU, 0, INFINITY},      {MGLU_ACTIVATION_GELU_ERF, 0, INFINITY},
        {MGLU_ACTIVATION_GELU_TANH, 0, INFINITY}, {MGLU_ACTIVATION_RELU, 0, INFINITY},
        {MGLU_ACTIVATION_SIGMOID, 0, 1},          {MGLU_ACTIVATION_IDENTITY, -INFINITY, INFINITY},
    };
    _Static_assert(sizeof cases / sizeof cases[0] == MGLU_ACTIVATION_COUNT, "a new activation needs its limits here");
    static const float value_bias[] = {1, 1}, one = 1;
    static const uint8_t mask[] = {1};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int k = 0; k < 3; k++) {
            const float weight = k == 0 ? -INFINITY : k == 1 ? INFINITY : NAN;
            mglu_weights_desc weights = {.struct_size = sizeof weights,
                                         .flags = MGLU_WEIGHTS_ALLOW_NONFINITE,
                                         .hidden_size = 1,
                                         .intermediate_size = 1,
                                         .n_masks = 1,
                                         .weight = {.data = &weight, .dtype = MGLU_DTYPE_F32},
                                         .masks = {mask, MGLU_MASK_BYTES},
                                         .value_bias = {.data = value_bias, .dtype = MGLU_DTYPE_F32}};
            struct rig rig = make_reference(&weights, (mglu_layer_desc){.activation = cases[i].activation});
            float y;
            assert_ok(rig_forward(&rig, (mglu_forward_args){.batch = 1, .x = {.data = &one}, .y = {.data = &y}}));
            assert_true(k == 2 ? isnan(y) : y == (k == 0 ? cases[i].at_minus_infinity : cases[i].at_infinity));
            rig_free(&rig);
        }
}

/* 1 + 2^-11 + 2^-40 is just above the middle of two halves; rounding it to f32 first would round it down. */
static void y_is_rounded_once(void **state)
{
    static const float weight[] = {1, 1, 0x1p-11f, 0x1p-40f}, x[] = {1, 0, 1, 1};
    static const uint8_t mask[] = {0, 1, 0, 0};
    static const float gate_bias[] = {1};
    mglu_weights_desc weights = {.struct_size = sizeof weights,
                                 .hidden_size = 4,
                                 .intermediate_size = 1,
                                 .n_masks = 1,
                                 .weight = {.data = weight, .dtype = MGLU_DTYPE_F32},
                                 .masks = {mask, MGLU_MASK_BYTES},
                                 .gate_bias = {.data = gate_bias, .dtype = MGLU_DTYPE_F32}};
    struct rig rig =
        make_reference(&weights, (mglu_layer_desc){.activation = MGLU_ACTIVATION_IDENTITY, .y_dtype = MGLU_DTYPE_F16});
    uint16_t y;

    assert_ok(rig_forward(&rig, (mglu_forward_args){.batch = 1, .x = {.data = x}, .y = {.data = &y}}));
    assert_int_equal(y, 0x3c01);
    rig_free(&rig);
}

static void results_too_small_for_y_become_zero(void **state)
{
    static const float weight[] = {0x1p-100f, 1}, x[] = {0x1p-100f, 0}, gate_bias[] = {1};
    static const uint8_t mask[] = {0, 1};
    mglu_weights_desc weights = {.struct_size = sizeof weights,
                                 .hidden_size = 2,
                                 .intermediate_size = 1,
                                 .n_masks = 1,
                                 .weight = {.data = weight, .dtype = MGLU_DTYPE_F32},
                                 .masks = {mask, MGLU_MASK_BYTES},
                                 .gate_bias = {.data = gate_bias, .dtype = MGLU_DTYPE_F32}};

    for (int dtype = MGLU_DTYPE_F32; dtype <= MGLU_DTYPE_BF16; dtype++) {
        struct rig rig = make_reference(
            &weights, (mglu_layer_desc){.activation = MGLU_ACTIVATION_IDENTITY, .y_dtype = (mglu_dtype)dtype});
        float y = 1, value;
        assert_ok(rig_forward(&rig, (mglu_forward_args){.batch = 1, .x = {.data = x}, .y = {.data = &y}}));
        assert_ok(mglu_convert(&y, (mglu_dtype)dtype, &value, MGLU_DTYPE_F32, 1));
        assert_true(value == 0);
        rig_free(&rig);
    }
}

static void a_hidden_size_of_zero_leaves_the_biases(void **state)
{
    static const float gate_bias[] = {2, -3}, value_bias[] = {5, 7};
    mglu_weights_desc weights = {.struct_size = sizeof weights,
                                 .intermediate_size = 2,
                                 .n_masks = 1,
                                 .gate_bias = {.data = gate_bias, .dtype = MGLU_DTYPE_F32},
                                 .value_bias = {.data = value_bias, .dtype = MGLU_DTYPE_F32}};
    float y[2] = {NAN, NAN};

    run_small(&weights, (mglu_layer_desc){.activation = MGLU_ACTIVATION_IDENTITY}, &(mglu_forward_args){0}, y);
    assert_true(y[0] == 10 && y[1] == -21);
}

/* The tolerance is the bound of docs/semantics.md, computed here for a case where every part of it is known. */
static void the_tolerance_of_an_identity_layer_is_the_documented_bound(void **state)
{
    mglu_weights_desc weights = small_layer();
    struct rig rig = make_reference(&weights, (mglu_layer_desc){.activation = MGLU_ACTIVATION_IDENTITY});
    mglu_forward_args args = {.struct_size = sizeof args, .batch = 1, .x = {.data = small_x}};
    double want[2], tolerance[2], u = 0x1p-24, c = 2, big = 19; /* h = 2; T = 5 + 14 in row 0 */
    double gate_error = (2 * c + 2) * u * big + u * 5, value_error = (2 * c + 2) * u * big + u * 14;
    double error = 5 * value_error + 14 * gate_error + gate_error * value_error + 2 * u * 70 + 2 * u * 70;

    assert_ok(mglu_forward_reference(rig.layer, &args, MGLU_ACCURACY_A, want, tolerance));
    assert_true(want[0] == 70 && want[1] == 0);
    assert_true(fabs(tolerance[0] - (error + u * (70 + error))) < 1e-12 * tolerance[0]);
    rig_free(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_activation_has_its_formula),
        cmocka_unit_test(a_mask_bit_of_1_adds_the_weight_to_the_gate),
        cmocka_unit_test(biases_are_added_before_the_activation_and_the_product),
        cmocka_unit_test(a_plain_glu_computes_gate_and_value_from_two_matrices),
        cmocka_unit_test(the_down_projection_adds_bias_and_residual),
        cmocka_unit_test(callers_routing_weighs_the_terms_it_lists),
        cmocka_unit_test(the_router_selects_the_largest_logits_and_their_softmax),
        cmocka_unit_test(the_tolerance_of_huge_logits_is_finite_and_as_large_as_their_error_allows),
        cmocka_unit_test(the_lower_id_wins_a_tie_of_logits),
        cmocka_unit_test(a_routing_id_out_of_range_makes_its_token_nan_and_is_reported_once),
        cmocka_unit_test(activations_reach_their_limits_at_infinite_gates),
        cmocka_unit_test(y_is_rounded_once),
        cmocka_unit_test(results_too_small_for_y_become_zero),
        cmocka_unit_test(a_hidden_size_of_zero_leaves_the_biases),
        cmocka_unit_test(the_tolerance_of_an_identity_layer_is_the_documented_bound),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
