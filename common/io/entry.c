/* SPDX-License-Identifier: MIT */
#include "common/io/entry.h"

#include "common/io/dtype.h"
#include "common/io/report.h"

#include <jansson.h>

/* Larger integers are not exact in JSON readers that use doubles. */
#define MAX_INTEGER ((json_int_t)1 << 53)

/* The entry being read, with the data for its error texts. */
struct entry {
    const char *path;
    const char *name;
    json_t *object;
};

#define CORRUPT(entry, ...) mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, (entry)->path, (entry)->name, __VA_ARGS__)

static mglu_status read_dtype(const struct entry *entry, mglu_file_dtype *dtype)
{
    const char *name = json_string_value(json_object_get(entry->object, "dtype"));

    if (!name)
        return CORRUPT(entry, "dtype is missing or not a string");
    if (!mglu_io_dtype_from_name(name, dtype))
        return CORRUPT(entry, "unknown dtype '%.40s'", name);
    return MGLU_OK;
}

/* Reads at most `most` integers of 0..2^53. */
static mglu_status read_integers(const struct entry *entry, const char *key, size_t most, int64_t *integers,
                                 size_t *count)
{
    json_t *array = json_object_get(entry->object, key);

    *count = json_array_size(array);
    if (!json_is_array(array))
        return CORRUPT(entry, "%s is missing or not an array", key);
    if (*count > most)
        return CORRUPT(entry, "%s has %zu numbers, at most %zu are allowed", key, *count, most);
    for (size_t i = 0; i < *count; i++) {
        json_t *number = json_array_get(array, i);

        if (!json_is_integer(number))
            return CORRUPT(entry, "%s[%zu] is not an integer", key, i);
        integers[i] = json_integer_value(number);
        if (integers[i] < 0 || integers[i] > MAX_INTEGER)
            return CORRUPT(entry, "%s[%zu] is %lld, not in 0..2^53", key, i, (long long)integers[i]);
    }
    return MGLU_OK;
}

static mglu_status read_offsets(const struct entry *entry, const struct mglu_io_data *data, mglu_file_tensor *tensor)
{
    int64_t offsets[2];
    size_t count;
    mglu_status status = read_integers(entry, "data_offsets", 2, offsets, &count);

    if (status != MGLU_OK)
        return status;
    if (count != 2)
        return CORRUPT(entry, "data_offsets has %zu numbers, expected 2", count);
    if (offsets[0] > offsets[1])
        return CORRUPT(entry, "data_offsets begin at %lld, after their end %lld", (long long)offsets[0],
                       (long long)offsets[1]);
    if ((uint64_t)offsets[1] > data->size)
        return CORRUPT(entry, "ends at byte %lld of the data, the file has %zu", (long long)offsets[1], data->size);
    tensor->data = data->first + offsets[0];
    tensor->bytes = (size_t)(offsets[1] - offsets[0]);
    return MGLU_OK;
}

static mglu_status check_bytes(const struct entry *entry, const mglu_file_tensor *tensor)
{
    char shape[MGLU_IO_SHAPE_TEXT];
    size_t bytes;

    mglu_io_shape_text(shape, tensor->rank, tensor->shape);
    if (!mglu_io_tensor_bytes(tensor->dtype, tensor->rank, tensor->shape, &bytes))
        return CORRUPT(entry, "shape %s of %s is too large", shape, mglu_file_dtype_name(tensor->dtype));
    if (bytes != tensor->bytes)
        return CORRUPT(entry, "shape %s of %s needs %zu bytes, offsets give %zu", shape,
                       mglu_file_dtype_name(tensor->dtype), bytes, tensor->bytes);
    return MGLU_OK;
}

static mglu_status read_members(const struct entry *entry, const struct mglu_io_data *data, mglu_file_tensor *tensor)
{
    mglu_status status = read_dtype(entry, &tensor->dtype);
    size_t rank = 0;

    if (status == MGLU_OK)
        status = read_integers(entry, "shape", MGLU_FILE_MAX_RANK, tensor->shape, &rank);
    tensor->rank = (int32_t)rank;
    if (status == MGLU_OK)
        status = read_offsets(entry, data, tensor);
    if (status == MGLU_OK)
        status = check_bytes(entry, tensor);
    return status;
}

mglu_status mglu_io_read_entry(const char *path, const char *text, size_t length, const struct mglu_io_data *data,
                               mglu_file_tensor *tensor)
{
    struct entry entry = {.path = path, .name = tensor->name};
    json_error_t error;
    mglu_status status;

    entry.object = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
    if (!entry.object && error.text[0] == '\0') /* jansson sets no text when out of memory */
        return mglu_io_out_of_memory(path);
    if (!entry.object)
        return CORRUPT(&entry, "%s", error.text);
    status = json_is_object(entry.object) ? read_members(&entry, data, tensor)
                                          : CORRUPT(&entry, "its entry is not an object");
    json_decref(entry.object);
    return status;
}
