/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TOOLS_COMMON_THREADS_H
#define MGLU_TOOLS_COMMON_THREADS_H

/** Threads that this process may keep busy: its CPU affinity, cut down to its control groups' CPU quota. */
int threads_usable(void);

#endif
