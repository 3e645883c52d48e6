/* SPDX-License-Identifier: MIT */
#include "tests/unit/io/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static mglu_file *open_ok(const char *path, uint32_t flags)
{
    mglu_file *file;

    assert_ok(mglu_file_open(path, flags, &file));
    return file;
}

static void tensors_are_listed_in_the_order_of_their_data(void **state)
{
    static const char header[] = "{\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[4,7]},"
                                 "\"__metadata__\":{\"format\":\"pt\",\"a key\":\"a value\"},"
                                 "\"a\":{\"data_offsets\":[0,4],\"shape\":[2,1],\"dtype\":\"F16\"}}   ";

    write_with_header(scratch("x"), header, 7);
    for (uint32_t flags = 0; flags <= MGLU_FILE_MMAP; flags += MGLU_FILE_MMAP) {
        mglu_file *file = open_ok(scratch("x"), flags);
        const mglu_file_tensor *first = mglu_file_tensor_at(file, 0), *second = mglu_file_tensor_at(file, 1);

        assert_int_equal(mglu_file_tensor_count(file), 2);
        assert_null(mglu_file_tensor_at(file, 2));
        assert_string_equal(first->name, "a");
        assert_int_equal(first->dtype, MGLU_FILE_F16);
        assert_int_equal(first->rank, 2);
        assert_int_equal(first->shape[0], 2);
        assert_int_equal(first->shape[1], 1);
        assert_int_equal(first->bytes, 4);
        assert_memory_equal(first->data, "\0\1\2\3", 4);
        assert_string_equal(second->name, "b");
        assert_memory_equal(second->data, "\4\5\6", 3);
        assert_ptr_equal(mglu_file_find(file, "b"), second);
        assert_null(mglu_file_find(file, "c"));
        assert_string_equal(mglu_file_metadata(file, "a key"), "a value");
        assert_null(mglu_file_metadata(file, "a"));
        assert_string_equal(mglu_file_metadata_key(file, 0), "format");
        assert_string_equal(mglu_file_metadata_key(file, 1), "a key");
        assert_null(mglu_file_metadata_key(file, 2));
        assert_string_equal(mglu_file_path(file), scratch("x"));
        mglu_file_close(&file);
        assert_null(file);
    }
}

static void odd_but_legal_headers_are_read(void **state)
{
    static const struct {
        const char *header;
        size_t data, tensors;
    } cases[] = {
        {"{}", 0, 0},
        {"{ } \n\t", 0, 0},
        {" \n{}", 0, 0},
        {"{\"__metadata__\":null}", 0, 0},
        {"{\"\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, 1},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1, 1},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":1,\"x\":2}}", 1, 1},
        {"{\"__metadata__\":{}}", 0, 0},
        {"{\"a\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[0,8]}}", 8, 1},
        {"{\"a\":{\"dtype\":\"I64\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, 1},
        {"{\"a\":{\"dtype\":\"U16\",\"shape\":[1,1,1,1,1,1,1,2],\"data_offsets\":[0,4]}}", 4, 1},
        {"{\"z\":{\"dtype\":\"U8\",\"shape\":[0,5],\"data_offsets\":[2,2]},"
         "\"y\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]},"
         "\"x\":{\"dtype\":\"BOOL\",\"shape\":[2],\"data_offsets\":[0,2]}}",
         4, 3},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"later\":[[[{\"x\":null}]]]}}", 1, 1},
        {"{\n  \"a}{\\\"\\\\\" : {\"dtype\" : \"U8\", \"shape\" : [ 1 ] , \"data_offsets\" : [0 , 1]}\n}", 1, 1},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        mglu_file *file;

        write_with_header(scratch("x"), cases[i].header, cases[i].data);
        file = open_ok(scratch("x"), 0);
        assert_int_equal(mglu_file_tensor_count(file), cases[i].tensors);
        mglu_file_close(&file);
    }
}

