/* SPDX-License-Identifier: MIT */
#include "common/io/pack_data.h"

#include "common/io/derived.h"
#include "common/io/dtype.h"
#include "common/io/masks.h"
#include "common/io/output.h"
#include "common/io/pack_roles.h"
#include "common/io/report.h"
#include "common/io/work.h"

#include <mglu/pack.h>

#include <stdio.h>
#include <string.h>

/* A piece of a tensor of the output, which is made and written. */
struct making {
    const struct mglu_io_plan *plan;
    const struct mglu_io_planned *planned;
    const mglu_file_tensor *source;
    const struct mglu_io_piece *piece;
    struct mglu_io_room *room;
};

static mglu_status out_of_memory(const struct making *making)
{
    return mglu_io_out_of_memory(making->plan->input->path);
}

static mglu_status write_at(const struct making *making, const struct mglu_io_planned *planned, uint64_t offset,
                            const void *bytes, size_t count)
{
    return mglu_io_output_write_at(making->plan->outputs[planned->file], planned->offset + offset, bytes, count);
}

static size_t element_size(const mglu_file_tensor *tensor)
{
    return mglu_file_dtype_size(tensor->dtype);
}

/* `elements` are those of the source from number `first` on, in `dtype`. */
static mglu_status not_finite(const struct making *making, size_t element, const char *fault)
{
    const mglu_file_tensor *source = making->source;
    int64_t position[2] = {(int64_t)element};
    char text[MGLU_IO_SHAPE_TEXT];

    if (source->rank == 2) {
        position[1] = position[0] % source->shape[1];
        position[0] /= source->shape[1];
    }
    return mglu_io_fail(MGLU_ERROR_NONFINITE, making->plan->input->path, source->name, "element %s %s",
                        mglu_io_shape_text(text, source->rank == 2 ? 2 : 1, position), fault);
}

/* Elements from number `first` on. F64 is checked once it is rounded: that may overflow. */
static mglu_status check_finite(const struct making *making, size_t first, const void *elements, size_t count)
{
    mglu_dtype dtype;
    size_t bad;

    if (!mglu_io_compute_dtype(making->source->dtype, &dtype))
        return MGLU_OK;
    bad = mglu_first_nonfinite(elements, dtype, count);
    return bad == count ? MGLU_OK : not_finite(making, first + bad, "is not finite");
}

/* Whether a tensor's values are looked at although it is copied. */
static int is_checked(const struct mglu_io_planned *planned)
{
    return planned->role != MGLU_IO_ROLE_PASS && planned->role != MGLU_IO_ROLE_WORDS;
}

/* A row is a byte. */
static mglu_status make_copy(const struct making *making)
{
    size_t first = (size_t)making->piece->first, count = (size_t)making->piece->rows, size;
    void *bytes = mglu_io_room_get(making->room, count);
    mglu_status status =
        bytes ? mglu_file_read(making->plan->input, making->source, first, bytes, count) : out_of_memory(making);

    size = element_size(making->source);
    if (status == MGLU_OK && is_checked(making->planned))
        status = check_finite(making, first / size, bytes, count / size);
    return status == MGLU_OK ? write_at(making, making->planned, first, bytes, count) : status;
}

/* Converts elements of the source from number `first` on, and checks both. */
static mglu_status convert(const struct making *making, size_t first, size_t count, const void *elements,
                           void *converted, mglu_dtype to)
{
    int wide = making->source->dtype == MGLU_FILE_F64;
    mglu_dtype from = MGLU_DTYPE_F32;
    size_t bad;
    char fault[40];
    mglu_status status = MGLU_OK;

    if (wide)
        mglu_io_round_f64(elements, converted, to, count);
    else if (mglu_io_compute_dtype(making->source->dtype, &from))
        status = mglu_convert(elements, from, converted, to, count);
    bad = status == MGLU_OK ? mglu_first_nonfinite(converted, to, count) : count;
    if (bad == count)
        return status;
    status = check_finite(making, first, elements, count);
    snprintf(fault, sizeof fault, wide ? "is not finite in %s" : "overflows %s", mglu_dtype_name(to));
    return status == MGLU_OK ? not_finite(making, first + bad, fault) : status;
}

/* A row is an element. */
static mglu_status make_floats(const struct making *making)
{
    mglu_dtype to = mglu_io_plan_floats(making->plan, making->planned);
    size_t first = (size_t)making->piece->first, count = (size_t)making->piece->rows;
    size_t size = element_size(making->source), to_size = mglu_dtype_size(to);
    unsigned char *elements = mglu_io_room_get(making->room, count * (size + to_size));
    unsigned char *converted = elements + count * size;
    mglu_status status = elements
                             ? mglu_file_read(making->plan->input, making->source, first * size, elements, count * size)
                             : out_of_memory(making);

    if (status == MGLU_OK)
        status = convert(making, first, count, elements, converted, to);
    return status == MGLU_OK ? write_at(making, making->planned, first * to_size, converted, count * to_size) : status;
}

