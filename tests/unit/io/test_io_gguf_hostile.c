/* SPDX-License-Identifier: MIT */
#include "tests/unit/io/gguf_bytes.h"
#include "tests/unit/io/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

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
    write_bytes(scratch("hostile.gguf"), built.bytes, built.size);
}

static void patch(size_t place, uint64_t value, size_t width)
{
    for (size_t i = 0; i < width; i++)
        built.bytes[place + i] = (unsigned char)(value >> (8 * i) & 0xff);
}

/* Both ways to open the file in the folder fail alike, with one line that names it. */
static void assert_refused(const char *rule, mglu_status expected, const char *says)
{
    for (uint32_t flags = 0; flags <= MGLU_FILE_MMAP; flags += MGLU_FILE_MMAP) {
        mglu_file *file;
        mglu_status status = mglu_file_open(scratch("hostile.gguf"), flags, &file);

        mglu_file_close(&file);
        if (status != expected || !strstr(mglu_last_error(), "hostile.gguf: ") || !strstr(mglu_last_error(), says) ||
            strchr(mglu_last_error(), '\n'))
            fail_msg("%s: %s (%s), expected %s with '%s'", rule, mglu_status_string(status), mglu_last_error(),
                     mglu_status_string(expected), says);
    }
}

static void use_everything(const mglu_file *file)
{
    mglu_weights_desc weights = {.struct_size = sizeof weights};
    mglu_layer_desc layer = {.struct_size = sizeof layer};
    volatile unsigned char sum = 0;

    for (size_t i = 0; i < mglu_file_tensor_count(file); i++) {
        const mglu_file_tensor *tensor = mglu_file_tensor_at(file, i);

        for (size_t k = 0; k < tensor->bytes; k++)
            sum = (unsigned char)(sum + ((const unsigned char *)tensor->data)[k]);
        assert_ptr_equal(mglu_file_find(file, tensor->name), tensor);
    }
    for (size_t i = 0; mglu_file_layer_at(file, i); i++)
        if (mglu_file_layer(file, mglu_file_layer_at(file, i), &weights, &layer, NULL) != MGLU_OK)
            assert_non_null(strstr(mglu_last_error(), "hostile.gguf: "));
}

