/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_FAULTS_SHIM_H
#define MGLU_TEST_FAULTS_SHIM_H

/*
 * Functions of the C library that count their calls and fail on demand: linked into a test, they stand before those of
 * the C library for every library of the process; preloaded into a program, they take their orders from the
 * environment.
 */

enum fault_kind {
    FAULT_MALLOC, /* calloc, realloc and aligned memory included */
    FAULT_MMAP,
    FAULT_OPEN, /* also by fopen, mkostemp, opendir */
    FAULT_READ,
    FAULT_WRITE,
    FAULT_FSYNC,
    FAULT_RENAME,
    FAULT_LINK,
    FAULT_CLOSE, /* the descriptor is closed all the same, as on Linux */
    FAULT_THREAD,
    FAULT_KINDS
};

struct fault {
    const char *name;
    enum fault_kind kind;
    int error;     /* errno of the failure; 0: instead one byte is transferred */
    int persists;  /* every later call fails too */
    int is_benign; /* callers must go on as if nothing had happened */
};

/* Calls number `at` and, if it persists, all later ones fail, counted from here. */
void fault_arm(const struct fault *fault, long at);
/* Returns how many calls failed. */
long fault_disarm(void);
/* Sets *flag where a call fails that OpenMP's runtime made. */
void fault_watch_openmp(volatile int *flag);
/* Allocations that were not freed. */
long fault_live_allocations(void);

/* The faults to be tried, with no name at the end; a program's MGLU_FAULT is one of their names, ":" and a number. */
extern const struct fault faults[];

#endif
