/* SPDX-License-Identifier: MIT */
#include "tests/unit/io/gguf_bytes.h"
#include "tests/unit/io/hostile.h"

#include <stdio.h>

#define FILE_NAME "hostile.gguf"

static struct gguf_bytes built;

/* Numbers of the sample file that a case replaces, with their places. */
enum field {
    MAGIC,
    VERSION,
    TENSORS,
    TEXTS,
    KEY_LENGTH,
    KEY_TYPE,
    TEXT_LENGTH,
    ALIGNMENT,
    ALIGNMENT_TYPE,
    SCALAR_TYPE,
    ARRAY_TYPE,
    ARRAY_COUNT,
    STRING_LENGTH,
    NESTED_TYPE,
    NESTED_COUNT,
    NAME_LENGTH,
    NAME,
    RANK,
    COLUMNS,
    ROWS,
    TYPE,
    OFFSET,
    LAST_OFFSET,
    FIELDS
};

static size_t places[FIELDS];

#define PLACE(field) (places[field] = built.size)

static const struct gguf_tensor sample[] = {
    {"blk.0.ffn_gate.weight", GGML_Q8_0, 2, {32, 32}},
    {"blk.0.ffn_up.weight", GGML_Q8_0, 2, {32, 32}},
    {"blk.0.ffn_down.weight", GGML_Q8_0, 2, {32, 32}},
    {"blk.0.ffn_down.bias", GGML_F32, 1, {32}},
};

/* Places of the fields of a tensor's info, which begins here. */
static void mark_info(const struct gguf_tensor *tensor)
{
    PLACE(NAME_LENGTH);
    places[NAME] = built.size + 8;
    places[RANK] = built.size + 8 + strlen(tensor->name);
    places[COLUMNS] = places[RANK] + 4;
    places[ROWS] = places[COLUMNS] + 8;
    places[TYPE] = places[ROWS] + 8;
    places[OFFSET] = places[TYPE] + 4;
}

static void build_texts(void)
{
    PLACE(KEY_LENGTH);
    places[KEY_TYPE] = built.size + 8 + strlen("general.architecture");
    places[TEXT_LENGTH] = places[KEY_TYPE] + 4;
    gguf_entry(&built, "general.architecture", "llama");
    places[ALIGNMENT_TYPE] = built.size + 8 + strlen("general.alignment");
    gguf_key(&built, "general.alignment", GGUF_U32);
    PLACE(ALIGNMENT);
    gguf_put(&built, 32, 4);
    places[SCALAR_TYPE] = built.size + 8 + strlen("llama.block_count");
    gguf_key(&built, "llama.block_count", GGUF_U32);
    gguf_put(&built, 1, 4);
    gguf_key(&built, "tokens", GGUF_ARRAY);
    PLACE(ARRAY_TYPE);
    gguf_put(&built, GGUF_STRING, 4);
    PLACE(ARRAY_COUNT);
    gguf_put(&built, 2, 8);
    PLACE(STRING_LENGTH);
    gguf_text(&built, "a");
    gguf_text(&built, "");
    gguf_key(&built, "nested", GGUF_ARRAY);
    gguf_put(&built, GGUF_ARRAY, 4);
    gguf_put(&built, 2, 8);
    PLACE(NESTED_TYPE);
    gguf_put(&built, GGUF_U16, 4);
    PLACE(NESTED_COUNT);
    gguf_put(&built, 3, 8);
    gguf_put(&built, 0, 6);
    gguf_put(&built, GGUF_STRING, 4);
    gguf_put(&built, 0, 8);
}

/* A file with a layer, each kind of metadata, and nothing after its last tensor. */
static void build_sample(void)
{
    places[MAGIC] = 0, places[VERSION] = 4, places[TENSORS] = 8, places[TEXTS] = 16;
    gguf_begin(&built, COUNT(sample), 5);
    build_texts();
    mark_info(&sample[0]);
    gguf_tensors(&built, sample, COUNT(sample));
    places[LAST_OFFSET] = places[NAME_LENGTH];
    for (size_t i = 0; i < COUNT(sample); i++)
        places[LAST_OFFSET] += 8 + strlen(sample[i].name) + 4 + 8 * sample[i].rank + 12;
    places[LAST_OFFSET] -= 8;
}

