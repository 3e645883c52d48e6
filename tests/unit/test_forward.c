/* SPDX-License-Identifier: MIT */
#include "sample.h"

#include <math.h>
#include <stdio.h>

/*
 * Every device of this machine, and every instruction set of the CPU backend, against the reference backend: element by
 * element within the error bound, and bit by bit where reproducible bits are promised.
 */

struct target {
    const char *backend, *max_isa;
};

static struct target targets[16];
static size_t target_count;

/* The context is kept, as its device owns the names. */
static int find_targets(void **state)
{
    mglu_device_info info = {.struct_size = sizeof info};
    mglu_context *context;
    mglu_device *device;

    assert_ok(mglu_context_create(NULL, &context));
    assert_ok(mglu_device_pick(context, "cpu", &device));
    assert_ok(mglu_device_get_info(device, &info));
    for (const char *const *isa = info.instruction_sets; *isa; isa++) {
        assert_true(target_count + 1 < sizeof targets / sizeof targets[0]);
        printf("testing %s\n", *isa);
        targets[target_count++] = (struct target){"cpu", *isa};
    }
    assert_true(target_count > 0);
    targets[target_count++] = (struct target){"ref", NULL};
    *state = context;
    return 0;
}

static int forget_targets(void **state)
{
    mglu_context *context = *state;

    mglu_context_destroy(&context);
    return 0;
}

static struct rig open_target(const struct target *target, const mglu_weights_desc *weights,
                              const mglu_layer_desc *layer)
{
    mglu_context_desc context = {.struct_size = sizeof context, .max_isa = target->max_isa, .num_threads = 2};

    return rig_make(target->backend, &context, weights, layer);
}

/* A case has all that one forward depends on. */
struct shape_case {
    struct sample_shape shape;
    mglu_layer_desc layer;
    int64_t batch;
    int routing; /* 0 none, 1 the router's, 2 the caller's */
    int residual;
};

/* The inputs of a case, and y with bytes around it that must not change. */
struct buffers {
    void *x, *residual;
    unsigned char *y;
    int32_t *ids;
    float *p;
    int64_t columns, x_stride, y_stride;
    size_t y_bytes;
};

enum { CANARY = 0xa5, GAP = 3 };

static struct buffers make_buffers(const struct shape_case *test, uint32_t seed)
{
    struct buffers buffers = {.columns = test->shape.parts & WITH_DOWN ? test->shape.out : test->shape.d};
    size_t terms = (size_t)(test->batch * test->layer.top_k);

    buffers.x_stride = test->shape.h + GAP;
    buffers.y_stride = buffers.columns + GAP;
    buffers.y_bytes = (size_t)((test->batch + 1) * buffers.y_stride) * mglu_dtype_size(test->layer.y_dtype);
    buffers.x = sample_array(test->layer.x_dtype, (size_t)((test->batch + 1) * buffers.x_stride), 1, &seed);
    buffers.residual = sample_array(test->layer.y_dtype, (size_t)((test->batch + 1) * buffers.y_stride), 4, &seed);
    buffers.y = malloc(buffers.y_bytes);
    memset(buffers.y, CANARY, buffers.y_bytes);
    buffers.ids = malloc((terms + 1) * sizeof *buffers.ids);
    buffers.p = sample_array(MGLU_DTYPE_F32, terms, 1, &seed);
    for (size_t i = 0; i < terms; i++)
        buffers.ids[i] = (int32_t)(i * 7 % (size_t)test->shape.n_masks);
    return buffers;
}

static void free_buffers(struct buffers *buffers)
{
    free(buffers->x), free(buffers->residual), free(buffers->y), free(buffers->ids), free(buffers->p);
}

/* Everything begins one element into its buffer, so that nothing is aligned by luck. */
static mglu_forward_args make_args(const struct shape_case *test, const struct buffers *buffers)
{
    mglu_forward_args args = {
        .struct_size = sizeof args,
        .batch = test->batch,
        .x = {buffers->x, mglu_dtype_size(test->layer.x_dtype), buffers->x_stride},
        .y = {buffers->y, mglu_dtype_size(test->layer.y_dtype), buffers->y_stride},
    };

    if (test->residual)
        args.residual = (mglu_input){buffers->residual, 0, buffers->y_stride};
    if (test->routing == 2) {
        args.routing_ids.data = buffers->ids;
        args.routing_weights.data = buffers->p;
    }
    return args;
}

