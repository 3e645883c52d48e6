/* SPDX-License-Identifier: MIT */
#include "common/core/mask_format.h"
#include "common/io/dtype.h"
#include "common/io/file.h"
#include "common/io/report.h"

#include <mglu/pack.h>

#include <stdio.h>
#include <string.h>

/* Rows or columns of a matrix without elements: its size in the file limits nothing that is computed from it. */
enum { MAX_EMPTY = 65536 };

/* A projection in a file: its tensors are `prefix`.`inner`.weight and so on. */
struct projection {
    const mglu_file *file;
    const char *prefix;
    const char *inner; /* "" or "up_proj" */
};

static mglu_status corrupt(const mglu_file *file, const mglu_file_tensor *tensor, const char *text)
{
    return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, tensor->name, "%s", text);
}

static mglu_status wrong_shape(const mglu_file *file, const mglu_file_tensor *tensor, const char *expected)
{
    char shape[MGLU_IO_SHAPE_TEXT];

    return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, tensor->name, "shape %s, expected %s",
                        mglu_io_shape_text(shape, tensor->rank, tensor->shape), expected);
}

static mglu_status take_elements(const mglu_file *file, const mglu_file_tensor *tensor, mglu_array *array)
{
    if (!mglu_io_compute_dtype(tensor->dtype, &array->dtype))
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, tensor->name, "dtype %s, expected F32, F16 or BF16",
                            mglu_file_dtype_name(tensor->dtype));
    array->data = tensor->data;
    return MGLU_OK;
}

static mglu_status check_version(const mglu_file *file)
{
    const char *version = mglu_file_metadata(file, "mglu.version");
    char own[16];

    snprintf(own, sizeof own, "%d", MGLU_FORMAT_VERSION);
    if (version && strcmp(version, own) != 0)
        return mglu_io_fail(MGLU_ERROR_VERSION_MISMATCH, file->path, NULL,
                            "mglu.version is '%.20s', this library reads version %s", version, own);
    return MGLU_OK;
}

/* Whether the values of tensors can be checked. */
static int has_data(const mglu_file *file)
{
    return file->memory != NULL;
}

/* The scales of quantised weights, [rows][groups of 32 columns]. Their values are checked, all others are not. */
static mglu_status take_scales(const mglu_file *file, const mglu_file_tensor *tensor, int64_t rows, int64_t columns,
                               mglu_array *array)
{
    int64_t groups = (int64_t)mglu_format_groups((uint64_t)columns);
    size_t count = (size_t)(rows * groups), bad;
    char expected[80];

    snprintf(expected, sizeof expected, "[%lld, %lld]", (long long)rows, (long long)groups);
    if (tensor->dtype != MGLU_FILE_F16)
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, tensor->name, "dtype %s, expected F16",
                            mglu_file_dtype_name(tensor->dtype));
    if (tensor->rank != 2 || tensor->shape[0] != rows || tensor->shape[1] != groups)
        return wrong_shape(file, tensor, expected);
    bad = has_data(file) ? mglu_first_nonfinite(tensor->data, MGLU_DTYPE_F16, count) : count;
    if (bad < count)
        return mglu_io_fail(MGLU_ERROR_NONFINITE, file->path, tensor->name, "element [%zu, %zu] is not finite",
                            bad / (size_t)groups, bad % (size_t)groups);
    array->scales = tensor->data;
    return check_version(file);
}

/* The dtype of a weight matrix; it has `scales` exactly when it is quantised. */
static mglu_status take_weight_dtype(const mglu_file *file, const mglu_file_tensor *tensor,
                                     const mglu_file_tensor *scales, mglu_dtype *dtype)
{
    if (!mglu_io_weight_dtype(tensor->dtype, dtype) || (mglu_dtype_is_quantised(*dtype) && !scales))
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, tensor->name,
                            "dtype %s, expected F32, F16 or BF16, or I8 or U8 with a '.weight_scale' beside it",
                            mglu_file_dtype_name(tensor->dtype));
    if (!mglu_dtype_is_quantised(*dtype) && scales)
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, scales->name, "its weights are %s, expected I8 or U8",
                            mglu_file_dtype_name(tensor->dtype));
    return MGLU_OK;
}

/*
 * The matrix `prefix`.`inner`.weight, which exists. Its row count comes from the file; so does `*columns` when it is
 * negative. A byte holds two columns of q4_0.
 */
