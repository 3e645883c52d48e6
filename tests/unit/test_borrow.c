/* SPDX-License-Identifier: MIT */
#include "sample.h"

#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Packed arrays that are used in place: which ones, what is said of others, and what is read of them. */

enum { H = 96, D = 40, OUT = 24, MASKS = 2, BATCH = 2 };

/* Packed arrays of a masked layer in pages of their own, `shift` bytes behind a multiple of 64. */
struct packed {
    mglu_weights_desc desc;
    unsigned char *pages;
    size_t size;
};

/* Reserves `size` bytes at a multiple of 64 plus `shift`. */
static void *reserve(struct packed *packed, size_t size, size_t shift)
{
    void *at = packed->pages + packed->size + shift;

    packed->size += (size + shift + 63) / 64 * 64;
    return at;
}

static mglu_array pack_matrix(struct packed *packed, const mglu_array *source, int64_t rows, int64_t columns,
                              mglu_dtype dtype, size_t shift)
{
    void *data = reserve(packed, mglu_packed_weight_size(dtype, rows, columns), shift), *scales = NULL;

    if (mglu_dtype_is_quantised(dtype))
        scales = reserve(packed, mglu_packed_scale_size(dtype, rows, columns), shift);
    assert_ok(mglu_pack_weights(source, rows, columns, dtype, 0, data, scales));
    return (mglu_array){.data = data,
                        .dtype = dtype,
                        .stride_bytes = mglu_packed_weight_stride_bytes(dtype, columns),
                        .scales = scales};
}

static struct packed pack(const struct sample *sample, mglu_dtype dtype, size_t shift)
{
    struct packed packed = {.desc = sample->desc};
    void *masks;

    packed.pages = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(packed.pages, MAP_FAILED);
    packed.desc.dtype = dtype;
    packed.desc.weight = pack_matrix(&packed, &sample->desc.weight, D, H, dtype, shift);
    packed.desc.down = pack_matrix(&packed, &sample->desc.down, OUT, D, dtype, shift);
    masks = reserve(&packed, mglu_packed_mask_size(MASKS, D, H), shift);
    assert_ok(mglu_pack_masks(&sample->desc.masks, MASKS, D, H, masks));
    packed.desc.masks = (mglu_mask_array){masks, MGLU_MASK_WORDS};
    return packed;
}

static void free_packed(struct packed *packed)
{
    assert_int_equal(munmap(packed->pages, 1 << 20), 0);
}

static struct sample make_sample(void)
{
    const struct sample_shape shape = {
        MGLU_KIND_MASKED, MGLU_DTYPE_F32, H, D, OUT, MASKS, WITH_DOWN | WITH_BIASES | WITH_ROUTER};

    return sample_make(&shape, 11);
}

static mglu_device *open_device(mglu_context **context, const mglu_context_desc *desc)
{
    mglu_device *device;

    assert_ok(mglu_context_create(desc, context));
    assert_ok(mglu_device_pick(*context, "cpu", &device));
    return device;
}

static mglu_weights_info info_of(mglu_device *device, const mglu_weights_desc *desc)
{
    mglu_weights_info info = MGLU_WEIGHTS_INFO_INIT;
    mglu_weights *weights;

    assert_ok(mglu_weights_create(device, desc, &weights));
    assert_ok(mglu_weights_get_info(weights, &info));
    mglu_weights_destroy(&weights);
    return info;
}

static void info_tells_how_much_is_used_in_place(void **state)
{
    static const mglu_dtype dtypes[] = {MGLU_DTYPE_F32, MGLU_DTYPE_BF16, MGLU_DTYPE_Q8_0, MGLU_DTYPE_Q4_0};
    struct sample sample = make_sample();
    mglu_context *context;
    mglu_device *device = open_device(&context, NULL);

    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        struct packed packed = pack(&sample, dtypes[i], 0);
        const size_t weight = mglu_packed_weight_size(dtypes[i], D, H) + mglu_packed_scale_size(dtypes[i], D, H);
        const size_t down = mglu_packed_weight_size(dtypes[i], OUT, D) + mglu_packed_scale_size(dtypes[i], OUT, D);
        const size_t masks = mglu_packed_mask_size(MASKS, D, H);

        /* In the layout too, yet always copied. */
        packed.desc.router = pack_matrix(&packed, &sample.desc.router, MASKS, H, MGLU_DTYPE_F32, 0);
        assert_int_equal(info_of(device, &packed.desc).borrowed_bytes, 0);
        packed.desc.flags = MGLU_WEIGHTS_REQUIRE_BORROW;
        assert_int_equal(info_of(device, &packed.desc).borrowed_bytes, weight + down + masks);
        packed.desc.flags = MGLU_WEIGHTS_BORROW;
        assert_int_equal(info_of(device, &packed.desc).borrowed_bytes, weight + down + masks);
        packed.desc.down = sample.desc.down;
        packed.desc.down.stride_bytes = 0;
        assert_int_equal(info_of(device, &packed.desc).borrowed_bytes, weight + masks);
        free_packed(&packed);
    }
    mglu_context_destroy(&context);
    sample_free(&sample);
}

