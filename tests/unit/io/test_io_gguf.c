/* SPDX-License-Identifier: MIT */
#include "tests/unit/io/gguf_bytes.h"
#include "tests/unit/io/support.h"

#include <mglu/pack.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* What is read of GGUF files that are right: names, values, activations. */

static struct gguf_bytes built;

static void write_model(const char *architecture, const struct gguf_tensor *tensors, size_t count)
{
    gguf_begin(&built, count, architecture ? 1 : 0);
    if (architecture)
        gguf_entry(&built, "general.architecture", architecture);
    gguf_tensors(&built, tensors, count);
    write_bytes(scratch("m.gguf"), built.bytes, built.size);
}

/* The data of a tensor in `built`. */
static const unsigned char *data_of(const struct gguf_tensor *tensors, size_t count, size_t index)
{
    size_t end = built.size;

    for (size_t i = count; i-- > index;)
        end = (end - gguf_tensor_bytes(&tensors[i])) / 32 * 32;
    return built.bytes + end;
}

static double half_value(const unsigned char *bytes)
{
    int bits = bytes[0] | bytes[1] << 8, exponent = bits >> 10 & 31, fraction = bits & 1023;
    double magnitude = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);

    return bits >> 15 ? -magnitude : magnitude;
}

/* Element `index` of a tensor, in double precision and without the library. */
static double element(uint32_t type, const unsigned char *data, size_t index)
{
    const unsigned char *block = data + index / 32 * (type == GGML_Q8_0 ? 34 : 18);
    size_t column = index % 32;
    uint32_t bits = 0;
    float value;

    switch (type) {
    case GGML_F16:
        return half_value(data + 2 * index);
    case GGML_Q8_0:
        return half_value(block) * (signed char)block[2 + column];
    case GGML_Q4_0:
        return half_value(block) * ((column < 16 ? block[2 + column] & 15 : block[2 + column - 16] >> 4) - 8);
    case GGML_BF16:
        memcpy((unsigned char *)&bits + 2, data + 2 * index, 2);
        break;
    default:
        memcpy(&bits, data + 4 * index, 4);
    }
    memcpy(&value, &bits, sizeof value);
    return (double)value;
}

/* Asserts that rows of a matrix of the library are those of a tensor from element `first` on. */
static void assert_values(const mglu_array *array, int64_t rows, int64_t columns, uint32_t type,
                          const unsigned char *data, size_t first)
{
    float *values = malloc((size_t)(rows * columns) * sizeof *values);
    void *packed = malloc(mglu_packed_weight_size(array->dtype, rows, columns));
    void *scales = malloc(mglu_packed_scale_size(array->dtype, rows, columns) + 1);

    assert_true(values && packed && scales);
    assert_ok(mglu_pack_weights(array, rows, columns, array->dtype, 0, packed, scales));
    assert_ok(mglu_unpack_weights(packed, mglu_dtype_is_quantised(array->dtype) ? scales : NULL, array->dtype, rows,
                                  columns, MGLU_DTYPE_F32, values));
    for (size_t i = 0; i < (size_t)(rows * columns); i++)
        if ((double)values[i] != element(type, data, first + i))
            fail_msg("type %u, element %zu: %g, not %g", type, i, (double)values[i], element(type, data, first + i));
    free(values);
    free(packed);
    free(scales);
}

struct layer {
    mglu_file *file;
    mglu_weights_desc weights;
    mglu_layer_desc desc;
    int has_activation;
};

static const struct layer new_layer = {.weights.struct_size = sizeof(mglu_weights_desc),
                                       .desc.struct_size = sizeof(mglu_layer_desc)};

static void open_layer(struct layer *layer, const char *prefix, uint32_t flags)
{
    *layer = new_layer;
    assert_ok(mglu_file_open(scratch("m.gguf"), flags, &layer->file));
    assert_ok(mglu_file_layer(layer->file, prefix, &layer->weights, &layer->desc, &layer->has_activation));
}

