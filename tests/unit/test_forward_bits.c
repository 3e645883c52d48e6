/* SPDX-License-Identifier: MIT */
#include "forward_case.h"

#include <math.h>

/* Bit by bit, where the same bits are promised. */

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
        cmocka_unit_test(a_quantised_token_has_the_same_bits_anywhere_in_a_batch_and_beside_any_other),
        cmocka_unit_test(bits_do_not_depend_on_threads_or_the_order_of_tasks),
        cmocka_unit_test(bits_of_a_reproducible_layer_are_the_same_on_every_instruction_set),
        cmocka_unit_test(a_reproducible_layers_bits_do_not_depend_on_the_batch),
        cmocka_unit_test(a_nan_in_x_stays_in_its_own_token),
        cmocka_unit_test(borrowed_weights_give_the_bits_of_copied_ones),
    };

    return cmocka_run_group_tests(tests, find_targets, forget_targets);
}
