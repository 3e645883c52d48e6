/* SPDX-License-Identifier: MIT */
#include "backends/opencl/opencl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * The directory of stored programs. They run as code in this process, so only what the effective user or root alone
 * can have written is used: the directory and each entry belong to one of them, and nobody else may write to them.
 */

enum { NAME_SIZE = 96, MOST_ATTEMPTS = 64 };

/* O_NONBLOCK: a FIFO in the place of an entry must not make open() wait. */
#define SAFE_FLAGS (O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)

static int belongs_to_us_alone(const struct stat *found)
{
    return (found->st_uid == geteuid() || found->st_uid == 0) && !(found->st_mode & (S_IWGRP | S_IWOTH));
}

/* `name` is NULL for the directory itself. */
static void say_refused(const mglu_host *host, const char *name, const struct stat *found)
{
    host->log(
        host, MGLU_LOG_WARN,
        "opencl: %s%s%s is not used: expected a %s of user %u or root that nobody else can write to, found one of "
        "user %u with mode %06o; remove it or change its owner and mode",
        host->cache_dir, name ? "/" : "", name ? name : "", name ? "regular file" : "directory", (unsigned)geteuid(),
        (unsigned)found->st_uid, (unsigned)found->st_mode);
}

/* Opens the directory; negative where it does not exist, or can't be used, which is logged once. */
static int open_directory(struct mglu_opencl_cache *cache)
{
    const mglu_host *host = cache->host;
    const int directory = open(host->cache_dir, O_RDONLY | O_DIRECTORY | SAFE_FLAGS);
    const int error = errno;
    struct stat found = {0};

    if (directory < 0) {
        if (error != ENOENT && !atomic_exchange(&cache->is_said, 1))
            host->log(host, MGLU_LOG_WARN,
                      "opencl: the cache directory %s is not used: expected a directory, not a "
                      "link to one: %s",
                      host->cache_dir, strerror(error));
        return -1;
    }
    if (fstat(directory, &found) == 0 && belongs_to_us_alone(&found))
        return directory;
    if (!atomic_exchange(&cache->is_said, 1))
        say_refused(host, NULL, &found);
    close(directory);
    return -1;
}

static void write_name(const char *key, char name[NAME_SIZE])
{
    snprintf(name, NAME_SIZE, "%s.mglucl", key);
}

static int read_all(int file, unsigned char *data, size_t size)
{
    while (size > 0) {
        const ssize_t got = read(file, data, size);
        if (got <= 0 && !(got < 0 && errno == EINTR))
            return 0;
        if (got > 0) {
            data += got;
            size -= (size_t)got;
        }
    }
    return 1;
}

/* The bytes of an open file; NULL where it is not one that could be an entry. */
static void *read_entry(const mglu_host *host, int file, const char *name, size_t *size)
{
    struct stat found = {0};
    void *entry;

    if (fstat(file, &found) != 0 || !S_ISREG(found.st_mode) || !belongs_to_us_alone(&found)) {
        say_refused(host, name, &found);
        return NULL;
    }
    if (found.st_size <= 0 || (size_t)found.st_size > MGLU_OPENCL_MOST_BYTES)
        return NULL;
    *size = (size_t)found.st_size;
    entry = mglu_opencl_allocate(host, *size);
    if (entry && read_all(file, entry, *size))
        return entry;
    mglu_opencl_release(host, entry, *size);
    return NULL;
}

void *mglu_opencl_directory_load(struct mglu_opencl_cache *cache, const char *key, size_t *size)
{
    const int directory = open_directory(cache);
    void *entry = NULL;
    char name[NAME_SIZE];
    int file;

    if (directory < 0)
        return NULL;
    write_name(key, name);
    file = openat(directory, name, O_RDONLY | SAFE_FLAGS);
    if (file >= 0) {
        entry = read_entry(cache->host, file, name, size);
        close(file);
    } else if (errno != ENOENT) {
        cache->host->log(cache->host, MGLU_LOG_WARN, "opencl: %s/%s is not used: expected a regular file: %s",
                         cache->host->cache_dir, name, strerror(errno));
    }
    close(directory);
    return entry;
}

static int write_all(int file, const unsigned char *data, size_t size)
{
    while (size > 0) {
        const ssize_t put = write(file, data, size);
        if (put <= 0 && !(put < 0 && errno == EINTR))
            return 0;
        if (put > 0) {
            data += put;
            size -= (size_t)put;
        }
    }
    return 1;
}

/* Makes a file under a name that none has yet, which is written to `name`. */
static int make_file(int directory, const char *key, char name[NAME_SIZE])
{
    int file = -1;

    for (int i = 0; i < MOST_ATTEMPTS && file < 0; i++) {
        snprintf(name, NAME_SIZE, "%s.mglucl.%ld-%d", key, (long)getpid(), i);
        file = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | SAFE_FLAGS, S_IRUSR | S_IWUSR);
        if (file < 0 && errno != EEXIST)
            break;
    }
    return file;
}

/* Written under another name, then renamed, so that an entry is written atomically. */
static int store_in(int directory, const char *key, const void *entry, size_t size)
{
    char name[NAME_SIZE], temporary[NAME_SIZE];
    const int file = make_file(directory, key, temporary);
    int done;

    if (file < 0)
        return 0;
    write_name(key, name);
    done = write_all(file, entry, size) && fsync(file) == 0;
    done = close(file) == 0 && done;
    if (done && renameat(directory, temporary, directory, name) == 0)
        return 1;
    unlinkat(directory, temporary, 0);
    return 0;
}

void mglu_opencl_directory_store(struct mglu_opencl_cache *cache, const char *key, const void *entry, size_t size)
{
    const mglu_host *host = cache->host;
    int directory;

    mkdir(host->cache_dir, S_IRWXU); /* where it exists, or can't be made, opening it decides */
    directory = open_directory(cache);
    if (directory >= 0 && store_in(directory, key, entry, size)) {
        close(directory);
        return;
    }
    if (directory >= 0)
        close(directory);
    if (!atomic_exchange(&cache->is_said, 1))
        host->log(host, MGLU_LOG_WARN, "opencl: cannot write to the cache directory %s", host->cache_dir);
}
