/* SPDX-License-Identifier: MIT */
#include "tests/unit/cuda/kernels.h"

#include "backends/cuda/kernels/ring_plan.h"
#include "tests/unit/cuda/shim/shim.h"

/* The kernels of the ring against the SIMT kernels, whose bits theirs are, and where they are launched. */

/* From one strip to more than blocks of threads are resident, from less than a block a warp to more than a ring holds.
 */
static const struct kernel_size sizes[] = {{1, 1}, {64, 16}, {70, 150}, {333, 90}, {31, 5}, {1100, 100}, {129, 17}};

enum { SIZES = sizeof sizes / sizeof sizes[0] };

static struct sample_shape shape_of(mglu_dtype dtype, int32_t n_masks, size_t index)
{
    return kernel_shape(sizes[index % SIZES], dtype, n_masks);
}

/* The ring within the tolerance, with the bits of SIMT. */
static void check(struct kernel_case test, uint32_t seed)
{
    struct kernel_run ring, simt;

    test.engine = MGLU_CUDA_RING;
    ring = kernel_prepare(&test, seed);
    test.engine = MGLU_CUDA_SIMT;
    simt = kernel_prepare(&test, seed);
    mglu_shim_shuffle(seed);
    kernel_forward(&ring);
    kernel_forward(&simt);
    kernel_compare(&ring);
    assert_memory_equal(ring.args.y.data, simt.args.y.data, ring.y_bytes);
    kernel_free(&ring);
    kernel_free(&simt);
}

static void the_bits_are_those_of_simt_for_every_dtype_and_mask_count(void **state)
{
    uint32_t seed = 1;

    for (size_t i = 0; i < KERNEL_DTYPES; i++)
        for (size_t x = 0; x < KERNEL_DTYPES; x++)
            for (int32_t n_masks = 0; n_masks <= MGLU_MAX_MASKS; n_masks++, seed++)
                check((struct kernel_case){.shape = shape_of(kernel_dtypes[i], n_masks, seed),
                                           .x = kernel_dtypes[x],
                                           .batch = 1 + seed % 2},
                      seed);
}

static void the_bits_are_those_of_simt_for_quantised_weights(void **state)
{
    uint32_t seed = 200;

    for (int dtype = MGLU_DTYPE_Q8_0; dtype <= MGLU_DTYPE_Q4_0; dtype++)
        for (int32_t n_masks = 0; n_masks <= MGLU_MAX_MASKS; n_masks++, seed++)
            check((struct kernel_case){.shape = shape_of(MGLU_DTYPE_F32, n_masks, seed),
                                       .quantised = (mglu_dtype)dtype,
                                       .x = kernel_dtypes[seed % KERNEL_DTYPES],
                                       .batch = 1},
                  seed);
}

static void any_number_of_warps_and_any_depth(void **state)
{
    for (uint32_t warps = 1; warps <= MGLU_CUDA_MAX_WARPS; warps *= 2)
        for (uint32_t shared = 60 << 10; shared <= 228 << 10; shared *= 2)
            check((struct kernel_case){.shape = shape_of(MGLU_DTYPE_F16, 1, 5),
                                       .x = MGLU_DTYPE_F16,
                                       .batch = 1,
                                       .warps = warps,
                                       .ring_shared = warps == 16 ? 2 * shared : shared},
                  warps);
}

static void each_token_of_a_batch_is_summed_from_the_start(void **state)
{
    for (int64_t batch = 1; batch <= 9; batch++)
        check(
            (struct kernel_case){
                .shape = shape_of(MGLU_DTYPE_BF16, 3, 3), .x = MGLU_DTYPE_BF16, .batch = batch, .gap = 3, .offset = 1},
            (uint32_t)batch);
}

static void biases_residual_and_down_projection(void **state)
{
    uint32_t seed = 300;

    for (int parts = 0; parts <= (WITH_BIASES | WITH_DOWN | WITH_RESIDUAL); parts++, seed++) {
        struct sample_shape shape = shape_of(MGLU_DTYPE_BF16, (int32_t)(seed % 4), 2 + seed % 4);
        shape.parts = parts & ~WITH_ROUTER;
        check(
            (struct kernel_case){
                .shape = shape, .x = MGLU_DTYPE_BF16, .y = kernel_dtypes[seed % KERNEL_DTYPES], .batch = 2},
            seed);
    }
}

