/* SPDX-License-Identifier: MIT */
#include "common/core/mask_format.h"
#include "common/io/derived.h"
#include "common/io/dtype.h"
#include "common/io/reading.h"
#include "common/io/report.h"

#include <mglu/pack.h>

#include <stdio.h>
#include <string.h>

/* Rows or columns of a matrix without elements: its size in the file limits nothing that is computed from it. */
enum { MAX_EMPTY = 65536 };

mglu_status mglu_io_corrupt(const mglu_file *file, const mglu_file_tensor *tensor, const char *text)
{
    return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, tensor->name, "%s", text);
}

mglu_status mglu_io_wrong_shape(const mglu_file *file, const mglu_file_tensor *tensor, const char *expected)
{
    const mglu_file_tensor *whole = mglu_file_find(file, tensor->name);
    char shape[MGLU_IO_SHAPE_TEXT];

    mglu_io_shape_text(shape, tensor->rank, tensor->shape);
    return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, tensor->name, "shape %s%s, expected %s", shape,
                        whole->rank != tensor->rank ? " of each expert" : "", expected);
}

void mglu_io_use(struct mglu_io_reading *reading, const mglu_file_tensor *part, enum mglu_io_role role)
{
    reading->used[reading->used_count++] = (struct mglu_io_used){mglu_file_find(reading->place.file, part->name), role};
}

mglu_status mglu_io_check_version(const mglu_file *file, const mglu_file_tensor *quants)
{
    const char *version = mglu_file_metadata(file, "mglu.version");
    char own[16];

    snprintf(own, sizeof own, "%d", MGLU_FORMAT_VERSION);
    if (version && strcmp(version, own) != 0)
        return mglu_io_fail(MGLU_ERROR_VERSION_MISMATCH, file->path, NULL,
                            "mglu.version is '%.20s', this library reads version %s", version, own);
    if (!version && quants && !file->gguf) /* the types of GGUF say the format */
        return mglu_io_fail(MGLU_ERROR_VERSION_MISMATCH, file->path, quants->name,
                            "quantised weights, but the metadata has no mglu.version, so their format isn't known; if "
                            "mglu wrote them, set it to %s",
                            own);
    return MGLU_OK;
}

/* Whether the values of tensors can be checked. */
static int has_data(const mglu_file *file)
{
    return !(file->flags & MGLU_FILE_HEADER);
}

/* Checks the scales of quantised weights, [rows][groups of 32 columns], and their values. */
static mglu_status check_scales(struct mglu_io_reading *reading, const struct mglu_io_matrix *matrix)
{
    const mglu_file *file = reading->place.file;
    const mglu_file_tensor *scales = &matrix->scales;
    int64_t groups = (int64_t)mglu_format_groups((uint64_t)matrix->columns);
    size_t count = (size_t)(matrix->rows * groups), bad;
    char expected[80];

    snprintf(expected, sizeof expected, "[%lld, %lld]", (long long)matrix->rows, (long long)groups);
    if (scales->dtype != MGLU_FILE_F16)
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, scales->name, "dtype %s, expected F16",
                            mglu_file_dtype_name(scales->dtype));
    if (scales->rank != 2 || scales->shape[0] != matrix->rows || scales->shape[1] != groups)
        return mglu_io_wrong_shape(file, scales, expected);
    bad = has_data(file) ? mglu_first_nonfinite(scales->data, MGLU_DTYPE_F16, count) : count;
    if (bad < count)
        return mglu_io_fail(MGLU_ERROR_NONFINITE, file->path, scales->name, "element [%zu, %zu] is not finite",
                            bad / (size_t)groups, bad % (size_t)groups);
    mglu_io_use(reading, scales, MGLU_IO_ROLE_SCALES);
    return mglu_io_check_version(file, scales);
}

/* What other formats of quantised weights have beside them, with any options: without it their numbers are wrong. */
static mglu_status check_companions(const struct mglu_io_reading *reading, const char *inner)
{
    static const char *const leaves[] = {"weight_zero_point", "weight_g_idx"};

    for (size_t i = 0; i < sizeof leaves / sizeof leaves[0]; i++) {
        const mglu_file_tensor *found = mglu_io_place_find(&reading->place, inner, leaves[i]);

        if (found)
            return mglu_io_corrupt(reading->place.file, found,
                                   "q8_0 and q4_0 have scales of groups of 32 columns and nothing else: these "
                                   "quantised weights have another format, which is not read");
    }
    return MGLU_OK;
}