/* Rows that are quantised, and the memory for each step. */
struct quantising {
    mglu_dtype dtype; /* of the quants */
    size_t first, rows, columns;
    size_t source_bytes, float_bytes, stride, scale_bytes; /* of a row; no floats where the source has them */
    unsigned char *source, *floats, *quants, *scales;
};

static size_t room_of(const struct quantising *some)
{
    return some->rows * (some->source_bytes + some->float_bytes + some->stride + some->scale_bytes);
}

static struct quantising quantising_of(const struct mglu_io_plan *plan, const mglu_file_tensor *source)
{
    int64_t columns = source->shape[source->rank - 1];
    mglu_dtype dtype = plan->options->dtype;

    return (struct quantising){
        .dtype = dtype,
        .rows = 1,
        .columns = (size_t)columns,
        .source_bytes = (size_t)columns * element_size(source),
        .float_bytes = source->dtype == MGLU_FILE_F64 ? (size_t)columns * sizeof(float) : 0,
        .stride = mglu_packed_weight_stride_bytes(dtype, columns),
        .scale_bytes = mglu_packed_scale_stride_bytes(dtype, columns),
    };
}

static size_t quant_row_bytes(const struct quantising *some)
{
    return some->columns / (some->dtype == MGLU_DTYPE_Q4_0 ? 2 : 1);
}

/* Removes the gaps between packed rows: a file has no padding. */
static void close_rows(const struct quantising *some)
{
    size_t row_bytes = quant_row_bytes(some);

    for (size_t r = 1; r < some->rows && row_bytes != some->stride; r++)
        memmove(some->quants + r * row_bytes, some->quants + r * some->stride, row_bytes);
}

/* The reason counts rows from the first of the piece. */
static mglu_status bad_rows(const struct making *making, const struct quantising *some)
{
    char from[60] = "", reason[200];
    mglu_status status;

    snprintf(reason, sizeof reason, "%s", mglu_last_error());
    status = check_finite(making, some->first * some->columns, some->source, some->rows * some->columns);
    if (status != MGLU_OK)
        return status;
    if (some->first)
        snprintf(from, sizeof from, "counting from row %zu, ", some->first);
    return mglu_io_fail(MGLU_ERROR_NONFINITE, making->plan->input->path, making->source->name, "%s%s", from, reason);
}

static mglu_status quantise(const struct making *making, const struct quantising *some)
{
    mglu_array array = {.data = some->source, .dtype = MGLU_DTYPE_F32};

    if (some->float_bytes) {
        mglu_io_round_f64(some->source, some->floats, MGLU_DTYPE_F32, some->rows * some->columns);
        array.data = some->floats;
    } else {
        mglu_io_compute_dtype(making->source->dtype, &array.dtype);
    }
    if (mglu_pack_weights(&array, (int64_t)some->rows, (int64_t)some->columns, some->dtype, 0, some->quants,
                          some->scales) != MGLU_OK)
        return bad_rows(making, some);
    close_rows(some);
    return MGLU_OK;
}

/* The quants and, in the next tensor of the plan, their scales. */
static mglu_status make_quants(const struct making *making)
{
    struct quantising some = quantising_of(making->plan, making->source);
    mglu_status status;

    some.first = (size_t)making->piece->first;
    some.rows = (size_t)making->piece->rows;
    some.source = mglu_io_room_get(making->room, room_of(&some));
    if (!some.source)
        return out_of_memory(making);
    some.floats = some.source + some.rows * some.source_bytes;
    some.quants = some.floats + some.rows * some.float_bytes;
    some.scales = some.quants + some.rows * some.stride;
    status = mglu_file_read(making->plan->input, making->source, some.first * some.source_bytes, some.source,
                            some.rows * some.source_bytes);
    if (status == MGLU_OK)
        status = quantise(making, &some);
    if (status == MGLU_OK)
        status = write_at(making, making->planned, some.first * quant_row_bytes(&some), some.quants,
                          some.rows * quant_row_bytes(&some));
    if (status == MGLU_OK)
        status = write_at(making, making->planned + 1, some.first * some.scale_bytes, some.scales,
                          some.rows * some.scale_bytes);
    return status;
}

/* The masks of one layer; those of a stack follow each other. */
static struct mglu_io_masks masks_of(const struct mglu_io_plan *plan, const struct mglu_io_planned *planned,
                                     int64_t layer)
{
    const mglu_file_tensor *source = &plan->input->tensors[planned->source];
    const int64_t *sizes = source->shape + (source->rank - 2);
    int stacked = planned->role == MGLU_IO_ROLE_STACKED_MASKS;
    struct mglu_io_masks masks = {
        .file = plan->input,
        .tensor = source,
        .n_masks = source->rank == 3 + stacked ? (int32_t)source->shape[stacked] : 1,
        .d = sizes[0],
        .h = sizes[1],
    };

    masks.offset = (size_t)layer * (size_t)masks.n_masks * (size_t)masks.d * (size_t)masks.h * element_size(source);
    return masks;
}

