/* SPDX-License-Identifier: MIT */

/* The shim's copies to shared memory: what is wrong with them in a kernel must not pass. */

extern "C" {
#include "tests/unit/check.h"
}

#include "backends/cuda/kernels/device.cuh"

#include <cstdio>
#include <cstdlib>

#include <sys/wait.h>
#include <unistd.h>

namespace
{

constexpr uint32_t LANES = 32, PLACE_BYTES = LANES * sizeof(float), ROUNDS = 3;

alignas(16) float source[ROUNDS][LANES];
float results[ROUNDS][LANES];

/* One barrier, then one place. */
uint64_t *barrier()
{
    return reinterpret_cast<uint64_t *>(shared_floats());
}

float *place()
{
    return shared_floats() + 4;
}

/* What a kernel does, or leaves out. */
enum step : uint32_t { PUBLISH = 1, EXPECT = 2, WAIT = 4, RELEASE = 8, ALL = 15, WAIT_LATE = 16 };

void begin(uint32_t steps)
{
    wait_for_previous_launch();
    if (threadIdx.x == 0) {
        init_barrier(barrier());
        if (steps & PUBLISH)
            publish_barriers();
    }
    __syncthreads();
}

void wait_for_round(uint32_t round)
{
    while (!has_ended(barrier(), round % 2))
        ;
}

void copy_round(uint32_t steps, uint32_t round)
{
    if (steps & EXPECT)
        arrive_expecting(barrier(), PLACE_BYTES);
    copy_to_shared(place(), source[round], PLACE_BYTES, barrier());
}

/* Three copies through one place, each read by all lanes. */
void copies(uint32_t steps)
{
    begin(steps);
    if (threadIdx.x == 0)
        copy_round(steps, 0);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        if (steps & WAIT)
            wait_for_round(round);
        results[round][threadIdx.x] = place()[LANES - 1 - threadIdx.x];
        if (steps & WAIT_LATE)
            wait_for_round(round);
        if (steps & RELEASE)
            __syncwarp();
        if (threadIdx.x == 0 && round + 1 < ROUNDS)
            copy_round(steps, round + 1);
    }
}

template <uint32_t STEPS> void copies_with(const void *)
{
    copies(STEPS);
}

void one_copy_that_nobody_waits_for(const void *)
{
    begin(ALL);
    if (threadIdx.x == 0)
        copy_round(ALL, 0);
}

void a_wait_for_the_phase_after_the_last(const void *)
{
    begin(ALL);
    if (threadIdx.x == 0)
        copy_round(ALL, 0);
    wait_for_round(0);
    wait_for_round(1);
}

void a_second_arrival(const void *)
{
    begin(ALL);
    if (threadIdx.x < 2)
        arrive_expecting(barrier(), PLACE_BYTES);
}

void a_copy_onto_its_barrier(const void *)
{
    begin(ALL);
    if (threadIdx.x > 0)
        return;
    arrive_expecting(barrier(), PLACE_BYTES);
    copy_to_shared(barrier(), source, PLACE_BYTES, barrier());
    has_ended(barrier(), 0);
}

/* A copy by offsets in bytes. */
template <uint32_t TO, uint32_t FROM, uint32_t BYTES> void copy_of(const void *)
{
    begin(ALL);
    if (threadIdx.x > 0)
        return;
    arrive_expecting(barrier(), BYTES);
    copy_to_shared(reinterpret_cast<char *>(place()) + TO, reinterpret_cast<const char *>(source) + FROM, BYTES,
                   barrier());
    wait_for_round(0);
}

void no_barrier(const void *)
{
    wait_for_previous_launch();
    has_ended(barrier(), 0);
}

void run(void (*kernel)(const void *), uint32_t seed)
{
    for (uint32_t i = 0; i < ROUNDS * LANES; i++)
        source[i / LANES][i % LANES] = static_cast<float>(i);
    shim::launch({1, 1, 1}, {LANES, 1, 1}, 16 + PLACE_BYTES, seed, kernel, nullptr);
}

bool has_right_results()
{
    for (uint32_t i = 0; i < ROUNDS * LANES; i++)
        if (results[i / LANES][i % LANES] != source[i / LANES][LANES - 1 - i % LANES])
            return false;
    return true;
}

enum outcome { RIGHT, WRONG, DIED };

outcome outcome_of(void (*kernel)(const void *), uint32_t seed)
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr))
            _exit(RIGHT);
        run(kernel, seed);
        _exit(has_right_results() ? RIGHT : WRONG);
    }
    assert_true(child > 0);
    assert_true(waitpid(child, &status, 0) == child);
    if (WIFSIGNALED(status))
        return WTERMSIG(status) == SIGABRT ? DIED : RIGHT;
    return static_cast<outcome>(WEXITSTATUS(status));
}

bool dies(void (*kernel)(const void *))
{
    return outcome_of(kernel, 1) == DIED;
}

void test_copies_have_arrived_when_their_phase_has_ended(void **)
{
    for (uint32_t seed = 0; seed < 8; seed++) {
        run(copies_with<ALL>, seed);
        assert_true(has_right_results());
    }
}

void test_a_read_that_does_not_wait_is_found_in_any_order(void **)
{
    for (uint32_t seed = 0; seed < 8; seed++) {
        assert_true(outcome_of(copies_with<ALL & ~WAIT>, seed) == DIED);
        assert_true(outcome_of(copies_with<(ALL & ~WAIT) | WAIT_LATE>, seed) == WRONG);
    }
}

/* Lanes read what the next copy leaves, or wait for a phase that is over. */
void test_a_place_that_is_overwritten_before_all_lanes_have_read_it_is_found_in_any_order(void **)
{
    for (uint32_t seed = 0; seed < 8; seed++)
        assert_true(outcome_of(copies_with<ALL & ~RELEASE>, seed) != RIGHT);
}

void test_what_a_device_leaves_undefined_ends_the_program(void **)
{
    assert_false(dies(copies_with<ALL>));
    assert_false(dies(copy_of<0, 0, PLACE_BYTES>));
    assert_true(dies(copies_with<ALL & ~PUBLISH>));
    assert_true(dies(copies_with<ALL & ~EXPECT>));
    assert_true(dies(one_copy_that_nobody_waits_for));
    assert_true(dies(a_wait_for_the_phase_after_the_last));
    assert_true(dies(a_second_arrival));
    assert_true(dies(a_copy_onto_its_barrier));
    assert_true(dies(no_barrier));
    assert_true(dies(copy_of<4, 0, 16>));
    assert_true(dies(copy_of<0, 8, 16>));
    assert_true(dies(copy_of<0, 0, 24>));
    assert_true(dies(copy_of<16, 0, PLACE_BYTES>));
}

} // namespace

int main()
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copies_have_arrived_when_their_phase_has_ended),
        cmocka_unit_test(test_a_read_that_does_not_wait_is_found_in_any_order),
        cmocka_unit_test(test_a_place_that_is_overwritten_before_all_lanes_have_read_it_is_found_in_any_order),
        cmocka_unit_test(test_what_a_device_leaves_undefined_ends_the_program),
    };

    return cmocka_run_group_tests_name("cuda copies", tests, nullptr, nullptr);
}
