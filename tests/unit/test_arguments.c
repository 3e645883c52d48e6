/* SPDX-License-Identifier: MIT */
#include "sample.h"

#include <math.h>

/* Every rule of weights.h and layer.h has a row here: a violation is refused with a text that names it. */

static const struct sample_shape base_shape = {.kind = MGLU_KIND_MASKED,
                                               .dtype = MGLU_DTYPE_F32,
                                               .h = 3,
                                               .d = 2,
                                               .out = 4,
                                               .n_masks = 2,
                                               .parts = WITH_BIASES | WITH_ROUTER | WITH_DOWN};

static mglu_context *context;
static mglu_device *device;
static struct sample sample;

static int open_device(void **state)
{
    sample = sample_make(&base_shape, 1);
    assert_ok(mglu_context_create(NULL, &context));
    assert_ok(mglu_device_pick(context, "ref", &device));
    return 0;
}

static int close_device(void **state)
{
    sample_free(&sample);
    mglu_context_destroy(&context);
    return 0;
}

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
static float memory[64];
static int32_t ids[2];
static float p[2];

static const mglu_forward_args good_args = {.struct_size = sizeof(mglu_forward_args),
                                            .batch = 2,
                                            .x = {.data = memory, .row_stride = 8},
                                            .y = {.data = memory + 32, .row_stride = 8}};

static void batch_over_the_most(mglu_forward_args *args)
{
    args->batch = 3;
}
static void batch_negative(mglu_forward_args *args)
{
    args->batch = -1;
}
static void no_x(mglu_forward_args *args)
{
    args->x.data = NULL;
}
static void no_y(mglu_forward_args *args)
{
    args->y.data = NULL;
}
static void x_stride_short(mglu_forward_args *args)
{
    args->x.row_stride = 2;
}
static void y_stride_short(mglu_forward_args *args)
{
    args->y.row_stride = 3;
}
static void stride_negative(mglu_forward_args *args)
{
    args->x.row_stride = -8;
}
static void stride_overflows(mglu_forward_args *args)
{
    args->x.row_stride = INT64_MAX;
}
static void ids_alone(mglu_forward_args *args)
{
    args->routing_ids.data = ids;
}
static void no_workspace(mglu_forward_args *args)
{
    args->workspace = NULL;
}
static void workspace_short(mglu_forward_args *args)
{
    args->workspace_size--;
}
static void workspace_misaligned(mglu_forward_args *args)
{
    args->workspace = (char *)args->workspace + 4;
}
static void y_over_x(mglu_forward_args *args)
{
    args->y.data = memory + 2;
}
static void y_over_last_x(mglu_forward_args *args)
{
    args->y.data = memory + 10;
    args->y.row_stride = 20;
}
static void y_over_residual(mglu_forward_args *args)
{
    args->residual.data = memory + 33;
    args->residual.row_stride = 8;
}
static void y_as_residual_of_another_stride(mglu_forward_args *args)
{
    args->residual.data = args->y.data;
    args->residual.row_stride = 7;
}
static void y_over_routing(mglu_forward_args *args)
{
    args->routing_ids.data = ids;
    args->routing_weights.data = args->y.data;
}
static void y_over_workspace(mglu_forward_args *args)
{
    args->y.data = args->workspace;
}
static void reserved_set(mglu_forward_args *args)
{
    args->reserved = 1;
}

static void forwards_that_break_a_rule_are_refused_and_write_nothing(void **state)
{
    static const struct {
        void (*spoil)(mglu_forward_args *args);
        const char *says;
    } cases[] = {
        {batch_over_the_most, "batch is 3"},
        {batch_negative, "batch is -1"},
        {no_x, "x is NULL"},
        {no_y, "y is NULL"},
        {x_stride_short, "row_stride of x is 2"},
        {y_stride_short, "row_stride of y is 3"},
        {stride_negative, "row_stride of x is -8"},
        {stride_overflows, "do not fit into memory"},
        {ids_alone, "must be given together"},
        {no_workspace, "workspace has 0 bytes"},
        {workspace_short, "a batch of 2 needs"},
        {workspace_misaligned, "64 bytes"},
        {y_over_x, "y overlaps x"},
        {y_over_last_x, "y overlaps x"},
        {y_over_residual, "y overlaps residual"},
        {y_as_residual_of_another_stride, "y overlaps residual"},
        {y_over_routing, "y overlaps routing_weights"},
        {y_over_workspace, "y overlaps the workspace"},
        {reserved_set, "reserved"},
    };
    mglu_layer_desc layer = {.struct_size = sizeof layer, .top_k = 1, .max_batch = 2};
    struct rig rig = rig_make("ref", NULL, &sample.desc, &layer);

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mglu_forward_args args = good_args;
        args.workspace = mglu_memory_data(rig.workspace);
        args.workspace_size = mglu_memory_size(rig.workspace);
        for (size_t k = 0; k < 64; k++)
            memory[k] = (float)k;
        cases[i].spoil(&args);
        assert_status(mglu_forward(rig.layer, rig.queue, &args), MGLU_ERROR_INVALID_ARGUMENT);
        assert_error_says(cases[i].says);
        for (size_t k = 0; k < 64; k++)
            assert_true(memory[k] == (float)k);
    }
    rig_free(&rig);
}

