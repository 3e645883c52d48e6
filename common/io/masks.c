/* SPDX-License-Identifier: MIT */
#include "common/io/masks.h"

#include "common/core/mask_format.h"
#include "common/io/derived.h"
#include "common/io/dtype.h"
#include "common/io/report.h"

#include <mglu/pack.h>

#include <stdio.h>

/* Some rows of dense masks, and the memory for each step. */
struct dense {
    const struct mglu_io_masks *masks;
    mglu_mask_array array; /* [n_m][rows][h] */
    size_t element_size;
    int64_t first, rows;
    unsigned char *elements; /* as they are in the file */
    unsigned char *bytes;    /* where they are converted to bytes; else NULL */
};

static size_t count_of(const struct dense *dense)
{
    return (size_t)dense->masks->n_masks * (size_t)dense->rows * (size_t)dense->masks->h;
}

/* Names the element of the rows that is no mask. */
static mglu_status bad_mask(const struct dense *dense, size_t index)
{
    const struct mglu_io_masks *masks = dense->masks;
    size_t columns = (size_t)masks->h, rows = (size_t)dense->rows;
    int is_float = dense->array.form != MGLU_MASK_BYTES || masks->tensor->dtype == MGLU_FILE_F64;

    return mglu_io_fail(is_float ? MGLU_ERROR_NONFINITE : MGLU_ERROR_CORRUPT_FILE, masks->file->path,
                        masks->tensor->name, "mask %zu [%lld][%zu] is %s", index / columns / rows,
                        (long long)dense->first + (long long)(index / columns % rows), index % columns,
                        is_float ? "NaN" : "neither 0 nor 1");
}

/* The index of the element that can't be packed. */
static size_t find_bad(const struct dense *dense)
{
    mglu_mask_array element = dense->array;
    size_t index = 0, count = count_of(dense), size = dense->bytes ? 1 : dense->element_size;
    uint32_t word;

    while (index < count && mglu_pack_masks(&element, 1, 1, 1, &word) == MGLU_OK) {
        element.data = (const char *)element.data + size;
        index++;
    }
    return index;
}

/* The same rows of each mask, one mask behind the other. */
static mglu_status read_dense(const struct dense *dense)
{
    const struct mglu_io_masks *masks = dense->masks;
    size_t part = (size_t)dense->rows * (size_t)masks->h * dense->element_size;
    size_t whole = (size_t)masks->d * (size_t)masks->h * dense->element_size;
    size_t first = (size_t)dense->first * (size_t)masks->h * dense->element_size;
    mglu_status status = MGLU_OK;

    for (size_t i = 0; i < (size_t)masks->n_masks && status == MGLU_OK; i++)
        status = mglu_file_read(masks->file, masks->tensor, masks->offset + i * whole + first,
                                dense->elements + i * part, part);
    return status;
}

static mglu_status pack_dense(struct dense *dense, uint32_t *words)
{
    const struct mglu_io_masks *masks = dense->masks;
    size_t bad;

    dense->array.data = dense->elements;
    if (dense->bytes) {
        bad = mglu_io_mask_bytes(masks->tensor->dtype, dense->elements, count_of(dense), dense->bytes);
        if (bad < count_of(dense))
            return bad_mask(dense, bad);
        dense->array.data = dense->bytes;
    }
    if (mglu_pack_masks(&dense->array, masks->n_masks, dense->rows, masks->h, words) != MGLU_OK)
        return bad_mask(dense, find_bad(dense));
    return MGLU_OK;
}

static mglu_status read_words(const struct mglu_io_masks *masks, int64_t first, int64_t rows, uint32_t *words)
{
    size_t row_bytes = mglu_packed_mask_stride_bytes(masks->n_masks, masks->h);
    char from[60] = "";
    mglu_status status = mglu_file_read(masks->file, masks->tensor, masks->offset + (size_t)first * row_bytes, words,
                                        (size_t)rows * row_bytes);

    if (status != MGLU_OK || mglu_check_mask_words(words, masks->n_masks, rows, masks->h) == MGLU_OK)
        return status;
    if (first)
        snprintf(from, sizeof from, "counting from row %lld, ", (long long)first);
    return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, masks->file->path, masks->tensor->name, "%s%s", from,
                        mglu_last_error());
}

size_t mglu_io_masks_row_bytes(const struct mglu_io_masks *masks)
{
    if (masks->packed)
        return mglu_packed_mask_stride_bytes(masks->n_masks, masks->h);
    return (size_t)masks->n_masks * (size_t)masks->h * mglu_file_dtype_size(masks->tensor->dtype);
}

/* A multiple of 64 bytes, so that what follows is aligned. */
static size_t aligned(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

mglu_status mglu_io_masks_pack(const struct mglu_io_masks *masks, int64_t first, int64_t rows,
                               struct mglu_io_room *room, uint32_t **words)
{
    struct dense dense = {
        .masks = masks, .element_size = mglu_file_dtype_size(masks->tensor->dtype), .first = first, .rows = rows};
    size_t own = masks->packed ? 0 : aligned(count_of(&dense) * dense.element_size);
    size_t converted = !masks->packed && mglu_io_masks_as_bytes(masks->tensor->dtype) ? aligned(count_of(&dense)) : 0;
    mglu_status status;

    dense.elements = mglu_io_room_get(room, own + converted + mglu_packed_mask_size(masks->n_masks, rows, masks->h));
    if (!dense.elements)
        return mglu_io_out_of_memory(masks->file->path);
    dense.bytes = converted ? dense.elements + own : NULL;
    *words = (uint32_t *)(void *)(dense.elements + own + converted);
    if (masks->packed)
        return read_words(masks, first, rows, *words);
    mglu_io_mask_form(masks->tensor->dtype, &dense.array.form);
    status = read_dense(&dense);
    return status == MGLU_OK ? pack_dense(&dense, *words) : status;
}

mglu_status mglu_io_masks_check(const struct mglu_io_masks *masks)
{
    int64_t most = mglu_io_rows_at_once(mglu_io_masks_row_bytes(masks));
    struct mglu_io_room room = {0};
    uint32_t *words;
    mglu_status status = MGLU_OK;

    for (int64_t row = 0; row < masks->d && masks->h % MGLU_GROUP_COLUMNS != 0 && status == MGLU_OK; row += most)
        status = mglu_io_masks_pack(masks, row, masks->d - row < most ? masks->d - row : most, &room, &words);
    mglu_io_room_clear(&room);
    return status;
}
