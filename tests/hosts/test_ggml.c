/* SPDX-License-Identifier: MIT */
#include "ggml_sample.h"

#include <mglu/io.h>

#include <ggml-cpu.h>
#include <stdio.h>

/*
 * Operators in graphs of ggml against the same layers of ggml's own operators: matrix products, SiLU, products, and for
 * masks the sum over matrices that are masked beforehand. The reference backend says how far two computations of a
 * layer may differ. x consists of 16ths with the same largest magnitude in each group of 32, which every type that ggml
 * converts x to holds exactly; z it rounds, which `z_rounding` allows for.
 */

static const int mask_counts[] = {0, 1, MOST_MASKS}, batches[] = {1, 3, MOST_TOKENS}, thread_counts[] = {1, 2};

/* All matrices are used where they are. */
static void expect_in_place(const struct engine *engine)
{
    mglu_weights_info info = MGLU_WEIGHTS_INFO_INIT;

    assert_ok(mglu_weights_get_info(engine->weights, &info));
    const int64_t h = info.hidden_size, d = info.intermediate_size;
    const size_t matrix = mglu_packed_weight_size(info.dtype, d, h) + mglu_packed_scale_size(info.dtype, d, h);
    const size_t down = mglu_packed_weight_size(info.dtype, info.output_size, d);
    assert_int_equal(info.borrowed_bytes, (info.kind == MGLU_KIND_PLAIN ? 2 : 1) * matrix + down);
}

static struct mglu_ggml operator_of(const struct engine *engine, int64_t columns)
{
    return (struct mglu_ggml){.layer = engine->layer,
                              .y_type = GGML_TYPE_F32,
                              .y_columns = columns,
                              .workspace = mglu_memory_data(engine->workspace),
                              .workspace_size = mglu_memory_size(engine->workspace)};
}

static struct ggml_tensor *first_rows(struct ggml_context *graph, struct ggml_tensor *x, int rows)
{
    return ggml_view_2d(graph, x, x->ne[0], rows, x->nb[1], 0);
}

static void compute(struct ggml_context *graph, struct ggml_tensor *y, int threads)
{
    struct ggml_cgraph *all = ggml_new_graph(graph);

    ggml_build_forward_expand(all, y);
    assert_int_equal(ggml_graph_compute_with_ctx(graph, all, threads), GGML_STATUS_SUCCESS);
}

/* z of ggml's own operators. */
static struct ggml_tensor *glu(struct ggml_context *graph, const struct sample *sample, struct ggml_tensor *x)
{
    struct ggml_tensor *z = NULL;

    for (int i = 0; i < (sample->n_masks ? sample->n_masks : 1); i++) {
        struct ggml_tensor *gate = ggml_mul_mat(graph, sample->gates[i], x);
        struct ggml_tensor *value = ggml_mul_mat(graph, sample->values[i], x);
        struct ggml_tensor *term =
            sample->n_masks ? ggml_mul(graph, ggml_silu(graph, gate), value) : ggml_swiglu_split(graph, gate, value);
        z = z ? ggml_add(graph, z, term) : term;
    }
    return z;
}

/* How far y may be from the wanted one, because ggml rounds z. */
static double rounding_of_z(const struct sample *sample, const float *z, int64_t column)
{
    double sum = 0;

    for (int64_t j = 0; sample->down && j < INTERMEDIATE; j++)
        sum += fabs((double)sample->down_values[column * INTERMEDIATE + j] * (double)z[j]);
    return sum * sample->type->z_rounding;
}

