/* SPDX-License-Identifier: MIT */
#include "arguments.h"

#include <math.h>

/* Every rule of weights.h, and those of layer.h for a desc, have a row here: a violation is refused with a text that
 * names it. */

static void n_masks_0(mglu_weights_desc *desc)
{
    desc->n_masks = 0;
}
static void n_masks_17(mglu_weights_desc *desc)
{
    desc->n_masks = 17;
}
static void negative_size(mglu_weights_desc *desc)
{
    desc->hidden_size = -1;
}
static void huge_size(mglu_weights_desc *desc)
{
    desc->intermediate_size = MGLU_MAX_SIZE + 1;
}
static void no_weight(mglu_weights_desc *desc)
{
    desc->weight.data = NULL;
}
static void no_masks(mglu_weights_desc *desc)
{
    desc->masks.data = NULL;
}
static void foreign_value_weight(mglu_weights_desc *desc)
{
    desc->value_weight = desc->weight;
}
static void plain_with_masks(mglu_weights_desc *desc)
{
    desc->kind = MGLU_KIND_PLAIN;
    desc->value_weight = desc->weight;
    desc->router.data = NULL;
    desc->n_masks = 0;
}
static void plain_with_n_masks(mglu_weights_desc *desc)
{
    desc->kind = MGLU_KIND_PLAIN;
}
static void unknown_kind(mglu_weights_desc *desc)
{
    desc->kind = (mglu_kind)7;
}
static void unknown_dtype(mglu_weights_desc *desc)
{
    desc->dtype = (mglu_dtype)9;
}
static const unsigned char groups[4][32], group_scales[4][2];
static const mglu_array q8_0 = {.data = groups, .dtype = MGLU_DTYPE_Q8_0, .scales = group_scales};
static void quantised_source(mglu_weights_desc *desc)
{
    desc->weight = q8_0;
}
static void other_quantised_source(mglu_weights_desc *desc)
{
    desc->dtype = MGLU_DTYPE_Q4_0;
    desc->down = q8_0;
}
static void quantised_router(mglu_weights_desc *desc)
{
    desc->dtype = MGLU_DTYPE_Q8_0;
    desc->router = q8_0;
}
static void source_without_scales(mglu_weights_desc *desc)
{
    desc->dtype = MGLU_DTYPE_Q8_0;
    desc->weight = q8_0;
    desc->weight.scales = NULL;
}
static void floats_with_scales(mglu_weights_desc *desc)
{
    desc->weight.scales = group_scales;
}
static void short_scale_stride(mglu_weights_desc *desc)
{
    desc->dtype = MGLU_DTYPE_Q8_0;
    desc->weight = q8_0;
    desc->weight.scale_stride_bytes = 1;
}
static const unsigned char infinite_scales[2][2] = {{0, 0}, {0, 0x7c}};
static void infinite_scale(mglu_weights_desc *desc)
{
    desc->dtype = MGLU_DTYPE_Q8_0;
    desc->flags = MGLU_WEIGHTS_ALLOW_NONFINITE;
    desc->weight = q8_0;
    desc->weight.scales = infinite_scales;
}
static void short_stride(mglu_weights_desc *desc)
{
    desc->weight.stride_bytes = 11;
}
static void down_without_size(mglu_weights_desc *desc)
{
    desc->output_size = 0;
}
static void size_without_down(mglu_weights_desc *desc)
{
    desc->down.data = NULL;
}
static void unknown_flag(mglu_weights_desc *desc)
{
    desc->flags = 1u << 31;
}
static void bad_mask_form(mglu_weights_desc *desc)
{
    desc->masks.form = (mglu_mask_form)42;
}
static const float with_infinity[] = {0, 0, 0, 0, INFINITY, 0, 0, 0};
static void infinite_weight(mglu_weights_desc *desc)
{
    desc->weight.data = with_infinity;
}
static void infinite_weight_to_quantise(mglu_weights_desc *desc)
{
    desc->dtype = MGLU_DTYPE_Q4_0;
    desc->flags = MGLU_WEIGHTS_ALLOW_NONFINITE;
    desc->weight.data = with_infinity;
}
static const float huge[8] = {[6] = 1e30f};
static void scale_that_overflows(mglu_weights_desc *desc)
{
    desc->dtype = MGLU_DTYPE_Q8_0;
    desc->down.data = huge;
}
static void infinite_router(mglu_weights_desc *desc)
{
    desc->router.data = with_infinity;
}
static void infinite_down(mglu_weights_desc *desc)
{
    desc->down.data = with_infinity;
}

