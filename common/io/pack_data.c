/* SPDX-License-Identifier: MIT */
#include "common/io/pack_data.h"

#include "common/core/mask_format.h"
#include "common/io/dtype.h"
#include "common/io/pack_roles.h"
#include "common/io/report.h"

#include <mglu/pack.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes made at once, unless one row is longer. */
enum { PIECE = 1 << 20 };

/* A tensor in the making. */
struct job {
    const struct mglu_io_plan *plan;
    const mglu_file_tensor *source;
    struct mglu_io_output *output;
};

static const char *path_of(const struct job *job)
{
    return job->plan->input->path;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Rows of so many bytes that are made at once. */
static int64_t rows_at_once(size_t row_bytes)
{
    return row_bytes < PIECE ? (int64_t)(PIECE / (row_bytes ? row_bytes : 1)) : 1;
}

/* `elements` are those of the source from number `first` on, in `dtype`. */
static mglu_status check_finite(const struct job *job, size_t first, const void *elements, size_t count,
                                mglu_dtype dtype, const char *fault)
{
    const mglu_file_tensor *source = job->source;
    size_t bad = mglu_first_nonfinite(elements, dtype, count);
    int64_t position[2] = {(int64_t)(first + bad)};
    char text[MGLU_IO_SHAPE_TEXT];

    if (bad == count)
        return MGLU_OK;
    if (source->rank == 2) {
        position[1] = position[0] % source->shape[1];
        position[0] /= source->shape[1];
    }
    return mglu_io_fail(MGLU_ERROR_NONFINITE, path_of(job), source->name, "element %s %s",
                        mglu_io_shape_text(text, source->rank == 2 ? 2 : 1, position), fault);
}

/* A layer's floats, before anything is made of them. */
static mglu_status check_source(const struct job *job)
{
    mglu_dtype dtype = MGLU_DTYPE_F32;

    mglu_io_compute_dtype(job->source->dtype, &dtype);
    return check_finite(job, 0, job->source->data, job->source->bytes / mglu_dtype_size(dtype), dtype, "is not finite");
}

static mglu_status write_copy(const struct job *job)
{
    return mglu_io_output_write(job->output, job->source->data, job->source->bytes);
}

static mglu_status write_floats(const struct job *job)
{
    mglu_dtype from = MGLU_DTYPE_F32, to = job->plan->options->dtype;
    size_t most = PIECE / mglu_dtype_size(to), count;
    void *piece = malloc(PIECE);
    mglu_status status = piece ? MGLU_OK : mglu_io_out_of_memory(path_of(job));
    char fault[40];

    snprintf(fault, sizeof fault, "overflows %s", mglu_dtype_name(to));
    mglu_io_compute_dtype(job->source->dtype, &from);
    count = job->source->bytes / mglu_dtype_size(from);
    for (size_t first = 0; first < count && status == MGLU_OK; first += most) {
        size_t now = count - first < most ? count - first : most;

        status = mglu_convert((const char *)job->source->data + first * mglu_dtype_size(from), from, piece, to, now);
        if (status == MGLU_OK)
            status = check_finite(job, first, piece, now, to, fault);
        if (status == MGLU_OK)
            status = mglu_io_output_write(job->output, piece, now * mglu_dtype_size(to));
    }
    free(piece);
    return status;
}

/* Removes the gaps between packed rows: a file has no padding. */
static void close_rows(unsigned char *quants, size_t rows, size_t row_bytes, size_t stride)
{
    for (size_t r = 1; r < rows; r++)
        memmove(quants + r * row_bytes, quants + r * stride, row_bytes);
}

/* The reason counts rows from the first of the piece. */
static mglu_status bad_rows(const struct job *job, int64_t first)
{
    char from[60] = "";

    if (first)
        snprintf(from, sizeof from, "counting from row %lld, ", (long long)first);
    return mglu_io_fail(MGLU_ERROR_NONFINITE, path_of(job), job->source->name, "%s%s", from, mglu_last_error());
}

/* Quantises some rows and writes either their quants or their scales. */
static mglu_status write_quantised_rows(const struct job *job, int64_t first, int64_t rows, int scales_wanted,
                                        unsigned char *quants)
{
    mglu_dtype dtype = job->plan->options->dtype;
    int64_t columns = job->source->shape[1];
    size_t row_bytes = (size_t)columns / (dtype == MGLU_DTYPE_Q4_0 ? 2 : 1);
    unsigned char *scales = quants + mglu_packed_weight_size(dtype, rows, columns);
    mglu_array array = {.dtype = MGLU_DTYPE_F32};

    mglu_io_compute_dtype(job->source->dtype, &array.dtype);
    array.data = (const char *)job->source->data + (size_t)first * (size_t)columns * mglu_dtype_size(array.dtype);
    if (mglu_pack_weights(&array, rows, columns, dtype, 0, quants, scales) != MGLU_OK)
        return bad_rows(job, first);
    if (scales_wanted)
        return mglu_io_output_write(job->output, scales, mglu_packed_scale_size(dtype, rows, columns));
    close_rows(quants, (size_t)rows, row_bytes, mglu_packed_weight_row_stride(dtype, columns));
    return mglu_io_output_write(job->output, quants, (size_t)rows * row_bytes);
}

static mglu_status write_quantised(const struct job *job, int scales_wanted)
{
    mglu_dtype dtype = job->plan->options->dtype;
    int64_t rows = job->source->shape[0], columns = job->source->shape[1];
    size_t row_bytes = mglu_packed_weight_row_stride(dtype, columns) + mglu_packed_scale_row_stride(dtype, columns);
    int64_t most = rows_at_once(row_bytes);
    unsigned char *piece = malloc((size_t)most * row_bytes + 1);
    mglu_status status = piece ? MGLU_OK : mglu_io_out_of_memory(path_of(job));

    for (int64_t first = 0; first < rows && columns > 0 && status == MGLU_OK; first += most)
        status = write_quantised_rows(job, first, smaller(most, rows - first), scales_wanted, piece);
    free(piece);
    return status;
}

static mglu_status write_quants(const struct job *job)
{
    return write_quantised(job, 0);
}

static mglu_status write_scales(const struct job *job)
{
    return write_quantised(job, 1);
}

/* Some rows of the masks, as they are in the file. */
struct mask_rows {
    const struct job *job;
    mglu_mask_array masks; /* the first element of the first mask */
    size_t element_size;
    int32_t n_masks;
    int64_t d, h, first, rows;
};

/* The elements of one mask that belong to the rows. */
static mglu_mask_array mask_of(const struct mask_rows *rows, int32_t mask)
{
    size_t element = ((size_t)mask * (size_t)rows->d + (size_t)rows->first) * (size_t)rows->h;

    return (mglu_mask_array){(const char *)rows->masks.data + element * rows->element_size, rows->masks.form};
}

/* Names the element of the rows that is neither 0 nor 1, or NaN. */
static mglu_status bad_mask(const struct mask_rows *rows, int32_t mask)
{
    mglu_mask_array element = mask_of(rows, mask);
    int bytes = element.form == MGLU_MASK_BYTES;
    int64_t index = 0;
    uint32_t word;

    while (index < rows->rows * rows->h && mglu_pack_masks(&element, 1, 1, 1, &word) == MGLU_OK) {
        element.data = (const char *)element.data + rows->element_size;
        index++;
    }
    return mglu_io_fail(bytes ? MGLU_ERROR_CORRUPT_FILE : MGLU_ERROR_NONFINITE, path_of(rows->job),
                        rows->job->source->name, "mask %d [%lld][%lld] is %s", mask,
                        (long long)(rows->first + index / rows->h), (long long)(index % rows->h),
                        bytes ? "neither 0 nor 1" : "NaN");
}

/* Packs the rows mask by mask: `words` has room for one mask and, behind it, for all. */
static mglu_status write_mask_rows(const struct mask_rows *rows, uint32_t *words)
{
    size_t count = (size_t)rows->rows * (size_t)mglu_format_groups((uint64_t)rows->h);
    size_t n_masks = (size_t)rows->n_masks;
    uint32_t *all = words + count;

    for (int32_t i = 0; i < rows->n_masks; i++) {
        mglu_mask_array mask = mask_of(rows, i);

        if (mglu_pack_masks(&mask, 1, rows->rows, rows->h, words) != MGLU_OK)
            return bad_mask(rows, i);
        for (size_t k = 0; k < count; k++)
            all[k * n_masks + (size_t)i] = words[k];
    }
    return mglu_io_output_write(rows->job->output, all, count * n_masks * sizeof *all);
}

/* The layer has been checked. */
static mglu_status write_words(const struct job *job)
{
    const mglu_file_tensor *source = job->source;
    const int64_t *sizes = source->shape + (source->rank - 2);
    struct mask_rows rows = {.job = job,
                             .masks.data = source->data,
                             .element_size = mglu_file_dtype_size(source->dtype),
                             .n_masks = source->rank == 3 ? (int32_t)source->shape[0] : 1,
                             .d = sizes[0],
                             .h = sizes[1]};
    size_t row_bytes = mglu_packed_mask_size(1, 1, rows.h) * ((size_t)rows.n_masks + 1);
    int64_t most = rows_at_once(row_bytes);
    uint32_t *words = malloc((size_t)most * row_bytes + 1);
    mglu_status status = words ? MGLU_OK : mglu_io_out_of_memory(path_of(job));

    mglu_io_mask_form(source->dtype, &rows.masks.form);
    for (; rows.first < rows.d && rows.h > 0 && status == MGLU_OK; rows.first += most) {
        rows.rows = smaller(most, rows.d - rows.first);
        status = write_mask_rows(&rows, words);
    }
    free(words);
    return status;
}

mglu_status mglu_io_pack_data(const struct mglu_io_plan *plan, size_t index, struct mglu_io_output *output)
{
    static mglu_status (*const writers[])(const struct job *) = {
        [MGLU_IO_MAKE_COPY] = write_copy,     [MGLU_IO_MAKE_FLOATS] = write_floats,
        [MGLU_IO_MAKE_QUANTS] = write_quants, [MGLU_IO_MAKE_SCALES] = write_scales,
        [MGLU_IO_MAKE_WORDS] = write_words,
    };
    const struct mglu_io_planned *planned = &plan->tensors[plan->order[index]];
    const struct job job = {plan, &plan->input->tensors[planned->source], output};
    mglu_status status = MGLU_OK;

    if (planned->role == MGLU_IO_ROLE_FINITE || planned->role == MGLU_IO_ROLE_MATRIX)
        status = check_source(&job);
    return status == MGLU_OK ? writers[planned->make](&job) : status;
}