/* `z` is that of ggml's operators, NULL for this library's. */
static void check(const struct sample *sample, const char *whose, const struct ggml_tensor *y,
                  const struct ggml_tensor *z)
{
    const float *got = y->data;

    for (int64_t t = 0; t < y->ne[1]; t++)
        for (int64_t i = 0; i < sample->columns; i++) {
            const int64_t at = t * sample->columns + i;
            const double rounding = z ? rounding_of_z(sample, (const float *)z->data + t * INTERMEDIATE, i) : 0;
            if (!(fabs((double)got[at] - sample->want[at]) <= sample->tolerance[at] + rounding))
                fail_msg("%s, %s, %d masks, batch %d: y[%d][%d] is %g, expected %g +- %g", whose,
                         ggml_type_name(sample->type->type), sample->n_masks, (int)y->ne[1], (int)t, (int)i,
                         (double)got[at], sample->want[at], sample->tolerance[at] + rounding);
        }
}

static void compare(const struct sample *sample, struct mglu_ggml *op, int batch, int threads)
{
    struct ggml_context *graph = ggml_init((struct ggml_init_params){.mem_size = (size_t)32 << 20});
    struct ggml_tensor *x = first_rows(graph, sample->x, batch);
    struct ggml_tensor *z = glu(graph, sample, x), *theirs = sample->down ? ggml_mul_mat(graph, sample->down, z) : z;
    struct ggml_tensor *ours = mglu_ggml_apply(graph, op, x);

    compute(graph, theirs, threads);
    check(sample, "ggml", theirs, z);
    for (int i = 0; i < 3; i++) {
        memset(ours->data, 0xff, ggml_nbytes(ours));
        compute(graph, ours, threads);
        assert_int_equal(op->status, MGLU_OK);
        assert_false(op->team.open || op->team.finished || op->team.inside || op->team.left); /* ready for a call */
        check(sample, "mglu", ours, NULL);
    }
    ggml_free(graph);
}

static void test_same_numbers_as_ggmls_own_operators(void **unused)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        for (size_t j = 0; j < sizeof mask_counts / sizeof mask_counts[0]; j++) {
            if (mask_counts[j] && !types[i].has_down)
                continue;
            struct sample sample = make(&types[i], mask_counts[j]);
            struct engine engine = start("host", &sample.desc);
            struct mglu_ggml op = operator_of(&engine, sample.columns);
            expect_in_place(&engine);
            for (size_t k = 0; k < sizeof batches / sizeof batches[0]; k++)
                for (size_t l = 0; l < sizeof thread_counts / sizeof thread_counts[0]; l++)
                    compare(&sample, &op, batches[k], thread_counts[l]);
            stop(&engine);
            discard(&sample);
        }
}

static void require(mglu_status status)
{
    assert_ok(status);
}

/* Part of docs/embedding/ggml.md. */
static struct ggml_tensor *add_block(struct ggml_context *graph, struct ggml_tensor *x, mglu_device *device,
                                     const mglu_file *file, const char *name, struct mglu_ggml *op)
{
    mglu_weights_desc weights_desc = MGLU_WEIGHTS_DESC_INIT;
    mglu_layer_desc layer_desc = MGLU_LAYER_DESC_INIT;
    mglu_weights *weights;

    require(mglu_file_layer(file, name, &weights_desc, &layer_desc, NULL));
    weights_desc.flags = MGLU_WEIGHTS_BORROW; /* the file stays open as long as the layer */
    layer_desc.max_batch = MOST_TOKENS;
    require(mglu_weights_create(device, &weights_desc, &weights));
    require(mglu_layer_create(weights, &layer_desc, &op->layer));
    mglu_weights_destroy(&weights); /* the layer keeps them */
    op->y_type = GGML_TYPE_F32;
    op->y_columns = weights_desc.output_size;
    return mglu_ggml_apply(graph, op, x);
}

/* The same blocks one after the other, without ggml. */
static void forward_blocks(const struct mglu_ggml *ops, int count, int tokens, float *x, float *y)
{
    for (int i = 0; i < count; i++) {
        mglu_forward_args args = MGLU_FORWARD_ARGS_INIT;
        args.batch = tokens;
        args.x.data = x;
        args.y.data = y;
        args.workspace = ops[i].workspace;
        args.workspace_size = ops[i].workspace_size;
        require(mglu_forward(ops[i].layer, NULL, &args));
        memcpy(x, y, (size_t)(tokens * ops[i].y_columns) * sizeof *x);
    }
}

