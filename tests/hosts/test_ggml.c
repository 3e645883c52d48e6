/* SPDX-License-Identifier: MIT */
#include "examples/ggml/mglu_ggml.h"
#include "tests/unit/check.h"

#include <mglu/io.h>

#include <ggml-cpu.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Operators in graphs of ggml against the same layers of ggml's own operators: matrix products, SiLU, products, and for
 * masks the sum over matrices that are masked beforehand. The reference backend says how far two computations of a
 * layer may differ. x consists of 16ths with the same largest magnitude in each group of 32, which every type that ggml
 * converts x to holds exactly; z it rounds, which `z_rounding` allows for.
 */

enum { HIDDEN = 256, INTERMEDIATE = 1024, OUTPUT = 96, MOST_TOKENS = 64, MOST_MASKS = 4 };

struct type_case {
    enum ggml_type type;
    double z_rounding; /* the relative error of z as ggml multiplies it */
    bool has_down;     /* z in q8_0 has an error of another kind: no down-projection */
};

static const struct type_case types[] = {
    {GGML_TYPE_F32, 0, true},   {GGML_TYPE_F16, 0x1p-11, true}, {GGML_TYPE_BF16, 0x1p-8, true},
    {GGML_TYPE_Q8_0, 0, false}, {GGML_TYPE_Q4_0, 0, false},
};

static const int mask_counts[] = {0, 1, MOST_MASKS}, batches[] = {1, 3, MOST_TOKENS}, thread_counts[] = {1, 2};

/* A layer in ggml's memory, and as this library's weights. */
struct sample {
    const struct type_case *type;
    int n_masks; /* 0: a plain GLU */
    struct ggml_context *tensors;
    struct ggml_tensor *x, *gates[MOST_MASKS], *values[MOST_MASKS], *down;
    float *down_values;
    mglu_weights_desc desc;
    void *masks, *packed[3];
    double *want, *tolerance; /* [MOST_TOKENS][columns] */
    int64_t columns;          /* of y */
};

static float draw(void)
{
    static uint64_t state = 1;

    state = state * 6364136223846793005u + 1442695040888963407u;
    return (float)(int32_t)(state >> 32) * 0x1p-31f;
}

static float *draw_values(int64_t count)
{
    float *values = test_malloc(sizeof *values * (size_t)count);

    for (int64_t i = 0; i < count; i++)
        values[i] = draw() * 0.0625f;
    return values;
}

/* Starts at a multiple of 64 bytes, so that it can be used in place. */
static struct ggml_tensor *new_matrix(struct ggml_context *tensors, enum ggml_type type, int64_t columns, int64_t rows,
                                      const float *values)
{
    const size_t size = ggml_row_size(type, columns) * (size_t)rows;
    const void *memory = ggml_new_tensor_1d(tensors, GGML_TYPE_I8, (int64_t)size + 63)->data;

    ggml_set_no_alloc(tensors, true);
    struct ggml_tensor *tensor = ggml_new_tensor_2d(tensors, type, columns, rows);
    ggml_set_no_alloc(tensors, false);
    tensor->data = (void *)(((uintptr_t)memory + 63) / 64 * 64);
    if (type == GGML_TYPE_F32)
        memcpy(tensor->data, values, ggml_nbytes(tensor));
    else
        ggml_quantize_chunk(type, values, tensor->data, 0, rows, columns, NULL);
    return tensor;
}

static struct ggml_tensor *new_x(struct ggml_context *tensors)
{
    struct ggml_tensor *x = ggml_new_tensor_2d(tensors, GGML_TYPE_F32, HIDDEN, MOST_TOKENS);
    float *values = x->data;

    for (int i = 0; i < HIDDEN * MOST_TOKENS; i++)
        values[i] = (i % 32 == 0 ? 127 : truncf(draw() * 127)) / 16;
    return x;
}

static void describe(const struct ggml_tensor *tensor, mglu_array *matrix, void **packed)
{
    assert_ok(mglu_ggml_matrix(tensor, matrix, packed));
}

