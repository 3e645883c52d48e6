/* SPDX-License-Identifier: MIT */
#include "sample.h"

/* Quantised weights through the whole library, on the reference backend: results, copies, borrowed arrays, memory. */

static const mglu_dtype dtypes[] = {MGLU_DTYPE_Q8_0, MGLU_DTYPE_Q4_0};
static const mglu_kind kinds[] = {MGLU_KIND_MASKED, MGLU_KIND_PLAIN};

enum { MATRICES = 3, H = 67, D = 37, OUT = 5, BATCH = 2 };

/* The matrices of a layer in two other forms: quantised and packed, and the floats that those represent. */
struct forms {
    mglu_array packed[MATRICES], floats[MATRICES];
};

static struct sample make_sample(mglu_kind kind)
{
    const struct sample_shape shape = {.kind = kind,
                                       .dtype = MGLU_DTYPE_F32,
                                       .h = H,
                                       .d = D,
                                       .out = OUT,
                                       .n_masks = kind == MGLU_KIND_MASKED ? 3 : 0,
                                       .parts = WITH_BIASES | WITH_DOWN};

    return sample_make(&shape, 17);
}

static mglu_array *matrix_of(mglu_weights_desc *desc, size_t index, int64_t *rows, int64_t *columns)
{
    mglu_array *const arrays[MATRICES] = {&desc->weight, &desc->value_weight, &desc->down};

    *rows = index == 2 ? desc->output_size : desc->intermediate_size;
    *columns = index == 2 ? desc->intermediate_size : desc->hidden_size;
    return arrays[index];
}

static void *allocate(size_t size)
{
    void *memory = aligned_alloc(64, (size + 63) / 64 * 64);

    assert_non_null(memory);
    return memory;
}

static struct forms make_forms(mglu_weights_desc *desc, mglu_dtype dtype)
{
    struct forms forms = {0};

    for (size_t i = 0; i < MATRICES; i++) {
        int64_t rows, columns;
        const mglu_array *source = matrix_of(desc, i, &rows, &columns);
        void *data, *scales, *floats;
        if (!source->data)
            continue;
        data = allocate(mglu_packed_weight_size(dtype, rows, columns));
        scales = allocate(mglu_packed_scale_size(dtype, rows, columns));
        floats = allocate((size_t)(rows * columns) * sizeof(float));
        assert_ok(mglu_pack_weights(source, rows, columns, dtype, 0, data, scales));
        assert_ok(mglu_unpack_weights(data, scales, dtype, rows, columns, MGLU_DTYPE_F32, floats));
        forms.floats[i] = (mglu_array){.data = floats, .dtype = MGLU_DTYPE_F32};
        forms.packed[i] = (mglu_array){.data = data,
                                       .dtype = dtype,
                                       .stride_bytes = mglu_packed_weight_stride_bytes(dtype, columns),
                                       .scales = scales};
    }
    return forms;
}

static void free_forms(struct forms *forms)
{
    for (size_t i = 0; i < MATRICES; i++) {
        free((void *)(uintptr_t)forms->packed[i].data);
        free((void *)(uintptr_t)forms->packed[i].scales);
        free((void *)(uintptr_t)forms->floats[i].data);
    }
}

static mglu_weights_desc with_matrices(const mglu_weights_desc *desc, const mglu_array matrices[MATRICES],
                                       mglu_dtype dtype, uint32_t flags)
{
    mglu_weights_desc changed = *desc;
    int64_t rows, columns;

    changed.dtype = dtype;
    changed.flags = flags;
    for (size_t i = 0; i < MATRICES; i++)
        *matrix_of(&changed, i, &rows, &columns) = matrices[i];
    return changed;
}

static void run(const mglu_weights_desc *desc, float y[BATCH * OUT])
{
    mglu_layer_desc layer = {.struct_size = sizeof layer, .max_batch = BATCH};
    struct rig rig = rig_make("ref", NULL, desc, &layer);
    uint32_t seed = 19;
    void *x = sample_array(MGLU_DTYPE_F32, BATCH * H, 1, &seed);

    assert_ok(rig_forward(&rig, (mglu_forward_args){.batch = BATCH, .x = {.data = x}, .y = {.data = y}}));
    rig_free(&rig);
    free(x);
}