static float element(const struct shape_case *test, const struct buffers *buffers, int64_t row, int64_t column)
{
    size_t at = (size_t)(1 + row * buffers->y_stride + column) * mglu_dtype_size(test->layer.y_dtype);
    float value;

    assert_ok(mglu_convert(buffers->y + at, test->layer.y_dtype, &value, MGLU_DTYPE_F32, 1));
    return value;
}

static void check_gaps(const struct shape_case *test, const struct buffers *buffers)
{
    size_t size = mglu_dtype_size(test->layer.y_dtype), row = (size_t)buffers->y_stride * size;

    for (size_t i = 0; i < buffers->y_bytes; i++) {
        size_t column = i < size ? row : (i - size) % row;
        int inside = column < (size_t)buffers->columns * size && (i - size) / row < (size_t)test->batch;
        if (!inside && buffers->y[i] != CANARY)
            fail_msg("byte %zu outside y was written", i);
    }
}

static void describe(const struct shape_case *test, const struct target *target, char *text, size_t size)
{
    snprintf(text, size, "%s/%s %s w=%s x=%s y=%s %s h=%lld d=%lld n_m=%d top_k=%d batch=%lld parts=%d routing=%d",
             target->backend, target->max_isa ? target->max_isa : "",
             test->shape.kind == MGLU_KIND_MASKED ? "mglu" : "glu", mglu_dtype_name(test->shape.dtype),
             mglu_dtype_name(test->layer.x_dtype), mglu_dtype_name(test->layer.y_dtype),
             mglu_activation_name(test->layer.activation), (long long)test->shape.h, (long long)test->shape.d,
             test->shape.n_masks, test->layer.top_k, (long long)test->batch, test->shape.parts, test->routing);
}

static void check_against_reference(const struct shape_case *test, const struct target *target,
                                    const struct buffers *buffers, const double *want, const double *tolerance)
{
    char text[256];

    describe(test, target, text, sizeof text);
    for (int64_t b = 0; b < test->batch; b++)
        for (int64_t c = 0; c < buffers->columns; c++) {
            double got = (double)element(test, buffers, b, c), right = want[b * buffers->columns + c];
            if (!(fabs(got - right) <= tolerance[b * buffers->columns + c]))
                fail_msg("%s: y[%lld][%lld] = %.9g, want %.9g, tolerance %.3g", text, (long long)b, (long long)c, got,
                         right, tolerance[b * buffers->columns + c]);
        }
    check_gaps(test, buffers);
}

/* Runs one case on every target. */
static void run_case(const struct shape_case *test, uint32_t seed)
{
    struct sample sample = sample_make(&test->shape, seed);
    struct buffers buffers = make_buffers(test, seed + 1);
    size_t count = (size_t)(test->batch * buffers.columns);
    double *want = malloc((count + 1) * sizeof *want), *tolerance = malloc((count + 1) * sizeof *tolerance);
    struct rig reference = rig_make("ref", NULL, &sample.desc, &test->layer);
    mglu_forward_args args = make_args(test, &buffers);

    for (size_t i = 0; i < target_count; i++) {
        struct rig rig = open_target(&targets[i], &sample.desc, &test->layer);
        assert_ok(mglu_forward_reference(reference.layer, &args, mglu_layer_accuracy(rig.layer), want, tolerance));
        memset(buffers.y, CANARY, buffers.y_bytes);
        assert_ok(rig_forward(&rig, args));
        assert_ok(mglu_queue_wait(rig.queue));
        check_against_reference(test, &targets[i], &buffers, want, tolerance);
        rig_free(&rig);
    }
    rig_free(&reference);
    free(want), free(tolerance);
    free_buffers(&buffers);
    sample_free(&sample);
}

static const mglu_dtype dtypes[][3] = {
    {MGLU_DTYPE_F32, MGLU_DTYPE_F32, MGLU_DTYPE_F32},   {MGLU_DTYPE_F16, MGLU_DTYPE_F16, MGLU_DTYPE_F16},
    {MGLU_DTYPE_F16, MGLU_DTYPE_F32, MGLU_DTYPE_F32},   {MGLU_DTYPE_BF16, MGLU_DTYPE_BF16, MGLU_DTYPE_BF16},
    {MGLU_DTYPE_BF16, MGLU_DTYPE_BF16, MGLU_DTYPE_F32}, {MGLU_DTYPE_F32, MGLU_DTYPE_F16, MGLU_DTYPE_BF16},
};
enum { DTYPES = sizeof dtypes / sizeof dtypes[0] };

