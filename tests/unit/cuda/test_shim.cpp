/* SPDX-License-Identifier: MIT */

/* The shim itself: it must detect errors of a kernel. */

extern "C" {
#include "tests/unit/check.h"
}

#include "backends/cuda/kernels/device.cuh"

#include <cmath>
#include <cstdio>
#include <cstdlib>

#include <sys/wait.h>
#include <unistd.h>

namespace
{

constexpr uint32_t THREADS = 128;

/* The output of the kernels below. */
float results[THREADS];

void begin()
{
    wait_for_previous_launch();
}

/* A value for each thread, read by another thread, after a barrier or without one. */
void exchange(bool with_barrier)
{
    begin();
    shared_floats()[threadIdx.x] = static_cast<float>(threadIdx.x);
    if (with_barrier)
        __syncthreads();
    results[threadIdx.x] = shared_floats()[THREADS - 1 - threadIdx.x];
}

void right_kernel(const void *)
{
    exchange(true);
}

void missing_barrier(const void *)
{
    exchange(false);
}

void barrier_that_a_warp_skips(const void *)
{
    begin();
    if (threadIdx.x >= 32)
        __syncthreads();
}

void shuffle_that_a_lane_skips(const void *)
{
    begin();
    if (threadIdx.x % 32 != 3)
        __shfl_xor_sync(0xffffffffu, 1.0f, 1);
}

void shuffle_beside_a_multiplication(const void *)
{
    float sums[4] = {};

    begin();
    if (threadIdx.x % 2)
        __shfl_xor_sync(0xffffffffu, 1.0f, 1);
    else
        mma_f16(sums, {0, 0, 0, 0}, {0, 0});
}

void unaligned_load(const void *argument)
{
    begin();
    load_stream16(static_cast<const char *>(argument) + 4);
}

void no_wait(const void *)
{
}

void early_read(const void *argument)
{
    (void)global<const float>(reinterpret_cast<uint64_t>(argument));
    begin();
}

/* A = the row number in column 0, B = 1 + the column number in row 0. */
void multiplication(const void *)
{
    const uint32_t lane = threadIdx.x % 32, row = lane / 4, column = lane / 4;
    const uint32_t low = lane % 4 == 0 ? f32_to_f16(static_cast<float>(row)) : 0;
    const uint32_t high = lane % 4 == 0 ? f32_to_f16(static_cast<float>(row + 8)) : 0;
    const uint32_t b = lane % 4 == 0 ? f32_to_f16(static_cast<float>(1 + column)) : 0;
    float sums[4] = {0.5f, 0.5f, 0.5f, 0.5f};

    begin();
    mma_f16(sums, {low, high, 0, 0}, {b, 0});
    for (int i = 0; i < 4; i++)
        results[(row + static_cast<uint32_t>(i) / 2 * 8) * 8 + lane % 4 * 2 + static_cast<uint32_t>(i) % 2] = sums[i];
}

void run(void (*kernel)(const void *), uint32_t threads, uint32_t seed)
{
    alignas(16) static const float memory[8] = {};

    shim::launch({1, 1, 1}, {threads, 1, 1}, THREADS * sizeof(float), seed, kernel, memory);
}

/* Whether the kernel ends the program. */
bool dies(void (*kernel)(const void *))
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr))
            _exit(0);
        run(kernel, THREADS, 1);
        _exit(0);
    }
    assert_true(child > 0);
    assert_true(waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

bool has_right_results()
{
    for (uint32_t i = 0; i < THREADS; i++)
        if (results[i] != static_cast<float>(THREADS - 1 - i))
            return false;
    return true;
}

void test_threads_meet_at_a_barrier(void **)
{
    for (uint32_t seed = 0; seed < 8; seed++) {
        run(right_kernel, THREADS, seed);
        assert_true(has_right_results());
    }
}

void test_a_missing_barrier_gives_wrong_results_in_any_order(void **)
{
    for (uint32_t seed = 0; seed < 8; seed++) {
        run(missing_barrier, THREADS, seed);
        assert_false(has_right_results());
    }
}

void test_fragments_of_a_multiplication_are_as_in_ptx(void **)
{
    run(multiplication, 32, 1);
    for (uint32_t row = 0; row < 16; row++)
        for (uint32_t column = 0; column < 8; column++)
            assert_true(results[row * 8 + column] == static_cast<float>(row * (1 + column)) + 0.5f);
}

/* A positive number of f16, the next one of a series. */
double next_positive(uint32_t &state)
{
    state = state * 1664525u + 1013904223u;
    return static_cast<double>(mglu_f16_to_f32(mglu_f32_to_f16(static_cast<float>(state >> 8) * 0x1p-24f)));
}

/* The error of a sum over a long row of positive products, as a fraction of the bound of class B. */
double long_row_error(mglu_shim_tensor_core model, int steps_per_chain)
{
    constexpr int COLUMNS = 14336, STEPS = COLUMNS / shim::MMA_DEPTH;
    constexpr double CLASS_B = (2 * (16 + COLUMNS / 64) + 2) * 0x1p-24;
    uint32_t state = 1;
    double exact = 0;
    float sum = 0, chain = 0;

    shim::set_tensor_core(model);
    for (int step = 0; step < STEPS; step++) {
        double a[shim::MMA_DEPTH], b[shim::MMA_DEPTH];
        for (int k = 0; k < shim::MMA_DEPTH; k++) {
            a[k] = next_positive(state);
            b[k] = next_positive(state);
            exact += a[k] * b[k];
        }
        chain = shim::tensor_core_sum(a, b, chain);
        if ((step + 1) % steps_per_chain == 0) {
            sum += chain;
            chain = 0;
        }
    }
    return std::fabs(static_cast<double>(sum) - exact) / exact / CLASS_B;
}

/* A warp has a quarter of a row; a block has four steps. */
void test_only_sums_restarted_in_each_block_stay_in_class_b(void **)
{
    static const struct {
        mglu_shim_tensor_core model;
        bool long_chain_is_in_class_b;
    } cases[] = {
        {MGLU_SHIM_EXACT_TERMS, true},
        {MGLU_SHIM_1_BIT_8_TERMS, false},
        {MGLU_SHIM_1_BIT_16_TERMS, false},
        {MGLU_SHIM_2_BITS_16_TERMS, true},
    };

    for (const auto &one : cases) {
        assert_int_equal(long_row_error(one.model, 14336 / 16 / 4) < 1, one.long_chain_is_in_class_b);
        assert_true(long_row_error(one.model, 4) < 0.1);
    }
    shim::set_tensor_core(MGLU_SHIM_EXACT_TERMS);
}

void test_what_a_device_leaves_undefined_ends_the_program(void **)
{
    assert_false(dies(right_kernel));
    assert_true(dies(barrier_that_a_warp_skips));
    assert_true(dies(shuffle_that_a_lane_skips));
    assert_true(dies(shuffle_beside_a_multiplication));
    assert_true(dies(unaligned_load));
    assert_true(dies(no_wait));
    assert_true(dies(early_read));
}

} // namespace

int main()
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_meet_at_a_barrier),
        cmocka_unit_test(test_a_missing_barrier_gives_wrong_results_in_any_order),
        cmocka_unit_test(test_fragments_of_a_multiplication_are_as_in_ptx),
        cmocka_unit_test(test_only_sums_restarted_in_each_block_stay_in_class_b),
        cmocka_unit_test(test_what_a_device_leaves_undefined_ends_the_program),
    };

    return cmocka_run_group_tests_name("cuda shim", tests, nullptr, nullptr);
}
