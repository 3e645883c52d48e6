/* SPDX-License-Identifier: MIT */
#include "common/core/mask_format.h"
#include "common/core/structs.h"
#include "common/io/dtype.h"
#include "common/io/pack_roles.h"
#include "common/io/report.h"

#include <mglu/pack.h>
#include <mglu/version.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct packing {
    const mglu_file *input;
    const mglu_file_pack_options *options;
    mglu_file_writer *writer;
    unsigned char *roles; /* of each tensor */
    void **made;          /* of each tensor: its new data, or NULL */
};

static mglu_status check_options(const mglu_file_pack_options *options)
{
    mglu_activation activation;

    if (options->convert && !mglu_dtype_name(options->dtype))
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "mglu_file_pack: unknown dtype %d", (int)options->dtype);
    return options->activation ? mglu_activation_from_name(options->activation, &activation) : MGLU_OK;
}

static mglu_status check_finite(const mglu_file *input, const mglu_file_tensor *tensor, const void *elements,
                                mglu_dtype dtype, const char *fault)
{
    size_t count = tensor->bytes / mglu_file_dtype_size(tensor->dtype);
    size_t bad = mglu_first_nonfinite(elements, dtype, count);
    int64_t position[2] = {(int64_t)bad};
    char text[MGLU_IO_SHAPE_TEXT];

    if (bad == count)
        return MGLU_OK;
    if (tensor->rank == 2) {
        position[0] = (int64_t)bad / tensor->shape[1];
        position[1] = (int64_t)bad % tensor->shape[1];
    }
    return mglu_io_fail(MGLU_ERROR_NONFINITE, input->path, tensor->name, "element %s %s",
                        mglu_io_shape_text(text, tensor->rank == 2 ? 2 : 1, position), fault);
}

/* Memory of `size` bytes, freed after the output is written. */
static void *make_data(struct packing *packing, size_t index, size_t size)
{
    return packing->made[index] = malloc(size ? size : 1);
}

/* Removes the gaps between packed rows: a file has no padding. */
static void close_rows(unsigned char *quants, size_t rows, size_t row_bytes, size_t stride)
{
    for (size_t r = 1; r < rows; r++)
        memmove(quants + r * row_bytes, quants + r * stride, row_bytes);
}

/* Quantises a matrix of floats; `tensor` becomes its quants, `scales` their scales, without a name. */
static mglu_status quantise_matrix(struct packing *packing, size_t index, mglu_file_tensor *tensor,
                                   mglu_file_tensor *scales)
{
    const mglu_file_tensor *source = &packing->input->tensors[index];
    mglu_dtype dtype = packing->options->dtype;
    int64_t rows = source->shape[0], columns = source->shape[1], per_byte = dtype == MGLU_DTYPE_Q4_0 ? 2 : 1;
    size_t bytes = mglu_packed_weight_size(dtype, rows, columns);
    mglu_array array = {.data = source->data};
    unsigned char *quants;

    if (dtype == MGLU_DTYPE_Q4_0 && columns % MGLU_GROUP_COLUMNS != 0)
        return mglu_io_fail(MGLU_ERROR_INVALID_ARGUMENT, packing->input->path, source->name,
                            "rows of %lld, but q4_0 needs a multiple of %d in a file", (long long)columns,
                            MGLU_GROUP_COLUMNS);
    quants = make_data(packing, index, bytes + mglu_packed_scale_size(dtype, rows, columns));
    if (!quants)
        return mglu_io_out_of_memory(packing->input->path);
    mglu_io_compute_dtype(source->dtype, &array.dtype);
    if (mglu_pack_weights(&array, rows, columns, dtype, 0, quants, quants + bytes) != MGLU_OK)
        return mglu_io_fail(MGLU_ERROR_NONFINITE, packing->input->path, source->name, "%s", mglu_last_error());
    close_rows(quants, (size_t)rows, (size_t)(columns / per_byte), mglu_packed_weight_row_stride(dtype, columns));
    *scales = (mglu_file_tensor){
        .dtype = MGLU_FILE_F16,
        .rank = 2,
        .shape = {rows, (int64_t)mglu_format_groups((uint64_t)columns)},
        .data = quants + bytes,
    };
    tensor->dtype = mglu_io_file_dtype(dtype);
    tensor->shape[1] = columns / per_byte;
    tensor->data = quants;
    tensor->bytes = 0; /* the writer counts them */
    return MGLU_OK;
}

