/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TESTS_OPENCL_STORED_H
#define MGLU_TESTS_OPENCL_STORED_H

#include "session.h"

#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

/* Where compiled programs are kept: a host's cache, and the files of a directory. */

enum { ENTRIES = 16 };

/* A host's cache, in memory. */
struct store {
    struct {
        char key[64];
        unsigned char *data;
        size_t size;
    } entries[ENTRIES];
    size_t count, loads;
};

static inline size_t store_load(void *user, const char *key, void *data, size_t capacity)
{
    struct store *store = user;

    store->loads++;
    for (size_t i = 0; i < store->count; i++)
        if (!strcmp(store->entries[i].key, key)) {
            if (data && capacity >= store->entries[i].size)
                memcpy(data, store->entries[i].data, store->entries[i].size);
            return store->entries[i].size;
        }
    return 0;
}

static inline void store_save(void *user, const char *key, const void *data, size_t size)
{
    struct store *store = user;
    size_t at = 0;

    while (at < store->count && strcmp(store->entries[at].key, key) != 0)
        at++;
    assert_in_range(at, 0, ENTRIES - 1);
    if (at == store->count)
        store->count++;
    else
        free(store->entries[at].data);
    snprintf(store->entries[at].key, sizeof store->entries[at].key, "%s", key);
    store->entries[at].data = malloc(size);
    store->entries[at].size = size;
    assert_non_null(store->entries[at].data);
    memcpy(store->entries[at].data, data, size);
}

static inline void store_free(struct store *store)
{
    for (size_t i = 0; i < store->count; i++)
        free(store->entries[i].data);
}

/* Makes a layer in a context of its own; returns how many programs were compiled from source. */
static inline int compile_with(const mglu_context_desc *desc)
{
    struct sample sample = sample_make(&whole, 1);
    struct rig rig = {0};
    int before = fake.calls[FAKE_clCreateProgramWithSource];

    assert_ok(make_fake_rig(desc, &sample, &rig));
    rig_free(&rig);
    sample_free(&sample);
    return fake.calls[FAKE_clCreateProgramWithSource] - before;
}

/* Calls `work` on each file of a directory; how many there are. */
static inline int for_each_file(const char *folder, void (*work)(const char *path))
{
    DIR *directory = opendir(folder);
    const struct dirent *entry;
    char path[512];
    int count = 0;

    assert_non_null(directory);
    while ((entry = readdir(directory))) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        work(path);
        count++;
    }
    closedir(directory);
    return count;
}

static inline void remove_file(const char *path)
{
    assert_int_equal(unlink(path), 0);
}

#endif