static void every_type_has_the_values_of_the_file(void **state)
{
    static const struct {
        uint32_t type;
        mglu_dtype dtype;
        int64_t h, d;
    } cases[] = {
        {GGML_F32, MGLU_DTYPE_F32, 3, 5},
        {GGML_F16, MGLU_DTYPE_F16, 33, 7},
        {GGML_BF16, MGLU_DTYPE_BF16, 1, 2},
        {GGML_Q8_0, MGLU_DTYPE_Q8_0, 96, 32},
        {GGML_Q4_0, MGLU_DTYPE_Q4_0, 32, 64},
        {GGML_Q8_0, MGLU_DTYPE_Q8_0, 32, 2112}, /* more blocks than are read at once */
    };

    for (size_t i = 0; i < COUNT(cases); i++)
        for (uint32_t flags = 0; flags <= MGLU_FILE_MMAP; flags += MGLU_FILE_MMAP) {
            uint64_t h = (uint64_t)cases[i].h, d = (uint64_t)cases[i].d;
            const struct gguf_tensor tensors[] = {
                {"token_embd.weight", GGML_Q6_K, 2, {256, 3}},
                {"blk.12.ffn_down.weight", cases[i].type, 2, {d, h}},
                {"blk.12.ffn_norm.weight", GGML_F32, 1, {h}},
                {"blk.12.ffn_gate.weight", cases[i].type, 2, {h, d}},
                {"blk.12.ffn_up.weight", cases[i].type, 2, {h, d}},
                {"blk.12.ffn_up.bias", GGML_F32, 1, {d}},
            };
            struct layer layer;

            write_model("llama", tensors, COUNT(tensors));
            open_layer(&layer, "blk.12", flags);
            assert_int_equal(layer.weights.kind, MGLU_KIND_PLAIN);
            assert_int_equal(layer.weights.dtype, cases[i].dtype);
            assert_int_equal(layer.weights.hidden_size, h);
            assert_int_equal(layer.weights.intermediate_size, d);
            assert_int_equal(layer.weights.output_size, h);
            assert_values(&layer.weights.weight, (int64_t)d, (int64_t)h, cases[i].type, data_of(tensors, 6, 3), 0);
            assert_values(&layer.weights.value_weight, (int64_t)d, (int64_t)h, cases[i].type, data_of(tensors, 6, 4),
                          0);
            assert_values(&layer.weights.down, (int64_t)h, (int64_t)d, cases[i].type, data_of(tensors, 6, 1), 0);
            assert_memory_equal(layer.weights.value_bias.data, data_of(tensors, 6, 5), 4 * d);
            assert_null(layer.weights.gate_bias.data);
            assert_null(mglu_file_layer_at(layer.file, 1));
            mglu_file_close(&layer.file);
        }
}

/* E layers of a stack, and the expert that sees every token. */
static void a_stack_of_experts_is_a_layer_for_each(void **state)
{
    static const struct gguf_tensor tensors[] = {
        {"blk.0.ffn_gate_exps.weight", GGML_Q4_0, 3, {32, 32, 3}},
        {"blk.0.ffn_up_exps.weight", GGML_Q4_0, 3, {32, 32, 3}},
        {"blk.0.ffn_down_exps.weight", GGML_Q4_0, 3, {32, 64, 3}},
        {"blk.0.ffn_down_exps.bias", GGML_F32, 2, {64, 3}},
        {"blk.0.ffn_gate_inp.weight", GGML_F32, 2, {32, 3}},
        {"blk.0.ffn_gate_shexp.weight", GGML_F16, 2, {32, 8}},
        {"blk.0.ffn_up_shexp.weight", GGML_F16, 2, {32, 8}},
        {"blk.0.ffn_down_shexp.weight", GGML_F16, 2, {8, 32}},
    };
    struct layer layer;

    write_model("qwen2moe", tensors, COUNT(tensors));
    for (int expert = 0; expert < 3; expert++) {
        char prefix[40];

        snprintf(prefix, sizeof prefix, "blk.0.experts.%d", expert);
        open_layer(&layer, prefix, 0);
        assert_string_equal(mglu_file_layer_at(layer.file, (size_t)expert), prefix);
        assert_values(&layer.weights.weight, 32, 32, GGML_Q4_0, data_of(tensors, 8, 0), (size_t)expert * 1024);
        assert_values(&layer.weights.value_weight, 32, 32, GGML_Q4_0, data_of(tensors, 8, 1), (size_t)expert * 1024);
        assert_values(&layer.weights.down, 64, 32, GGML_Q4_0, data_of(tensors, 8, 2), (size_t)expert * 2048);
        assert_memory_equal(layer.weights.down_bias.data, data_of(tensors, 8, 3) + expert * 256, 256);
        mglu_file_close(&layer.file);
    }
    open_layer(&layer, "blk.0.shared_expert", 0);
    assert_values(&layer.weights.weight, 8, 32, GGML_F16, data_of(tensors, 8, 5), 0);
    assert_null(mglu_file_layer_at(layer.file, 4));
    mglu_file_close(&layer.file);
}