static void routing_takes_its_masks_from_the_whole_block(void **state)
{
    uint32_t seed = 400;

    for (int32_t n_masks = 1; n_masks <= MGLU_MAX_MASKS; n_masks += 5) {
        for (int32_t top_k = 1; top_k <= n_masks; top_k += 3, seed++) {
            struct sample_shape shape = shape_of(MGLU_DTYPE_F16, n_masks, 2 + seed % 4);
            shape.parts = WITH_BIASES | WITH_ROUTER;
            check((struct kernel_case){.shape = shape, .x = MGLU_DTYPE_F16, .top_k = top_k, .batch = 2}, seed);
        }
    }
}

static void no_hidden_size_leaves_the_biases(void **state)
{
    const struct sample_shape shape = {MGLU_KIND_MASKED, MGLU_DTYPE_F16, 0, 90, 0, 2, WITH_BIASES};

    check((struct kernel_case){.shape = shape, .x = MGLU_DTYPE_F16, .batch = 1}, 1);
}

static void the_order_of_threads_does_not_matter(void **state)
{
    for (uint32_t seed = 0; seed < 20; seed++)
        check((struct kernel_case){.shape = shape_of(MGLU_DTYPE_F16, 2, 2), .x = MGLU_DTYPE_F16, .batch = 1}, seed);
}

/* Shared memory of a multiprocessor of sm_90 and of sm_120. */
enum { SM_90 = 228 << 10, SM_120 = 100 << 10 };

static void a_ring_is_as_deep_as_shared_memory_allows(void **state)
{
    static const struct {
        uint32_t shared;
        enum mglu_cuda_form form;
        uint32_t warps, block_bytes, resident, depth;
    } cases[] = {
        {SM_90, MGLU_CUDA_MASKS_1, 4, 2176, 4, 6},   {SM_90, MGLU_CUDA_GLU, 4, 4096, 4, 3},
        {SM_90, MGLU_CUDA_MASKS_16, 4, 4096, 2, 6},  {SM_90, MGLU_CUDA_MASKS_1, 8, 2176, 2, 6},
        {SM_90, MGLU_CUDA_MASKS_16, 16, 4096, 1, 6}, {SM_120, MGLU_CUDA_MASKS_1, 4, 2176, 4, 2},
        {SM_120, MGLU_CUDA_MASKS_8, 4, 3072, 2, 3},  {SM_120, MGLU_CUDA_MASKS_16, 4, 4096, 2, 2},
        {SM_120, MGLU_CUDA_GLU, 16, 8192, 1, 0},     {SM_120, MGLU_CUDA_MASKS_1, 4, 640, 4, 8},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct mglu_cuda_ring_device device = {100, cases[i].shared};
        const struct mglu_cuda_ring_plan plan =
            mglu_cuda_ring_plan(device, cases[i].form, cases[i].warps, cases[i].block_bytes);

        assert_int_equal(plan.resident, cases[i].resident);
        assert_int_equal(plan.depth, cases[i].depth);
        assert_true(plan.resident * (plan.shared_bytes + MGLU_CUDA_RING_RESERVED_BYTES) <= cases[i].shared);
        assert_int_equal(mglu_cuda_ring_launch(device, plan, 16).grid_x, 1);
        assert_int_equal(mglu_cuda_ring_launch(device, plan, 1 << 20).grid_x, 100 * cases[i].resident);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bits_are_those_of_simt_for_every_dtype_and_mask_count),
        cmocka_unit_test(the_bits_are_those_of_simt_for_quantised_weights),
        cmocka_unit_test(any_number_of_warps_and_any_depth),
        cmocka_unit_test(each_token_of_a_batch_is_summed_from_the_start),
        cmocka_unit_test(biases_residual_and_down_projection),
        cmocka_unit_test(routing_takes_its_masks_from_the_whole_block),
        cmocka_unit_test(no_hidden_size_leaves_the_biases),
        cmocka_unit_test(the_order_of_threads_does_not_matter),
        cmocka_unit_test(a_ring_is_as_deep_as_shared_memory_allows),
    };

    return cmocka_run_group_tests_name("cuda ring", tests, NULL, NULL);
}
