/* SPDX-License-Identifier: MIT */
#include "tests/unit/io/gguf_bytes.h"
#include "tests/unit/io/hostile.h"

#define FILE_NAME "hostile.gguf"

/* Layers of GGUF files that are not read, or would be computed wrongly. */

static struct gguf_bytes built;

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
static const struct {
    const char *rule, *architecture;
    struct gguf_tensor tensors[5];
    mglu_status status;
    const char *says;
} unknown[] = {
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

/* A file of these tensors; `architecture` NULL: not named. */
static void write_tensors(const char *architecture, const struct gguf_tensor *tensors, size_t most)
{
    size_t count = 0;

    while (count < most && tensors[count].name)
        count++;
    gguf_begin(&built, count, architecture ? 1 : 0);
    if (architecture)
        gguf_entry(&built, "general.architecture", architecture);
    gguf_tensors(&built, tensors, count);
    write_bytes(scratch(FILE_NAME), built.bytes, built.size);
}

static void layers_that_are_not_known_are_refused_by_name(void **state)
{
    for (size_t i = 0; i < COUNT(unknown); i++) {
        write_tensors(unknown[i].architecture, unknown[i].tensors, COUNT(unknown[i].tensors));
        assert_refused(FILE_NAME, unknown[i].rule, unknown[i].status, unknown[i].says);
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
        write_bytes(scratch(FILE_NAME), built.bytes, built.size);
        assert_refused(FILE_NAME, cases[i].rule, cases[i].status, cases[i].says);
    }
}

static void a_part_of_a_split_model_is_refused(void **state)
{
    static const struct gguf_tensor layer[] = {LAYER};
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

        gguf_begin(&built, COUNT(layer), 1);
        gguf_key(&built, "split.count", cases[i].type);
        gguf_put(&built, cases[i].parts, 2);
        gguf_tensors(&built, layer, COUNT(layer));
        write_bytes(scratch(FILE_NAME), built.bytes, built.size);
        if (cases[i].status != MGLU_OK) {
            assert_refused(FILE_NAME, "split", cases[i].status, cases[i].says);
            continue;
        }
        assert_ok(mglu_file_open(scratch(FILE_NAME), 0, &file));
        mglu_file_close(&file);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_scratch, remove_scratch)
    const struct CMUnitTest tests[] = {
        TEST(layers_that_are_not_known_are_refused_by_name),
        TEST(metadata_that_contradict_the_tensors_are_refused),
        TEST(a_part_of_a_split_model_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
