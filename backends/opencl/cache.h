/* SPDX-License-Identifier: MIT */
#ifndef MGLU_OPENCL_CACHE_H
#define MGLU_OPENCL_CACHE_H

#include <mglu/backend.h>

#include <stdatomic.h>

/*
 * Stores compiled programs between processes: with the host's hook, or in a directory. Both are off unless the host or
 * the user sets them. Missing and damaged programs are compiled again; failures to store one are ignored.
 */

struct mglu_opencl_cache {
    const mglu_host *host;
    atomic_int is_said; /* whether the log has the reason why the directory is not used */
};

/* 32 hexadecimal digits and the terminating 0. */
enum { MGLU_OPENCL_KEY_SIZE = 33 };

/* Larger entries are not programs. */
#define MGLU_OPENCL_MOST_BYTES ((size_t)256 << 20)

/* A hash of texts, the last of which is followed by NULL, and of the library's version. */
void mglu_opencl_cache_key(const char *const *texts, char key[MGLU_OPENCL_KEY_SIZE]);

int mglu_opencl_cache_is_on(const struct mglu_opencl_cache *cache);

/* The stored program, in memory of mglu_opencl_allocate(); NULL: no usable one. */
void *mglu_opencl_cache_load(struct mglu_opencl_cache *cache, const char *key, size_t *size);

void mglu_opencl_cache_store(struct mglu_opencl_cache *cache, const char *key, const void *data, size_t size);

/* cache_directory.c: entries, which are checked and made by cache.c, as files of host->cache_dir. */
void *mglu_opencl_directory_load(struct mglu_opencl_cache *cache, const char *key, size_t *size);
void mglu_opencl_directory_store(struct mglu_opencl_cache *cache, const char *key, const void *entry, size_t size);

#endif
