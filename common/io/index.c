/* SPDX-License-Identifier: MIT */
#include "common/io/index.h"

#include <stdlib.h>
#include <string.h>

static const char *name_of(const void *item)
{
    return *(const char *const *)item;
}

static int compare_items(const void *a, const void *b)
{
    return strcmp(name_of(*(const void *const *)a), name_of(*(const void *const *)b));
}

/* Like strcmp(), without concatenating the parts. */
static int compare_name(const void *key, const void *item)
{
    const struct mglu_io_name *wanted = key;
    const char *name = name_of(*(const void *const *)item);
    int joined = 0;

    for (size_t i = 0; i < sizeof wanted->parts / sizeof wanted->parts[0]; i++) {
        const char *part = wanted->parts[i];
        size_t length = part ? strlen(part) : 0;
        int order;

        if (length == 0)
            continue;
        if (joined && *name != '.')
            return '.' - (int)(unsigned char)*name;
        name += joined;
        order = strncmp(part, name, length);
        if (order != 0)
            return order;
        name += length;
        joined = 1;
    }
    return *name ? -1 : 0;
}

int mglu_io_index_build(struct mglu_io_index *index, const void *items, size_t count, size_t item_size)
{
    index->items = malloc((count ? count : 1) * sizeof *index->items);
    if (!index->items)
        return 0;
    index->count = count;
    for (size_t i = 0; i < count; i++)
        index->items[i] = (const unsigned char *)items + i * item_size;
    qsort(index->items, count, sizeof *index->items, compare_items);
    return 1;
}

void mglu_io_index_clear(struct mglu_io_index *index)
{
    free(index->items);
    index->items = NULL;
    index->count = 0;
}

const char *mglu_io_index_duplicate(const struct mglu_io_index *index)
{
    for (size_t i = 1; i < index->count; i++)
        if (compare_items(&index->items[i - 1], &index->items[i]) == 0)
            return name_of(index->items[i]);
    return NULL;
}

const void *mglu_io_index_find(const struct mglu_io_index *index, const struct mglu_io_name *name)
{
    const void **item = bsearch(name, index->items, index->count, sizeof *index->items, compare_name);

    return item ? *item : NULL;
}