static void make_plain(struct sample *sample)
{
    for (int i = 0; i < 2; i++) {
        float *values = draw_values(INTERMEDIATE * HIDDEN);
        struct ggml_tensor *matrix = new_matrix(sample->tensors, sample->type->type, HIDDEN, INTERMEDIATE, values);
        *(i ? sample->values : sample->gates) = matrix;
        describe(matrix, i ? &sample->desc.value_weight : &sample->desc.weight, &sample->packed[i]);
        test_free(values);
    }
}

/* The matrices of ggml's layer have zeros where the mask, or its complement, does. */
static void make_masked(struct sample *sample)
{
    const int64_t count = INTERMEDIATE * HIDDEN;
    float *values = draw_values(count), *selected = test_malloc(sizeof *selected * (size_t)count);
    uint8_t *masks = sample->masks = test_malloc((size_t)(sample->n_masks * count));

    for (int i = 0; i < sample->n_masks; i++)
        for (int side = 1; side >= 0; side--) {
            for (int64_t j = 0; j < count; j++) {
                if (side)
                    masks[i * count + j] = draw() > 0;
                selected[j] = masks[i * count + j] == side ? values[j] : 0;
            }
            (side ? sample->gates : sample->values)[i] =
                new_matrix(sample->tensors, sample->type->type, HIDDEN, INTERMEDIATE, selected);
        }
    describe(new_matrix(sample->tensors, sample->type->type, HIDDEN, INTERMEDIATE, values), &sample->desc.weight,
             &sample->packed[0]);
    sample->desc.masks = (mglu_mask_array){masks, MGLU_MASK_BYTES};
    test_free(selected);
    test_free(values);
}

static void make_down(struct sample *sample)
{
    if (!sample->type->has_down)
        return;
    sample->down_values = draw_values(OUTPUT * INTERMEDIATE);
    sample->down = new_matrix(sample->tensors, sample->type->type, INTERMEDIATE, OUTPUT, sample->down_values);
    sample->desc.output_size = OUTPUT;
    describe(sample->down, &sample->desc.down, &sample->packed[2]);
}

/* A layer of a device of its own, and all that it needs. */
struct engine {
    mglu_context *context;
    mglu_device *device;
    mglu_weights *weights;
    mglu_layer *layer;
    mglu_memory *workspace;
};

static struct engine start(const char *backend, const mglu_weights_desc *desc)
{
    struct engine engine;
    mglu_layer_desc layer = MGLU_LAYER_DESC_INIT;

    layer.max_batch = MOST_TOKENS;
    assert_ok(mglu_context_create(NULL, &engine.context));
    assert_ok(mglu_device_pick(engine.context, backend, &engine.device));
    assert_ok(mglu_weights_create(engine.device, desc, &engine.weights));
    assert_ok(mglu_layer_create(engine.weights, &layer, &engine.layer));
    assert_ok(mglu_memory_create(engine.device, mglu_layer_workspace_size(engine.layer), &engine.workspace));
    return engine;
}

static void stop(struct engine *engine)
{
    mglu_memory_destroy(&engine->workspace);
    mglu_layer_destroy(&engine->layer);
    mglu_weights_destroy(&engine->weights);
    mglu_context_destroy(&engine->context);
}

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

static void find_wanted(struct sample *sample)
{
    const size_t count = (size_t)(MOST_TOKENS * sample->columns);
    struct engine reference = start("ref", &sample->desc);
    mglu_forward_args args = MGLU_FORWARD_ARGS_INIT;

    sample->want = test_malloc(sizeof(double) * count);
    sample->tolerance = test_malloc(sizeof(double) * count);
    args.batch = MOST_TOKENS;
    args.x.data = sample->x->data;
    assert_ok(mglu_forward_reference(reference.layer, &args, MGLU_ACCURACY_A, sample->want, sample->tolerance));
    stop(&reference);
}