/* phi3 and chatglm: ffn_up has the rows of the gate, then those of the value. */
static void a_fused_matrix_is_the_gate_and_then_the_value(void **state)
{
    static const struct gguf_tensor tensors[] = {
        {"blk.0.ffn_up.weight", GGML_Q8_0, 2, {32, 64}},
        {"blk.0.ffn_up.bias", GGML_F32, 1, {64}},
        {"blk.0.ffn_down.weight", GGML_Q8_0, 2, {32, 32}},
    };
    struct layer layer;

    write_model("phi3", tensors, COUNT(tensors));
    open_layer(&layer, "blk.0", 0);
    assert_int_equal(layer.weights.intermediate_size, 32);
    assert_values(&layer.weights.weight, 32, 32, GGML_Q8_0, data_of(tensors, 3, 0), 0);
    assert_values(&layer.weights.value_weight, 32, 32, GGML_Q8_0, data_of(tensors, 3, 0), 1024);
    assert_memory_equal(layer.weights.gate_bias.data, data_of(tensors, 3, 1), 128);
    assert_memory_equal(layer.weights.value_bias.data, data_of(tensors, 3, 1) + 128, 128);
    mglu_file_close(&layer.file);
}

static const struct gguf_tensor small_layer[] = {
    {"blk.0.ffn_gate.weight", GGML_F16, 2, {3, 2}},
    {"blk.0.ffn_up.weight", GGML_F16, 2, {3, 2}},
    {"blk.0.ffn_down.weight", GGML_F16, 2, {2, 3}},
};

static void the_architecture_names_the_activation_or_there_is_none(void **state)
{
    static const struct {
        const char *architecture;
        int known;
        mglu_activation activation;
    } cases[] = {
        {"llama", 1, MGLU_ACTIVATION_SILU},      {"qwen2", 1, MGLU_ACTIVATION_SILU},
        {"mistral3", 1, MGLU_ACTIVATION_SILU},   {"phi3", 1, MGLU_ACTIVATION_SILU},
        {"gemma", 1, MGLU_ACTIVATION_GELU_TANH}, {"gemma2", 1, MGLU_ACTIVATION_GELU_TANH},
        {"gemma3n", 0, MGLU_ACTIVATION_SILU},    {"gpt-oss", 0, MGLU_ACTIVATION_SILU},
        {"Llama", 0, MGLU_ACTIVATION_SILU},      {NULL, 0, MGLU_ACTIVATION_SILU},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct layer layer;

        write_model(cases[i].architecture, small_layer, COUNT(small_layer));
        open_layer(&layer, "blk.0", 0);
        assert_int_equal(layer.has_activation, cases[i].known);
        if (cases[i].known)
            assert_int_equal(layer.desc.activation, cases[i].activation);
        mglu_file_close(&layer.file);
    }
}

static void metadata_are_the_texts_of_the_file(void **state)
{
    mglu_file *file;

    gguf_begin(&built, COUNT(small_layer), 5);
    gguf_entry(&built, "general.architecture", "martian");
    gguf_entry(&built, "general.name", "small");
    gguf_entry(&built, "general.description", "");
    gguf_entry(&built, "mglu.activation", "relu");
    gguf_entry(&built, "tokenizer.ggml.model", "gpt2");
    gguf_tensors(&built, small_layer, COUNT(small_layer));
    write_bytes(scratch("m.gguf"), built.bytes, built.size);
    assert_ok(mglu_file_open(scratch("m.gguf"), 0, &file));
    assert_string_equal(mglu_file_metadata(file, "general.name"), "small");
    assert_string_equal(mglu_file_metadata(file, "mglu.activation"), "relu");
    assert_null(mglu_file_metadata(file, "general.description"));
    assert_null(mglu_file_metadata(file, "tokenizer.ggml.model"));
    assert_string_equal(mglu_file_metadata_key(file, 2), "mglu.activation");
    assert_null(mglu_file_metadata_key(file, 3));
    mglu_file_close(&file);
}

/* Version 2 differs from 3 in nothing that little-endian files show. */
static void version_2_is_read(void **state)
{
    struct layer layer;

    write_model("llama", small_layer, COUNT(small_layer));
    built.bytes[4] = 2;
    write_bytes(scratch("m.gguf"), built.bytes, built.size);
    open_layer(&layer, "blk.0", 0);
    mglu_file_close(&layer.file);
}