static void a_copy_is_refused_with_the_array_and_the_reason(void **state)
{
    static const _Alignas(64) unsigned char zeros[8 * D]; /* scales, with two bytes between the rows */
    struct sample sample = make_sample();
    struct packed floats = pack(&sample, MGLU_DTYPE_F32, 0), quants = pack(&sample, MGLU_DTYPE_Q8_0, 0);
    struct packed shifted = pack(&sample, MGLU_DTYPE_F32, 4), shifted_quants = pack(&sample, MGLU_DTYPE_Q8_0, 4);
    mglu_array other_stride = floats.desc.down;
    mglu_context *context;
    mglu_device *device = open_device(&context, NULL);

    other_stride.stride_bytes -= 64;
    const struct {
        const mglu_weights_desc *desc;
        mglu_array weight, down;
        mglu_mask_array masks;
        const char *says;
    } cases[] = {
        {&floats.desc, floats.desc.weight, sample.desc.down, floats.desc.masks,
         "down can't be used in place: stride_bytes is 160, must be 256"},
        {&floats.desc, floats.desc.weight, other_stride, floats.desc.masks,
         "down can't be used in place: stride_bytes is 192, must be 256"},
        {&floats.desc, shifted.desc.weight, floats.desc.down, floats.desc.masks,
         "weight can't be used in place: the address modulo 64 is 4, must be 0"},
        {&floats.desc, floats.desc.weight, floats.desc.down, shifted.desc.masks,
         "masks can't be used in place: the address modulo 64 is not 0"},
        {&floats.desc, floats.desc.weight, floats.desc.down, sample.desc.masks,
         "masks can't be used in place: the form is not MGLU_MASK_WORDS"},
        {&quants.desc, sample.desc.weight, quants.desc.down, quants.desc.masks,
         "weight can't be used in place: it is f32, to be stored as q8_0"},
        {&quants.desc,
         {quants.desc.weight.data, MGLU_DTYPE_Q8_0, 128, shifted_quants.desc.weight.scales, 0},
         quants.desc.down,
         quants.desc.masks,
         "weight can't be used in place: the address of the scales modulo 64 is 4, must be 0"},
        {&quants.desc,
         {quants.desc.weight.data, MGLU_DTYPE_Q8_0, 128, zeros, 8},
         quants.desc.down,
         quants.desc.masks,
         "weight can't be used in place: scale_stride_bytes is 8, must be 6"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mglu_weights_desc desc = *cases[i].desc;
        mglu_weights *weights;

        desc.weight = cases[i].weight, desc.down = cases[i].down, desc.masks = cases[i].masks;
        desc.flags = MGLU_WEIGHTS_REQUIRE_BORROW;
        assert_status(mglu_weights_create(device, &desc, &weights), MGLU_ERROR_INVALID_ARGUMENT);
        assert_error_says(cases[i].says);
        desc.flags = MGLU_WEIGHTS_BORROW;
        assert_ok(mglu_weights_create(device, &desc, &weights));
        mglu_weights_destroy(&weights);
    }
    free_packed(&floats), free_packed(&quants), free_packed(&shifted), free_packed(&shifted_quants);
    mglu_context_destroy(&context);
    sample_free(&sample);
}

static mglu_device *find_device_with_own_memory(mglu_context *context)
{
    size_t count;

    assert_ok(mglu_device_count(context, &count));
    for (size_t i = 0; i < count; i++) {
        mglu_device_info info = MGLU_DEVICE_INFO_INIT;
        assert_ok(mglu_device_get_info(mglu_device_at(context, i), &info));
        if (info.available && !info.host_memory)
            return mglu_device_at(context, i);
    }
    return NULL;
}

static void a_device_with_memory_of_its_own_borrows_nothing(void **state)
{
    struct sample sample = make_sample();
    struct packed packed = pack(&sample, MGLU_DTYPE_F16, 0);
    mglu_context *context;
    mglu_device *device;
    mglu_weights *weights;

    assert_ok(mglu_context_create(NULL, &context));
    device = find_device_with_own_memory(context);
    if (device) {
        packed.desc.flags = MGLU_WEIGHTS_BORROW;
        assert_int_equal(info_of(device, &packed.desc).borrowed_bytes, 0);
        packed.desc.flags = MGLU_WEIGHTS_REQUIRE_BORROW;
        assert_status(mglu_weights_create(device, &packed.desc, &weights), MGLU_ERROR_UNSUPPORTED);
        assert_error_says("weight can't be used in place: backend '");
        assert_error_says("has memory of its own");
    }
    free_packed(&packed);
    mglu_context_destroy(&context);
    sample_free(&sample);
    if (!device)
        skip();
}

static void forward(mglu_weights *weights, const float *x, float y[BATCH * OUT])
{
    mglu_layer_desc desc = MGLU_LAYER_DESC_INIT;
    mglu_forward_args args = MGLU_FORWARD_ARGS_INIT;
    mglu_layer *layer;

    desc.max_batch = BATCH;
    assert_ok(mglu_layer_create(weights, &desc, &layer));
    args.batch = BATCH;
    args.x.data = x, args.y.data = y;
    args.workspace_size = mglu_layer_workspace_size(layer);
    args.workspace = aligned_alloc(64, (args.workspace_size + 64) / 64 * 64);
    assert_ok(mglu_forward(layer, NULL, &args));
    free(args.workspace);
    mglu_layer_destroy(&layer);
}

static void checked_arrays_are_not_read_before_a_forward(void **state)
{
    static const mglu_dtype dtypes[] = {MGLU_DTYPE_F32, MGLU_DTYPE_F16, MGLU_DTYPE_Q8_0, MGLU_DTYPE_Q4_0};
    struct sample sample = make_sample();
    mglu_context *context;
    mglu_device *device = open_device(&context, NULL);
    uint32_t seed = 5;
    float *x = sample_array(MGLU_DTYPE_F32, BATCH * H, 1, &seed);

    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        struct packed packed = pack(&sample, dtypes[i], 0);
        float want[BATCH * OUT], y[BATCH * OUT];
        mglu_weights *weights;

        assert_ok(mglu_weights_create(device, &packed.desc, &weights));
        forward(weights, x, want);
        mglu_weights_destroy(&weights);
        packed.desc.flags = MGLU_WEIGHTS_REQUIRE_BORROW | MGLU_WEIGHTS_CHECKED;
        assert_int_equal(mprotect(packed.pages, 1 << 20, PROT_NONE), 0);
        assert_ok(mglu_weights_create(device, &packed.desc, &weights));
        assert_int_equal(mprotect(packed.pages, 1 << 20, PROT_READ | PROT_WRITE), 0);
        forward(weights, x, y);
        assert_memory_equal(y, want, sizeof y);
        mglu_weights_destroy(&weights);
        free_packed(&packed);
    }
    free(x);
    mglu_context_destroy(&context);
    sample_free(&sample);
}

