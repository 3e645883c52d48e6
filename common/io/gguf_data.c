/* SPDX-License-Identifier: MIT */
#include "common/io/gguf_data.h"

#include "common/core/ggml_block.h"
#include "common/io/output.h"
#include "common/io/report.h"
#include "common/io/work.h"

#include <mglu/pack.h>

#include <string.h>

/* A piece of an item, which is made and written. */
struct making {
    const struct mglu_io_gguf_plan *plan;
    const struct mglu_io_gguf_item *item;
    const struct mglu_io_piece *piece;
    struct mglu_io_room *room;
};

static mglu_status out_of_memory(const struct making *making)
{
    return mglu_io_out_of_memory(making->plan->file->path);
}

/* Bytes of a row in the GGUF file. */
static size_t written_row(const struct mglu_io_gguf_item *item)
{
    return (size_t)(item->bytes / (uint64_t)item->rows);
}

/* Writes the rows of the piece and, behind the last ones, zeros up to the next item. */
static mglu_status write_rows(const struct making *making, const void *bytes)
{
    static const unsigned char zeros[MGLU_IO_GGUF_ALIGNMENT];
    const struct mglu_io_gguf_item *item = making->item;
    struct mglu_io_output *output = making->plan->output;
    size_t row = written_row(item), count = (size_t)making->piece->rows;
    uint64_t data = output->size + item->offset; /* the output has the header so far */
    mglu_status status =
        mglu_io_output_write_at(output, data + (uint64_t)making->piece->first * row, bytes, count * row);

    if (status != MGLU_OK || making->piece->first + making->piece->rows < item->rows)
        return status;
    return mglu_io_output_write_at(output, data + item->bytes, zeros,
                                   (size_t)(mglu_io_gguf_aligned(item->bytes) - item->bytes));
}

/* Bytes for a row of a matrix, in each step. */
struct steps {
    size_t source, source_scales; /* as they are in the file */
    size_t floats;                /* where the file has F64, else 0 */
    size_t packed, scales;        /* as the library packs them */
    size_t written;
};

static struct steps steps_of(const struct mglu_io_gguf_item *item)
{
    size_t columns = (size_t)item->columns;

    return (struct steps){
        .source = mglu_io_slice_row_bytes(&item->source),
        .source_scales = item->scales.tensor ? mglu_io_slice_row_bytes(&item->scales) : 0,
        .floats = item->source.tensor->dtype == MGLU_FILE_F64 ? columns * sizeof(float) : 0,
        .packed = mglu_packed_weight_stride_bytes(item->dtype, item->columns),
        .scales = mglu_scale_row_bytes(item->dtype, columns),
        .written = written_row(item),
    };
}

/* Reads the rows of the piece; F64 become F32. `bytes` has room for both. */
static mglu_status read_rows(const struct making *making, const struct mglu_io_slice *slice, unsigned char *bytes,
                             const void **elements)
{
    const struct mglu_io_piece *piece = making->piece;
    size_t read = (size_t)piece->rows * mglu_io_slice_row_bytes(slice);
    mglu_status status = mglu_io_slice_read(making->plan->file, slice, piece->first, piece->rows, bytes);

    *elements = bytes;
    if (status != MGLU_OK || slice->tensor->dtype != MGLU_FILE_F64)
        return status;
    mglu_io_round_f64(bytes, bytes + read, MGLU_DTYPE_F32, read / sizeof(double));
    *elements = bytes + read;
    return MGLU_OK;
}

/* Packed rows as they are in the file: without padding, in blocks where they are quantised. */
static void join_rows(const struct making *making, const struct steps *steps, const unsigned char *packed,
                      const unsigned char *scales, unsigned char *written)
{
    const struct mglu_io_gguf_item *item = making->item;

    for (size_t r = 0; r < (size_t)making->piece->rows; r++) {
        const unsigned char *row = packed + r * steps->packed;
        unsigned char *to = written + r * steps->written;

        if (steps->scales)
            mglu_ggml_join(item->dtype, row, scales + r * steps->scales, (size_t)item->columns / MGLU_GROUP_COLUMNS,
                           to);
        else
            memcpy(to, row, steps->written);
    }
}