static void a_quantised_layer_is_that_of_scale_times_quant(void **state)
{
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < 2; i++) {
            struct sample sample = make_sample(kinds[k]);
            struct forms forms = make_forms(&sample.desc, dtypes[i]);
            mglu_weights_desc quantised = sample.desc;
            mglu_weights_desc others[] = {
                with_matrices(&sample.desc, forms.floats, MGLU_DTYPE_F32, 0),
                with_matrices(&sample.desc, forms.packed, dtypes[i], 0),
                with_matrices(&sample.desc, forms.packed, dtypes[i], MGLU_WEIGHTS_BORROW),
            };
            float want[BATCH * OUT], y[BATCH * OUT];

            quantised.dtype = dtypes[i];
            run(&quantised, want);
            for (size_t o = 0; o < sizeof others / sizeof others[0]; o++) {
                run(&others[o], y);
                assert_memory_equal(y, want, sizeof y);
            }
            free_forms(&forms);
            sample_free(&sample);
        }
}

static size_t allocated;

static void *count_allocate(void *user, size_t size, size_t alignment)
{
    void *memory;

    allocated += size;
    return posix_memalign(&memory, alignment < sizeof(void *) ? sizeof(void *) : alignment, size) == 0 ? memory : NULL;
}

static void count_release(void *user, void *memory, size_t size, size_t alignment)
{
    free(memory);
}

static const mglu_allocator counting = {.allocate = count_allocate, .release = count_release};

static void borrowed_quants_and_scales_are_not_copied(void **state)
{
    const mglu_context_desc context = {.struct_size = sizeof context, .allocator = &counting};
    const mglu_layer_desc layer = {.struct_size = sizeof layer, .max_batch = 1};
    struct sample sample = make_sample(MGLU_KIND_PLAIN);

    for (int i = 0; i < 2; i++) {
        struct forms forms = make_forms(&sample.desc, dtypes[i]);
        mglu_weights_info infos[2];
        size_t sizes[2],
            matrices = 2 * mglu_packed_weight_size(dtypes[i], D, H) + 2 * mglu_packed_scale_size(dtypes[i], D, H) +
                       mglu_packed_weight_size(dtypes[i], OUT, D) + mglu_packed_scale_size(dtypes[i], OUT, D);
        for (int borrow = 0; borrow < 2; borrow++) {
            mglu_weights_desc desc =
                with_matrices(&sample.desc, forms.packed, dtypes[i], borrow ? MGLU_WEIGHTS_BORROW : 0);
            allocated = 0;
            struct rig rig = rig_make("ref", &context, &desc, &layer);
            sizes[borrow] = allocated;
            infos[borrow].struct_size = sizeof infos[borrow];
            assert_ok(mglu_weights_get_info(rig.weights, &infos[borrow]));
            rig_free(&rig);
        }
        assert_true(sizes[0] >= sizes[1] + matrices);
        assert_true(infos[1].device_bytes <= infos[0].device_bytes);
        assert_true(infos[1].device_bytes >= matrices);
        free_forms(&forms);
    }
    sample_free(&sample);
}