/* Checks a layer's floats and, if they are a matrix to convert to floats, does so in `tensor`. */
static mglu_status pack_floats(struct packing *packing, size_t index, mglu_file_tensor *tensor)
{
    const mglu_file *input = packing->input;
    const mglu_file_pack_options *options = packing->options;
    const mglu_file_tensor *source = &input->tensors[index];
    mglu_dtype dtype;
    size_t count = source->bytes / mglu_file_dtype_size(source->dtype);
    char fault[40];
    void *converted;
    mglu_status status;

    if (!mglu_io_compute_dtype(source->dtype, &dtype))
        return mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, input->path, source->name, "dtype %s, expected F32, F16 or BF16",
                            mglu_file_dtype_name(source->dtype));
    status = check_finite(input, source, source->data, dtype, "is not finite");
    if (status != MGLU_OK || packing->roles[index] != MGLU_IO_ROLE_MATRIX || !options->convert ||
        options->dtype == dtype || mglu_dtype_is_quantised(options->dtype))
        return status;
    converted = make_data(packing, index, count * mglu_dtype_size(options->dtype));
    if (!converted)
        return mglu_io_out_of_memory(input->path);
    status = mglu_convert(source->data, dtype, converted, options->dtype, count);
    if (status != MGLU_OK)
        return status;
    tensor->dtype = mglu_io_file_dtype(options->dtype);
    tensor->data = converted;
    tensor->bytes = count * mglu_dtype_size(options->dtype);
    snprintf(fault, sizeof fault, "overflows %s", mglu_dtype_name(options->dtype));
    return check_finite(input, source, converted, options->dtype, fault);
}

/* Converts P.mask to the words of P.mask_bits; the caller sets the name. The layer has been checked. */
static mglu_status pack_masks(struct packing *packing, size_t index, mglu_file_tensor *tensor)
{
    const mglu_file *input = packing->input;
    const mglu_file_tensor *source = &input->tensors[index];
    const int64_t *inner = source->shape + (source->rank - 2);
    mglu_mask_array masks = {source->data, MGLU_MASK_BYTES};
    int32_t n_masks = source->rank == 3 ? (int32_t)source->shape[0] : 1;
    uint32_t *words = make_data(packing, index, mglu_packed_mask_size(n_masks, inner[0], inner[1]));

    if (!words)
        return mglu_io_out_of_memory(input->path);
    mglu_io_mask_form(source->dtype, &masks.form);
    if (mglu_pack_masks(&masks, n_masks, inner[0], inner[1], words) != MGLU_OK)
        return mglu_io_fail(masks.form == MGLU_MASK_BYTES ? MGLU_ERROR_CORRUPT_FILE : MGLU_ERROR_NONFINITE, input->path,
                            source->name, "%s", mglu_last_error());
    *tensor = (mglu_file_tensor){
        .name = tensor->name,
        .dtype = MGLU_FILE_I32,
        .rank = 3,
        .shape = {inner[0], (int64_t)mglu_format_groups((uint64_t)inner[1]), n_masks},
        .data = words,
        .bytes = mglu_packed_mask_size(n_masks, inner[0], inner[1]),
    };
    return MGLU_OK;
}

/* Adds a tensor under the name of a tensor of the input with `tail` appended. */
static mglu_status add_beside(struct packing *packing, size_t index, const char *tail, mglu_file_tensor *tensor)
{
    const char *stem = packing->input->tensors[index].name;
    size_t size = strlen(stem) + strlen(tail) + 1;
    char *name = malloc(size);
    mglu_status status;

    if (!name)
        return mglu_io_out_of_memory(packing->input->path);
    snprintf(name, size, "%s%s", stem, tail);
    tensor->name = name;
    status = mglu_file_writer_tensor(packing->writer, tensor);
    free(name);
    return status;
}

/* A layer's matrix. One that is already quantised is unchanged, and so are its scales. */
static mglu_status pack_matrix(struct packing *packing, size_t index)
{
    const mglu_file_pack_options *options = packing->options;
    mglu_file_tensor tensor = packing->input->tensors[index], scales;
    mglu_dtype dtype = MGLU_DTYPE_F32;
    mglu_status status = MGLU_OK;
    int quantised = mglu_io_weight_dtype(tensor.dtype, &dtype) && mglu_dtype_is_quantised(dtype);
    int quantise = options->convert && !quantised && mglu_dtype_is_quantised(options->dtype);

    if (quantised && options->convert && options->dtype != dtype)
        return mglu_io_fail(MGLU_ERROR_INVALID_ARGUMENT, packing->input->path, tensor.name,
                            "is %s, which is not converted to %s", mglu_dtype_name(dtype),
                            mglu_dtype_name(options->dtype));
    if (!quantised)
        status = pack_floats(packing, index, &tensor);
    if (status == MGLU_OK && quantise)
        status = quantise_matrix(packing, index, &tensor, &scales);
    if (status == MGLU_OK)
        status = mglu_file_writer_tensor(packing->writer, &tensor);
    return status == MGLU_OK && quantise ? add_beside(packing, index, "_scale", &scales) : status;
}

