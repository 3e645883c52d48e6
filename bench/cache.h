/* SPDX-License-Identifier: MIT */
#ifndef MGLU_BENCH_CACHE_H
#define MGLU_BENCH_CACHE_H

#include <stdint.h>

/** Bytes of all last-level caches of this machine's CPUs together. */
int64_t cache_last_level_bytes(void);

#endif
