/* SPDX-License-Identifier: MIT */
#undef _FORTIFY_SOURCE /* its longjmp() takes a change of stacks for an error */
#include "threads.hpp"

#include "copies.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include <fenv.h>
#include <setjmp.h>
#include <ucontext.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SHIM_ADDRESS_SANITIZER
#elif __has_feature(thread_sanitizer)
#define SHIM_THREAD_SANITIZER
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define SHIM_ADDRESS_SANITIZER
#elif defined(__SANITIZE_THREAD__)
#define SHIM_THREAD_SANITIZER
#endif
#if defined(SHIM_ADDRESS_SANITIZER)
#include <sanitizer/common_interface_defs.h>
#endif

namespace shim
{

triple thread_index, block_index, block_size, grid_size;
float *shared;

namespace
{

constexpr size_t STACK_BYTES = size_t(256) << 10;

enum fiber_state { RUNNABLE, WAITING, ENDED };

struct fiber {
    ucontext_t context; /* where it starts, and with sanitizers where it goes on */
    jmp_buf place;      /* where it goes on without them */
    bool has_started;
    char *stack;
    size_t stack_bytes;
    void *fake_stack; /* the address sanitizer's */
    fiber_state state;
    bool has_waited; /* for the previous launch */
};

struct warp {
    const char *name; /* of the collective that lanes are waiting in */
    uint32_t arrived;
    void *operands[WARP];
};

fiber fibers[MAX_THREADS], host;
warp warps[MAX_THREADS / WARP];
uint32_t order[MAX_THREADS]; /* the order in which threads run */
uint32_t threads, running, at_barrier, turn;
void (*kernel)(const void *);
const void *kernel_argument;

/* Informs the sanitizer of a change of stacks, before and after it. */
void leave_stack(fiber *from, const fiber &to)
{
#if defined(SHIM_ADDRESS_SANITIZER)
    __sanitizer_start_switch_fiber(from ? &from->fake_stack : nullptr, to.stack, to.stack_bytes);
#endif
}

void enter_stack(fiber &self, fiber *came_from_host)
{
#if defined(SHIM_ADDRESS_SANITIZER)
    const void *bottom;
    size_t size;
    __sanitizer_finish_switch_fiber(self.fake_stack, &bottom, &size);
    if (came_from_host) {
        came_from_host->stack = static_cast<char *>(const_cast<void *>(bottom));
        came_from_host->stack_bytes = size;
    }
#endif
}

/* Sanitizers know changes of contexts, and take a jump to another stack for an error. */
#if defined(SHIM_ADDRESS_SANITIZER) || defined(SHIM_THREAD_SANITIZER)
void switch_stack(fiber &from, fiber &to)
{
    swapcontext(&from.context, &to.context);
}
#else
/* A jump needs no system call, as a change of contexts does for its mask of signals. */
void switch_stack(fiber &from, fiber &to)
{
    from.has_started = true;
    if (_setjmp(from.place))
        return;
    if (to.has_started)
        _longjmp(to.place, 1);
    setcontext(&to.context);
}
#endif

void go(fiber &from, fiber &to)
{
    leave_stack(&from, to);
    switch_stack(from, to);
    enter_stack(from, nullptr);
}

/* The next thread that can run, in the shuffled order; the host when all have ended. */
fiber &next_fiber()
{
    for (uint32_t tried = 0; tried < threads; tried++) {
        turn = (turn + 1) % threads;
        running = order[turn];
        if (fibers[running].state != RUNNABLE)
            continue;
        thread_index = {running, 0, 0};
        return fibers[running];
    }
    for (uint32_t i = 0; i < threads; i++)
        if (fibers[i].state != ENDED)
            fault("a barrier or collective that not all threads of the block or warp reach");
    return host;
}

void suspend(fiber_state state)
{
    fiber &self = fibers[running], *next;

    self.state = state;
    next = &next_fiber();
    if (next != &self)
        go(self, *next);
}

/* A fiber lives as long as the program and runs one thread after another. */
void live()
{
    static bool first = true;

    enter_stack(fibers[running], first ? &host : nullptr);
    first = false;
    for (;;) {
        kernel(kernel_argument);
        if (!fibers[running].has_waited)
            fault("a kernel that does not wait for the launch before it");
        suspend(ENDED);
    }
}

void make_fiber(fiber &made)
{
    made.stack = new char[STACK_BYTES];
    made.stack_bytes = STACK_BYTES;
    getcontext(&made.context);
    made.context.uc_stack.ss_sp = made.stack;
    made.context.uc_stack.ss_size = STACK_BYTES;
    made.context.uc_link = nullptr;
    makecontext(&made.context, live, 0);
}

void shuffle_order(uint32_t &seed)
{
    for (uint32_t i = 0; i < threads; i++)
        order[i] = i;
    for (uint32_t i = threads - 1; i > 0; i--) {
        seed = seed * 1664525u + 1013904223u;
        std::swap(order[i], order[(seed >> 8) % (i + 1)]);
    }
}

/* Devices know nothing of the caller's rounding mode, exceptions and subnormals, and neither do jumps. */
void run_threads()
{
    fenv_t callers;

    fegetenv(&callers);
    fesetenv(FE_DFL_ENV);
    go(host, next_fiber());
    fesetenv(&callers);
}

void run_block(size_t shared_bytes, uint32_t &seed)
{
    shared = static_cast<float *>(malloc(shared_bytes ? shared_bytes : 1));
    if (!shared)
        fault("out of memory");
    memset(shared, 0xff, shared_bytes); /* NaN, until a thread writes it */
    shuffle_order(seed);
    for (uint32_t i = 0; i < threads; i++) {
        fibers[i].state = RUNNABLE;
        fibers[i].has_waited = false;
    }
    at_barrier = turn = 0;
    begin_copies(shared, shared_bytes);
    run_threads();
    end_copies();
    free(shared);
}

} // namespace

void fault(const char *what)
{
    fprintf(stderr, "cuda shim: %s (block %u,%u thread %u)\n", what, block_index.x, block_index.y, thread_index.x);
    abort();
}

void launch(triple grid, triple block, size_t shared_bytes, uint32_t seed, void (*body)(const void *argument),
            const void *argument)
{
    threads = block.x;
    if (threads == 0 || threads > MAX_THREADS || threads % WARP || block.y != 1 || block.z != 1)
        fault("a block that is not of whole warps in x");
    if (grid.x == 0 || grid.y == 0 || grid.y > 65535 || shared_bytes > MOST_SHARED_BYTES)
        fault("a launch beyond the limits of a device");
    for (uint32_t i = 0; i < threads; i++)
        if (!fibers[i].stack)
            make_fiber(fibers[i]);
    kernel = body;
    kernel_argument = argument;
    block_size = block;
    grid_size = grid;
    for (block_index = {0, 0, 0}; block_index.y < grid.y; block_index.y++)
        for (block_index.x = 0; block_index.x < grid.x; block_index.x++)
            run_block(shared_bytes, seed);
}

void wait_for_block()
{
    if (++at_barrier < threads) {
        suspend(WAITING);
        return;
    }
    at_barrier = 0;
    for (uint32_t i = 0; i < threads; i++)
        if (fibers[i].state == WAITING)
            fibers[i].state = RUNNABLE;
    suspend(RUNNABLE);
}

void wait_for_warp(const char *name, void *operand, void (*complete)(void *const *operands))
{
    warp &own = warps[running / WARP];

    if (own.arrived > 0 && strcmp(own.name, name))
        fault("lanes of a warp in different collectives");
    own.name = name;
    own.operands[running % WARP] = operand;
    if (++own.arrived < WARP) {
        suspend(WAITING);
        return;
    }
    complete(own.operands);
    own.arrived = 0;
    for (uint32_t i = running / WARP * WARP; i < (running / WARP + 1) * WARP; i++)
        fibers[i].state = RUNNABLE;
    suspend(RUNNABLE);
}

void give_way()
{
    suspend(RUNNABLE);
}

void previous_launch_has_ended()
{
    fibers[running].has_waited = true;
}

void check_previous_launch_has_ended()
{
    if (!fibers[running].has_waited)
        fault("a kernel that reads or writes before it has waited for the launch before it");
}

} // namespace shim