/* Each spoils a byte of a borrowed weight matrix: [row 1] of padding, or a scale. */
static void borrowed_arrays_are_checked(void **state)
{
    static const struct {
        mglu_dtype dtype;
        int is_scale;
        size_t byte;
        unsigned char value;
        mglu_status status;
        const char *says;
    } cases[] = {
        {MGLU_DTYPE_Q8_0, 0, 128 + 67, 1, MGLU_ERROR_INVALID_ARGUMENT, "weight: the padding of row 1 is not zero"},
        {MGLU_DTYPE_Q8_0, 0, 128 + 127, 0x88, MGLU_ERROR_INVALID_ARGUMENT, "the padding of row 1"},
        {MGLU_DTYPE_Q4_0, 0, 64 + 32 + 2, 0x08, MGLU_ERROR_INVALID_ARGUMENT, "the padding of row 1"}, /* column 82 */
        {MGLU_DTYPE_Q4_0, 0, 64 + 32 + 3, 0x80, MGLU_ERROR_INVALID_ARGUMENT, "the padding of row 1"}, /* column 67 */
        {MGLU_DTYPE_Q4_0, 0, 64 + 63, 0, MGLU_ERROR_INVALID_ARGUMENT, "the padding of row 1"},
        {MGLU_DTYPE_Q8_0, 1, 6 + 2 + 1, 0x7c, MGLU_ERROR_NONFINITE, "weight: the scale [1][1] is not finite"},
        {MGLU_DTYPE_Q4_0, 1, 6 + 4 + 1, 0xfe, MGLU_ERROR_NONFINITE, "weight: the scale [1][2] is not finite"},
    };
    struct sample sample = make_sample(MGLU_KIND_MASKED);
    mglu_context *context;
    mglu_device *device;

    assert_ok(mglu_context_create(NULL, &context));
    assert_ok(mglu_device_pick(context, "ref", &device));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct forms forms = make_forms(&sample.desc, cases[i].dtype);
        mglu_weights_desc desc = with_matrices(&sample.desc, forms.packed, cases[i].dtype, MGLU_WEIGHTS_BORROW);
        const void *array = cases[i].is_scale ? forms.packed[0].scales : forms.packed[0].data;
        mglu_weights *weights;
        ((unsigned char *)(uintptr_t)array)[cases[i].byte] = cases[i].value;
        assert_status(mglu_weights_create(device, &desc, &weights), cases[i].status);
        assert_error_says(cases[i].says);
        free_forms(&forms);
    }
    mglu_context_destroy(&context);
    sample_free(&sample);
}

/* The bound of docs/format.md, from the smallest sizes for which it is valid. */
static void weights_hold_little_more_than_their_bits(void **state)
{
    static const struct {
        mglu_dtype dtype;
        int64_t h, d, bits_times_2;
    } cases[] = {
        {MGLU_DTYPE_Q8_0, 64, 256, 17},
        {MGLU_DTYPE_Q8_0, 192, 512, 17},
        {MGLU_DTYPE_Q4_0, 128, 256, 9},
        {MGLU_DTYPE_Q4_0, 384, 512, 9},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int32_t n_masks = 1; n_masks <= 4; n_masks++) {
            const struct sample_shape shape = {MGLU_KIND_MASKED, MGLU_DTYPE_F32, cases[i].h, cases[i].d, 0, n_masks, 0};
            struct sample sample = sample_make(&shape, 23);
            mglu_layer_desc layer = {.struct_size = sizeof layer, .max_batch = 1};
            mglu_weights_info info = {.struct_size = sizeof info};
            int64_t bytes = (cases[i].bits_times_2 + 2 * n_masks) * cases[i].h * cases[i].d / 16;
            sample.desc.dtype = cases[i].dtype;
            struct rig rig = rig_make("ref", NULL, &sample.desc, &layer);
            assert_ok(mglu_weights_get_info(rig.weights, &info));
            assert_int_equal(info.projection_bytes, bytes);
            assert_true((double)info.device_bytes <= 1.01 * (double)bytes);
            rig_free(&rig);
            sample_free(&sample);
        }
}

static void empty_quantised_layers_are_legal(void **state)
{
    const float bias[OUT] = {1, 2, 3, 4, 5};

    for (int i = 0; i < 2; i++) {
        mglu_weights_desc desc = {.struct_size = sizeof desc,
                                  .dtype = dtypes[i],
                                  .hidden_size = H,
                                  .output_size = OUT,
                                  .n_masks = 1,
                                  .down_bias = {.data = bias, .dtype = MGLU_DTYPE_F32}};
        float y[BATCH * OUT];
        run(&desc, y);
        assert_memory_equal(y, bias, sizeof bias);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_quantised_layer_is_that_of_scale_times_quant),
        cmocka_unit_test(borrowed_quants_and_scales_are_not_copied),
        cmocka_unit_test(borrowed_arrays_are_checked),
        cmocka_unit_test(weights_hold_little_more_than_their_bits),
        cmocka_unit_test(empty_quantised_layers_are_legal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
