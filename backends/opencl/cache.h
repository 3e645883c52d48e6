/* SPDX-License-Identifier: MIT */
#ifndef MGLU_OPENCL_CACHE_H
#define MGLU_OPENCL_CACHE_H

#include <mglu/backend.h>

/*
 * Stores compiled programs between processes: with the host's hook, or in a directory. Both are off unless the host or
 * the user sets them. Missing and damaged programs are compiled again; failures to store one are ignored.
 */

/* 32 hexadecimal digits and the terminating 0. */
enum { MGLU_OPENCL_KEY_SIZE = 33 };

/* A hash of texts, the last of which is followed by NULL, and of the library's version. */
void mglu_opencl_cache_key(const char *const *texts, char key[MGLU_OPENCL_KEY_SIZE]);

int mglu_opencl_cache_is_on(const mglu_host *host);

/* The stored program, in memory of mglu_opencl_allocate(); NULL: no usable one. */
void *mglu_opencl_cache_load(const mglu_host *host, const char *key, size_t *size);

void mglu_opencl_cache_store(const mglu_host *host, const char *key, const void *data, size_t size);

#endif
