/* SPDX-License-Identifier: MIT */
#include "common/io/slice.h"

#include <string.h>

/* Bytes that are read at once to take single elements of them. */
enum { APART = 16 << 10 };

static size_t element_size(const struct mglu_io_slice *slice)
{
    return mglu_file_dtype_size(slice->tensor->dtype);
}

size_t mglu_io_slice_row_bytes(const struct mglu_io_slice *slice)
{
    return (size_t)slice->grid.columns * element_size(slice);
}

/* Where an element begins. */
static size_t at(const struct mglu_io_slice *slice, int64_t row, int64_t column)
{
    const struct mglu_io_grid *grid = &slice->grid;

    return (size_t)(grid->first + row * grid->row_step + column * grid->column_step) * element_size(slice);
}

/* Reads elements that are `step` apart, and puts them `target_step` apart. */
static mglu_status read_apart(const mglu_file *file, const mglu_file_tensor *tensor, size_t offset, size_t step,
                              size_t count, unsigned char *target, size_t target_step)
{
    size_t size = mglu_file_dtype_size(tensor->dtype), most = (APART - size) / step + 1;
    unsigned char some[APART];
    mglu_status status = MGLU_OK;

    for (size_t done = 0; done < count && status == MGLU_OK; done += most) {
        size_t now = count - done < most ? count - done : most;

        status = mglu_file_read(file, tensor, offset + done * step, some, (now - 1) * step + size);
        for (size_t i = 0; i < now; i++)
            memcpy(target + (done + i) * target_step, some + i * step, size);
    }
    return status;
}

/* Rows that are columns of the file: a row of the file has an element of each. */
static mglu_status read_across(const mglu_file *file, const struct mglu_io_slice *slice, int64_t first, int64_t rows,
                               unsigned char *bytes)
{
    size_t size = element_size(slice);
    mglu_status status = MGLU_OK;

    for (int64_t c = 0; c < slice->grid.columns && status == MGLU_OK; c++)
        status = read_apart(file, slice->tensor, at(slice, first, c), (size_t)slice->grid.row_step * size, (size_t)rows,
                            bytes + (size_t)c * size, mglu_io_slice_row_bytes(slice));
    return status;
}

static mglu_status read_row(const mglu_file *file, const struct mglu_io_slice *slice, int64_t row, unsigned char *bytes)
{
    size_t size = element_size(slice), columns = (size_t)slice->grid.columns;

    if (slice->grid.column_step == 1)
        return mglu_file_read(file, slice->tensor, at(slice, row, 0), bytes, columns * size);
    return read_apart(file, slice->tensor, at(slice, row, 0), (size_t)slice->grid.column_step * size, columns, bytes,
                      size);
}

mglu_status mglu_io_slice_read(const mglu_file *file, const struct mglu_io_slice *slice, int64_t first, int64_t rows,
                               void *bytes)
{
    const struct mglu_io_grid *grid = &slice->grid;
    size_t row_bytes = mglu_io_slice_row_bytes(slice);
    mglu_status status = MGLU_OK;

    if (grid->column_step == 1 && grid->row_step == grid->columns)
        return mglu_file_read(file, slice->tensor, at(slice, first, 0), bytes, (size_t)rows * row_bytes);
    if (grid->column_step > grid->row_step)
        return read_across(file, slice, first, rows, bytes);
    for (int64_t r = 0; r < rows && status == MGLU_OK; r++)
        status = read_row(file, slice, first + r, (unsigned char *)bytes + (size_t)r * row_bytes);
    return status;
}
