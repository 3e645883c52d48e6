/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TOOLS_COMMON_THREADS_H
#define MGLU_TOOLS_COMMON_THREADS_H

/** Threads that this process can use: the CPUs of its affinity, at most its control groups' CPU quota. */
int threads_usable(void);

/**
 * CPUs that the control groups of this process allow, rounded down, possibly 0; INT_MAX for no quota. `root` is a
 * prefix of the paths /proc and /sys: "" except in tests.
 */
int threads_quota(const char *root);

#endif
