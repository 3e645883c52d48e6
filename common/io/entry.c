/* SPDX-License-Identifier: MIT */
#include "common/io/entry.h"

#include "common/io/dtype.h"
#include "common/io/report.h"

/* Larger integers are not exact in JSON readers that use doubles. */
#define MAX_INTEGER ((uint64_t)1 << 53)

/* The entry being read. */
struct entry {
    const mglu_file *file;
    struct mglu_json *json;
    int64_t *dims;
    mglu_file_tensor *tensor;
    int64_t offsets[2];
    unsigned seen; /* a bit for each member of the table below */
};

#define CORRUPT(entry, ...)                                                                                            \
    mglu_io_fail(MGLU_ERROR_CORRUPT_FILE, (entry)->file->path, (entry)->tensor->name, __VA_ARGS__)

static mglu_status syntax_fault(const struct entry *entry)
{
    return CORRUPT(entry, "header byte %zu: %s", mglu_json_offset(entry->json), entry->json->fault);
}

static mglu_status read_dtype(struct entry *entry)
{
    char name[16] = "";

    if (entry->json->token != MGLU_JSON_STRING)
        return CORRUPT(entry, "dtype is not a string");
    if (entry->json->length < sizeof name)
        mglu_json_decode(entry->json, name);
    if (!mglu_io_dtype_from_name(name, &entry->tensor->dtype))
        return CORRUPT(entry, "unknown dtype '%.*s'", entry->json->length < 40 ? (int)entry->json->length : 40,
                       entry->json->first);
    return MGLU_OK;
}

/* The number `count` of an array, which has room for `most`. */
static mglu_status read_integer(const struct entry *entry, const char *key, size_t count, size_t most,
                                int64_t *integers)
{
    const struct mglu_json *json = entry->json;
    uint64_t value;

    if (!mglu_json_is_integer(json))
        return CORRUPT(entry, "%s[%zu] is not an integer", key, count);
    if (count == most)
        return CORRUPT(entry, "%s has more than %zu numbers", key, most);
    if (!mglu_json_uint64(json, &value) || value > MAX_INTEGER)
        return CORRUPT(entry, "%s[%zu] is %.*s, not in 0..2^53", key, count, json->length < 40 ? (int)json->length : 40,
                       json->first);
    integers[count] = (int64_t)value;
    return MGLU_OK;
}

/* Reads an array of at most `most` integers of 0..2^53. */
static mglu_status read_integers(const struct entry *entry, const char *key, size_t most, int64_t *integers,
                                 size_t *count)
{
    mglu_status status = MGLU_OK;

    *count = 0;
    if (entry->json->token != MGLU_JSON_ARRAY)
        return CORRUPT(entry, "%s is not an array", key);
    while (status == MGLU_OK && mglu_json_next(entry->json) != MGLU_JSON_ARRAY_END) {
        if (entry->json->token == MGLU_JSON_FAULT)
            return syntax_fault(entry);
        status = read_integer(entry, key, *count, most, integers);
        ++*count;
    }
    return status;
}

static mglu_status read_shape(struct entry *entry)
{
    size_t rank = 0;
    mglu_status status = read_integers(entry, "shape", MGLU_FILE_MAX_RANK, entry->dims, &rank);

    entry->tensor->shape = entry->dims;
    entry->tensor->rank = (int32_t)rank;
    return status;
}

static mglu_status read_offsets(struct entry *entry)
{
    size_t count = 0;
    mglu_status status = read_integers(entry, "data_offsets", 2, entry->offsets, &count);

    if (status == MGLU_OK && count != 2)
        return CORRUPT(entry, "data_offsets has %zu numbers, expected 2", count);
    return status;
}

static const struct {
    const char *key;
    mglu_status (*read)(struct entry *entry);
} members[] = {{"dtype", read_dtype}, {"shape", read_shape}, {"data_offsets", read_offsets}};

enum { MEMBERS = sizeof members / sizeof members[0] };

/* Other keys are skipped, as the reference implementation does. */
static mglu_status read_member(struct entry *entry)
{
    unsigned i = 0;

    while (i < MEMBERS && !mglu_json_equals(entry->json, members[i].key))
        i++;
    if (i < MEMBERS && entry->seen & 1u << i)
        return CORRUPT(entry, "%s appears twice", members[i].key);
    if (mglu_json_next(entry->json) == MGLU_JSON_FAULT)
        return syntax_fault(entry);
    if (i == MEMBERS)
        return mglu_json_skip(entry->json) ? MGLU_OK : syntax_fault(entry);
    entry->seen |= 1u << i;
    return members[i].read(entry);
}

static mglu_status check_offsets(const struct entry *entry)
{
    const int64_t *offsets = entry->offsets;
    mglu_file_tensor *tensor = entry->tensor;

    if (offsets[0] > offsets[1])
        return CORRUPT(entry, "data_offsets begin at %lld, after their end %lld", (long long)offsets[0],
                       (long long)offsets[1]);
    if ((uint64_t)offsets[1] > entry->file->data_size)
        return CORRUPT(entry, "ends at byte %lld of the data, the file has %zu", (long long)offsets[1],
                       entry->file->data_size);
    tensor->data = (const void *)(uintptr_t)offsets[0];
    tensor->bytes = (size_t)(offsets[1] - offsets[0]);
    return MGLU_OK;
}

static mglu_status check_bytes(const struct entry *entry)
{
    const mglu_file_tensor *tensor = entry->tensor;
    char shape[MGLU_IO_SHAPE_TEXT];
    size_t bytes;

    mglu_io_shape_text(shape, tensor->rank, tensor->shape);
    if (!mglu_io_tensor_bytes(tensor->dtype, tensor->rank, tensor->shape, &bytes))
        return CORRUPT(entry, "shape %s of %s is too large, or no whole number of bytes", shape,
                       mglu_file_dtype_name(tensor->dtype));
    if (bytes != tensor->bytes)
        return CORRUPT(entry, "shape %s of %s needs %zu bytes, offsets give %zu", shape,
                       mglu_file_dtype_name(tensor->dtype), bytes, tensor->bytes);
    return MGLU_OK;
}

mglu_status mglu_io_read_entry(const mglu_file *file, struct mglu_json *json, int64_t *dims, mglu_file_tensor *tensor)
{
    struct entry entry = {.file = file, .json = json, .dims = dims, .tensor = tensor};
    mglu_status status = MGLU_OK;

    if (json->token != MGLU_JSON_OBJECT)
        return CORRUPT(&entry, "its entry is not an object");
    while (status == MGLU_OK && mglu_json_next(json) == MGLU_JSON_KEY)
        status = read_member(&entry);
    if (status == MGLU_OK && json->token == MGLU_JSON_FAULT)
        return syntax_fault(&entry);
    for (unsigned i = 0; status == MGLU_OK && i < MEMBERS; i++)
        if (!(entry.seen & 1u << i))
            return CORRUPT(&entry, "%s is missing", members[i].key);
    if (status == MGLU_OK)
        status = check_offsets(&entry);
    return status == MGLU_OK ? check_bytes(&entry) : status;
}
