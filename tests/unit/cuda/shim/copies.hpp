/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_CUDA_COPIES_HPP
#define MGLU_TEST_CUDA_COPIES_HPP

/*
 * Barriers in shared memory (mbarrier) and copies to it that arrive at them (cp.async.bulk), as a kernel may see them
 * at worst: from its start a copy leaves NaN where it goes to, and its bytes arrive when a thread waits for them, not
 * before. What a GPU would leave undefined ends the program with a message.
 */

#include <cstddef>
#include <cstdint>

namespace shim
{

/* A phase of the barrier ends when this many arrivals have come, and as many bytes as they announced. */
void init_barrier(uint64_t *barrier, uint32_t arrivals);

/* Until then, no other thread and no copy may use the barriers that the thread has made. */
void publish_barriers();

/* An arrival that announces bytes. */
void arrive_expecting(uint64_t *barrier, uint32_t bytes);

/* Whether the phase of this parity has ended. Other threads go on meanwhile if it has not. */
bool has_ended(const uint64_t *barrier, uint32_t parity);

void copy_to_shared(void *to, const void *from, uint32_t bytes, uint64_t *barrier);

/* Around the run of a block of threads. */
void begin_copies(void *shared, size_t bytes);
void end_copies();

} // namespace shim

#endif