/* The dtype of a weight matrix; it has scales exactly when it is quantised. */
static mglu_status check_dtype(const struct mglu_io_reading *reading, struct mglu_io_matrix *matrix)
{
    const mglu_file *file = reading->place.file;
    const mglu_file_tensor *tensor = &matrix->tensor, *scales = &matrix->scales;
    int known = mglu_io_matrix_dtype(tensor->dtype, &matrix->dtype), quantised;

    quantised = known && mglu_dtype_is_quantised(matrix->dtype);
    if (!known || (quantised && !scales->name))
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, tensor->name,
                            "dtype %s, expected F32, F16, BF16 or F64, or I8 or U8 with a '.weight_scale' beside it",
                            mglu_file_dtype_name(tensor->dtype));
    if (!quantised && scales->name)
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, scales->name, "its weights are %s, expected I8 or U8",
                            mglu_file_dtype_name(tensor->dtype));
    if (quantised && reading->transposed)
        return mglu_io_corrupt(file, tensor, "is quantised, but stored as [inputs, outputs]: groups are along inputs");
    return MGLU_OK;
}

/* Sizes in range, and as many columns as expected; a byte holds two columns of q4_0. */
static mglu_status check_sizes(const struct mglu_io_reading *reading, int parts, int64_t columns,
                               struct mglu_io_matrix *matrix)
{
    const mglu_file *file = reading->place.file;
    const mglu_file_tensor *tensor = &matrix->tensor;
    int64_t per_element = matrix->dtype == MGLU_DTYPE_Q4_0 ? 2 : 1;
    int across = !reading->transposed;
    char expected[80] = "two dimensions";

    if (columns >= 0)
        snprintf(expected, sizeof expected, across ? "[any, %lld]" : "[%lld, any]", (long long)(columns / per_element));
    if (tensor->rank != 2 || (columns >= 0 && tensor->shape[across] != columns / per_element))
        return mglu_io_wrong_shape(file, tensor, expected);
    snprintf(expected, sizeof expected, "sizes of at most %lld", (long long)(MGLU_MAX_SIZE / per_element));
    if (tensor->shape[!across] > parts * MGLU_MAX_SIZE || tensor->shape[across] > MGLU_MAX_SIZE / per_element)
        return mglu_io_wrong_shape(file, tensor, expected);
    if (tensor->bytes == 0 && (tensor->shape[0] > MAX_EMPTY || tensor->shape[1] > MAX_EMPTY))
        return mglu_io_wrong_shape(file, tensor, "at most 65536 rows and columns where there are no elements");
    if (tensor->shape[!across] % parts != 0)
        return mglu_io_wrong_shape(file, tensor, "as many rows for the gate as for the value");
    if (matrix->dtype == MGLU_DTYPE_Q4_0 &&
        (tensor->shape[1] % MGLU_Q4_0_GROUP_BYTES != 0 || (columns >= 0 && columns % MGLU_GROUP_COLUMNS != 0)))
        return mglu_io_wrong_shape(file, tensor, "rows of whole groups of 16 bytes");
    matrix->rows = tensor->shape[!across];
    matrix->columns = tensor->shape[across] * per_element;
    return MGLU_OK;
}

mglu_status mglu_io_take_matrix(struct mglu_io_reading *reading, const char *inner, int parts, int64_t columns,
                                struct mglu_io_matrix *matrix)
{
    mglu_status status = mglu_io_place_take(&reading->place, inner, "weight", &matrix->tensor);

    if (status == MGLU_OK)
        status = mglu_io_place_take(&reading->place, inner, "weight_scale", &matrix->scales);
    if (status == MGLU_OK)
        status = check_dtype(reading, matrix);
    if (status == MGLU_OK && mglu_dtype_is_quantised(matrix->dtype))
        status = check_companions(reading, inner);
    if (status == MGLU_OK)
        status = check_sizes(reading, parts, columns, matrix);
    if (status != MGLU_OK)
        return status;
    mglu_io_use(reading, &matrix->tensor, reading->transposed ? MGLU_IO_ROLE_TRANSPOSED : MGLU_IO_ROLE_MATRIX);
    return matrix->scales.name ? check_scales(reading, matrix) : MGLU_OK;
}

/* One of two parts: halves of the rows, or every second one. */
static void split_rows(const struct mglu_io_reading *reading, int part, struct mglu_io_grid *grid)
{
    grid->rows /= 2;
    grid->first += part * grid->row_step * (reading->interleaved ? 1 : grid->rows);
    grid->row_step *= reading->interleaved ? 2 : 1;
}

