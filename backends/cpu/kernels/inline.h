/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CPU_INLINE_H
#define MGLU_CPU_INLINE_H

#include "common/core/inline.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Fully unrolls the next loop, so that its arrays stay in registers (constant trip count <= 16). Not under sanitizers:
 * each access is checked there, and compilers need minutes for thousands of checks in one block.
 */
#if defined(__SANITIZE_ADDRESS__)
#define MGLU_UNROLL
#elif !defined(__clang__)
#define MGLU_UNROLL _Pragma("GCC unroll 16")
#elif __has_feature(address_sanitizer)
#define MGLU_UNROLL
#else
#define MGLU_UNROLL _Pragma("clang loop unroll(full)")
#endif

/*
 * A function that is specialised on constant arguments, where many functions are. Under sanitizers there is one for all
 * of them: compilers need minutes for the checks of all copies.
 */
#if defined(__SANITIZE_ADDRESS__)
#define MGLU_SPECIALISED static __attribute__((noinline))
#elif !defined(__clang__)
#define MGLU_SPECIALISED MGLU_INLINE
#elif __has_feature(address_sanitizer)
#define MGLU_SPECIALISED static __attribute__((noinline))
#else
#define MGLU_SPECIALISED MGLU_INLINE
#endif

/* Does not unroll the next loop. */
#ifdef __clang__
#define MGLU_ROLLED _Pragma("clang loop unroll(disable)")
#else
#define MGLU_ROLLED _Pragma("GCC unroll 1")
#endif

/* Prefetching beyond the end of a matrix is harmless. */
MGLU_INLINE void prefetch_weights(const void *from, size_t bytes, size_t distance)
{
    MGLU_UNROLL
    for (size_t line = 0; line < bytes; line += 64)
        __builtin_prefetch((const void *)((uintptr_t)from + distance + line));
}

MGLU_INLINE void prefetch_words(const uint32_t *from, int64_t distance)
{
    __builtin_prefetch((const void *)((uintptr_t)from + (size_t)distance * sizeof *from));
}

#endif