static mglu_status take_matrix(const mglu_file *file, const char *prefix, const char *inner, int64_t *rows,
                               int64_t *columns, mglu_array *array)
{
    const mglu_file_tensor *tensor = mglu_io_find(file, prefix, inner, "weight");
    const mglu_file_tensor *scales = mglu_io_find(file, prefix, inner, "weight_scale");
    int64_t per_element = tensor->dtype == MGLU_FILE_U8 ? 2 : 1;
    char expected[80] = "two dimensions";
    mglu_status status = take_weight_dtype(file, tensor, scales, &array->dtype);

    if (status != MGLU_OK)
        return status;
    if (*columns >= 0)
        snprintf(expected, sizeof expected, "[any, %lld]", (long long)(*columns / per_element));
    if (tensor->rank != 2 || (*columns >= 0 && tensor->shape[1] != *columns / per_element))
        return wrong_shape(file, tensor, expected);
    snprintf(expected, sizeof expected, "sizes of at most %lld", (long long)(MGLU_MAX_SIZE / per_element));
    if (tensor->shape[0] > MGLU_MAX_SIZE || tensor->shape[1] > MGLU_MAX_SIZE / per_element)
        return wrong_shape(file, tensor, expected);
    if (tensor->bytes == 0 && (tensor->shape[0] > MAX_EMPTY || tensor->shape[1] > MAX_EMPTY))
        return wrong_shape(file, tensor, "at most 65536 rows and columns where there are no elements");
    if (array->dtype == MGLU_DTYPE_Q4_0 &&
        (tensor->shape[1] % MGLU_Q4_0_GROUP_BYTES != 0 || (*columns >= 0 && *columns % MGLU_GROUP_COLUMNS != 0)))
        return wrong_shape(file, tensor, "rows of whole groups of 16 bytes");
    *rows = tensor->shape[0];
    *columns = tensor->shape[1] * per_element;
    array->data = tensor->data;
    return scales ? take_scales(file, scales, *rows, *columns, array) : MGLU_OK;
}

/* A further matrix of a layer whose weights have `dtype`: floats can be converted to it, other quants cannot. */
static mglu_status take_further_matrix(const mglu_file *file, const char *prefix, const char *inner, mglu_dtype dtype,
                                       int64_t *rows, int64_t *columns, mglu_array *array)
{
    mglu_status status = take_matrix(file, prefix, inner, rows, columns, array);

    if (status == MGLU_OK && mglu_dtype_is_quantised(array->dtype) && array->dtype != dtype)
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, mglu_io_find(file, prefix, inner, "weight")->name,
                            "%s, but the layer's first matrix is %s", mglu_dtype_name(array->dtype),
                            mglu_dtype_name(dtype));
    return status;
}

/* [rows][columns], or [columns] when there is one row. An absent tensor is skipped. */
static mglu_status take_rows(const mglu_file *file, const mglu_file_tensor *tensor, int64_t rows, int64_t columns,
                             mglu_array *array)
{
    char expected[80];

    if (!tensor)
        return MGLU_OK;
    if (tensor->rank == 2 && tensor->shape[0] == rows && tensor->shape[1] == columns)
        return take_elements(file, tensor, array);
    if (tensor->rank == 1 && rows == 1 && tensor->shape[0] == columns)
        return take_elements(file, tensor, array);
    if (rows == 1)
        snprintf(expected, sizeof expected, "[%lld]", (long long)columns);
    else
        snprintf(expected, sizeof expected, "[%lld, %lld]", (long long)rows, (long long)columns);
    return wrong_shape(file, tensor, expected);
}

static mglu_status take_mask_count(const mglu_file *file, const mglu_file_tensor *tensor, int64_t count,
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
    mglu_status status = check_version(file);

    if (status != MGLU_OK)
        return status;
    if (tensor->dtype != MGLU_FILE_I32 && tensor->dtype != MGLU_FILE_U32)
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, tensor->name, "dtype %s, expected I32 or U32",
                            mglu_file_dtype_name(tensor->dtype));
    snprintf(expected, sizeof expected, "[%lld, %lld, masks]", (long long)weights->intermediate_size,
             (long long)groups);
    if (tensor->rank != 3 || tensor->shape[0] != weights->intermediate_size || tensor->shape[1] != groups)
        return wrong_shape(file, tensor, expected);
    status = take_mask_count(file, tensor, tensor->shape[2], weights);
    if (status == MGLU_OK && has_data(file) &&
        mglu_check_mask_words(tensor->data, weights->n_masks, weights->intermediate_size, weights->hidden_size) !=
            MGLU_OK)
        status = mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, tensor->name, "%s", mglu_last_error());
    weights->masks = (mglu_mask_array){tensor->data, MGLU_MASK_WORDS};
    return status;
}