static void names_are_unescaped(void **state)
{
    mglu_file *file;

    write_with_header(scratch("x"),
                      "{\"a\\\"\\u00e4\\ud83d\\ude00\\n\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1);
    file = open_ok(scratch("x"), 0);
    assert_string_equal(mglu_file_tensor_at(file, 0)->name, "a\"\xc3\xa4\xf0\x9f\x98\x80\n");
    assert_non_null(mglu_file_find(file, "a\"\xc3\xa4\xf0\x9f\x98\x80\n"));
    mglu_file_close(&file);
}

/* Name and element size of every dtype: a tensor of four elements is read with exactly that many bytes. */
static void every_dtype_has_its_size(void **state)
{
    static const struct {
        mglu_file_dtype dtype;
        const char *name;
        size_t size, of_four; /* elements */
    } cases[] = {
        {MGLU_FILE_BOOL, "BOOL", 1, 4},
        {MGLU_FILE_U8, "U8", 1, 4},
        {MGLU_FILE_I8, "I8", 1, 4},
        {MGLU_FILE_I16, "I16", 2, 8},
        {MGLU_FILE_U16, "U16", 2, 8},
        {MGLU_FILE_F16, "F16", 2, 8},
        {MGLU_FILE_BF16, "BF16", 2, 8},
        {MGLU_FILE_I32, "I32", 4, 16},
        {MGLU_FILE_U32, "U32", 4, 16},
        {MGLU_FILE_F32, "F32", 4, 16},
        {MGLU_FILE_F64, "F64", 8, 32},
        {MGLU_FILE_I64, "I64", 8, 32},
        {MGLU_FILE_U64, "U64", 8, 32},
        {MGLU_FILE_C64, "C64", 8, 32},
        {MGLU_FILE_F8_E4M3, "F8_E4M3", 1, 4},
        {MGLU_FILE_F8_E5M2, "F8_E5M2", 1, 4},
        {MGLU_FILE_F8_E8M0, "F8_E8M0", 1, 4},
        {MGLU_FILE_F8_E4M3FNUZ, "F8_E4M3FNUZ", 1, 4},
        {MGLU_FILE_F8_E5M2FNUZ, "F8_E5M2FNUZ", 1, 4},
        {MGLU_FILE_F6_E2M3, "F6_E2M3", 0, 3},
        {MGLU_FILE_F6_E3M2, "F6_E3M2", 0, 3},
        {MGLU_FILE_F4, "F4", 0, 2},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        mglu_file *file;

        write_parts(scratch("x"), NULL, &(struct part){"a", cases[i].name, "2,2", NULL, cases[i].of_four}, 1);
        file = open_ok(scratch("x"), 0);
        assert_int_equal(mglu_file_find(file, "a")->dtype, cases[i].dtype);
        assert_string_equal(mglu_file_dtype_name(cases[i].dtype), cases[i].name);
        assert_int_equal(mglu_file_dtype_size(cases[i].dtype), cases[i].size);
        mglu_file_close(&file);
    }
    assert_null(mglu_file_dtype_name((mglu_file_dtype)22));
    assert_int_equal(mglu_file_dtype_size((mglu_file_dtype)-1), 0);
}

static void other_than_a_regular_file_is_an_io_error_with_its_reason(void **state)
{
    mglu_file *file = (mglu_file *)state;

    assert_status(mglu_file_open(scratch("absent"), 0, &file), MGLU_ERROR_IO);
    assert_null(file);
    assert_error_says("absent: cannot open: No such file");
    assert_status(mglu_file_open(test_data("."), 0, &file), MGLU_ERROR_IO);
    assert_error_says("not a regular file");
    assert_int_equal(mkfifo(scratch("pipe"), 0600), 0);
    assert_status(mglu_file_open(scratch("pipe"), 0, &file), MGLU_ERROR_IO);
    assert_error_says("pipe: not a regular file");
}

static void wrong_arguments_are_refused(void **state)
{
    mglu_file *file;

    assert_status(mglu_file_open(NULL, 0, &file), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_file_open("x", 0, NULL), MGLU_ERROR_INVALID_ARGUMENT);
    assert_status(mglu_file_open("x", 0x20, &file), MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("flags 0x20");
    assert_status(mglu_file_open("x", MGLU_FILE_FUSED_HALVES | MGLU_FILE_FUSED_INTERLEAVED, &file),
                  MGLU_ERROR_INVALID_ARGUMENT);
    assert_error_says("either halves or interleaved");
    file = NULL;
    mglu_file_close(&file);
    mglu_file_close(NULL);
    assert_null(mglu_file_path(NULL));
    assert_int_equal(mglu_file_tensor_count(NULL), 0);
    assert_null(mglu_file_tensor_at(NULL, 0));
    assert_null(mglu_file_find(NULL, "x"));
    assert_null(mglu_file_metadata(NULL, "x"));
    assert_null(mglu_file_metadata_key(NULL, 0));
    assert_null(mglu_file_layer_at(NULL, 0));
}

/* So that tensors which are aligned within the data are aligned in memory, and much data can use huge pages. */
static void data_is_aligned_in_memory(void **state)
{
    enum { HUGE_PAGE = 2 << 20 };
    static const struct {
        size_t bytes, alignment;
    } cases[] = {{1, 64}, {HUGE_PAGE - 100, 64}, {HUGE_PAGE, HUGE_PAGE}, {2 * HUGE_PAGE + 1, HUGE_PAGE}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        char shape[24];
        mglu_file *file;

        snprintf(shape, sizeof shape, "%zu", cases[i].bytes);
        write_parts(scratch("x"), NULL, &(struct part){"a", "U8", shape, NULL, cases[i].bytes}, 1);
        file = open_ok(scratch("x"), 0);
        assert_int_equal((uintptr_t)mglu_file_tensor_at(file, 0)->data % cases[i].alignment, 0);
        mglu_file_close(&file);
    }
}

/* Would take minutes if finding, sorting or checking for duplicates were quadratic. */
static void a_hundred_thousand_tensors_are_read_in_seconds(void **state)
{
    enum { MANY = 100000 };
    struct part *parts = calloc(MANY, sizeof *parts);
    char(*names)[40] = calloc(MANY, sizeof *names);
    mglu_file *file;

    assert_true(parts && names);
    for (size_t i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "layers.%zu.%s", i / 2, i % 2 ? "weight" : "mask");
        parts[i] = (struct part){names[i], "U8", "0", NULL, 0};
    }
    write_parts(scratch("x"), NULL, parts, MANY);
    file = open_ok(scratch("x"), 0);
    for (size_t i = 0; i < MANY; i++)
        assert_string_equal(mglu_file_find(file, names[i])->name, names[i]);
    assert_non_null(mglu_file_layer_at(file, MANY / 2 - 1));
    assert_null(mglu_file_layer_at(file, MANY / 2));
    mglu_file_close(&file);
    free(names);
    free(parts);
}

/* Sizes and names are known without the data; a layer can be described, but not computed. */
static void the_header_can_be_read_alone(void **state)
{
    mglu_file *file = open_ok(test_data("licence-lm/model.safetensors"), MGLU_FILE_HEADER);
    mglu_weights_desc weights = {.struct_size = sizeof weights};
    mglu_layer_desc layer = {.struct_size = sizeof layer};

    assert_int_equal(mglu_file_tensor_count(file), 38);
    for (size_t i = 0; i < 38; i++)
        assert_null(mglu_file_tensor_at(file, i)->data);
    assert_ok(mglu_file_layer(file, "model.layers.3.mlp", &weights, &layer, NULL));
    assert_int_equal(weights.intermediate_size, 512);
    assert_int_equal(weights.n_masks, 4);
    assert_null(weights.weight.data);
    mglu_file_close(&file);
}

static void a_real_model_is_read(void **state)
{
    mglu_file *file = open_ok(test_data("licence-lm/model.safetensors"), 0);
    const mglu_file_tensor *mask = mglu_file_find(file, "model.layers.3.mlp.up_proj.mask");

    assert_int_equal(mglu_file_tensor_count(file), 38);
    assert_non_null(mask);
    assert_int_equal(mask->rank, 3);
    assert_int_equal(mask->shape[0], 4);
    assert_int_equal(mask->shape[1], 512);
    assert_int_equal(mask->shape[2], 128);
    assert_string_equal(mglu_file_metadata(file, "format"), "pt");
    mglu_file_close(&file);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_scratch, remove_scratch)
    const struct CMUnitTest tests[] = {
        TEST(tensors_are_listed_in_the_order_of_their_data),
        TEST(odd_but_legal_headers_are_read),
        TEST(names_are_unescaped),
        TEST(every_dtype_has_its_size),
        TEST(other_than_a_regular_file_is_an_io_error_with_its_reason),
        TEST(wrong_arguments_are_refused),
        TEST(data_is_aligned_in_memory),
        TEST(a_hundred_thousand_tensors_are_read_in_seconds),
        TEST(the_header_can_be_read_alone),
        TEST(a_real_model_is_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
