/* SPDX-License-Identifier: MIT */
#include "problem/buffers.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LEAD = 64, TRAIL = 64, PAD = 5 };

static size_t row_bytes(const struct rows *rows)
{
    return (size_t)rows->columns * rows->element;
}

static size_t stride_bytes(const struct rows *rows)
{
    return rows->stride ? (size_t)rows->stride * rows->element : row_bytes(rows);
}

/* Bytes from the first element to behind the last one. */
static size_t span(const struct rows *rows)
{
    return rows->count ? (size_t)(rows->count - 1) * stride_bytes(rows) + row_bytes(rows) : 0;
}

/* Maps `size` bytes, a whole number of pages, between two pages that can't be touched. */
static void map_region(struct rows *rows, size_t size, size_t page)
{
    rows->region_size = size;
    rows->map_size = size + 2 * page;
    rows->map = mmap(NULL, rows->map_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (rows->map == MAP_FAILED) {
        perror("mglu-conformance: mmap");
        exit(EXIT_FAILURE);
    }
    rows->region = (unsigned char *)rows->map + page;
    if (mprotect(rows->region, size, PROT_READ | PROT_WRITE) != 0) {
        perror("mglu-conformance: mprotect");
        exit(EXIT_FAILURE);
    }
    memset(rows->region, ROWS_GAP, size);
}

void rows_make(struct rows *rows, enum placement placement, int64_t count, int64_t columns, size_t element)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), size;

    *rows = (struct rows){.count = count, .columns = columns, .element = element};
    if (placement == PLACE_PADDED || placement == PLACE_OFFSET_PADDED)
        rows->stride = columns + PAD;
    else if (placement == PLACE_OFFSET)
        rows->stride = columns;
    if (placement != PLACE_STARTS_AT_GUARD)
        rows->offset = LEAD;
    if (placement == PLACE_OFFSET || placement == PLACE_OFFSET_PADDED)
        rows->offset += element;
    size = rows->offset + span(rows) + (placement == PLACE_ENDS_AT_GUARD ? 0 : TRAIL);
    size = (size + page - 1) / page * page;
    map_region(rows, size, page);
    if (placement == PLACE_ENDS_AT_GUARD)
        rows->offset = size - span(rows);
}

void rows_free(struct rows *rows)
{
    mglu_memory_destroy(&rows->device);
    if (rows->map)
        munmap(rows->map, rows->map_size);
    *rows = (struct rows){0};
}

unsigned char *rows_at(const struct rows *rows, int64_t row)
{
    return rows->region + rows->offset + (size_t)row * stride_bytes(rows);
}

void rows_write(struct rows *rows, mglu_dtype dtype, const float *numbers)
{
    for (int64_t row = 0; row < rows->count; row++)
        if (mglu_convert(numbers + row * rows->columns, MGLU_DTYPE_F32, rows_at(rows, row), dtype,
                         (size_t)rows->columns) != MGLU_OK)
            exit(EXIT_FAILURE);
}

void rows_fill(const struct rows *rows, unsigned char byte)
{
    for (int64_t row = 0; row < rows->count; row++)
        memset(rows_at(rows, row), byte, row_bytes(rows));
}

mglu_input rows_on_host(const struct rows *rows)
{
    return (mglu_input){rows->region, rows->offset, rows->stride};
}

mglu_input rows_on_device(const struct rows *rows)
{
    return (mglu_input){rows->device ? mglu_memory_data(rows->device) : rows->region, rows->offset, rows->stride};
}

bool rows_upload(struct rows *rows, const struct rig *rig, bool host_memory, struct outcome *outcome)
{
    if (host_memory || !rows->region)
        return true;
    return outcome_expect(outcome, "mglu_memory_create",
                          mglu_memory_create(rig->device, rows->region_size, &rows->device), MGLU_OK) &&
           outcome_expect(outcome, "mglu_memory_write",
                          mglu_memory_write(rows->device, rig->queue, 0, rows->region, rows->region_size), MGLU_OK);
}

bool rows_download(struct rows *rows, const struct rig *rig, struct outcome *outcome)
{
    if (!rows->device)
        return true;
    return outcome_expect(outcome, "mglu_memory_read",
                          mglu_memory_read(rows->device, rig->queue, 0, rows->region, rows->region_size), MGLU_OK);
}

/* Describes the position of a byte: how far behind the end of which row. */
static void report_changed_byte(const struct rows *rows, size_t at, const char *what, struct outcome *outcome)
{
    size_t stride = stride_bytes(rows), row, column;

    if (!span(rows)) {
        outcome_set(outcome, VERDICT_FAIL, "wrote to %s, which has no elements", what);
        return;
    }
    if (at < rows->offset) {
        outcome_set(outcome, VERDICT_FAIL, "wrote %zu bytes before the first element of %s", rows->offset - at, what);
        return;
    }
    row = (at - rows->offset) / stride;
    if (row >= (size_t)rows->count)
        row = (size_t)rows->count - 1;
    column = at - rows->offset - row * stride;
    outcome_set(outcome, VERDICT_FAIL,
                "wrote outside %s: byte %zu behind the end of row %zu of %lld (a row has %zu bytes, the stride is %zu)",
                what, column - row_bytes(rows) + 1, row, (long long)rows->count, row_bytes(rows), stride);
}

static const unsigned char *first_other(const unsigned char *from, const unsigned char *end)
{
    while (from < end && *from == ROWS_GAP)
        from++;
    return from < end ? from : NULL;
}

bool rows_check_gaps(const struct rows *rows, const char *what, struct outcome *outcome)
{
    const unsigned char *from = rows->region, *changed = NULL;

    for (int64_t row = 0; row < rows->count && !changed; row++) {
        changed = first_other(from, rows_at(rows, row));
        from = rows_at(rows, row) + row_bytes(rows);
    }
    if (!changed)
        changed = first_other(from, rows->region + rows->region_size);
    if (changed)
        report_changed_byte(rows, (size_t)(changed - rows->region), what, outcome);
    return !changed;
}