static mglu_status take_dense_masks(const mglu_file *file, const mglu_file_tensor *tensor, mglu_weights_desc *weights)
{
    int64_t d = weights->intermediate_size, h = weights->hidden_size;
    const int64_t *inner = tensor->rank == 3 ? tensor->shape + 1 : tensor->shape;
    char expected[120];

    if (!mglu_io_mask_form(tensor->dtype, &weights->masks.form))
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, tensor->name,
                            "dtype %s, expected F32, F16 or BF16 logits, BOOL or U8",
                            mglu_file_dtype_name(tensor->dtype));
    snprintf(expected, sizeof expected, "[masks, %lld, %lld] or [%lld, %lld]", (long long)d, (long long)h, (long long)d,
             (long long)h);
    if ((tensor->rank != 2 && tensor->rank != 3) || inner[0] != d || inner[1] != h)
        return wrong_shape(file, tensor, expected);
    weights->masks.data = tensor->data;
    return take_mask_count(file, tensor, tensor->rank == 3 ? tensor->shape[0] : 1, weights);
}

static const mglu_file_tensor *find_part(const struct projection *projection, const char *leaf)
{
    return mglu_io_find(projection->file, projection->prefix, projection->inner, leaf);
}

static mglu_status read_masks(const struct projection *projection, mglu_weights_desc *weights)
{
    const mglu_file_tensor *words = find_part(projection, "mask_bits"), *dense = find_part(projection, "mask");

    if (words && dense)
        return corrupt(projection->file, words, "the file also has these masks unpacked, as '.mask'");
    return words ? take_words(projection->file, words, weights) : take_dense_masks(projection->file, dense, weights);
}

static mglu_status read_masked(const struct projection *projection, mglu_weights_desc *weights)
{
    const mglu_file *file = projection->file;
    int64_t columns = -1;
    mglu_status status;

    weights->kind = MGLU_KIND_MASKED;
    status = take_matrix(file, projection->prefix, projection->inner, &weights->intermediate_size, &columns,
                         &weights->weight);
    weights->hidden_size = columns;
    if (status == MGLU_OK)
        status = read_masks(projection, weights);
    if (status == MGLU_OK)
        status = take_rows(file, find_part(projection, "gate_bias"), weights->n_masks, weights->intermediate_size,
                           &weights->gate_bias);
    if (status == MGLU_OK)
        status = take_rows(file, find_part(projection, "value_bias"), weights->n_masks, weights->intermediate_size,
                           &weights->value_bias);
    if (status == MGLU_OK)
        status = take_rows(file, find_part(projection, "router.weight"), weights->n_masks, weights->hidden_size,
                           &weights->router);
    return status;
}

static mglu_status read_plain(const mglu_file *file, const char *prefix, mglu_weights_desc *weights)
{
    const mglu_file_tensor *value = mglu_io_find(file, prefix, "up_proj", "weight");
    int64_t columns = -1, rows;
    mglu_status status;

    weights->kind = MGLU_KIND_PLAIN;
    status = take_matrix(file, prefix, "gate_proj", &weights->intermediate_size, &columns, &weights->weight);
    weights->hidden_size = columns;
    if (status == MGLU_OK)
        status = take_further_matrix(file, prefix, "up_proj", weights->weight.dtype, &rows, &columns,
                                     &weights->value_weight);
    if (status == MGLU_OK && rows != weights->intermediate_size)
        return corrupt(file, value, "has a different number of rows from gate_proj.weight");
    if (status == MGLU_OK)
        status = take_rows(file, mglu_io_find(file, prefix, "gate_proj", "bias"), 1, weights->intermediate_size,
                           &weights->gate_bias);
    if (status == MGLU_OK)
        status = take_rows(file, mglu_io_find(file, prefix, "up_proj", "bias"), 1, weights->intermediate_size,
                           &weights->value_bias);
    return status;
}