static void write_built(void)
{
    write_bytes(scratch(FILE_NAME), built.bytes, built.size);
}

static void patch(size_t place, uint64_t value, size_t width)
{
    for (size_t i = 0; i < width; i++)
        built.bytes[place + i] = (unsigned char)(value >> (8 * i) & 0xff);
}

static const struct {
    const char *rule;
    enum field field;
    size_t width;
    uint64_t value;
    mglu_status status;
    const char *says;
} broken[] = {
    {"another magic", MAGIC, 4, 0x46554748, MGLU_ERROR_CORRUPT_FILE, "header of"},
    {"big-endian", VERSION, 4, 0x03000000, MGLU_ERROR_UNSUPPORTED, "big-endian"},
    {"version 0", VERSION, 4, 0, MGLU_ERROR_UNSUPPORTED, "GGUF version 0; versions 2 and 3"},
    {"version 1", VERSION, 4, 1, MGLU_ERROR_UNSUPPORTED, "GGUF version 1"},
    {"version 4", VERSION, 4, 4, MGLU_ERROR_UNSUPPORTED, "GGUF version 4"},
    {"too many tensors for the file", TENSORS, 8, 1 << 20, MGLU_ERROR_CORRUPT_FILE, "1048576 tensors, but only"},
    {"fewer tensors than infos", TENSORS, 8, 0, MGLU_ERROR_UNSUPPORTED, "without feed-forward layers"},
    {"fewer texts than there are", TEXTS, 8, 2, MGLU_ERROR_CORRUPT_FILE, ""},
    {"empty key", KEY_LENGTH, 8, 0, MGLU_ERROR_CORRUPT_FILE, "key of 0 bytes, expected 1 to 65535"},
    {"long key", KEY_LENGTH, 8, 65536, MGLU_ERROR_CORRUPT_FILE, "key of 65536 bytes"},
    {"unknown type", SCALAR_TYPE, 4, 13, MGLU_ERROR_CORRUPT_FILE, "unknown type 13"},
    {"unknown type of an array", ARRAY_TYPE, 4, 99, MGLU_ERROR_CORRUPT_FILE, "unknown type 99"},
    {"unknown type in an array of arrays", NESTED_TYPE, 4, 13, MGLU_ERROR_CORRUPT_FILE, "unknown type 13"},
    {"alignment 0", ALIGNMENT, 4, 0, MGLU_ERROR_CORRUPT_FILE, "general.alignment: 0, expected a power of two"},
    {"alignment 24", ALIGNMENT, 4, 24, MGLU_ERROR_CORRUPT_FILE, "general.alignment: 24"},
    {"alignment 2^31", ALIGNMENT, 4, 1u << 31, MGLU_ERROR_CORRUPT_FILE, "general.alignment: 2147483648"},
    {"alignment of another type", ALIGNMENT_TYPE, 4, GGUF_I32, MGLU_ERROR_CORRUPT_FILE, "expected one value"},
    {"alignment that the offsets do not have", ALIGNMENT, 4, 1024, MGLU_ERROR_CORRUPT_FILE, "multiple of 1024"},
    {"empty name", NAME_LENGTH, 8, 0, MGLU_ERROR_CORRUPT_FILE, "tensor name of 0 bytes"},
    {"long name", NAME_LENGTH, 8, 256, MGLU_ERROR_CORRUPT_FILE, "tensor name of 256 bytes, expected 1 to 255"},
    {"NUL in a name", NAME, 1, 0, MGLU_ERROR_CORRUPT_FILE, "contains a NUL byte"},
    {"no UTF-8 in a name", NAME, 1, 0xff, MGLU_ERROR_CORRUPT_FILE, "tensor name is not UTF-8"},
    {"rank 5", RANK, 4, 5, MGLU_ERROR_CORRUPT_FILE, "blk.0.ffn_gate.weight': 5 dimensions, at most 4"},
    {"rank 2^32 - 1", RANK, 4, UINT32_MAX, MGLU_ERROR_CORRUPT_FILE, "at most 4"},
    {"size of 2^63", ROWS, 8, 1ull << 63, MGLU_ERROR_CORRUPT_FILE, "size 1 is 9223372036854775808"},
    {"sizes of 2^66 bytes", ROWS, 8, 1ull << 61, MGLU_ERROR_CORRUPT_FILE, "sizes are too large"},
    {"sizes of more than the file", ROWS, 8, 1000, MGLU_ERROR_CORRUPT_FILE, "34000 bytes from byte 0"},
    {"rows of part of a block", COLUMNS, 8, 33, MGLU_ERROR_CORRUPT_FILE, "rows of 33, but Q8_0 has blocks of 32"},
    {"no rows", ROWS, 8, 0, MGLU_ERROR_CORRUPT_FILE, "size 1 is 0, expected 1"},
    {"no columns", COLUMNS, 8, 0, MGLU_ERROR_CORRUPT_FILE, "size 0 is 0, expected 1"},
    {"unknown tensor type", TYPE, 4, 5, MGLU_ERROR_CORRUPT_FILE, "type 5 is unknown"},
    {"tensor type 2^32 - 1", TYPE, 4, UINT32_MAX, MGLU_ERROR_CORRUPT_FILE, "type 4294967295 is unknown"},
    {"overlap", TYPE, 4, GGML_F16, MGLU_ERROR_CORRUPT_FILE, "overlap: begins at byte 1088"},
    {"offset between multiples", OFFSET, 8, 16, MGLU_ERROR_CORRUPT_FILE, "not at a multiple of 32"},
    {"same offset", OFFSET, 8, 1088, MGLU_ERROR_CORRUPT_FILE, "overlap"},
    {"offset behind the file", LAST_OFFSET, 8, 1 << 20, MGLU_ERROR_CORRUPT_FILE, "from byte 1048576"},
    {"end behind the file", LAST_OFFSET, 8, 3264 + 32, MGLU_ERROR_CORRUPT_FILE, "128 bytes from byte 3296"},
    {"offset of 2^64 - 32", LAST_OFFSET, 8, UINT64_MAX - 31, MGLU_ERROR_CORRUPT_FILE, "truncated"},
};

