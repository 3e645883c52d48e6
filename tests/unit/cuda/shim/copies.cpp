/* SPDX-License-Identifier: MIT */
#include "copies.hpp"

#include "threads.hpp"

#include <cstring>
#include <vector>

namespace shim
{

namespace
{

constexpr uint32_t ALIGNMENT = 16, MOST_TESTS = 100000;
constexpr uint64_t INTACT = 0x6d62617272696572; /* what a barrier's place in memory holds */

struct barrier {
    const uint64_t *address;
    uint32_t arrivals; /* of each phase */
    uint32_t pending;  /* arrivals that the phase still waits for */
    int64_t bytes;     /* announced that have not come */
    uint64_t phase;
    uint32_t maker; /* a thread */
    bool published;
    uint32_t tests; /* in vain since the phase began */
};

struct copy {
    char *to;
    const char *from;
    uint32_t bytes;
    const uint64_t *at;
};

char *memory;
size_t memory_bytes;
std::vector<barrier> barriers;
std::vector<copy> copies; /* under way */

bool is_shared(const void *address, size_t bytes)
{
    const char *at = static_cast<const char *>(address);
    return at >= memory && at - memory <= static_cast<ptrdiff_t>(memory_bytes) &&
           bytes <= memory_bytes - static_cast<size_t>(at - memory);
}

barrier &find(const uint64_t *address)
{
    for (barrier &one : barriers) {
        if (one.address != address)
            continue;
        if (!one.published && one.maker != thread_index.x)
            fault("a barrier that its maker has not published");
        if (*address != INTACT)
            fault("a barrier that was written over");
        return one;
    }
    fault("a barrier that was not initialized");
}

void end_phase_if_complete(barrier &of)
{
    if (of.pending > 0 || of.bytes != 0)
        return;
    of.pending = of.arrivals;
    of.tests = 0;
    of.phase++;
}

bool overlaps(const copy &one, const char *to, uint32_t bytes)
{
    return to < one.to + one.bytes && one.to < to + bytes;
}

/* All copies that are under way to the barrier. */
void deliver(barrier &to)
{
    for (size_t i = 0; i < copies.size();) {
        const copy one = copies[i];
        if (one.at != to.address) {
            i++;
            continue;
        }
        memcpy(one.to, one.from, one.bytes);
        to.bytes -= one.bytes;
        copies.erase(copies.begin() + static_cast<ptrdiff_t>(i));
    }
    end_phase_if_complete(to);
}

} // namespace

void begin_copies(void *shared, size_t bytes)
{
    memory = static_cast<char *>(shared);
    memory_bytes = bytes;
    barriers.clear();
    copies.clear();
}

void end_copies()
{
    if (!copies.empty())
        fault("a block that ends before the copies to its shared memory");
}

void init_barrier(uint64_t *address, uint32_t arrivals)
{
    if (!is_shared(address, sizeof *address) || reinterpret_cast<uintptr_t>(address) % sizeof *address)
        fault("a barrier that is not in shared memory, aligned");
    for (const barrier &one : barriers)
        if (one.address == address)
            fault("a barrier that is initialized twice");
    *address = INTACT;
    barriers.push_back({address, arrivals, arrivals, 0, 0, thread_index.x, false, 0});
}

void publish_barriers()
{
    for (barrier &one : barriers)
        if (one.maker == thread_index.x)
            one.published = true;
}

void arrive_expecting(uint64_t *address, uint32_t bytes)
{
    barrier &at = find(address);

    if (at.pending == 0)
        fault("more arrivals at a barrier than it counts");
    at.pending--;
    at.bytes += bytes;
    end_phase_if_complete(at);
}

bool has_ended(const uint64_t *address, uint32_t parity)
{
    if (find(address).phase % 2 != parity)
        return true;
    if (++find(address).tests > MOST_TESTS)
        fault("a wait for a phase that does not end");
    give_way();
    if (find(address).tests % 2 == 0)
        deliver(find(address));
    return find(address).phase % 2 != parity;
}

void copy_to_shared(void *to, const void *from, uint32_t bytes, uint64_t *address)
{
    if (reinterpret_cast<uintptr_t>(to) % ALIGNMENT || reinterpret_cast<uintptr_t>(from) % ALIGNMENT ||
        bytes % ALIGNMENT || bytes == 0)
        fault("a copy to shared memory that is not in multiples of 16 bytes");
    if (!is_shared(to, bytes))
        fault("a copy beyond shared memory");
    if (!find(address).published)
        fault("a copy that arrives at a barrier which was not published");
    for (const copy &one : copies)
        if (overlaps(one, static_cast<char *>(to), bytes))
            fault("a copy to where another one is under way");
    memset(to, 0xff, bytes);
    copies.push_back({static_cast<char *>(to), static_cast<const char *>(from), bytes, address});
}

} // namespace shim