static void interleaved_rows_without_overlap_are_accepted(void **state)
{
    mglu_layer_desc layer = {.struct_size = sizeof layer, .max_batch = 2};
    struct rig rig = rig_make("ref", NULL, &sample.desc, &layer);
    float together[40] = {1, 2, 3, 0}, apart[8];
    mglu_forward_args args = good_args;

    args.x = (mglu_input){.data = together, .row_stride = 20};
    args.y = (mglu_output){.data = apart};
    assert_ok(rig_forward(&rig, args));
    args.y = (mglu_output){.data = together + 3, .row_stride = 20}; /* columns of one buffer */
    assert_ok(rig_forward(&rig, args));
    assert_memory_equal(together + 3, apart, 4 * sizeof(float));
    assert_memory_equal(together + 23, apart + 4, 4 * sizeof(float));
    rig_free(&rig);
}

static void y_may_be_its_own_residual(void **state)
{
    mglu_layer_desc layer = {.struct_size = sizeof layer, .max_batch = 2};
    struct rig rig = rig_make("ref", NULL, &sample.desc, &layer);
    const float x[6] = {1, 2, 3, 4, 5, 6};
    float y[8], sum[8] = {1, 2, 3, 4, 5, 6, 7, 8};

    assert_ok(rig_forward(&rig, (mglu_forward_args){.batch = 2, .x = {.data = x}, .y = {.data = y}}));
    assert_ok(rig_forward(
        &rig, (mglu_forward_args){.batch = 2, .x = {.data = x}, .y = {.data = sum}, .residual = {.data = sum}}));
    for (int i = 0; i < 8; i++)
        assert_float_equal(sum[i], y[i] + (float)(i + 1), 1e-5);
    rig_free(&rig);
}

static void routing_must_come_from_somewhere_and_only_where_asked_for(void **state)
{
    mglu_weights_desc unrouted = sample.desc;
    mglu_layer_desc layer = {.struct_size = sizeof layer, .top_k = 1, .max_batch = 2};
    mglu_forward_args args = good_args;

    unrouted.router.data = NULL;
    struct rig rig = rig_make("ref", NULL, &unrouted, &layer);
    assert_status(rig_forward(&rig, args), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("no router");
    rig_free(&rig);
    layer.top_k = 0;
    rig = rig_make("ref", NULL, &unrouted, &layer);
    args.routing_ids.data = ids;
    args.routing_weights.data = p;
    assert_status(rig_forward(&rig, args), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("top_k 0");
    rig_free(&rig);
}

static void an_empty_batch_does_nothing_and_needs_no_pointers(void **state)
{
    mglu_layer_desc layer = {.struct_size = sizeof layer, .max_batch = 2};
    struct rig rig = rig_make("ref", NULL, &sample.desc, &layer);

    assert_ok(rig_forward(&rig, (mglu_forward_args){.batch = 0}));
    rig_free(&rig);
}

static void a_queue_of_another_device_is_refused(void **state)
{
    mglu_layer_desc layer = {.struct_size = sizeof layer, .max_batch = 2};
    struct rig rig = rig_make("ref", NULL, &sample.desc, &layer);
    mglu_forward_args args = good_args;
    mglu_device *cpu;
    mglu_queue *queue;

    assert_ok(mglu_device_pick(rig.context, "cpu", &cpu));
    assert_ok(mglu_queue_create(cpu, NULL, &queue));
    assert_status(mglu_forward(rig.layer, queue, &args), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("another device");
    mglu_queue_destroy(&queue);
    rig_free(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_that_break_a_rule_are_refused),
        cmocka_unit_test(layers_that_break_a_rule_are_refused),
        cmocka_unit_test(forwards_that_break_a_rule_are_refused_and_write_nothing),
        cmocka_unit_test(interleaved_rows_without_overlap_are_accepted),
        cmocka_unit_test(y_may_be_its_own_residual),
        cmocka_unit_test(routing_must_come_from_somewhere_and_only_where_asked_for),
        cmocka_unit_test(an_empty_batch_does_nothing_and_needs_no_pointers),
        cmocka_unit_test(a_queue_of_another_device_is_refused),
    };

    return cmocka_run_group_tests(tests, open_device, close_device);
}