static void every_broken_field_is_named(void **state)
{
    for (size_t i = 0; i < COUNT(broken); i++) {
        build_sample();
        patch(places[broken[i].field], broken[i].value, broken[i].width);
        write_built();
        assert_refused(FILE_NAME, broken[i].rule, broken[i].status, broken[i].says);
    }
}

/* Every count and length with every large value: refused before memory is asked for. */
static void a_huge_count_is_refused(void **state)
{
    static const enum field counts[] = {TENSORS,      TEXTS,       KEY_LENGTH, TEXT_LENGTH, ARRAY_COUNT, STRING_LENGTH,
                                        NESTED_COUNT, NAME_LENGTH, COLUMNS,    ROWS,        OFFSET};
    static const uint64_t values[] = {1 << 16,    1 << 17,          1 << 24,       1ull << 31, 1ull << 32,
                                      1ull << 48, 1ull << 63,       UINT64_MAX,    INT64_MAX,  UINT64_MAX / 8,
                                      1ull << 60, (1ull << 59) + 1, UINT64_MAX - 7};

    for (size_t i = 0; i < COUNT(counts); i++)
        for (size_t k = 0; k < COUNT(values); k++) {
            build_sample();
            patch(places[counts[i]], values[k], 8);
            write_built();
            assert_refused(FILE_NAME, "huge count", MGLU_ERROR_CORRUPT_FILE, "");
        }
}

static void a_file_cut_short_anywhere_is_refused(void **state)
{
    mglu_file *file;

    build_sample();
    write_built();
    assert_ok(mglu_file_open(scratch(FILE_NAME), 0, &file));
    assert_string_equal(mglu_file_layer_at(file, 0), "blk.0");
    mglu_file_close(&file);
    assert_refused_when_cut(FILE_NAME, built.bytes, built.size);
}

static void a_flipped_bit_in_the_header_is_refused_or_harmless(void **state)
{
    build_sample();
    assert_harmless_when_flipped(FILE_NAME, built.bytes, built.size, places[LAST_OFFSET] + 8, MGLU_ERROR_UNSUPPORTED);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_scratch, remove_scratch)
    const struct CMUnitTest tests[] = {
        TEST(every_broken_field_is_named),
        TEST(a_huge_count_is_refused),
        TEST(a_file_cut_short_anywhere_is_refused),
        TEST(a_flipped_bit_in_the_header_is_refused_or_harmless),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