/* Notes where a grid of a tensor is, which may be the part of one expert. */
static void note_place(struct mglu_io_reading *reading, const mglu_file_tensor *part, const struct mglu_io_grid *grid,
                       const void *const *of)
{
    struct mglu_io_placed *placed = &reading->placed[reading->placed_count++];

    *placed = (struct mglu_io_placed){of, {mglu_file_find(reading->place.file, part->name), *grid}};
    if (reading->place.expert > 0)
        placed->slice.grid.first += reading->place.expert * (int64_t)(part->bytes / mglu_file_dtype_size(part->dtype));
}

const struct mglu_io_slice *mglu_io_find_slice(const struct mglu_io_reading *reading, const void *const *of)
{
    for (int i = 0; i < reading->placed_count; i++)
        if (reading->placed[i].of == of)
            return &reading->placed[i].slice;
    return NULL;
}

/* Points to the elements of a grid where the file has rows, and derives them where not. Nothing has no data. */
static mglu_status place_grid(struct mglu_io_reading *reading, const mglu_file_tensor *tensor,
                              const struct mglu_io_grid *grid, const void **data, size_t *stride_bytes)
{
    size_t size = mglu_file_dtype_size(tensor->dtype);

    note_place(reading, tensor, grid, data);
    if (tensor->dtype == MGLU_FILE_F64 || (grid->column_step != 1 && grid->columns > 1)) {
        *data = tensor->data;
        *stride_bytes = 0;
        if (reading->purpose != MGLU_IO_LOAD || !tensor->data)
            return MGLU_OK;
        return mglu_io_derive_grid(reading->place.file, tensor, grid, data);
    }
    *data = tensor->data ? (const char *)tensor->data + (size_t)grid->first * size : NULL;
    *stride_bytes = grid->row_step == grid->columns ? 0 : (size_t)grid->row_step * size;
    return MGLU_OK;
}

mglu_status mglu_io_place_matrix(struct mglu_io_reading *reading, const struct mglu_io_matrix *matrix, int parts,
                                 int part, mglu_array *array)
{
    const mglu_file_tensor *tensor = &matrix->tensor, *scales = &matrix->scales;
    struct mglu_io_grid grid = {tensor->shape[0], tensor->shape[1], 0, tensor->shape[1], 1};
    mglu_status status;

    if (reading->transposed)
        grid = (struct mglu_io_grid){tensor->shape[1], tensor->shape[0], 0, 1, tensor->shape[1]};
    if (parts == 2)
        split_rows(reading, part, &grid);
    array->dtype = matrix->dtype;
    status = place_grid(reading, tensor, &grid, &array->data, &array->stride_bytes);
    if (status != MGLU_OK || !scales->name)
        return status;
    grid = (struct mglu_io_grid){scales->shape[0], scales->shape[1], 0, scales->shape[1], 1};
    if (parts == 2)
        split_rows(reading, part, &grid);
    return place_grid(reading, scales, &grid, &array->scales, &array->scale_stride_bytes);
}

mglu_status mglu_io_take_rows(struct mglu_io_reading *reading, const char *inner, const char *leaf, int64_t rows,
                              int64_t columns, int parts, int part, mglu_array *array)
{
    const mglu_file *file = reading->place.file;
    mglu_file_tensor tensor;
    struct mglu_io_grid grid = {rows, columns, 0, columns, 1};
    int64_t width = parts * columns;
    char expected[80];
    mglu_status status = mglu_io_place_take(&reading->place, inner, leaf, &tensor);

    if (status != MGLU_OK || !tensor.name)
        return status;
    if (rows == 1)
        snprintf(expected, sizeof expected, "[%lld]", (long long)width);
    else
        snprintf(expected, sizeof expected, "[%lld, %lld]", (long long)rows, (long long)width);
    if (!(tensor.rank == 2 && tensor.shape[0] == rows && tensor.shape[1] == width) &&
        !(tensor.rank == 1 && rows == 1 && tensor.shape[0] == width))
        return mglu_io_wrong_shape(file, &tensor, expected);
    if (tensor.dtype == MGLU_FILE_F64)
        array->dtype = MGLU_DTYPE_F32;
    else if (!mglu_io_compute_dtype(tensor.dtype, &array->dtype))
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, tensor.name,
                            "dtype %s, expected F32, F16, BF16 or F64", mglu_file_dtype_name(tensor.dtype));
    if (parts == 2 && reading->interleaved)
        grid = (struct mglu_io_grid){rows, columns, part, width, 2};
    else if (parts == 2)
        grid.first = part * columns;
    if (part == 0)
        mglu_io_use(reading, &tensor, MGLU_IO_ROLE_FINITE);
    return place_grid(reading, &tensor, &grid, &array->data, &array->stride_bytes);
}