static void weights_that_break_a_rule_are_refused(void **state)
{
    static const struct {
        void (*spoil)(mglu_weights_desc *desc);
        mglu_status status;
        const char *says;
    } cases[] = {
        {n_masks_0, MGLU_ERROR_INVALID_ARGUMENT, "n_masks is 0"},
        {n_masks_17, MGLU_ERROR_INVALID_ARGUMENT, "n_masks is 17"},
        {negative_size, MGLU_ERROR_INVALID_ARGUMENT, "hidden_size is -1"},
        {huge_size, MGLU_ERROR_INVALID_ARGUMENT, "intermediate_size"},
        {no_weight, MGLU_ERROR_INVALID_ARGUMENT, "weight is missing"},
        {no_masks, MGLU_ERROR_INVALID_ARGUMENT, "masks are missing"},
        {foreign_value_weight, MGLU_ERROR_INVALID_ARGUMENT, "value_weight does not belong"},
        {plain_with_masks, MGLU_ERROR_INVALID_ARGUMENT, "masks do not belong"},
        {plain_with_n_masks, MGLU_ERROR_INVALID_ARGUMENT, "plain GLU has none"},
        {unknown_kind, MGLU_ERROR_INVALID_ARGUMENT, "kind 7"},
        {unknown_dtype, MGLU_ERROR_INVALID_ARGUMENT, "dtype 9"},
        {quantised_source, MGLU_ERROR_INVALID_ARGUMENT, "weight is q8_0, which is not converted to f32"},
        {other_quantised_source, MGLU_ERROR_INVALID_ARGUMENT, "down is q8_0, which is not converted to q4_0"},
        {quantised_router, MGLU_ERROR_INVALID_ARGUMENT, "router is q8_0, which is not converted to f32"},
        {source_without_scales, MGLU_ERROR_INVALID_ARGUMENT, "weight is q8_0 and lacks scales"},
        {floats_with_scales, MGLU_ERROR_INVALID_ARGUMENT, "weight is f32 and has scales"},
        {short_scale_stride, MGLU_ERROR_INVALID_ARGUMENT, "scale_stride_bytes of weight is 1"},
        {short_stride, MGLU_ERROR_INVALID_ARGUMENT, "stride_bytes of weight is 11"},
        {down_without_size, MGLU_ERROR_INVALID_ARGUMENT, "down does not belong"},
        {size_without_down, MGLU_ERROR_INVALID_ARGUMENT, "down is missing"},
        {unknown_flag, MGLU_ERROR_INVALID_ARGUMENT, "flags"},
        {bad_mask_form, MGLU_ERROR_INVALID_ARGUMENT, "mask form 42"},
        {infinite_weight, MGLU_ERROR_NONFINITE, "weight [1][1]"},
        {infinite_scale, MGLU_ERROR_NONFINITE, "weight: the scale [1][0] is not finite"},
        {infinite_weight_to_quantise, MGLU_ERROR_NONFINITE, "weight [1][1] = inf is not finite in q4_0"},
        {scale_that_overflows, MGLU_ERROR_NONFINITE, "down [3][0]: the scale of its group"},
        {infinite_router, MGLU_ERROR_NONFINITE, "router [1][1]"},
        {infinite_down, MGLU_ERROR_NONFINITE, "down [2][0]"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mglu_weights_desc desc = sample.desc;
        mglu_weights *weights = (mglu_weights *)&desc;
        cases[i].spoil(&desc);
        assert_status(mglu_weights_create(device, &desc, &weights), cases[i].status);
        assert_error_says(cases[i].says);
        assert_null(weights);
    }
}

static void layers_that_break_a_rule_are_refused(void **state)
{
    static const struct {
        mglu_layer_desc desc;
        const char *says;
    } cases[] = {
        {{.activation = (mglu_activation)6, .max_batch = 1}, "activation 6"},
        {{.silu_beta = NAN, .max_batch = 1}, "silu_beta is not finite"},
        {{.activation = MGLU_ACTIVATION_RELU, .silu_beta = 1, .max_batch = 1}, "activation is relu"},
        {{.x_dtype = MGLU_DTYPE_Q8_0, .max_batch = 1}, "x_dtype"},
        {{.y_dtype = (mglu_dtype)77, .max_batch = 1}, "y_dtype"},
        {{.top_k = 3, .max_batch = 1}, "top_k is 3"},
        {{.top_k = -1, .max_batch = 1}, "top_k is -1"},
        {{.max_batch = 0}, "max_batch is 0"},
        {{.max_batch = 1, .flags = 1u << 30}, "flags"},
    };
    mglu_weights *weights;

    assert_ok(mglu_weights_create(device, &sample.desc, &weights));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mglu_layer_desc desc = cases[i].desc;
        mglu_layer *layer;
        desc.struct_size = sizeof desc;
        assert_status(mglu_layer_create(weights, &desc, &layer), MGLU_ERROR_INVALID_ARGUMENT);
        assert_error_says(cases[i].says);
        assert_null(layer);
        assert_status(mglu_supports(device, &sample.desc, &desc), MGLU_ERROR_INVALID_ARGUMENT);
    }
    mglu_weights_destroy(&weights);
}

/* One buffer that x, y and the rest are laid out in, so that overlaps are real. */

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_that_break_a_rule_are_refused),
        cmocka_unit_test(layers_that_break_a_rule_are_refused),
    };

    return cmocka_run_group_tests(tests, open_device, close_device);
}