static mglu_status pack_rows(const struct making *making, const mglu_array *array, unsigned char *packed,
                             unsigned char *scales)
{
    const struct mglu_io_gguf_item *item = making->item;
    mglu_status status = mglu_pack_weights(array, making->piece->rows, item->columns, item->dtype, 0, packed, scales);

    if (status == MGLU_OK)
        return MGLU_OK;
    return mglu_io_fail(status, making->plan->file->path, NULL, "layer '%.80s', %s, rows from %lld on: %s", item->layer,
                        item->name, (long long)making->piece->first, mglu_last_error());
}

static mglu_status make_matrix(const struct making *making)
{
    const struct mglu_io_gguf_item *item = making->item;
    const struct steps steps = steps_of(item);
    size_t rows = (size_t)making->piece->rows;
    size_t first = steps.source + steps.floats, all = first + steps.source_scales + steps.packed + steps.scales;
    mglu_array array = {.dtype = item->source_dtype};
    unsigned char *source = mglu_io_room_get(making->room, rows * (all + steps.written)), *packed, *scales;
    mglu_status status = source ? read_rows(making, &item->source, source, &array.data) : out_of_memory(making);

    if (status == MGLU_OK && item->scales.tensor)
        status = read_rows(making, &item->scales, source + rows * first, &array.scales);
    if (status != MGLU_OK)
        return status;
    packed = source + rows * (first + steps.source_scales);
    scales = packed + rows * steps.packed;
    status = pack_rows(making, &array, packed, scales);
    if (status != MGLU_OK)
        return status;
    join_rows(making, &steps, packed, scales, source + rows * all);
    return write_rows(making, source + rows * all);
}

static mglu_status make_floats(const struct making *making)
{
    const struct mglu_io_gguf_item *item = making->item;
    const struct steps steps = steps_of(item);
    size_t count = (size_t)(making->piece->rows * item->columns), bad;
    const void *elements = NULL;
    unsigned char *bytes = mglu_io_room_get(making->room, (size_t)making->piece->rows * (steps.source + steps.floats));
    mglu_status status = bytes ? read_rows(making, &item->source, bytes, &elements) : out_of_memory(making);

    if (status != MGLU_OK)
        return status;
    bad = mglu_first_nonfinite(elements, item->source_dtype, count);
    if (bad < count)
        return mglu_io_fail(MGLU_ERROR_NONFINITE, making->plan->file->path, NULL,
                            "layer '%.80s', %s: element %zu is not finite", item->layer, item->name,
                            (size_t)(making->piece->first * item->columns) + bad);
    return write_rows(making, elements);
}

static mglu_status make_masks(const struct making *making)
{
    const struct mglu_io_piece *piece = making->piece;
    uint32_t *words;
    mglu_status status = mglu_io_masks_pack(&making->item->masks, piece->first, piece->rows, making->room, &words);

    return status == MGLU_OK ? write_rows(making, words) : status;
}

static mglu_status make(const void *of, const struct mglu_io_piece *piece, struct mglu_io_room *room)
{
    static mglu_status (*const makers[])(const struct making *) = {
        [MGLU_IO_GGUF_ITEM_MATRIX] = make_matrix,
        [MGLU_IO_GGUF_ITEM_FLOATS] = make_floats,
        [MGLU_IO_GGUF_ITEM_MASKS] = make_masks,
    };
    const struct mglu_io_gguf_plan *plan = of;
    const struct making making = {plan, &plan->items[piece->tensor], piece, room};

    return makers[making.item->kind](&making);
}

static void divide(const void *of, size_t index, struct mglu_io_division *division)
{
    const struct mglu_io_gguf_plan *plan = of;
    const struct mglu_io_gguf_item *item = &plan->items[index];
    size_t row = item->kind == MGLU_IO_GGUF_ITEM_MASKS ? mglu_io_masks_row_bytes(&item->masks)
                                                       : mglu_io_slice_row_bytes(&item->source);

    if (item->bytes)
        *division = (struct mglu_io_division){item->rows, mglu_io_rows_at_once(row), INT64_MAX, written_row(item)};
}

static void written(const void *of, size_t index)
{
    const struct mglu_io_gguf_plan *plan = of;

    mglu_io_output_start_sync(plan->output);
}

mglu_status mglu_io_gguf_write_data(const struct mglu_io_gguf_plan *plan)
{
    static const struct mglu_io_makers makers = {divide, make, written};

    return mglu_io_work_run(&(struct mglu_io_work){&makers, plan, plan->count, plan->file->path, plan->options});
}