static void packing_gives_the_same_layers_in_safetensors(void **state)
{
    static const struct gguf_tensor tensors[] = {
        {"blk.3.ffn_gate.weight", GGML_Q8_0, 2, {32, 64}},
        {"blk.3.ffn_up.weight", GGML_Q8_0, 2, {32, 64}},
        {"blk.3.ffn_down.weight", GGML_Q8_0, 2, {64, 32}},
    };
    struct layer before, after = new_layer;

    write_model("gemma", tensors, COUNT(tensors));
    assert_ok(mglu_file_pack(scratch("m.gguf"), scratch("m.safetensors"), NULL));
    open_layer(&before, "blk.3", 0);
    assert_ok(mglu_file_open(scratch("m.safetensors"), 0, &after.file));
    assert_ok(mglu_file_layer(after.file, "blk.3", &after.weights, &after.desc, &after.has_activation));
    assert_true(after.has_activation);
    assert_int_equal(after.desc.activation, MGLU_ACTIVATION_GELU_TANH);
    assert_int_equal(after.weights.dtype, MGLU_DTYPE_Q8_0);
    assert_memory_equal(after.weights.weight.data, before.weights.weight.data, 2048);
    assert_memory_equal(after.weights.weight.scales, before.weights.weight.scales, 128);
    assert_memory_equal(after.weights.value_weight.data, before.weights.value_weight.data, 2048);
    assert_memory_equal(after.weights.down.data, before.weights.down.data, 2048);
    assert_memory_equal(after.weights.down.scales, before.weights.down.scales, 128);
    mglu_file_close(&before.file);
    mglu_file_close(&after.file);
}

static void a_scale_that_is_not_finite_is_not_packed(void **state)
{
    static const struct gguf_tensor tensors[] = {
        {"blk.3.ffn_gate.weight", GGML_Q8_0, 2, {32, 32}},
        {"blk.3.ffn_up.weight", GGML_Q8_0, 2, {32, 32}},
        {"blk.3.ffn_down.weight", GGML_Q8_0, 2, {32, 32}},
    };
    const unsigned char infinite[] = {0x00, 0x7c};

    write_model("llama", tensors, COUNT(tensors));
    memcpy(built.bytes + built.size - 34, infinite, sizeof infinite); /* of the last block */
    write_bytes(scratch("m.gguf"), built.bytes, built.size);
    assert_status(mglu_file_pack(scratch("m.gguf"), scratch("m.safetensors"), NULL), MGLU_ERROR_NONFINITE);
    assert_error_says("tensor 'blk.3.down_proj.weight_scale': element [31, 0] is not finite");
    assert_int_equal(scratch_count(), 1);
}

/* Quants and scales alternate in the file. */
static void pieces_of_any_length_are_read(void **state)
{
    static const struct gguf_tensor tensors[] = {
        {"blk.0.ffn_up.weight", GGML_Q8_0, 2, {32, 128}}, /* fused */
        {"blk.0.ffn_down.weight", GGML_Q8_0, 2, {64, 32}},
    };
    mglu_file *whole, *header;
    unsigned char piece[100];

    write_model("phi3", tensors, COUNT(tensors));
    assert_ok(mglu_file_open(scratch("m.gguf"), 0, &whole));
    assert_ok(mglu_file_open(scratch("m.gguf"), MGLU_FILE_HEADER, &header));
    assert_int_equal(mglu_file_tensor_count(whole), 6);
    for (size_t i = 0; i < 6; i++) {
        const mglu_file_tensor *tensor = mglu_file_tensor_at(whole, i);

        for (size_t first = 0, length = 1; first < tensor->bytes; first += length, length = length % 97 + 3) {
            length = length < tensor->bytes - first ? length : tensor->bytes - first;
            assert_ok(mglu_file_read(header, mglu_file_tensor_at(header, i), first, piece, length));
            assert_memory_equal(piece, (const unsigned char *)tensor->data + first, length);
        }
    }
    mglu_file_close(&whole);
    mglu_file_close(&header);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_scratch, remove_scratch)
    const struct CMUnitTest tests[] = {
        TEST(every_type_has_the_values_of_the_file),
        TEST(a_stack_of_experts_is_a_layer_for_each),
        TEST(a_fused_matrix_is_the_gate_and_then_the_value),
        TEST(the_architecture_names_the_activation_or_there_is_none),
        TEST(metadata_are_the_texts_of_the_file),
        TEST(version_2_is_read),
        TEST(packing_gives_the_same_layers_in_safetensors),
        TEST(a_scale_that_is_not_finite_is_not_packed),
        TEST(pieces_of_any_length_are_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
