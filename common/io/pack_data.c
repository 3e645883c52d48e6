/* SPDX-License-Identifier: MIT */
#include "common/io/pack_data.h"

#include "common/core/mask_format.h"
#include "common/io/derived.h"
#include "common/io/dtype.h"
#include "common/io/pack_roles.h"
#include "common/io/report.h"

#include <mglu/pack.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes made at once, unless one row is longer. */
enum { PIECE = 1 << 20 };

/* Bytes between two reports of the progress. */
enum { REPORTED = 16 << 20 };

static const char *path_of(const struct mglu_io_pack_job *job)
{
    return job->plan->input->path;
}

/* Room for so many bytes, whose content is lost; NULL when out of memory. */
static void *reserve(struct mglu_io_packing *packing, size_t bytes)
{
    if (bytes > packing->room || !packing->buffer) {
        free(packing->buffer);
        packing->room = bytes > PIECE ? bytes : PIECE;
        packing->buffer = malloc(packing->room);
    }
    return packing->buffer;
}

void mglu_io_packing_clear(struct mglu_io_packing *packing)
{
    free(packing->buffer);
}

static mglu_status report(struct mglu_io_packing *packing)
{
    const mglu_file_pack_options *options = packing->plan->options;

    packing->reported = packing->done;
    if (options->progress && options->progress(options->user, (size_t)packing->done, (size_t)packing->total) != 0)
        return mglu_io_fail(MGLU_ERROR_CANCELLED, packing->plan->input->path, NULL, "packing was cancelled");
    return MGLU_OK;
}