static struct shape_case base_case(size_t dtype)
{
    return (struct shape_case){
        .shape = {.kind = MGLU_KIND_MASKED, .dtype = dtypes[dtype][0], .h = 45, .d = 19, .out = 21, .n_masks = 3},
        .layer = {.struct_size = sizeof(mglu_layer_desc),
                  .x_dtype = dtypes[dtype][1],
                  .y_dtype = dtypes[dtype][2],
                  .max_batch = 64},
        .batch = 2,
    };
}

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

/* x of 2 to 33 tokens in quantised layers that allow quantised x. */
static struct shape_case quantised_x_case(size_t i)
{
    struct shape_case test = base_case(0);

    test.shape.dtype = i % 3 ? MGLU_DTYPE_Q8_0 : MGLU_DTYPE_Q4_0;
    test.shape.n_masks = (int32_t)(i * 5 % (MGLU_MAX_MASKS + 1));
    test.shape.kind = test.shape.n_masks ? MGLU_KIND_MASKED : MGLU_KIND_PLAIN;
    test.shape.h = 45 + (int64_t)i * 37;
    test.shape.parts = i % 4 < 2 ? WITH_DOWN : WITH_BIASES | WITH_ROUTER;
    test.layer.flags = MGLU_LAYER_ALLOW_QUANTISED_X;
    test.layer.top_k = i % 4 == 3 && test.shape.n_masks ? 1 : 0;
    test.routing = test.layer.top_k;
    test.batch = 2 + (int64_t)(i * 11 % 32);
    return test;
}
enum { QUANTISED_X_CASES = 34 };

static void layers_with_quantised_x_are_within_their_bound(void **state)
{
    for (size_t i = 0; i < QUANTISED_X_CASES; i++) {
        struct shape_case test = quantised_x_case(i);
        run_case(&test, 113);
    }
}

/* One forward of a case on a target; the bytes of y, canaries included. Freed by the caller. */
static unsigned char *bits_of(const struct shape_case *test, const mglu_context_desc *context, const char *backend,
                              const struct sample *sample, struct buffers *buffers)
{
    struct rig rig = rig_make(backend, context, &sample->desc, &test->layer);
    unsigned char *bits = malloc(buffers->y_bytes);

    memset(buffers->y, CANARY, buffers->y_bytes);
    assert_ok(rig_forward(&rig, make_args(test, buffers)));
    memcpy(bits, buffers->y, buffers->y_bytes);
    rig_free(&rig);
    return bits;
}

/* Each kernel with quantised x computes several tokens in one call where possible; the last ones of a batch may be
 * fewer. */
