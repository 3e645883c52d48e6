/* SPDX-License-Identifier: MIT */
#include "arguments.h"

/* The same for the rules of a forward. */

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
        cmocka_unit_test(forwards_that_break_a_rule_are_refused_and_write_nothing),
        cmocka_unit_test(interleaved_rows_without_overlap_are_accepted),
        cmocka_unit_test(y_may_be_its_own_residual),
        cmocka_unit_test(routing_must_come_from_somewhere_and_only_where_asked_for),
        cmocka_unit_test(an_empty_batch_does_nothing_and_needs_no_pointers),
        cmocka_unit_test(a_queue_of_another_device_is_refused),
    };

    return cmocka_run_group_tests(tests, open_device, close_device);
}