mglu_status mglu_io_pack_write(const struct mglu_io_pack_job *job, const void *bytes, size_t count)
{
    struct mglu_io_packing *packing = job->packing;
    mglu_status status = mglu_io_output_write(packing->output, bytes, count);

    packing->done += count;
    if (status == MGLU_OK && packing->done - packing->reported >= REPORTED)
        status = report(packing);
    return status;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t mglu_io_pack_rows_at_once(size_t row_bytes)
{
    return row_bytes < PIECE ? (int64_t)(PIECE / (row_bytes ? row_bytes : 1)) : 1;
}

/* `elements` are those of the source from number `first` on, in `dtype`. */
static mglu_status check_finite(const struct mglu_io_pack_job *job, size_t first, const void *elements, size_t count,
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

/* A layer's floats, before anything is made of them. F64 is checked once it is rounded: that may overflow. */
static mglu_status check_source(const struct mglu_io_pack_job *job)
{
    mglu_dtype dtype;

    if (!mglu_io_compute_dtype(job->source->dtype, &dtype))
        return MGLU_OK;
    return check_finite(job, 0, job->source->data, job->source->bytes / mglu_dtype_size(dtype), dtype, "is not finite");
}

/* Converts elements of the source from number `first` on. */
static mglu_status convert(const struct mglu_io_pack_job *job, size_t first, size_t count, void *target, mglu_dtype to)
{
    const void *elements = (const char *)job->source->data + first * mglu_file_dtype_size(job->source->dtype);
    mglu_dtype from;

    if (mglu_io_compute_dtype(job->source->dtype, &from))
        return mglu_convert(elements, from, target, to, count);
    mglu_io_round_f64(elements, target, to, count);
    return MGLU_OK;
}

/* In pieces, read if they were not yet. */
static mglu_status write_copy(const struct mglu_io_pack_job *job)
{
    const mglu_file_tensor *source = job->source;
    void *buffer = source->data ? NULL : reserve(job->packing, PIECE);
    mglu_status status = source->data || buffer ? MGLU_OK : mglu_io_out_of_memory(path_of(job));

    for (size_t first = 0; first < source->bytes && status == MGLU_OK; first += PIECE) {
        size_t now = source->bytes - first < PIECE ? source->bytes - first : PIECE;

        if (buffer)
            status = mglu_file_read(job->plan->input, source, first, buffer, now);
        if (status == MGLU_OK)
            status = mglu_io_pack_write(job, buffer ? buffer : (const char *)source->data + first, now);
    }
    return status;
}

static mglu_status write_floats(const struct mglu_io_pack_job *job)
{
    mglu_dtype to = mglu_io_plan_floats(job->plan, job->planned);
    size_t most = PIECE / mglu_dtype_size(to), count = job->source->bytes / mglu_file_dtype_size(job->source->dtype);
    void *piece = malloc(PIECE);
    mglu_status status = piece ? MGLU_OK : mglu_io_out_of_memory(path_of(job));
    char fault[40];

    snprintf(fault, sizeof fault, job->source->dtype == MGLU_FILE_F64 ? "is not finite in %s" : "overflows %s",
             mglu_dtype_name(to));
    for (size_t first = 0; first < count && status == MGLU_OK; first += most) {
        size_t now = count - first < most ? count - first : most;

        status = convert(job, first, now, piece, to);
        if (status == MGLU_OK)
            status = check_finite(job, first, piece, now, to, fault);
        if (status == MGLU_OK)
            status = mglu_io_pack_write(job, piece, now * mglu_dtype_size(to));
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
static mglu_status bad_rows(const struct mglu_io_pack_job *job, int64_t first)
{
    char from[60] = "";

    if (first)
        snprintf(from, sizeof from, "counting from row %lld, ", (long long)first);
    return mglu_io_fail(MGLU_ERROR_NONFINITE, path_of(job), job->source->name, "%s%s", from, mglu_last_error());
}

/* Rows of a matrix or of a stack of them, being quantised. */
struct quantised_rows {
    int64_t columns, rows;
    int scales_wanted;
    unsigned char *quants; /* room for those of some rows, and behind them for their scales */
    float *floats;         /* room for the same rows, where the source is F64; else NULL */
};

/* Quantises some rows and writes either their quants or their scales. */
static mglu_status write_quantised_rows(const struct mglu_io_pack_job *job, const struct quantised_rows *all,
                                        int64_t first, int64_t rows)
{
    mglu_dtype dtype = job->plan->options->dtype;
    size_t row_bytes = (size_t)all->columns / (dtype == MGLU_DTYPE_Q4_0 ? 2 : 1);
    size_t element = (size_t)first * (size_t)all->columns;
    unsigned char *scales = all->quants + mglu_packed_weight_size(dtype, rows, all->columns);
    mglu_array array = {.data = all->floats, .dtype = MGLU_DTYPE_F32};

    if (mglu_io_compute_dtype(job->source->dtype, &array.dtype))
        array.data = (const char *)job->source->data + element * mglu_dtype_size(array.dtype);
    else
        mglu_io_round_f64((const char *)job->source->data + element * sizeof(double), all->floats, MGLU_DTYPE_F32,
                          (size_t)rows * (size_t)all->columns);
    if (mglu_pack_weights(&array, rows, all->columns, dtype, 0, all->quants, scales) != MGLU_OK)
        return bad_rows(job, first);
    if (all->scales_wanted)
        return mglu_io_pack_write(job, scales, mglu_packed_scale_size(dtype, rows, all->columns));
    close_rows(all->quants, (size_t)rows, row_bytes, mglu_packed_weight_stride_bytes(dtype, all->columns));
    return mglu_io_pack_write(job, all->quants, (size_t)rows * row_bytes);
}

static mglu_status write_quantised(const struct mglu_io_pack_job *job, int scales_wanted)
{
    const mglu_file_tensor *source = job->source;
    mglu_dtype dtype = job->plan->options->dtype;
    struct quantised_rows all = {.columns = source->shape[source->rank - 1], .rows = 1, .scales_wanted = scales_wanted};
    size_t row_bytes =
        mglu_packed_weight_stride_bytes(dtype, all.columns) + mglu_packed_scale_stride_bytes(dtype, all.columns);
    int64_t most = mglu_io_pack_rows_at_once(row_bytes);
    int wide = source->dtype == MGLU_FILE_F64;
    mglu_status status = MGLU_OK;

    for (int32_t i = 0; i + 1 < source->rank; i++)
        all.rows *= source->shape[i];
    all.quants = malloc((size_t)most * row_bytes + 1);
    all.floats = wide ? malloc((size_t)most * (size_t)all.columns * sizeof *all.floats + 1) : NULL;
    if (!all.quants || (wide && !all.floats))
        status = mglu_io_out_of_memory(path_of(job));
    for (int64_t first = 0; first < all.rows && all.columns > 0 && status == MGLU_OK; first += most)
        status = write_quantised_rows(job, &all, first, smaller(most, all.rows - first));
    free(all.quants);
    free(all.floats);
    return status;
}

static mglu_status write_quants(const struct mglu_io_pack_job *job)
{
    return write_quantised(job, 0);
}

static mglu_status write_scales(const struct mglu_io_pack_job *job)
{
    return write_quantised(job, 1);
}

/* Whether a tensor is copied as it is, and its values are not looked at. */
static int is_passed(const struct mglu_io_planned *planned)
{
    return planned->make == MGLU_IO_MAKE_COPY &&
           (planned->role == MGLU_IO_ROLE_PASS || planned->role == MGLU_IO_ROLE_WORDS);
}

static int is_checked(const struct mglu_io_planned *planned)
{
    return planned->role == MGLU_IO_ROLE_FINITE || planned->role == MGLU_IO_ROLE_MATRIX ||
           planned->role == MGLU_IO_ROLE_TRANSPOSED || planned->role == MGLU_IO_ROLE_SCALES;
}

/* Reads a whole tensor into the buffer. */
static mglu_status load(const struct mglu_io_pack_job *job, mglu_file_tensor *source)
{
    source->data = reserve(job->packing, source->bytes);
    if (!source->data)
        return mglu_io_out_of_memory(path_of(job));
    return mglu_file_read(job->plan->input, source, 0, job->packing->buffer, source->bytes);
}

mglu_status mglu_io_pack_data(struct mglu_io_packing *packing, const struct mglu_io_plan *plan, size_t index)
{
    static mglu_status (*const writers[])(const struct mglu_io_pack_job *) = {
        [MGLU_IO_MAKE_COPY] = write_copy,          [MGLU_IO_MAKE_FLOATS] = write_floats,
        [MGLU_IO_MAKE_QUANTS] = write_quants,      [MGLU_IO_MAKE_SCALES] = write_scales,
        [MGLU_IO_MAKE_WORDS] = mglu_io_pack_masks,
    };
    const struct mglu_io_planned *planned = &plan->tensors[plan->order[index]];
    mglu_file_tensor source = plan->input->tensors[planned->source];
    const struct mglu_io_pack_job job = {packing, plan, planned, &source};
    mglu_status status = is_passed(planned) ? MGLU_OK : load(&job, &source);

    if (status == MGLU_OK && is_checked(planned))
        status = check_source(&job);
    if (status == MGLU_OK)
        status = writers[planned->make](&job);
    return status == MGLU_OK && packing->done > packing->reported ? report(packing) : status;
}
