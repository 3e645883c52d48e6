/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TOOLS_COMMON_THREADS_H
#define MGLU_TOOLS_COMMON_THREADS_H

/** Threads that this process may keep busy: its CPU affinity, cut down to its control groups' CPU quota. */
int threads_usable(void);

/**
 * Whole CPUs that the control groups of this process allow, rounded down, so maybe 0; INT_MAX for no quota. /proc and
 * /sys are looked for in the folder `root`: "", but for tests.
 */
int threads_quota(const char *root);

/**
 * Starts the program anew, with OpenMP's threads told to sleep soon when they have nothing to do, unless the
 * environment says how long they may spin. By default they spin for milliseconds, against each other where the CPUs are
 * busy; they can be told only before they are loaded. Returns when told, or when it cannot be helped.
 */
void threads_spin_little(char **argv);

#endif