static mglu_status read_down(const mglu_file *file, const char *prefix, mglu_weights_desc *weights)
{
    const mglu_file_tensor *down = mglu_io_find(file, prefix, "down_proj", "weight");
    const mglu_file_tensor *bias = mglu_io_find(file, prefix, "down_proj", "bias");
    int64_t columns = weights->intermediate_size;
    mglu_status status;

    if (!down && bias)
        return corrupt(file, bias, "the file has no down_proj.weight for it");
    if (!down)
        return MGLU_OK;
    status = take_further_matrix(file, prefix, "down_proj", weights->weight.dtype, &weights->output_size, &columns,
                                 &weights->down);
    if (status == MGLU_OK && weights->output_size == 0)
        return corrupt(file, down, "has no rows");
    if (status == MGLU_OK)
        status = take_rows(file, bias, 1, weights->output_size, &weights->down_bias);
    return status;
}

static const char *metadata_of(const mglu_file *file, const char *prefix, const char *inner)
{
    const struct mglu_io_name key = {{"mglu.activation", prefix, inner}};
    const struct mglu_io_metadata *found = mglu_io_index_find(&file->by_key, &key);

    return found ? found->value : NULL;
}

static mglu_status read_activation(const struct projection *projection, mglu_layer_desc *layer, int *has_activation)
{
    const mglu_file *file = projection->file;
    const char *name = metadata_of(file, projection->prefix, projection->inner);

    if (!name)
        name = metadata_of(file, projection->prefix, "");
    if (!name)
        name = metadata_of(file, "", "");
    *has_activation = name != NULL;
    if (name && mglu_activation_from_name(name, &layer->activation) != MGLU_OK)
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, NULL, "metadata mglu.activation: %s",
                            mglu_last_error());
    return MGLU_OK;
}

static mglu_status no_layer(const mglu_file *file, const char *prefix)
{
    char known[160] = "";
    size_t used = 0, count = 0;

    if (mglu_io_find(file, prefix, "", "weight"))
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, file->path, NULL,
                            "'%.100s.weight' has no masks: '.mask_bits' or '.mask' is missing", prefix);
    for (; count < file->layer_count && count < 3 && used < sizeof known; count++)
        used +=
            (size_t)snprintf(known + used, sizeof known - used, "%s'%.45s'", count ? ", " : "", file->layers[count]);
    return mglu_io_fail(MGLU_ERROR_INVALID_ARGUMENT, file->path, NULL, "no layer '%.60s'; the file has %s%s", prefix,
                        count ? known : "none", count < file->layer_count ? ", ..." : "");
}

static mglu_status read_layer(const mglu_file *file, const char *prefix, mglu_weights_desc *weights,
                              struct projection *projection)
{
    mglu_status status;

    *projection = (struct projection){file, prefix, ""};
    if (find_part(projection, "weight") && mglu_io_has_masks(file, prefix, ""))
        return read_masked(projection, weights);
    if (mglu_io_find(file, prefix, "up_proj", "weight") && mglu_io_has_masks(file, prefix, "up_proj")) {
        projection->inner = "up_proj";
        status = read_masked(projection, weights);
    } else if (mglu_io_find(file, prefix, "up_proj", "weight") && mglu_io_find(file, prefix, "gate_proj", "weight")) {
        status = read_plain(file, prefix, weights);
    } else {
        return no_layer(file, prefix);
    }
    return status == MGLU_OK ? read_down(file, prefix, weights) : status;
}

mglu_status mglu_file_layer(const mglu_file *file, const char *prefix, mglu_weights_desc *weights,
                            mglu_layer_desc *layer, int *has_activation)
{
    mglu_weights_desc found_weights = {.struct_size = sizeof found_weights};
    mglu_layer_desc found_layer = {.struct_size = sizeof found_layer, .max_batch = 1};
    struct projection projection;
    int named;
    mglu_status status;

    if (!file || !prefix || !weights || !layer)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "mglu_file_layer: file, prefix, weights or layer is NULL");
    status = read_layer(file, prefix, &found_weights, &projection);
    if (status == MGLU_OK)
        status = read_activation(&projection, &found_layer, &named);
    if (status != MGLU_OK)
        return status;
    found_weights.dtype = found_weights.weight.dtype;
    *weights = found_weights;
    *layer = found_layer;
    if (has_activation)
        *has_activation = named;
    return MGLU_OK;
}
