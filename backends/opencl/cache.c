/* SPDX-License-Identifier: MIT */
#define XXH_INLINE_ALL
#include "backends/opencl/cache.h"
#include "backends/opencl/opencl.h"

#include <mglu/version.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

/* An entry: this, then the program. The bytes are the same for the hook and the directory. */
struct head {
    char magic[8];
    char key[MGLU_OPENCL_KEY_SIZE + 7];
    uint64_t size; /* of the program */
    uint64_t hash; /* of the program */
};

static const char magic[8] = "mglucl1";

enum { PATH_SIZE = 4096 };
#define MOST_BYTES ((size_t)256 << 20) /* larger files are not programs */

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

int mglu_opencl_cache_is_on(const mglu_host *host)
{
    return host->program_cache.load || host->cache_dir;
}

static int write_path(const mglu_host *host, const char *key, const char *suffix, char path[PATH_SIZE])
{
    int length = snprintf(path, PATH_SIZE, "%s/%s.mglucl%s", host->cache_dir, key, suffix);

    return length > 0 && length < PATH_SIZE;
}

/* Reads a file up to `capacity` bytes; with 0, returns its size. 0: no such file, or not one that could be an entry. */
static size_t load_file(const mglu_host *host, const char *key, void *data, size_t capacity)
{
    char path[PATH_SIZE];
    struct stat stat;
    size_t done = 0;
    int file = write_path(host, key, "", path) ? open(path, O_RDONLY | O_CLOEXEC) : -1;

    if (file < 0)
        return 0;
    if (fstat(file, &stat) != 0 || !S_ISREG(stat.st_mode) || stat.st_size < 0 || (size_t)stat.st_size > MOST_BYTES)
        stat.st_size = 0;
    if (!data)
        done = (size_t)stat.st_size;
    while (data && done < capacity) {
        ssize_t got = read(file, (unsigned char *)data + done, capacity - done);
        if (got <= 0)
            break;
        done += (size_t)got;
    }
    close(file);
    return done;
}

static size_t load_entry(const mglu_host *host, const char *key, void *data, size_t capacity)
{
    if (host->program_cache.load)
        return host->program_cache.load(host->program_cache.user, key, data, capacity);
    return load_file(host, key, data, capacity);
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

void *mglu_opencl_cache_load(const mglu_host *host, const char *key, size_t *size)
{
    const size_t all = mglu_opencl_cache_is_on(host) ? load_entry(host, key, NULL, 0) : 0;
    unsigned char *entry, *program = NULL;

    if (all <= sizeof(struct head) || all > MOST_BYTES)
        return NULL;
    entry = mglu_opencl_allocate(host, all);
    if (!entry)
        return NULL;
    *size = all - sizeof(struct head);
    if (load_entry(host, key, entry, all) == all && is_whole(entry, all, key))
        program = mglu_opencl_allocate(host, *size);
    if (program)
        memcpy(program, entry + sizeof(struct head), *size);
    mglu_opencl_release(host, entry, all);
    return program;
}

static int write_all(int file, const unsigned char *data, size_t size)
{
    while (size > 0) {
        ssize_t put = write(file, data, size);
        if (put <= 0)
            return 0;
        data += put;
        size -= (size_t)put;
    }
    return 1;
}

/* Written under another name, then renamed, so that an entry is written atomically. */
static void store_file(const mglu_host *host, const char *key, const void *entry, size_t size)
{
    char path[PATH_SIZE], temporary[PATH_SIZE];
    int file, done;

    if (!write_path(host, key, "", path) || !write_path(host, key, ".XXXXXX", temporary))
        return;
    file = mkostemp(temporary, O_CLOEXEC);
    if (file < 0) {
        host->log(host, MGLU_LOG_WARN, "opencl: cannot write to the cache directory %s", host->cache_dir);
        return;
    }
    done = write_all(file, entry, size) && fsync(file) == 0;
    if (close(file) != 0 || !done || rename(temporary, path) != 0) {
        unlink(temporary);
        host->log(host, MGLU_LOG_WARN, "opencl: cannot write %s", path);
    }
}

void mglu_opencl_cache_store(const mglu_host *host, const char *key, const void *data, size_t size)
{
    struct head head = {.size = size, .hash = XXH3_64bits(data, size)};
    unsigned char *entry = mglu_opencl_cache_is_on(host) ? mglu_opencl_allocate(host, sizeof head + size) : NULL;

    if (!entry)
        return;
    memcpy(head.magic, magic, sizeof magic);
    memcpy(head.key, key, MGLU_OPENCL_KEY_SIZE);
    memcpy(entry, &head, sizeof head);
    memcpy(entry + sizeof head, data, size);
    if (host->program_cache.store)
        host->program_cache.store(host->program_cache.user, key, entry, sizeof head + size);
    else if (host->cache_dir)
        store_file(host, key, entry, sizeof head + size);
    mglu_opencl_release(host, entry, sizeof head + size);
}
