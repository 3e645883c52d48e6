/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_STACK_H
#define MGLU_TEST_STACK_H

#include "check.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>

/*
 * How much stack a call uses: it runs on a thread whose stack is filled with a pattern before. docs/embedding.md has
 * the limit.
 */

enum { STACK_LIMIT = 64 << 10, STACK_PATTERN = 0xa5, STACK_SIZE = 192 << 10 };

static inline void *stack_run(void *call)
{
    void (*run)(void);

    memcpy(&run, &call, sizeof run);
    run();
    return NULL;
}

static inline void stack_do_nothing(void)
{
}

/* Bytes used on a new thread, its own data included. */
static inline size_t stack_bytes(void (*run)(void))
{
    unsigned char *stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t unused = 0;
    pthread_attr_t attributes;
    pthread_t thread;
    void *call;

    assert_ptr_not_equal(stack, MAP_FAILED);
    memset(stack, STACK_PATTERN, STACK_SIZE);
    memcpy(&call, &run, sizeof call);
    assert_int_equal(pthread_attr_init(&attributes), 0);
    assert_int_equal(pthread_attr_setstack(&attributes, stack, STACK_SIZE), 0);
    assert_int_equal(pthread_create(&thread, &attributes, stack_run, call), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    pthread_attr_destroy(&attributes);
    while (unused < STACK_SIZE && stack[unused] == STACK_PATTERN)
        unused++;
    munmap(stack, STACK_SIZE);
    return STACK_SIZE - unused;
}

/* The deepest call so far. */
struct stack_depth {
    const char *name;
    size_t bytes;
};

/* Runs a call and keeps it if it is the deepest. */
static inline void stack_measure(const char *name, void (*run)(void), struct stack_depth *deepest)
{
    static size_t own;
    size_t whole = stack_bytes(run), bytes;

    if (!own)
        own = stack_bytes(stack_do_nothing);
    bytes = whole > own ? whole - own : 0;
    if (bytes > STACK_LIMIT)
        fail_msg("%s uses %zu bytes of stack, documented are %d", name, bytes, STACK_LIMIT);
    if (bytes > deepest->bytes)
        *deepest = (struct stack_depth){name, bytes};
}

#endif
