/* SPDX-License-Identifier: MIT */
#include "common/dispatch/memory_rows.h"

#include "common/dispatch/objects.h"

mglu_status mglu_rows_check(const char *call, const char *name, const void *data, size_t byte_offset, int64_t *stride,
                            int64_t batch, int64_t columns, size_t element, struct memory_rows *rows)
{
    size_t bytes;

    if (*stride == 0)
        *stride = columns;
    if (*stride < columns)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: row_stride of %s is %lld, a row has %lld elements", call,
                         name, (long long)*stride, (long long)columns);
    if (__builtin_mul_overflow((size_t)*stride, (size_t)batch * element, &bytes))
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: row_stride of %s is %lld: the rows do not fit into memory",
                         call, name, (long long)*stride);
    if (!data && columns > 0)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: %s is NULL", call, name);
    *rows = (struct memory_rows){name, (const unsigned char *)((uintptr_t)data + byte_offset), (size_t)batch,
                                 (size_t)columns * element, (size_t)*stride * element};
    return MGLU_OK;
}

static int rows_overlap(const struct memory_rows *a, const struct memory_rows *b)
{
    if (!a->count || !a->bytes || !b->count || !b->bytes)
        return 0;
    for (size_t i = 0; i < a->count; i++) {
        const unsigned char *begin = a->first + i * a->stride, *end = begin + a->bytes;
        size_t k = 0;

        if (end <= b->first || begin >= b->first + (b->count - 1) * b->stride + b->bytes)
            continue;
        /* The first row of b that ends after `begin`. */
        if (begin >= b->first + b->bytes)
            k = ((size_t)(begin - b->first) - b->bytes) / b->stride + 1;
        if (b->first + k * b->stride < end)
            return 1;
    }
    return 0;
}

mglu_status mglu_rows_check_overlap(const char *call, const struct memory_rows *target,
                                    const struct memory_rows *others, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (rows_overlap(target, &others[i]))
            return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "%s: %s overlaps %s", call, target->name, others[i].name);
    return MGLU_OK;
}