static void a_quantised_token_has_the_same_bits_anywhere_in_a_batch_and_beside_any_other(void **state)
{
    for (size_t i = 0; i < QUANTISED_X_CASES; i++)
        for (size_t t = 0; t < target_count; t++) {
            struct shape_case test = quantised_x_case(i);
            struct sample sample = sample_make(&test.shape, 127);
            struct buffers buffers = make_buffers(&test, 131);
            mglu_context_desc context = {.struct_size = sizeof context, .max_isa = targets[t].max_isa};
            const size_t x_size = mglu_dtype_size(test.layer.x_dtype), y_size = mglu_dtype_size(test.layer.y_dtype);
            char *first_x = (char *)buffers.x + x_size;
            for (int64_t b = 2; b < test.batch; b++) /* all but the second are the same */
                memcpy(first_x + (size_t)(b * buffers.x_stride) * x_size, first_x, (size_t)test.shape.h * x_size);
            ((float *)(void *)(first_x + (size_t)buffers.x_stride * x_size))[3] = NAN;
            unsigned char *bits = bits_of(&test, &context, targets[t].backend, &sample, &buffers);
            for (int64_t c = 0; c < buffers.columns; c++)
                assert_true(isnan(element(&test, &buffers, 1, c)));
            for (int64_t b = 2; b < test.batch; b++)
                assert_memory_equal(bits + y_size, bits + (size_t)(1 + b * buffers.y_stride) * y_size,
                                    (size_t)buffers.columns * y_size);
            free(bits);
            free_buffers(&buffers);
            sample_free(&sample);
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

/* Runs the tasks from the last to the first, as a pool may. */
static void run_backwards(void *user, int64_t count, mglu_task task, void *argument)
{
    for (int64_t i = count; i-- > 0;)
        task(argument, i);
}

static void bits_do_not_depend_on_threads_or_the_order_of_tasks(void **state)
{
    static const int32_t threads[] = {1, 2, 3, 7};
    static const mglu_parallel backwards = {.parallel_for = run_backwards};

    for (size_t i = 0; i < DTYPES; i++)
        for (size_t t = 0; t < target_count; t++) {
            struct shape_case test = base_case(i);
            test.shape.h = 700;
            test.shape.d = 301;
            test.shape.parts = WITH_DOWN;
            struct sample sample = sample_make(&test.shape, 61);
            struct buffers buffers = make_buffers(&test, 67);
            mglu_context_desc context = {
                .struct_size = sizeof context, .max_isa = targets[t].max_isa, .num_threads = 1};
            unsigned char *first = bits_of(&test, &context, targets[t].backend, &sample, &buffers);
            for (size_t k = 0; k <= sizeof threads / sizeof threads[0]; k++) {
                context.num_threads = k < 4 ? threads[k] : 1;
                context.parallel = k < 4 ? NULL : &backwards;
                unsigned char *again = bits_of(&test, &context, targets[t].backend, &sample, &buffers);
                assert_memory_equal(first, again, buffers.y_bytes);
                free(again);
            }
            free(first);
            free_buffers(&buffers);
            sample_free(&sample);
        }
}

static void bits_of_a_reproducible_layer_are_the_same_on_every_instruction_set(void **state)
{
    for (size_t i = 0; i < DTYPES; i++)
        for (int activation = 0; activation < MGLU_ACTIVATION_COUNT; activation++) {
            struct shape_case test = base_case(i);
            test.shape.n_masks = 9;
            test.shape.h = 333;
            test.shape.parts = WITH_BIASES | WITH_DOWN | WITH_ROUTER;
            test.layer.flags = MGLU_LAYER_REPRODUCIBLE;
            test.layer.activation = (mglu_activation)activation;
            test.layer.top_k = activation % 2 ? 4 : 0;
            test.routing = activation % 2;
            struct sample sample = sample_make(&test.shape, 71);
            struct buffers buffers = make_buffers(&test, 73);
            unsigned char *first = NULL;
            for (size_t t = 0; t < target_count && targets[t].max_isa; t++) {
                mglu_context_desc context = {.struct_size = sizeof context, .max_isa = targets[t].max_isa};
                unsigned char *bits = bits_of(&test, &context, "cpu", &sample, &buffers);
                if (first)
                    assert_memory_equal(first, bits, buffers.y_bytes);
                free(first);
                first = bits;
            }
            free(first);
            free_buffers(&buffers);
            sample_free(&sample);
        }
}

static void a_reproducible_layers_bits_do_not_depend_on_the_batch(void **state)
{
    for (size_t i = 0; i < DTYPES; i++)
        for (size_t t = 0; t < target_count; t++) {
            struct shape_case test = base_case(i);
            test.batch = 37;
            test.layer.flags = MGLU_LAYER_REPRODUCIBLE;
            test.shape.parts = WITH_DOWN;
            struct sample sample = sample_make(&test.shape, 79);
            struct buffers buffers = make_buffers(&test, 83);
            mglu_context_desc context = {.struct_size = sizeof context, .max_isa = targets[t].max_isa};
            unsigned char *together = bits_of(&test, &context, targets[t].backend, &sample, &buffers);
            struct rig rig = rig_make(targets[t].backend, &context, &sample.desc, &test.layer);
            memset(buffers.y, CANARY, buffers.y_bytes);
            for (int64_t b = 0; b < test.batch; b++) {
                mglu_forward_args args = make_args(&test, &buffers);
                args.batch = 1;
                args.x.byte_offset += (size_t)(b * buffers.x_stride) * mglu_dtype_size(test.layer.x_dtype);
                args.y.byte_offset += (size_t)(b * buffers.y_stride) * mglu_dtype_size(test.layer.y_dtype);
                assert_ok(rig_forward(&rig, args));
            }
            assert_memory_equal(together, buffers.y, buffers.y_bytes);
            rig_free(&rig);
            free(together);
            free_buffers(&buffers);
            sample_free(&sample);
        }
}

static void a_nan_in_x_stays_in_its_own_token(void **state)
{
    for (size_t t = 0; t < target_count; t++) {
        struct shape_case test = base_case(0);
        struct sample sample = sample_make(&test.shape, 89);
        struct buffers buffers = make_buffers(&test, 97);
        mglu_context_desc context = {.struct_size = sizeof context, .max_isa = targets[t].max_isa};
        unsigned char *clean = bits_of(&test, &context, targets[t].backend, &sample, &buffers);
        ((float *)buffers.x)[1 + buffers.x_stride + 44] = NAN;
        unsigned char *spoiled = bits_of(&test, &context, targets[t].backend, &sample, &buffers);
        size_t first_row = (size_t)(1 + buffers.columns) * sizeof(float);
        assert_memory_equal(clean, spoiled, first_row);
        for (int64_t c = 0; c < buffers.columns; c++)
            assert_true(isnan(element(&test, &buffers, 1, c)));
        free(clean), free(spoiled);
        free_buffers(&buffers);
        sample_free(&sample);
    }
}

static void borrowed_weights_give_the_bits_of_copied_ones(void **state)
{
    for (size_t t = 0; t < target_count; t++) {
        struct shape_case test = base_case(1);
        struct sample sample = sample_make(&test.shape, 101);
        struct buffers buffers = make_buffers(&test, 103);
        mglu_context_desc context = {.struct_size = sizeof context, .max_isa = targets[t].max_isa};
        unsigned char *copied = bits_of(&test, &context, targets[t].backend, &sample, &buffers);
        size_t stride = mglu_packed_weight_stride_bytes(MGLU_DTYPE_F16, test.shape.h);
        void *weight = aligned_alloc(64, stride * (size_t)test.shape.d);
        void *masks = aligned_alloc(64, (mglu_packed_mask_size(3, test.shape.d, test.shape.h) + 63) / 64 * 64);
        assert_ok(mglu_pack_weights(&sample.desc.weight, test.shape.d, test.shape.h, MGLU_DTYPE_F16, 0, weight, NULL));
        assert_ok(mglu_pack_masks(&sample.desc.masks, 3, test.shape.d, test.shape.h, masks));
        sample.desc.weight = (mglu_array){.data = weight, .dtype = MGLU_DTYPE_F16, .stride_bytes = stride};
        sample.desc.masks = (mglu_mask_array){masks, MGLU_MASK_WORDS};
        sample.desc.flags = MGLU_WEIGHTS_BORROW;
        unsigned char *borrowed = bits_of(&test, &context, targets[t].backend, &sample, &buffers);
        assert_memory_equal(copied, borrowed, buffers.y_bytes);
        free(copied), free(borrowed), free(weight), free(masks);
        free_buffers(&buffers);
        sample_free(&sample);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_dtype_activation_and_kind_is_within_the_bound),
        cmocka_unit_test(every_mask_count_is_within_the_bound),
        cmocka_unit_test(odd_shapes_and_batches_are_within_the_bound),
        cmocka_unit_test(routed_layers_are_within_the_bound),
        cmocka_unit_test(a_whole_feed_forward_block_of_real_size_is_within_the_bound),
        cmocka_unit_test(layers_with_quantised_x_are_within_their_bound),
        cmocka_unit_test(a_quantised_token_has_the_same_bits_anywhere_in_a_batch_and_beside_any_other),
        cmocka_unit_test(class_c_is_for_quantised_layers_that_allow_it_and_need_not_be_reproducible),
        cmocka_unit_test(bits_do_not_depend_on_threads_or_the_order_of_tasks),
        cmocka_unit_test(bits_of_a_reproducible_layer_are_the_same_on_every_instruction_set),
        cmocka_unit_test(a_reproducible_layers_bits_do_not_depend_on_the_batch),
        cmocka_unit_test(a_nan_in_x_stays_in_its_own_token),
        cmocka_unit_test(borrowed_weights_give_the_bits_of_copied_ones),
    };

    return cmocka_run_group_tests(tests, find_targets, forget_targets);
}
