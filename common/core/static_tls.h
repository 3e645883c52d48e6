/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CORE_STATIC_TLS_H
#define MGLU_CORE_STATIC_TLS_H

#include <limits.h> /* defines __GLIBC__ where it is the C library */

/*
 * Storage class of the library's thread-local variables. In a library opened with dlopen, glibc allocates a thread's
 * block when the thread first uses it, and ends the process when there is no memory. With this model the block is a
 * part of every thread's memory from the start. glibc has 512 bytes for all libraries opened that way, so such
 * variables must be few and small. Other C libraries allocate the block with the thread and do not need it.
 */
#ifdef __GLIBC__
#define MGLU_THREAD_LOCAL _Thread_local __attribute__((tls_model("initial-exec")))
#else
#define MGLU_THREAD_LOCAL _Thread_local
#endif

#endif
