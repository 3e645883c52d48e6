/* SPDX-License-Identifier: MIT */
#ifndef MGLU_IO_INDEX_H
#define MGLU_IO_INDEX_H

#include <stddef.h>

/* Finds structs by name, by binary search, so that hostile files cannot make it quadratic. A struct's first member is
 * its name. */

struct mglu_io_index {
    const void **items; /* sorted by name */
    size_t count;
};

/* A name in parts: "a", "b", "c" is "a.b.c"; empty parts are omitted with their dot. */
struct mglu_io_name {
    const char *parts[3];
};

/* Sorts `count` structs of `item_size` bytes; they must not move. Returns 0 when out of memory. */
int mglu_io_index_build(struct mglu_io_index *index, const void *items, size_t count, size_t item_size);

void mglu_io_index_clear(struct mglu_io_index *index);

/* A name that two structs share, or NULL. */
const char *mglu_io_index_duplicate(const struct mglu_io_index *index);

/* The struct of that name, or NULL. */
const void *mglu_io_index_find(const struct mglu_io_index *index, const struct mglu_io_name *name);

#endif