static void every_broken_field_is_named(void **state)
{
    static const struct {
        const char *rule;
        enum field field;
        size_t width;
        uint64_t value;
        mglu_status status;
        const char *says;
    } cases[] = {
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

    for (size_t i = 0; i < COUNT(cases); i++) {
        build_sample();
        patch(places[cases[i].field], cases[i].value, cases[i].width);
        write_built();
        assert_refused(cases[i].rule, cases[i].status, cases[i].says);
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
            assert_refused("huge count", MGLU_ERROR_CORRUPT_FILE, "");
        }
}

static void a_file_cut_short_anywhere_is_refused(void **state)
{
    mglu_file *file;
    size_t size;

    build_sample();
    size = built.size;
    write_built();
    assert_ok(mglu_file_open(scratch("hostile.gguf"), 0, &file));
    assert_string_equal(mglu_file_layer_at(file, 0), "blk.0");
    mglu_file_close(&file);
    for (built.size = 0; built.size < size; built.size++) {
        write_built();
        assert_refused("cut short", MGLU_ERROR_CORRUPT_FILE, "");
    }
}

static void a_flipped_bit_in_the_header_is_refused_or_harmless(void **state)
{
    size_t header;

    build_sample();
    header = places[LAST_OFFSET] + 8;
    for (size_t bit = 0; bit < 8 * header; bit++) {
        mglu_file *file;
        mglu_status status;

        built.bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        write_built();
        status = mglu_file_open(scratch("hostile.gguf"), 0, &file);
        if (status == MGLU_OK)
            use_everything(file);
        else if (status != MGLU_ERROR_CORRUPT_FILE && status != MGLU_ERROR_UNSUPPORTED)
            fail_msg("bit %zu: %s", bit, mglu_status_string(status));
        mglu_file_close(&file);
        built.bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
}

#define GATE(type, ...)                                                                                                \
    {                                                                                                                  \
        "blk.0.ffn_gate.weight", type, 2,                                                                              \
        {                                                                                                              \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }
#define UP(type, ...)                                                                                                  \
    {                                                                                                                  \
        "blk.0.ffn_up.weight", type, 2,                                                                                \
        {                                                                                                              \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }
#define DOWN(type, ...)                                                                                                \
    {                                                                                                                  \
        "blk.0.ffn_down.weight", type, 2,                                                                              \
        {                                                                                                              \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }
#define LAYER GATE(GGML_F16, 32, 32), UP(GGML_F16, 32, 32), DOWN(GGML_F16, 32, 32)
#define WEIGHT                                                                                                         \
    {                                                                                                                  \
        "blk.0.ffn_mglu.weight", GGML_F16, 2,                                                                          \
        {                                                                                                              \
            32, 2                                                                                                      \
        }                                                                                                              \
    }
#define MASK                                                                                                           \
    {                                                                                                                  \
        "blk.0.ffn_mglu.mask", GGML_I8, 4,                                                                             \
        {                                                                                                              \
            4, 1, 1, 2                                                                                                 \
        }                                                                                                              \
    }

/* Files that are right, but whose layers would be computed wrongly. */
static void layers_that_are_not_known_are_refused_by_name(void **state)
{
    static const struct {
        const char *rule, *architecture;
        struct gguf_tensor tensors[5];
        mglu_status status;
        const char *says;
    } cases[] = {
        {"another type",
         "llama",
         {GATE(GGML_Q6_K, 256, 2), UP(GGML_Q6_K, 256, 2), DOWN(GGML_Q6_K, 256, 2)},
         MGLU_ERROR_UNSUPPORTED,
         "tensor 'blk.0.ffn_gate.weight': type Q6_K is not read: convert"},
        {"integers",
         "llama",
         {GATE(GGML_I8, 4, 2), UP(GGML_I8, 4, 2), DOWN(GGML_I8, 2, 4)},
         MGLU_ERROR_UNSUPPORTED,
         "type I8 is not read"},
        {"two types",
         "llama",
         {GATE(GGML_Q8_0, 32, 32), UP(GGML_Q8_0, 32, 32), DOWN(GGML_F16, 32, 32)},
         MGLU_ERROR_UNSUPPORTED,
         "one layer needs one type"},
        {"no value",
         "llama",
         {GATE(GGML_F16, 32, 32), DOWN(GGML_F16, 32, 32)},
         MGLU_ERROR_CORRUPT_FILE,
         "no 'blk.0.ffn_up.weight' beside it"},
        {"no down-projection",
         "llama",
         {GATE(GGML_F16, 32, 32), UP(GGML_F16, 32, 32)},
         MGLU_ERROR_CORRUPT_FILE,
         "no 'blk.0.ffn_down.weight' beside it"},
        {"no gate",
         "gpt2",
         {UP(GGML_F16, 32, 32), DOWN(GGML_F16, 32, 32)},
         MGLU_ERROR_UNSUPPORTED,
         "not a gated linear unit that mglu knows (architecture: gpt2)"},
        {"no gate, no architecture",
         NULL,
         {UP(GGML_F16, 32, 32), DOWN(GGML_F16, 32, 32)},
         MGLU_ERROR_UNSUPPORTED,
         "(architecture: not named)"},
        {"fused, odd",
         "phi3",
         {UP(GGML_F16, 32, 5), DOWN(GGML_F16, 2, 32)},
         MGLU_ERROR_CORRUPT_FILE,
         "5 rows, expected those of gate and value"},
        {"a vector as matrix",
         "llama",
         {GATE(GGML_F16, 32, 32), UP(GGML_F16, 32, 32), {"blk.0.ffn_down.weight", GGML_F16, 1, {32}}},
         MGLU_ERROR_CORRUPT_FILE,
         "1 dimensions, expected 2"},
        {"quantised bias",
         "llama",
         {LAYER, {"blk.0.ffn_up.bias", GGML_Q8_0, 1, {32}}},
         MGLU_ERROR_UNSUPPORTED,
         "type Q8_0, expected F32, F16 or BF16"},
        {"bias alone",
         "llama",
         {LAYER, {"blk.1.ffn_up.bias", GGML_F32, 1, {32}}},
         MGLU_ERROR_CORRUPT_FILE,
         "no weight for it"},
        {"a norm inside the layer",
         "bitnet",
         {LAYER, {"blk.0.ffn_sub_norm.weight", GGML_F32, 1, {32}}},
         MGLU_ERROR_UNSUPPORTED,
         "'blk.0.ffn_sub_norm.weight': unknown part"},
        {"a scale",
         "bitnet",
         {LAYER, {"blk.0.ffn_gate.scale", GGML_F32, 1, {1}}},
         MGLU_ERROR_UNSUPPORTED,
         "'blk.0.ffn_gate.scale': unknown part"},
        {"fused experts",
         "llama",
         {{"blk.0.ffn_gate_up_exps.weight", GGML_F32, 3, {32, 2, 2}}},
         MGLU_ERROR_UNSUPPORTED,
         "'blk.0.ffn_gate_up_exps.weight': unknown part"},
        {"one expert as matrix",
         "llama",
         {{"blk.0.ffn_gate_exps.weight", GGML_F32, 2, {32, 2}}},
         MGLU_ERROR_CORRUPT_FILE,
         "2 dimensions, expected 3"},
        {"experts of different numbers",
         "llama",
         {{"blk.0.ffn_gate_exps.weight", GGML_F32, 3, {3, 2, 2}},
          {"blk.0.ffn_up_exps.weight", GGML_F32, 3, {3, 2, 3}},
          {"blk.0.ffn_down_exps.weight", GGML_F32, 3, {2, 3, 2}}},
         MGLU_ERROR_CORRUPT_FILE,
         "2 experts, but"},
        {"no layers",
         "clip",
         {{"v.blk.0.ffn_gate.weight", GGML_F32, 2, {3, 2}}, {"x", GGML_F32, 1, {1}}},
         MGLU_ERROR_UNSUPPORTED,
         "2 tensors without feed-forward layers: no 'blk.N.ffn_up.weight' (architecture: clip)"},
        {"twice", "llama", {LAYER, UP(GGML_F16, 32, 32)}, MGLU_ERROR_CORRUPT_FILE, "ffn_up.weight': appears twice"},
        {"masks of another type",
         "mglu",
         {WEIGHT, {"blk.0.ffn_mglu.mask", GGML_F32, 4, {4, 1, 1, 2}}},
         MGLU_ERROR_CORRUPT_FILE,
         "expected I8 of [d, groups, masks, 4]"},
        {"masks of 8 bytes",
         "mglu",
         {WEIGHT, {"blk.0.ffn_mglu.mask", GGML_I8, 4, {8, 1, 1, 2}}},
         MGLU_ERROR_CORRUPT_FILE,
         "expected I8 of [d, groups, masks, 4]"},
        {"masks of rank 3",
         "mglu",
         {WEIGHT, {"blk.0.ffn_mglu.mask", GGML_I8, 3, {4, 1, 2}}},
         MGLU_ERROR_CORRUPT_FILE,
         "3 dimensions, expected 4"},
        {"no masks", "mglu", {WEIGHT}, MGLU_ERROR_CORRUPT_FILE, "no 'blk.0.ffn_mglu.mask' beside it"},
        {"masks alone", "mglu", {MASK}, MGLU_ERROR_CORRUPT_FILE, "no 'blk.0.ffn_mglu.weight' beside it"},
        {"masked and plain",
         "mglu",
         {WEIGHT, MASK, GATE(GGML_F16, 32, 2)},
         MGLU_ERROR_CORRUPT_FILE,
         "the block has a masked layer as well"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        size_t count = 0;

        while (count < COUNT(cases[i].tensors) && cases[i].tensors[count].name)
            count++;
        gguf_begin(&built, count, cases[i].architecture ? 1 : 0);
        if (cases[i].architecture)
            gguf_entry(&built, "general.architecture", cases[i].architecture);
        gguf_tensors(&built, cases[i].tensors, count);
        write_built();
        assert_refused(cases[i].rule, cases[i].status, cases[i].says);
    }
}

static const struct gguf_tensor two_layers[] = {
    {"blk.0.ffn_mglu.weight", GGML_F16, 2, {32, 2}}, {"blk.0.ffn_mglu.mask", GGML_I8, 4, {4, 1, 1, 2}},
    {"blk.1.ffn_mglu.weight", GGML_F16, 2, {32, 2}}, {"blk.1.ffn_mglu.mask", GGML_I8, 4, {4, 1, 1, 2}},
    {"blk.1.ffn_down.weight", GGML_F16, 2, {2, 32}},
};

static void metadata_that_contradict_the_tensors_are_refused(void **state)
{
    char long_name[300];
    const struct {
        const char *rule, *first, *first_value, *second, *second_value;
        mglu_status status;
        const char *says;
    } cases[] = {
        {"layers of one name", "mglu.layer.0", "a.up_proj", "mglu.layer.1", "a.up_proj", MGLU_ERROR_CORRUPT_FILE,
         "two layers have this name"},
        {"a long name", "mglu.layer.0", long_name, "mglu.layer.1", "a.up_proj", MGLU_ERROR_CORRUPT_FILE,
         "mglu.layer.0: longer than 255 bytes"},
        {"no place for the down-projection", "mglu.layer.0", "a", "mglu.layer.1", "b", MGLU_ERROR_CORRUPT_FILE,
         "does not end in 'up_proj'"},
        {"a key twice", "mglu.activation", "silu", "mglu.activation", "relu", MGLU_ERROR_CORRUPT_FILE,
         "'mglu.activation' appears twice"},
    };

    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    for (size_t i = 0; i < COUNT(cases); i++) {
        gguf_begin(&built, COUNT(two_layers), 2);
        gguf_entry(&built, cases[i].first, cases[i].first_value);
        gguf_entry(&built, cases[i].second, cases[i].second_value);
        gguf_tensors(&built, two_layers, COUNT(two_layers));
        write_built();
        assert_refused(cases[i].rule, cases[i].status, cases[i].says);
    }
}

static void a_part_of_a_split_model_is_refused(void **state)
{
    static const struct {
        uint32_t type;
        uint64_t parts;
        mglu_status status;
        const char *says;
    } cases[] = {
        {GGUF_U16, 0, MGLU_OK, ""},
        {GGUF_U16, 1, MGLU_OK, ""},
        {GGUF_U16, 2, MGLU_ERROR_UNSUPPORTED, "one of 2 parts"},
        {GGUF_I16, 2, MGLU_ERROR_CORRUPT_FILE, "split.count: type 3, expected uint16"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        mglu_file *file;

        gguf_begin(&built, COUNT(sample), 1);
        gguf_key(&built, "split.count", cases[i].type);
        gguf_put(&built, cases[i].parts, 2);
        gguf_tensors(&built, sample, COUNT(sample));
        write_built();
        if (cases[i].status != MGLU_OK) {
            assert_refused("split", cases[i].status, cases[i].says);
            continue;
        }
        assert_ok(mglu_file_open(scratch("hostile.gguf"), 0, &file));
        mglu_file_close(&file);
    }
}

/* An array of 100 MB of bytes, in a file with gaps in place of them. */
static void a_header_of_more_than_100_MB_is_refused(void **state)
{
    gguf_begin(&built, 0, 1);
    gguf_key(&built, "a", GGUF_ARRAY);
    gguf_put(&built, GGUF_U8, 4);
    gguf_put(&built, 99999990, 8);
    write_built();
    assert_int_equal(truncate(scratch("hostile.gguf"), 110000000), 0);
    assert_refused("long array", MGLU_ERROR_CORRUPT_FILE, "only 99999951 bytes follow");
    gguf_begin(&built, 0, 1);
    gguf_entry(&built, "a", "");
    built.size -= 8;
    gguf_put(&built, 100000000, 8);
    write_built();
    assert_int_equal(truncate(scratch("hostile.gguf"), 110000000), 0);
    assert_refused("long text", MGLU_ERROR_CORRUPT_FILE, "longer than 100000000 bytes");
}

/* A file of `size` bytes: `built`, then `unit` again and again. */
static void write_long(const void *unit, size_t unit_bytes, size_t size)
{
    FILE *file = fopen(scratch("hostile.gguf"), "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(built.bytes, 1, built.size, file), built.size);
    for (size_t used = built.size; used + unit_bytes <= size; used += unit_bytes)
        assert_int_equal(fwrite(unit, 1, unit_bytes, file), unit_bytes);
    assert_int_equal(fclose(file), 0);
}

/* Experts of one weight each: very many layers from few bytes. */
static void a_stack_of_very_many_experts_is_refused(void **state)
{
    static const char *const parts[] = {"gate", "up", "down"};

    gguf_begin(&built, 3 * 12, 0);
    for (uint64_t i = 0; i < 3 * 12; i++) {
        char name[40];

        snprintf(name, sizeof name, "blk.%d.ffn_%s_exps.weight", (int)(i / 3), parts[i % 3]);
        gguf_info(&built, &(struct gguf_tensor){name, GGML_F16, 3, {1, 1, 4096}}, i * 8192);
    }
    gguf_align(&built);
    write_long("\0", 1, built.size + 3 * 12 * 8192);
    assert_refused("very many experts", MGLU_ERROR_UNSUPPORTED, "too many layers");
}

/* As many entries as the file has bytes for, but more than any real file has. */
static void more_entries_than_are_read_are_refused(void **state)
{
    static const struct {
        uint64_t tensors, texts;
        const char *says;
    } cases[] = {
        {65537, 0, "65537 tensors, at most 65536 are read"},
        {0, 65537, "65537 metadata entries, at most 65536 are read"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        gguf_begin(&built, cases[i].tensors, cases[i].texts);
        write_long("\1\0\0\0\0\0\0\0", 8, 2 << 20);
        assert_refused("many entries", MGLU_ERROR_CORRUPT_FILE, cases[i].says);
    }
}

static size_t peak_memory(void)
{
    struct rusage usage;

    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return (size_t)usage.ru_maxrss * 1024;
}

static double processor_seconds(void)
{
    struct timespec time;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* At most twice the file and 16 MB, a second for each megabyte. With sanitizers memory is not checked. */
static void a_hostile_header_is_cheap_to_refuse(void **state)
{
    enum { SIZE = 8 << 20 };
    static const struct {
        const char *name;
        uint64_t tensors, texts;
        const char *key; /* of an array of `type`, or NULL */
        uint32_t type;
        uint64_t count;
        const char *unit;
        size_t unit_bytes;
    } cases[] = {
        {"empty strings", 0, 1, "a", GGUF_STRING, 1 << 20, "\0\0\0\0\0\0\0\0", 8},
        {"empty arrays", 0, 1, "a", GGUF_ARRAY, 1 << 19, "\0\0\0\0\0\0\0\0\0\0\0\0", 12},
        {"nested arrays", 0, 1, "a", GGUF_ARRAY, 1, "\11\0\0\0\1\0\0\0\0\0\0\0", 12},
        {"many texts", 0, 65536, NULL, 0, 0, "\11\0\0\0\0\0\0\0general.a\10\0\0\0\1\0\0\0\0\0\0\0x", 30},
        {"many tensors", 65536, 0, NULL, 0, 0, "\1\0\0\0\0\0\0\0x\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 25},
    };
    size_t base = peak_memory();

    for (size_t i = 0; i < COUNT(cases); i++) {
        mglu_file *file;
        mglu_status status;
        double begin;

        gguf_begin(&built, cases[i].tensors, cases[i].texts);
        if (cases[i].key) {
            gguf_key(&built, cases[i].key, GGUF_ARRAY);
            gguf_put(&built, cases[i].type, 4);
            gguf_put(&built, cases[i].count, 8);
        }
        write_long(cases[i].unit, cases[i].unit_bytes, SIZE);
        begin = processor_seconds();
        status = mglu_file_open(scratch("hostile.gguf"), 0, &file);
        if (status != MGLU_ERROR_CORRUPT_FILE && status != MGLU_ERROR_UNSUPPORTED)
            fail_msg("%s: %s", cases[i].name, mglu_status_string(status));
        if (processor_seconds() - begin > SIZE >> 20)
            fail_msg("%s: %.1f s", cases[i].name, processor_seconds() - begin);
        if (!SANITIZED && peak_memory() - base > 2 * SIZE + (16 << 20))
            fail_msg("%s: %zu MB", cases[i].name, (peak_memory() - base) >> 20);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_scratch, remove_scratch)
    const struct CMUnitTest tests[] = {
        TEST(every_broken_field_is_named),
        TEST(a_huge_count_is_refused),
        TEST(a_file_cut_short_anywhere_is_refused),
        TEST(a_flipped_bit_in_the_header_is_refused_or_harmless),
        TEST(layers_that_are_not_known_are_refused_by_name),
        TEST(metadata_that_contradict_the_tensors_are_refused),
        TEST(a_part_of_a_split_model_is_refused),
        TEST(a_header_of_more_than_100_MB_is_refused),
        TEST(a_stack_of_very_many_experts_is_refused),
        TEST(more_entries_than_are_read_are_refused),
        TEST(a_hostile_header_is_cheap_to_refuse),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
