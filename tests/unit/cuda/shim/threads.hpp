/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_CUDA_THREADS_HPP
#define MGLU_TEST_CUDA_THREADS_HPP

/*
 * The threads of a block, one after the other on one thread of the host: each is a fiber that runs until it reaches a
 * barrier or a warp's collective. The order in which they continue is shuffled, so that a missing barrier is detected.
 * Behaviour that is undefined on a GPU ends the program with a message.
 */

#include <cstddef>
#include <cstdint>

namespace shim
{

enum { WARP = 32, MAX_THREADS = 1024, MOST_SHARED_BYTES = 227 << 10 };

struct triple {
    uint32_t x, y, z;
};

/* Of the thread that runs. */
extern triple thread_index, block_index, block_size, grid_size;

/* Dynamic shared memory of the block that runs. */
extern float *shared;

/* Runs `body(argument)` in every thread of every block. `seed` shuffles the order of threads. */
void launch(triple grid, triple block, size_t shared_bytes, uint32_t seed, void (*body)(const void *argument),
            const void *argument);

/* Returns when all threads of the block have called it. */
void wait_for_block();

/*
 * Returns when all threads of the warp have called it under the same name; `complete` is called once in between, with
 * what each lane has given.
 */
void wait_for_warp(const char *name, void *operand, void (*complete)(void *const *operands));

/* Lets the other threads of the block go on. */
void give_way();

/* The thread has waited for the launch before; and the check that it has. */
void previous_launch_has_ended();
void check_previous_launch_has_ended();

/* Ends the program: the kernel did something that is invalid on a GPU. */
[[noreturn]] void fault(const char *what);

} // namespace shim

#endif