/* A row is one of a layer, of all its masks. */
static mglu_status make_words(const struct making *making)
{
    const struct mglu_io_piece *piece = making->piece;
    struct mglu_io_masks masks = masks_of(making->plan, making->planned, 0);
    size_t row_bytes = mglu_packed_mask_stride_bytes(masks.n_masks, masks.h);
    uint32_t *words;
    mglu_status status;

    masks = masks_of(making->plan, making->planned, piece->first / masks.d);
    status = mglu_io_masks_pack(&masks, piece->first % masks.d, piece->rows, making->room, &words);
    if (status != MGLU_OK)
        return status;
    return write_at(making, making->planned, (size_t)piece->first * row_bytes, words, (size_t)piece->rows * row_bytes);
}

static mglu_status make_nothing(const struct making *making)
{
    return MGLU_OK;
}

static mglu_status make(const void *of, const struct mglu_io_piece *piece, struct mglu_io_room *room)
{
    static mglu_status (*const makers[])(const struct making *) = {
        [MGLU_IO_MAKE_COPY] = make_copy,      [MGLU_IO_MAKE_FLOATS] = make_floats, [MGLU_IO_MAKE_QUANTS] = make_quants,
        [MGLU_IO_MAKE_SCALES] = make_nothing, [MGLU_IO_MAKE_WORDS] = make_words,
    };
    const struct mglu_io_plan *plan = of;
    const struct mglu_io_planned *planned = &plan->tensors[piece->tensor];
    const struct making making = {plan, planned, &plan->input->tensors[planned->source], piece, room};

    return makers[planned->make](&making);
}

/* All rows of a matrix or of a stack of them. */
static int64_t count_rows(const mglu_file_tensor *tensor)
{
    int64_t rows = 1;

    for (int32_t i = 0; i + 1 < tensor->rank; i++)
        rows *= tensor->shape[i];
    return rows;
}

static struct mglu_io_division divide_quants(const struct mglu_io_plan *plan, const mglu_file_tensor *source)
{
    struct quantising one = quantising_of(plan, source);

    return (struct mglu_io_division){
        .rows = one.columns ? count_rows(source) : 0,
        .at_once = mglu_io_rows_at_once(one.source_bytes),
        .block = INT64_MAX,
        .bytes = quant_row_bytes(&one) + one.scale_bytes,
    };
}

static struct mglu_io_division divide_words(const struct mglu_io_plan *plan, const struct mglu_io_planned *planned)
{
    const mglu_file_tensor *source = &plan->input->tensors[planned->source];
    struct mglu_io_masks masks = masks_of(plan, planned, 0);
    int64_t layers = planned->role == MGLU_IO_ROLE_STACKED_MASKS ? source->shape[0] : 1;

    return (struct mglu_io_division){
        .rows = masks.h ? layers * masks.d : 0,
        .at_once = mglu_io_rows_at_once(mglu_io_masks_row_bytes(&masks)),
        .block = masks.d,
        .bytes = mglu_packed_mask_stride_bytes(masks.n_masks, masks.h),
    };
}

static void divide(const void *of, size_t index, struct mglu_io_division *division)
{
    const struct mglu_io_plan *plan = of;
    const struct mglu_io_planned *planned = &plan->tensors[index];
    const mglu_file_tensor *source = &plan->input->tensors[planned->source];

    *division = (struct mglu_io_division){
        .rows = (int64_t)source->bytes, .at_once = MGLU_IO_PIECE, .block = INT64_MAX, .bytes = 1};
    if (planned->make == MGLU_IO_MAKE_SCALES) {
        division->rows = 0; /* made with their quants */
    } else if (planned->make == MGLU_IO_MAKE_FLOATS) {
        division->rows /= (int64_t)element_size(source);
        division->at_once /= (int64_t)element_size(source);
        division->bytes = mglu_dtype_size(mglu_io_plan_floats(plan, planned));
    } else if (planned->make == MGLU_IO_MAKE_QUANTS) {
        *division = divide_quants(plan, source);
    } else if (planned->make == MGLU_IO_MAKE_WORDS) {
        *division = divide_words(plan, planned);
    }
}

static void written(const void *of, size_t index)
{
    const struct mglu_io_plan *plan = of;

    mglu_io_output_start_sync(plan->outputs[plan->tensors[index].file]);
}

mglu_status mglu_io_pack_data(const struct mglu_io_plan *plan)
{
    static const struct mglu_io_makers makers = {divide, make, written};

    return mglu_io_work_run(&(struct mglu_io_work){&makers, plan, plan->count, plan->input->path, plan->options});
}
