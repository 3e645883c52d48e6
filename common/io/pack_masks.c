/* SPDX-License-Identifier: MIT */
#include "common/core/mask_format.h"
#include "common/io/derived.h"
#include "common/io/dtype.h"
#include "common/io/pack_data.h"
#include "common/io/pack_roles.h"
#include "common/io/report.h"

#include <mglu/pack.h>

#include <stdlib.h>

/* Some rows of the masks of one layer, as they are in the file. */
struct mask_rows {
    const struct mglu_io_pack_job *job;
    mglu_mask_array masks; /* the first element of the first mask */
    size_t element_size;
    int32_t n_masks;
    int64_t d, h, first, rows;
    unsigned char *bytes; /* room for those of one mask, where they are converted to bytes; else NULL */
    uint32_t *words;      /* room for those of one mask and, behind them, of all */
};

/* Names the element of the rows that is no mask. */
static mglu_status bad_mask(const struct mask_rows *rows, int32_t mask, size_t index)
{
    const mglu_file_tensor *source = rows->job->source;
    int is_float = rows->masks.form != MGLU_MASK_BYTES || source->dtype == MGLU_FILE_F64;

    return mglu_io_fail(is_float ? MGLU_ERROR_NONFINITE : MGLU_ERROR_CORRUPT_FILE, rows->job->plan->input->path,
                        source->name, "mask %d [%lld][%lld] is %s", mask,
                        (long long)(rows->first + (int64_t)index / rows->h), (long long)((int64_t)index % rows->h),
                        is_float ? "NaN" : "neither 0 nor 1");
}

/* The index of the element that can't be packed. */
static size_t find_bad(const struct mask_rows *rows, mglu_mask_array element)
{
    size_t index = 0, count = (size_t)(rows->rows * rows->h);
    uint32_t word;

    while (index < count && mglu_pack_masks(&element, 1, 1, 1, &word) == MGLU_OK) {
        element.data = (const char *)element.data + rows->element_size;
        index++;
    }
    return index;
}

/* Packs the rows of one mask. */
static mglu_status pack_mask(const struct mask_rows *rows, int32_t mask)
{
    size_t element = ((size_t)mask * (size_t)rows->d + (size_t)rows->first) * (size_t)rows->h;
    size_t count = (size_t)(rows->rows * rows->h), bad;
    mglu_mask_array masks = {(const char *)rows->masks.data + element * rows->element_size, rows->masks.form};

    if (rows->bytes) {
        bad = mglu_io_mask_bytes(rows->job->source->dtype, masks.data, count, rows->bytes);
        if (bad < count)
            return bad_mask(rows, mask, bad);
        masks.data = rows->bytes;
    }
    if (mglu_pack_masks(&masks, 1, rows->rows, rows->h, rows->words) != MGLU_OK)
        return bad_mask(rows, mask, find_bad(rows, masks));
    return MGLU_OK;
}

static mglu_status write_rows(const struct mask_rows *rows)
{
    size_t count = (size_t)rows->rows * (size_t)mglu_format_groups((uint64_t)rows->h);
    size_t n_masks = (size_t)rows->n_masks;
    uint32_t *all = rows->words + count;

    for (int32_t i = 0; i < rows->n_masks; i++) {
        mglu_status status = pack_mask(rows, i);

        if (status != MGLU_OK)
            return status;
        for (size_t k = 0; k < count; k++)
            all[k * n_masks + (size_t)i] = rows->words[k];
    }
    return mglu_io_pack_write(rows->job, all, count * n_masks * sizeof *all);
}

/* The masks of `layers` layers, one behind the other. */
static mglu_status write_layers(struct mask_rows *rows, int64_t layers, int64_t rows_at_once)
{
    mglu_status status = MGLU_OK;

    for (int64_t i = 0; i < layers && status == MGLU_OK; i++) {
        for (rows->first = 0; rows->first < rows->d && rows->h > 0 && status == MGLU_OK; rows->first += rows_at_once) {
            rows->rows = rows->d - rows->first < rows_at_once ? rows->d - rows->first : rows_at_once;
            status = write_rows(rows);
        }
        rows->masks.data = (const char *)rows->masks.data +
                           (size_t)rows->n_masks * (size_t)rows->d * (size_t)rows->h * rows->element_size;
    }
    return status;
}

mglu_status mglu_io_pack_masks(const struct mglu_io_pack_job *job)
{
    const mglu_file_tensor *source = job->source;
    const int64_t *sizes = source->shape + (source->rank - 2);
    int stacked = job->planned->role == MGLU_IO_ROLE_STACKED_MASKS, converted = mglu_io_masks_as_bytes(source->dtype);
    struct mask_rows rows = {.job = job,
                             .masks.data = source->data,
                             .element_size = mglu_file_dtype_size(source->dtype),
                             .n_masks = source->rank == 3 + stacked ? (int32_t)source->shape[stacked] : 1,
                             .d = sizes[0],
                             .h = sizes[1]};
    size_t row_bytes = mglu_packed_mask_size(1, 1, rows.h) * ((size_t)rows.n_masks + 1);
    int64_t most = mglu_io_pack_rows_at_once(row_bytes);
    mglu_status status;

    mglu_io_mask_form(source->dtype, &rows.masks.form);
    most = most < rows.d ? most : rows.d;
    rows.words = malloc((size_t)most * row_bytes + 1);
    rows.bytes = converted ? malloc((size_t)most * (size_t)rows.h + 1) : NULL;
    if (!rows.words || (converted && !rows.bytes))
        status = mglu_io_out_of_memory(job->plan->input->path);
    else
        status = write_layers(&rows, stacked ? source->shape[0] : 1, most);
    free(rows.words);
    free(rows.bytes);
    return status;
}
