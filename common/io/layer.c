/* SPDX-License-Identifier: MIT */
#include "common/core/structs.h"
#include "common/io/reading.h"
#include "common/io/report.h"

#include <mglu/pack.h>

#include <stdio.h>
#include <string.h>

mglu_status mglu_io_take_masked(struct mglu_io_reading *reading, mglu_weights_desc *weights)
{
    const char *inner = reading->inner;
    struct mglu_io_matrix matrix;
    mglu_status status = mglu_io_take_matrix(reading, inner, 1, -1, &matrix);

    if (status == MGLU_OK)
        status = mglu_io_place_matrix(reading, &matrix, 1, 0, &weights->weight);
    if (status != MGLU_OK)
        return status;
    weights->kind = MGLU_KIND_MASKED;
    weights->intermediate_size = matrix.rows;
    weights->hidden_size = matrix.columns;
    status = mglu_io_take_masks(reading, weights);
    if (status == MGLU_OK)
        status =
            mglu_io_take_rows(reading, inner, "gate_bias", weights->n_masks, matrix.rows, 1, 0, &weights->gate_bias);
    if (status == MGLU_OK)
        status =
            mglu_io_take_rows(reading, inner, "value_bias", weights->n_masks, matrix.rows, 1, 0, &weights->value_bias);
    if (status == MGLU_OK)
        status = mglu_io_take_rows(reading, inner, "router.weight", weights->n_masks, matrix.columns, 1, 0,
                                   &weights->router);
    return status;
}

/* Gate and value in one matrix. */
static mglu_status take_fused(struct mglu_io_reading *reading, mglu_weights_desc *weights)
{
    const char *name = reading->layout->gate;
    struct mglu_io_matrix matrix;
    mglu_status status = mglu_io_take_matrix(reading, name, 2, -1, &matrix);

    if (status != MGLU_OK)
        return status;
    weights->intermediate_size = matrix.rows / 2;
    weights->hidden_size = matrix.columns;
    status = mglu_io_place_matrix(reading, &matrix, 2, 0, &weights->weight);
    if (status == MGLU_OK)
        status = mglu_io_place_matrix(reading, &matrix, 2, 1, &weights->value_weight);
    if (status == MGLU_OK)
        status = mglu_io_take_rows(reading, name, "bias", 1, weights->intermediate_size, 2, 0, &weights->gate_bias);
    if (status == MGLU_OK)
        status = mglu_io_take_rows(reading, name, "bias", 1, weights->intermediate_size, 2, 1, &weights->value_bias);
    return status;
}

/* A further matrix of a layer whose weights have `dtype`: floats can be converted to it, other quants cannot. */
static mglu_status take_further(struct mglu_io_reading *reading, const char *name, mglu_dtype dtype, int64_t columns,
                                struct mglu_io_matrix *matrix, mglu_array *array)
{
    mglu_status status = mglu_io_take_matrix(reading, name, 1, columns, matrix);

    if (status == MGLU_OK && mglu_dtype_is_quantised(matrix->dtype) && matrix->dtype != dtype)
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, reading->place.file->path, matrix->tensor.name,
                            "%s, but the layer's first matrix is %s", mglu_dtype_name(matrix->dtype),
                            mglu_dtype_name(dtype));
    return status == MGLU_OK ? mglu_io_place_matrix(reading, matrix, 1, 0, array) : status;
}

static mglu_status take_pair(struct mglu_io_reading *reading, mglu_weights_desc *weights)
{
    const struct mglu_io_layout *layout = reading->layout;
    struct mglu_io_matrix gate, value;
    mglu_status status = mglu_io_take_matrix(reading, layout->gate, 1, -1, &gate);

    if (status == MGLU_OK)
        status = mglu_io_place_matrix(reading, &gate, 1, 0, &weights->weight);
    if (status != MGLU_OK)
        return status;
    weights->intermediate_size = gate.rows;
    weights->hidden_size = gate.columns;
    status = take_further(reading, layout->value, gate.dtype, gate.columns, &value, &weights->value_weight);
    if (status == MGLU_OK && value.rows != gate.rows)
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, reading->place.file->path, value.tensor.name,
                            "has a different number of rows from %s.weight", layout->gate);
    if (status == MGLU_OK)
        status = mglu_io_take_rows(reading, layout->gate, "bias", 1, gate.rows, 1, 0, &weights->gate_bias);
    if (status == MGLU_OK)
        status = mglu_io_take_rows(reading, layout->value, "bias", 1, gate.rows, 1, 0, &weights->value_bias);
    return status;
}

mglu_status mglu_io_take_plain(struct mglu_io_reading *reading, mglu_weights_desc *weights)
{
    weights->kind = MGLU_KIND_PLAIN;
    return reading->layout->value ? take_pair(reading, weights) : take_fused(reading, weights);
}

mglu_status mglu_io_take_down(struct mglu_io_reading *reading, mglu_weights_desc *weights)
{
    const char *name = reading->layout->down;
    const mglu_file_tensor *bias = mglu_io_place_find(&reading->place, name, "bias");
    const mglu_file *file = reading->place.file;
    struct mglu_io_matrix down;
    mglu_status status;

    if (!mglu_io_place_find(&reading->place, name, "weight"))
        return bias ? mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, bias->name, "the file has no %s.weight for it",
                                   name)
                    : MGLU_OK;
    status = take_further(reading, name, weights->weight.dtype, weights->intermediate_size, &down, &weights->down);
    if (status != MGLU_OK)
        return status;
    if (down.rows == 0)
        return mglu_io_corrupt(file, &down.tensor, "has no rows");
    weights->output_size = down.rows;
    return mglu_io_take_rows(reading, name, "bias", 1, down.rows, 1, 0, &weights->down_bias);
}

