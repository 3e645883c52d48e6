/* SPDX-License-Identifier: MIT */
#include "use.h"

#include "backends/cuda/kernels/retile.h"

/*
 * What is in device memory: the weights in the layout of kernels/tile_layout.h, little more than their bits, from the
 * host's allocator.
 */

/* A device allocator of the host's, over the driver's own. */
struct pool {
    int allocations, releases;
    int fails;
    size_t offset; /* that breaks the alignment */
    void *last;
};

static void *pool_allocate(void *user, const char *backend, int32_t ordinal, size_t size, void *stream)
{
    struct pool *pool = user;
    CUdeviceptr memory = 0;

    assert_string_equal(backend, "cuda");
    assert_int_equal(ordinal, 0);
    if (pool->fails || cuMemAlloc(&memory, size + 64) != CUDA_SUCCESS)
        return NULL;
    pool->allocations++;
    pool->last = (void *)(uintptr_t)(memory + pool->offset);
    return pool->last;
}

static void pool_release(void *user, const char *backend, int32_t ordinal, void *memory, size_t size, void *stream)
{
    struct pool *pool = user;

    pool->releases++;
    assert_int_equal(cuMemFree((CUdeviceptr)((uintptr_t)memory - pool->offset)), CUDA_SUCCESS);
}

/* Expects a matrix at `device` in the documented layout. */
static void expect_tiles(const struct mglu_cuda_matrix *matrix, const unsigned char *device)
{
    size_t size = (size_t)mglu_cuda_matrix_bytes(matrix);
    unsigned char *tiles = malloc(size);

    mglu_cuda_retile(matrix, 0, mglu_tile_strips(matrix->rows), tiles);
    assert_memory_equal(device, tiles, size);
    free(tiles);
}

static void weights_are_stored_in_the_documented_layout(void **state)
{
    /* More than one slice of the upload buffer, which has 4 MiB. */
    enum { H = 1000, D = 3001, MASKS = 3 };
    const struct sample_shape shape = {MGLU_KIND_MASKED, MGLU_DTYPE_F16, H, D, 0, MASKS, 0};
    struct sample sample = sample_make(&shape, 3);
    struct pool pool = {0};
    mglu_device_allocator allocator = {&pool, pool_allocate, pool_release};
    mglu_context_desc desc = {.struct_size = sizeof desc, .device_allocator = &allocator};
    size_t weight_size = mglu_packed_weight_size(MGLU_DTYPE_F16, D, H);
    size_t mask_size = mglu_packed_mask_size(MASKS, D, H);
    void *weights = malloc(weight_size);
    uint32_t *masks = malloc(mask_size);
    mglu_weights *made;
    mglu_device *device;
    mglu_context *context;

    assert_ok(mglu_pack_weights(&sample.desc.weight, D, H, MGLU_DTYPE_F16, 0, weights, NULL));
    assert_ok(mglu_pack_masks(&sample.desc.masks, MASKS, D, H, masks));
    assert_ok(mglu_context_create(&desc, &context));
    assert_ok(mglu_device_pick(context, "cuda", &device));
    assert_ok(mglu_weights_create(device, &sample.desc, &made));
    assert_int_equal(pool.allocations, 1);
    expect_tiles(
        &(struct mglu_cuda_matrix){
            .plane = {{weights, mglu_packed_weight_stride_bytes(MGLU_DTYPE_F16, H)}},
            .masks = masks,
            .dtype = MGLU_DTYPE_F16,
            .n_masks = MASKS,
            .rows = D,
            .columns = H,
        },
        pool.last);
    mglu_weights_destroy(&made);
    assert_int_equal(pool.releases, 1);
    mglu_context_destroy(&context);
    free(weights);
    free(masks);
    sample_free(&sample);
}

static void a_devices_weights_hold_little_more_than_their_bits(void **state)
{
    static const int32_t masks[] = {0, 1, 4, 16}; /* 0: plain */

    for (size_t i = 0; i < sizeof masks / sizeof masks[0]; i++) {
        const struct sample_shape shape = {
            masks[i] ? MGLU_KIND_MASKED : MGLU_KIND_PLAIN, MGLU_DTYPE_BF16, 256, 512, 0, masks[i], 0};
        struct sample sample = sample_make(&shape, 7);
        mglu_layer_desc layer = {.struct_size = sizeof layer, .max_batch = 1};
        struct rig rig = rig_make("cuda", NULL, &sample.desc, &layer);
        mglu_weights_info info = {.struct_size = sizeof info};

        assert_ok(mglu_weights_get_info(rig.weights, &info));
        assert_int_equal(info.device_bytes, fake_device_bytes());
        assert_true((double)info.device_bytes <= 1.01 * (double)info.projection_bytes);
        rig_free(&rig);
        sample_free(&sample);
    }
}

static void all_device_memory_comes_from_the_hosts_allocator(void **state)
{
    struct pool pool = {0};
    mglu_device_allocator allocator = {&pool, pool_allocate, pool_release};
    mglu_context_desc desc = {.struct_size = sizeof desc, .device_allocator = &allocator};
    struct use use;
    float first;

    assert_ok(use_make(&use, &desc, NULL));
    assert_int_equal(pool.allocations, 4);
    assert_ok(use_forward(&use, &first));
    use_free(&use);
    assert_int_equal(pool.releases, 4);
    pool.fails = 1;
    assert_status(use_make(&use, &desc, NULL), MGLU_ERROR_OUT_OF_MEMORY);
    assert_error_says("device allocator");
    use_free(&use);
    pool = (struct pool){.offset = 32};
    assert_status(use_make(&use, &desc, NULL), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("aligned");
    use_free(&use);
    assert_int_equal(pool.allocations, pool.releases);
}

/* The upload buffer is the only host memory that creating weights needs besides the packed arrays. */
static void uploading_allocates_one_small_buffer(void **state)
{
    const struct sample_shape shape = {MGLU_KIND_MASKED, MGLU_DTYPE_F16, 1024, 4096, 0, 1, 0};
    struct sample sample = sample_make(&shape, 3);
    mglu_weights *weights;
    mglu_device *device;
    mglu_context *context;
    int copies = 0;

    assert_ok(mglu_context_create(NULL, &context));
    assert_ok(mglu_device_pick(context, "cuda", &device));
    fake_log_clear();
    assert_ok(mglu_weights_create(device, &sample.desc, &weights));
    for (int i = 0; i < fake_log_count(); i++)
        copies += !strcmp(fake_log_call(i), "cuMemcpyHtoDAsync");
    assert_int_equal(copies, 3); /* 8.9 MB in slices of 4 MiB */
    assert_int_equal(fake_balance().host_allocations, 0);
    mglu_weights_destroy(&weights);
    mglu_context_destroy(&context);
    sample_free(&sample);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(weights_are_stored_in_the_documented_layout, reset, no_leak),
        cmocka_unit_test_setup_teardown(a_devices_weights_hold_little_more_than_their_bits, reset, no_leak),
        cmocka_unit_test_setup_teardown(all_device_memory_comes_from_the_hosts_allocator, reset, no_leak),
        cmocka_unit_test_setup_teardown(uploading_allocates_one_small_buffer, reset, no_leak),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