static struct sample make(const struct type_case *type, int n_masks)
{
    struct sample sample = {.type = type,
                            .n_masks = n_masks,
                            .desc = MGLU_WEIGHTS_DESC_INIT,
                            .columns = type->has_down ? OUTPUT : INTERMEDIATE};

    sample.desc.flags = MGLU_WEIGHTS_BORROW;
    sample.desc.kind = n_masks ? MGLU_KIND_MASKED : MGLU_KIND_PLAIN;
    sample.desc.hidden_size = HIDDEN;
    sample.desc.intermediate_size = INTERMEDIATE;
    sample.desc.n_masks = n_masks;
    sample.tensors = ggml_init((struct ggml_init_params){.mem_size = (size_t)32 << 20});
    assert_non_null(sample.tensors);
    sample.x = new_x(sample.tensors);
    if (n_masks)
        make_masked(&sample);
    else
        make_plain(&sample);
    make_down(&sample);
    sample.desc.dtype = sample.desc.weight.dtype;
    find_wanted(&sample);
    return sample;
}

static void discard(struct sample *sample)
{
    for (int i = 0; i < 3; i++)
        free(sample->packed[i]);
    ggml_free(sample->tensors);
    if (sample->masks)
        test_free(sample->masks);
    if (sample->down_values)
        test_free(sample->down_values);
    test_free(sample->want);
    test_free(sample->tolerance);
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

/* Masks and weights as the file has them, and two layers one after the other in a graph, with one workspace. */
static void test_masked_layers_of_a_file_in_one_graph(void **unused)
{
    static const char *const names[] = {"model.layers.0.mlp", "model.layers.1.mlp"};
    enum { COUNT = 2, SIZE = 128, TOKENS = 3 };
    struct ggml_context *graph = ggml_init((struct ggml_init_params){.mem_size = 1 << 20});
    struct ggml_tensor *y = ggml_new_tensor_2d(graph, GGML_TYPE_F32, SIZE, TOKENS);
    float x[TOKENS * SIZE], want[TOKENS * SIZE];
    struct engine engines[COUNT];
    struct mglu_ggml ops[COUNT];
    char path[4096];
    mglu_file *file;

    snprintf(path, sizeof path, "%s/licence-lm/model.safetensors", getenv("MGLU_TEST_DATA"));
    assert_ok(mglu_file_open(path, 0, &file));
    for (int i = 0; i < TOKENS * SIZE; i++)
        ((float *)y->data)[i] = x[i] = draw();
    for (int i = 0; i < COUNT; i++) {
        mglu_weights_desc weights = MGLU_WEIGHTS_DESC_INIT;
        mglu_layer_desc layer = MGLU_LAYER_DESC_INIT;
        mglu_forward_args args = MGLU_FORWARD_ARGS_INIT;
        assert_ok(mglu_file_layer(file, names[i], &weights, &layer, NULL));
        weights.flags = MGLU_WEIGHTS_BORROW;
        engines[i] = start("host", &weights);
        expect_in_place(&engines[i]);
        ops[i] = operator_of(&engines[i], SIZE);
        ops[i].workspace = ops[0].workspace;
        y = mglu_ggml_apply(graph, &ops[i], y);
        args.batch = TOKENS;
        args.x.data = i ? want : x;
        args.y.data = i ? x : want;
        args.workspace = ops[0].workspace;
        args.workspace_size = ops[0].workspace_size;
        assert_ok(mglu_forward(engines[i].layer, NULL, &args));
    }
    compute(graph, y, 2);
    assert_memory_equal(y->data, x, sizeof x);
    for (int i = COUNT - 1; i >= 0; i--)
        stop(&engines[i]);
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
        cmocka_unit_test(test_masked_layers_of_a_file_in_one_graph),
        cmocka_unit_test(test_what_cannot_be_described_is_refused_by_name),
        cmocka_unit_test(test_a_failed_forward_is_reported),
    };

    ggml_cpu_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
