/* SPDX-License-Identifier: MIT */
#ifndef MGLU_DISPATCH_MEMORY_ROWS_H
#define MGLU_DISPATCH_MEMORY_ROWS_H

#include <mglu/status.h>

#include <stddef.h>
#include <stdint.h>

/* The arrays of a call as memory, for the checks of their strides and of overlaps. */

/* Rows in memory: `count` of `bytes` bytes, `stride` bytes apart. Empty when count or bytes is 0. */
struct memory_rows {
    const char *name;
    const unsigned char *first;
    size_t count, bytes, stride;
};

static inline struct memory_rows memory_block(const char *name, const void *data, size_t bytes)
{
    return (struct memory_rows){name, data, data ? 1 : 0, bytes, bytes};
}

/* Fills in the stride of a batch of rows and checks it. The texts of errors begin with `call`. */
mglu_status mglu_rows_check(const char *call, const char *name, const void *data, size_t byte_offset, int64_t *stride,
                            int64_t batch, int64_t columns, size_t element, struct memory_rows *rows);

/* Refuses a `target` that overlaps one of the others. */
mglu_status mglu_rows_check_overlap(const char *call, const struct memory_rows *target,
                                    const struct memory_rows *others, size_t count);

#endif