/* Each spoils an array of which the library makes sure by itself, unless the caller has. */
static void spoil_weight(struct packed *packed)
{
    const float infinite = INFINITY;

    memcpy((char *)(uintptr_t)packed->desc.weight.data + 4, &infinite, sizeof infinite);
}

static void spoil_padding(struct packed *packed)
{
    memset((char *)(uintptr_t)packed->desc.down.data + 4 * D, 1, 4);
}

static void spoil_mask(struct packed *packed)
{
    const size_t last = mglu_packed_mask_offset(MASKS, H - 8, 0, H - 9, 0);

    packed->desc.hidden_size = H - 8; /* of the same groups: the masks and rows have padding */
    memset((char *)(uintptr_t)packed->desc.masks.data + last, 0xff, 4);
}

static void what_the_caller_has_checked_is_not_checked_again(void **state)
{
    static void (*const spoil[])(struct packed *) = {spoil_weight, spoil_padding, spoil_mask};
    static const uint32_t flags[] = {0, MGLU_WEIGHTS_BORROW};
    struct sample sample = make_sample();
    mglu_context *context;
    mglu_device *device = open_device(&context, NULL);

    for (size_t i = 0; i < sizeof spoil / sizeof spoil[0]; i++)
        for (size_t k = 0; k < sizeof flags / sizeof flags[0]; k++) {
            struct packed packed = pack(&sample, MGLU_DTYPE_F32, 0);
            mglu_weights *weights;

            spoil[i](&packed);
            packed.desc.flags = flags[k];
            if (flags[k] || spoil[i] != spoil_padding) /* padding is not copied */
                assert_int_not_equal(mglu_weights_create(device, &packed.desc, &weights), MGLU_OK);
            packed.desc.flags |= MGLU_WEIGHTS_CHECKED;
            assert_ok(mglu_weights_create(device, &packed.desc, &weights));
            mglu_weights_destroy(&weights);
            free_packed(&packed);
        }
    mglu_context_destroy(&context);
    sample_free(&sample);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(info_tells_how_much_is_used_in_place),
        cmocka_unit_test(a_copy_is_refused_with_the_array_and_the_reason),
        cmocka_unit_test(a_device_with_memory_of_its_own_borrows_nothing),
        cmocka_unit_test(checked_arrays_are_not_read_before_a_forward),
        cmocka_unit_test(what_the_caller_has_checked_is_not_checked_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
