/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_MEMORY_FUNCTIONS_H
#define MGLU_TEST_MEMORY_FUNCTIONS_H

#include <stdatomic.h>

/* The memory functions of glibc, replaced for the whole process: they count, and fail on request. */

extern atomic_long allocations; /* calls that were to allocate, by any thread */
extern atomic_int allocations_are_refused;

#endif
