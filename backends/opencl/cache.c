/* SPDX-License-Identifier: MIT */
#define XXH_INLINE_ALL
#include "backends/opencl/opencl.h"

#include <mglu/version.h>

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

/* An entry: this, then the program. The bytes are the same for the hook and the directory. */
struct head {
    char magic[8];
    char key[MGLU_OPENCL_KEY_SIZE + 7];
    uint64_t size; /* of the program */
    uint64_t hash; /* of the program */
};

static const char magic[8] = "mglucl1";

void mglu_opencl_cache_key(const char *const *texts, char key[MGLU_OPENCL_KEY_SIZE])
{
    XXH3_state_t state;
    XXH128_hash_t hash;

    XXH3_128bits_reset(&state);
    XXH3_128bits_update(&state, mglu_version(), strlen(mglu_version()) + 1);
    for (; *texts; texts++)
        XXH3_128bits_update(&state, *texts, strlen(*texts) + 1);
    hash = XXH3_128bits_digest(&state);
    snprintf(key, MGLU_OPENCL_KEY_SIZE, "%016llx%016llx", (unsigned long long)hash.high64,
             (unsigned long long)hash.low64);
}

int mglu_opencl_cache_is_on(const struct mglu_opencl_cache *cache)
{
    return cache->host->program_cache.load || cache->host->cache_dir;
}

static unsigned char *load_from_host(const mglu_host *host, const char *key, size_t *size)
{
    const mglu_program_cache *hook = &host->program_cache;
    unsigned char *entry = NULL;

    *size = hook->load(hook->user, key, NULL, 0);
    if (*size > 0 && *size <= MGLU_OPENCL_MOST_BYTES)
        entry = mglu_opencl_allocate(host, *size);
    if (!entry || hook->load(hook->user, key, entry, *size) == *size)
        return entry;
    mglu_opencl_release(host, entry, *size);
    return NULL;
}

static int is_whole(const unsigned char *entry, size_t size, const char *key)
{
    struct head head;

    if (size <= sizeof head)
        return 0;
    memcpy(&head, entry, sizeof head);
    return !memcmp(head.magic, magic, sizeof magic) && !memcmp(head.key, key, MGLU_OPENCL_KEY_SIZE) &&
           head.size == size - sizeof head && head.hash == XXH3_64bits(entry + sizeof head, size - sizeof head);
}

void *mglu_opencl_cache_load(struct mglu_opencl_cache *cache, const char *key, size_t *size)
{
    const mglu_host *host = cache->host;
    unsigned char *entry = NULL, *program = NULL;
    size_t all = 0;

    if (host->program_cache.load)
        entry = load_from_host(host, key, &all);
    else if (host->cache_dir)
        entry = mglu_opencl_directory_load(cache, key, &all);
    if (!entry)
        return NULL;
    if (is_whole(entry, all, key)) {
        *size = all - sizeof(struct head);
        program = mglu_opencl_allocate(host, *size);
    }
    if (program)
        memcpy(program, entry + sizeof(struct head), *size);
    mglu_opencl_release(host, entry, all);
    return program;
}

void mglu_opencl_cache_store(struct mglu_opencl_cache *cache, const char *key, const void *data, size_t size)
{
    const mglu_host *host = cache->host;
    struct head head = {.size = size, .hash = XXH3_64bits(data, size)};
    unsigned char *entry = mglu_opencl_cache_is_on(cache) ? mglu_opencl_allocate(host, sizeof head + size) : NULL;

    if (!entry)
        return;
    memcpy(head.magic, magic, sizeof magic);
    memcpy(head.key, key, MGLU_OPENCL_KEY_SIZE);
    memcpy(entry, &head, sizeof head);
    memcpy(entry + sizeof head, data, size);
    if (host->program_cache.store)
        host->program_cache.store(host->program_cache.user, key, entry, sizeof head + size);
    else
        mglu_opencl_directory_store(cache, key, entry, sizeof head + size);
    mglu_opencl_release(host, entry, sizeof head + size);
}