static void test_masked_blocks_of_a_file_in_one_graph_share_a_workspace(void **unused)
{
    static const char *const names[] = {"model.layers.0.mlp", "model.layers.1.mlp"};
    enum { COUNT = 2, SIZE = 128, TOKENS = 3 };
    struct ggml_context *graph = ggml_init((struct ggml_init_params){.mem_size = 1 << 20});
    struct ggml_tensor *y = ggml_new_tensor_2d(graph, GGML_TYPE_F32, SIZE, TOKENS);
    struct mglu_ggml ops[COUNT] = {{0}};
    float x[TOKENS * SIZE], want[TOKENS * SIZE];
    mglu_context *context;
    mglu_device *device;
    mglu_memory *workspace;
    char path[4096];
    mglu_file *file;

    snprintf(path, sizeof path, "%s/licence-lm/model.safetensors", getenv("MGLU_TEST_DATA"));
    require(mglu_file_open(path, 0, &file));
    require(mglu_context_create(NULL, &context));
    require(mglu_device_pick(context, "host", &device));
    for (int i = 0; i < TOKENS * SIZE; i++)
        ((float *)y->data)[i] = x[i] = draw();
    for (int i = 0; i < COUNT; i++)
        y = add_block(graph, y, device, file, names[i], &ops[i]);
    require(mglu_memory_create(device, mglu_layer_workspace_size(ops[0].layer), &workspace));
    for (int i = 0; i < COUNT; i++) {
        ops[i].workspace = mglu_memory_data(workspace);
        ops[i].workspace_size = mglu_memory_size(workspace);
    }
    compute(graph, y, 2);
    forward_blocks(ops, COUNT, TOKENS, x, want);
    assert_memory_equal(y->data, want, sizeof want);
    for (int i = 0; i < COUNT; i++)
        mglu_layer_destroy(&ops[i].layer);
    mglu_memory_destroy(&workspace);
    mglu_context_destroy(&context);
    mglu_file_close(&file);
    ggml_free(graph);
}

static void test_what_cannot_be_described_is_refused_by_name(void **unused)
{
    struct ggml_context *tensors = ggml_init((struct ggml_init_params){.mem_size = 1 << 20});
    struct ggml_tensor *matrix = ggml_new_tensor_2d(tensors, GGML_TYPE_F32, 64, 32);
    mglu_array array;
    void *packed;

    assert_status(mglu_ggml_matrix(ggml_set_name(ggml_transpose(tensors, matrix), "turned"), &array, &packed),
                  MGLU_ERROR_UNSUPPORTED);
    assert_error_says("'turned' is not a contiguous matrix");
    assert_status(mglu_ggml_matrix(ggml_new_tensor_2d(tensors, GGML_TYPE_Q6_K, 256, 1), &array, &packed),
                  MGLU_ERROR_UNSUPPORTED);
    assert_error_says("q6_K");
    ggml_free(tensors);
}

static void test_a_failed_forward_is_reported(void **unused)
{
    struct sample sample = make(&types[0], 0);
    struct engine engine = start("host", &sample.desc);
    struct mglu_ggml op = operator_of(&engine, sample.columns);
    struct ggml_context *graph = ggml_init((struct ggml_init_params){.mem_size = 1 << 20});

    op.workspace_size = 0;
    compute(graph, mglu_ggml_apply(graph, &op, first_rows(graph, sample.x, 1)), 2);
    assert_int_equal(op.status, MGLU_ERROR_INVALID_ARGUMENT);
    ggml_free(graph);
    stop(&engine);
    discard(&sample);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_numbers_as_ggmls_own_operators),
        cmocka_unit_test(test_masked_blocks_of_a_file_in_one_graph_share_a_workspace),
        cmocka_unit_test(test_what_cannot_be_described_is_refused_by_name),
        cmocka_unit_test(test_a_failed_forward_is_reported),
    };

    ggml_cpu_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