static const char *metadata_of(const mglu_file *file, const char *prefix, const char *inner)
{
    const struct mglu_io_name key = {{"mglu.activation", prefix, inner}};
    const struct mglu_io_metadata *found = mglu_io_index_find(&file->by_key, &key);

    return found ? found->value : NULL;
}

mglu_status mglu_io_read_activation(const struct mglu_io_reading *reading, const char *prefix, mglu_layer_desc *layer,
                                    int *has_activation)
{
    const mglu_file *file = reading->place.file;
    const char *name = metadata_of(file, prefix, reading->layout ? reading->inner : "");

    if (!name)
        name = metadata_of(file, prefix, "");
    if (!name)
        name = metadata_of(file, "", "");
    *has_activation = name != NULL;
    if (name && mglu_activation_from_name(name, &layer->activation) != MGLU_OK)
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, NULL, "metadata mglu.activation: %s",
                            mglu_last_error());
    return MGLU_OK;
}

/* The sizes of the first versions. */
enum {
    FIRST_WEIGHTS_DESC = MGLU_FIRST_SIZE(mglu_weights_desc, down_bias),
    FIRST_LAYER_DESC = MGLU_FIRST_SIZE(mglu_layer_desc, max_batch)
};

/* Before the layer is read, so that both structs are written or neither. */
static mglu_status check_descs(const mglu_weights_desc *weights, const mglu_layer_desc *layer)
{
    mglu_status status = mglu_struct_check("mglu_weights_desc", weights, FIRST_WEIGHTS_DESC);

    return status == MGLU_OK ? mglu_struct_check("mglu_layer_desc", layer, FIRST_LAYER_DESC) : status;
}

static mglu_status write_descs(const mglu_weights_desc *found_weights, const mglu_layer_desc *found_layer,
                               mglu_weights_desc *weights, mglu_layer_desc *layer)
{
    mglu_status status =
        mglu_struct_write("mglu_weights_desc", weights, FIRST_WEIGHTS_DESC, found_weights, sizeof *found_weights);

    if (status != MGLU_OK)
        return status;
    return mglu_struct_write("mglu_layer_desc", layer, FIRST_LAYER_DESC, found_layer, sizeof *found_layer);
}

mglu_status mglu_file_layer(const mglu_file *file, const char *prefix, mglu_weights_desc *weights,
                            mglu_layer_desc *layer, int *has_activation)
{
    mglu_weights_desc found_weights = {.struct_size = sizeof found_weights};
    mglu_layer_desc found_layer = {.struct_size = sizeof found_layer, .max_batch = 1};
    struct mglu_io_reading reading;
    int named;
    mglu_status status;

    if (!file || !prefix || !weights || !layer)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "mglu_file_layer: file, prefix, weights or layer is NULL");
    status = check_descs(weights, layer);
    if (status != MGLU_OK)
        return status;
    status = mglu_io_read_layer(&reading, file, prefix, MGLU_IO_LOAD, &found_weights);
    mglu_io_place_clear(&reading.place);
    if (status == MGLU_OK)
        status = mglu_io_read_activation(&reading, prefix, &found_layer, &named);
    if (status != MGLU_OK)
        return status;
    found_weights.dtype = found_weights.weight.dtype;
    if (has_activation)
        *has_activation = named;
    return write_descs(&found_weights, &found_layer, weights, layer);
}

/* In pieces, so that masks of another form take little memory beside the words. */
static mglu_status read_masks(const struct mglu_io_masks *masks, int64_t first, int64_t rows, uint32_t *words)
{
    size_t row_bytes = mglu_packed_mask_stride_bytes(masks->n_masks, masks->h);
    int64_t most = mglu_io_rows_at_once(mglu_io_masks_row_bytes(masks));
    struct mglu_io_room room = {0};
    uint32_t *some;
    mglu_status status = MGLU_OK;

    for (int64_t done = 0; done < rows && masks->h > 0 && status == MGLU_OK; done += most) {
        int64_t now = rows - done < most ? rows - done : most;

        status = mglu_io_masks_pack(masks, first + done, now, &room, &some);
        if (status == MGLU_OK)
            memcpy((unsigned char *)words + (size_t)done * row_bytes, some, (size_t)now * row_bytes);
    }
    mglu_io_room_clear(&room);
    return status;
}

mglu_status mglu_file_masks(const mglu_file *file, const char *prefix, int64_t first, int64_t rows, uint32_t *words)
{
    mglu_weights_desc weights = {.struct_size = sizeof weights};
    struct mglu_io_reading reading;
    mglu_status status;

    if (!file || !prefix || !words)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "mglu_file_masks: file, prefix or words is NULL");
    status = mglu_io_read_layer(&reading, file, prefix, MGLU_IO_DESCRIBE, &weights);
    mglu_io_place_clear(&reading.place);
    if (status != MGLU_OK)
        return status;
    if (weights.kind != MGLU_KIND_MASKED)
        return mglu_io_fail(MGLU_ERROR_INVALID_ARGUMENT, file->path, NULL, "layer '%.100s' has no masks", prefix);
    if (first < 0 || rows < 0 || first > weights.intermediate_size || rows > weights.intermediate_size - first)
        return mglu_io_fail(MGLU_ERROR_INVALID_ARGUMENT, file->path, NULL,
                            "layer '%.100s': %lld rows from row %lld on are to be read, it has %lld", prefix,
                            (long long)rows, (long long)first, (long long)weights.intermediate_size);
    return read_masks(&reading.masks, first, rows, words);
}
