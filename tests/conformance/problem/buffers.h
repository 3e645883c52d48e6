/* SPDX-License-Identifier: MIT */
#ifndef MGLU_CONFORMANCE_BUFFERS_H
#define MGLU_CONFORMANCE_BUFFERS_H

#include "problem/axes.h"
#include "problem/rig.h"

/**
 * Rows in memory of their own: the pages before and after are unreadable, and every other byte that is not of a row has
 * a value that reads as NaN and must not change.
 */
struct rows {
    int64_t count, columns;
    int64_t stride;        /**< elements, as an argument of forward: 0 for rows without gaps */
    size_t element;        /**< bytes */
    unsigned char *region; /**< all that can be read */
    size_t region_size;
    size_t offset; /**< of the first row in the region */
    void *map;
    size_t map_size;
    mglu_memory *device; /**< copy of the region on a device without host memory, or NULL */
};

/** What fills gaps: 0xff bytes are NaN in every float type, and -1 as an id. */
enum { ROWS_GAP = 0xff };

/** Ends the program when there is no memory. */
void rows_make(struct rows *rows, enum placement placement, int64_t count, int64_t columns, size_t element);
void rows_free(struct rows *rows);

/** The first byte of a row on the host. */
unsigned char *rows_at(const struct rows *rows, int64_t row);

/** Converts `count * columns` floats into the rows. */
void rows_write(struct rows *rows, mglu_dtype dtype, const float *numbers);

/** Fills all rows with a byte. */
void rows_fill(const struct rows *rows, unsigned char byte);

/** The rows as arguments for the host (the oracle) and for the device. */
mglu_input rows_on_host(const struct rows *rows);
mglu_input rows_on_device(const struct rows *rows);

/** Copy the region to and from a device without host memory; on others they do nothing. */
bool rows_upload(struct rows *rows, const struct rig *rig, bool host_memory, struct outcome *outcome);
bool rows_download(struct rows *rows, const struct rig *rig, struct outcome *outcome);

/** Whether all bytes outside the rows are unchanged; fails the outcome with the position of the first that is not. */
bool rows_check_gaps(const struct rows *rows, const char *what, struct outcome *outcome);

#endif
