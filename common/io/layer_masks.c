/* SPDX-License-Identifier: MIT */
#include "common/core/mask_format.h"
#include "common/io/derived.h"
#include "common/io/dtype.h"
#include "common/io/reading.h"
#include "common/io/report.h"

#include <mglu/pack.h>

#include <stdio.h>

static mglu_status take_count(const mglu_file *file, const mglu_file_tensor *tensor, int64_t count,
                              mglu_weights_desc *weights)
{
    if (count < 1 || count > MGLU_MAX_MASKS)
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, tensor->name, "%lld masks, expected 1 to %d",
                            (long long)count, MGLU_MAX_MASKS);
    weights->n_masks = (int32_t)count;
    return MGLU_OK;
}

static mglu_status take_words(const mglu_file *file, const mglu_file_tensor *tensor, mglu_weights_desc *weights)
{
    int64_t groups = (int64_t)mglu_format_groups((uint64_t)weights->hidden_size);
    char expected[80];
    mglu_status status = mglu_io_check_version(file, NULL);

    if (status != MGLU_OK)
        return status;
    if (tensor->dtype != MGLU_FILE_I32 && tensor->dtype != MGLU_FILE_U32)
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, tensor->name, "dtype %s, expected I32 or U32",
                            mglu_file_dtype_name(tensor->dtype));
    snprintf(expected, sizeof expected, "[%lld, %lld, masks]", (long long)weights->intermediate_size,
             (long long)groups);
    if (tensor->rank != 3 || tensor->shape[0] != weights->intermediate_size || tensor->shape[1] != groups)
        return mglu_io_wrong_shape(file, tensor, expected);
    status = take_count(file, tensor, tensor->shape[2], weights);
    if (status == MGLU_OK && tensor->data &&
        mglu_check_mask_words(tensor->data, weights->n_masks, weights->intermediate_size, weights->hidden_size) !=
            MGLU_OK)
        status = mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, tensor->name, "%s", mglu_last_error());
    weights->masks = (mglu_mask_array){tensor->data, MGLU_MASK_WORDS};
    return status;
}

/* Whether the shape is that of one value per row: [d], [masks, d], or either with a last size of 1. Not [h, d]. */
static int is_per_row(const mglu_file_tensor *tensor, int64_t d, int64_t h)
{
    int32_t rank = tensor->rank;

    rank -= rank > 1 && tensor->shape[rank - 1] == 1;
    if (rank == 2 && (tensor->shape[0] > MGLU_MAX_MASKS || tensor->shape[0] == h))
        return 0;
    return (rank == 1 || rank == 2) && tensor->shape[rank - 1] == d;
}

static mglu_status check_dense_shape(const mglu_file *file, const mglu_file_tensor *tensor,
                                     const mglu_weights_desc *weights)
{
    long long d = weights->intermediate_size, h = weights->hidden_size;
    const int64_t *inner = tensor->rank == 3 ? tensor->shape + 1 : tensor->shape;
    char expected[120], shape[MGLU_IO_SHAPE_TEXT];

    if ((tensor->rank == 2 || tensor->rank == 3) && inner[0] == d && inner[1] == h)
        return MGLU_OK;
    if (is_per_row(tensor, d, h))
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, tensor->name,
                            "one value per row, shape %s; a mask of a masked GLU (arXiv 2506.23225) has one per "
                            "weight, [masks, %lld, %lld] or [%lld, %lld]: this is another layer, which is not computed",
                            mglu_io_shape_text(shape, tensor->rank, tensor->shape), d, h, d, h);
    snprintf(expected, sizeof expected, "[masks, %lld, %lld] or [%lld, %lld]", d, h, d, h);
    return mglu_io_wrong_shape(file, tensor, expected);
}

static mglu_status take_dense(const struct mglu_io_reading *reading, const mglu_file_tensor *tensor,
                              mglu_weights_desc *weights)
{
    const mglu_file *file = reading->place.file;
    mglu_status status;

    if (!mglu_io_mask_form(tensor->dtype, &weights->masks.form))
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, tensor->name,
                            "dtype %s, expected F32, F16, BF16 or F64 logits, BOOL, or integers of 0 and 1",
                            mglu_file_dtype_name(tensor->dtype));
    status = check_dense_shape(file, tensor, weights);
    if (status == MGLU_OK)
        status = take_count(file, tensor, tensor->rank == 3 ? tensor->shape[0] : 1, weights);
    if (status != MGLU_OK)
        return status;
    weights->masks.data = tensor->data;
    if (reading->purpose == MGLU_IO_LOAD && tensor->data && mglu_io_masks_as_bytes(tensor->dtype))
        status = mglu_io_derive_masks(file, tensor, &weights->masks.data);
    return status;
}

/* Where the masks are that were taken as this part of a tensor. */
static void note_masks(struct mglu_io_reading *reading, const mglu_file_tensor *part, const mglu_weights_desc *weights)
{
    reading->masks = (struct mglu_io_masks){
        .file = reading->place.file,
        .tensor = mglu_file_find(reading->place.file, part->name),
        .offset = reading->place.expert > 0 ? (size_t)reading->place.expert * part->bytes : 0,
        .packed = weights->masks.form == MGLU_MASK_WORDS,
        .n_masks = weights->n_masks,
        .d = weights->intermediate_size,
        .h = weights->hidden_size,
    };
}

mglu_status mglu_io_take_masks(struct mglu_io_reading *reading, mglu_weights_desc *weights)
{
    mglu_file_tensor words, dense;
    mglu_status status = mglu_io_place_take(&reading->place, reading->inner, "mask_bits", &words);

    if (status == MGLU_OK)
        status = mglu_io_place_take(&reading->place, reading->inner, "mask", &dense);
    if (status != MGLU_OK)
        return status;
    if (words.name && dense.name)
        return mglu_io_corrupt(reading->place.file, &words, "the file also has these masks unpacked, as '.mask'");
    if (words.name) {
        mglu_io_use(reading, &words, MGLU_IO_ROLE_WORDS);
        status = take_words(reading->place.file, &words, weights);
        note_masks(reading, &words, weights);
        return status;
    }
    mglu_io_use(reading, &dense, reading->place.expert >= 0 ? MGLU_IO_ROLE_STACKED_MASKS : MGLU_IO_ROLE_MASKS);
    status = take_dense(reading, &dense, weights);
    note_masks(reading, &dense, weights);
    return status;
}