static mglu_status pack_tensor(struct packing *packing, size_t index)
{
    mglu_file_tensor tensor = packing->input->tensors[index];
    mglu_status status = MGLU_OK;

    if (packing->roles[index] == MGLU_IO_ROLE_MASKS) {
        status = pack_masks(packing, index, &tensor);
        return status == MGLU_OK ? add_beside(packing, index, "_bits", &tensor) : status;
    }
    if (packing->roles[index] == MGLU_IO_ROLE_MATRIX)
        return pack_matrix(packing, index);
    if (packing->roles[index] == MGLU_IO_ROLE_FINITE)
        status = pack_floats(packing, index, &tensor);
    return status == MGLU_OK ? mglu_file_writer_tensor(packing->writer, &tensor) : status;
}

static mglu_status pack_metadata(struct packing *packing)
{
    const struct mglu_io_metadata *kept = packing->input->metadata;
    char producer[64], version[16];
    const struct mglu_io_metadata set[] = {
        {"format", "pt"},
        {"mglu.version", version},
        {"mglu.producer", producer},
        {"mglu.activation", packing->options->activation},
    };
    mglu_status status = MGLU_OK;

    snprintf(version, sizeof version, "%d", MGLU_FORMAT_VERSION);
    snprintf(producer, sizeof producer, "mglu %s", mglu_version());
    for (size_t i = 0; i < packing->input->metadata_count && status == MGLU_OK; i++)
        status = mglu_file_writer_metadata(packing->writer, kept[i].key, kept[i].value);
    for (size_t i = 0; i < sizeof set / sizeof set[0] && status == MGLU_OK; i++)
        if (set[i].value)
            status = mglu_file_writer_metadata(packing->writer, set[i].key, set[i].value);
    return status;
}

static mglu_status pack_tensors(struct packing *packing)
{
    const mglu_file_pack_options *options = packing->options;
    size_t count = packing->input->tensor_count;
    mglu_status status = mglu_io_pack_roles(packing->input, packing->roles);

    for (size_t i = 0; i < count && status == MGLU_OK; i++) {
        status = pack_tensor(packing, i);
        if (status == MGLU_OK && options->progress && options->progress(options->user, i + 1, count) != 0)
            status = mglu_io_fail(MGLU_ERROR_CANCELLED, packing->input->path, NULL, "packing was cancelled");
    }
    return status == MGLU_OK ? pack_metadata(packing) : status;
}

static mglu_status pack_opened(const mglu_file *input, const char *output_path, const mglu_file_pack_options *options)
{
    struct packing packing = {.input = input, .options = options};
    mglu_status status = mglu_file_writer_create(&packing.writer);

    packing.roles = calloc(input->tensor_count + 1, sizeof *packing.roles);
    packing.made = calloc(input->tensor_count + 1, sizeof *packing.made);
    if (status == MGLU_OK && (!packing.roles || !packing.made))
        status = mglu_io_out_of_memory(input->path);
    if (status == MGLU_OK)
        status = pack_tensors(&packing);
    if (status == MGLU_OK)
        status = mglu_file_writer_commit(packing.writer, output_path);
    for (size_t i = 0; packing.made && i < input->tensor_count; i++)
        free(packing.made[i]);
    free(packing.made);
    free(packing.roles);
    mglu_file_writer_destroy(&packing.writer);
    return status;
}

mglu_status mglu_file_pack(const char *input_path, const char *output_path, const mglu_file_pack_options *options)
{
    mglu_file_pack_options known = {.struct_size = sizeof known};
    mglu_file *input;
    mglu_status status = MGLU_OK;

    if (!input_path || !output_path)
        return mglu_fail(MGLU_ERROR_INVALID_ARGUMENT, "mglu_file_pack: input or output path is NULL");
    if (options)
        status = mglu_struct_read("mglu_file_pack_options", &known, sizeof known, options);
    if (status == MGLU_OK)
        status = check_options(&known);
    if (status == MGLU_OK)
        status = mglu_file_open(input_path, 0, &input);
    if (status != MGLU_OK)
        return status;
    status = pack_opened(input, output_path, &known);
    mglu_file_close(&input);
    return status;
}
