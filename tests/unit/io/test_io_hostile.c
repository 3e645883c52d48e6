/* SPDX-License-Identifier: MIT */
#include "tests/unit/io/hostile.h"

#include <stdio.h>
#include <stdlib.h>

#define FILE_NAME "hostile.st"

#define ENTRY(dtype, shape, begin, end)                                                                                \
    "{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" begin "," end "]}"

/* 16 sizes of a shape. */
#define ONES "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1"

/* One rule of the loader each: a header that breaks it, and what the error contains besides the file's name. */
static const struct {
    const char *rule;
    const char *header;
    size_t data;
    const char *says;
} bad_headers[] = {
    {"empty header", "", 0, "does not begin with '{'"},
    {"not an object", "[]", 0, "does not begin with '{'"},
    {"text after the end", "{}x", 0, "header byte 2: text after the end"},
    {"second object", "{}{}", 0, "header byte 2"},
    {"no end", "{", 0, "expected a string"},
    {"no end after a comma", "{\"a\":" ENTRY("U8", "1", "0", "1") ",", 1, "expected a string"},
    {"trailing comma", "{\"a\":" ENTRY("U8", "1", "0", "1") ",}", 1, "expected a string"},
    {"missing comma", "{\"a\":" ENTRY("U8", "1", "0", "1") "\"b\":1}", 1, "expected ',' or '}'"},
    {"missing colon", "{\"a\" " ENTRY("U8", "1", "0", "1") "}", 1, "expected ':'"},
    {"missing value", "{\"a\":}", 0, "tensor 'a': header byte 5: expected a value"},
    {"name without end", "{\"a", 0, "header byte 1: string has no end"},
    {"name that ends in a backslash", "{\"a\\", 0, "header byte 3: string has no end"},
    {"name that is a number", "{1:" ENTRY("U8", "1", "0", "1") "}", 1, "expected a string"},
    {"entry without end", "{\"a\":{\"dtype\":\"U8\"", 0, "tensor 'a': header byte 18: expected ',' or '}'"},
    {"entry that is an array", "{\"a\":[]}", 0, "tensor 'a': its entry is not an object"},
    {"entry that is a text", "{\"a\":\"b\"}", 0, "tensor 'a': its entry is not an object"},
    {"entry that is no JSON", "{\"a\":{dtype:U8}}", 0, "tensor 'a': "},
    {"entry with mixed brackets", "{\"a\":{\"dtype\":[}]}", 0, "tensor 'a': "},
    {"tensor twice", "{\"a\":" ENTRY("U8", "1", "0", "1") ",\"a\":" ENTRY("U8", "1", "1", "2") "}", 2,
     "tensor 'a': appears twice"},
    {"tensor twice, once escaped", "{\"a\":" ENTRY("U8", "1", "0", "1") ",\"\\u0061\":" ENTRY("U8", "1", "1", "2") "}",
     2, "tensor 'a': appears twice"},
    {"key of an entry twice", "{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
     "tensor 'a': dtype appears twice"},
    {"metadata twice", "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "__metadata__ appears twice"},
    {"key of metadata twice", "{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}", 0, "metadata 'k' appears twice"},
    {"metadata that is no object", "{\"__metadata__\":\"x\"}", 0, "__metadata__ is not an object"},
    {"metadata with a number", "{\"__metadata__\":{\"k\":1}}", 0, "metadata 'k' is not a string"},
    {"metadata with an object", "{\"__metadata__\":{\"k\":{}}}", 0, "metadata 'k' is not a string"},
    {"metadata without end", "{\"__metadata__\":{\"k\":", 0, "header byte 21: expected a value"},
    {"NUL in a name", "{\"a\\u0000b\":" ENTRY("U8", "1", "0", "1") "}", 1, "\\u0000 is not allowed"},
    {"control character in a name", "{\"a\tb\":" ENTRY("U8", "1", "0", "1") "}", 1, "control character"},
    {"name that is not UTF-8", "{\"a\xff\":" ENTRY("U8", "1", "0", "1") "}", 1, "header byte 3: not UTF-8"},
    {"half of a surrogate pair", "{\"\\ud800\":" ENTRY("U8", "1", "0", "1") "}", 1, "Unicode"},
    {"no dtype", "{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "tensor 'a': dtype is missing"},
    {"dtype that is a number", "{\"a\":{\"dtype\":3,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "tensor 'a': dtype"},
    {"unknown dtype", "{\"a\":" ENTRY("F33", "1", "0", "1") "}", 1, "tensor 'a': unknown dtype 'F33'"},
    {"no shape", "{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, "tensor 'a': shape is missing"},
    {"shape that is a number", "{\"a\":{\"dtype\":\"U8\",\"shape\":1,\"data_offsets\":[0,1]}}", 1, "not an array"},
    {"rank 65", "{\"a\":" ENTRY("U8", ONES "," ONES "," ONES "," ONES ",1", "0", "1") "}", 1,
     "tensor 'a': shape has more than 64 numbers"},
    {"negative size", "{\"a\":" ENTRY("U8", "-1", "0", "1") "}", 1, "tensor 'a': shape[0] is -1"},
    {"two negative sizes", "{\"a\":" ENTRY("U8", "-1,-1", "0", "1") "}", 1, "tensor 'a': shape[0] is -1"},
    {"size above 2^53", "{\"a\":" ENTRY("U8", "0,9007199254740993", "0", "0") "}", 0, "tensor 'a': shape[1] is 9007"},
    {"size of 2^63", "{\"a\":" ENTRY("U8", "9223372036854775808", "0", "0") "}", 0,
     "tensor 'a': shape[0] is 9223372036854775808, not in"},
    {"size of 2^64 + 1", "{\"a\":" ENTRY("U8", "18446744073709551617", "0", "1") "}", 1,
     "shape[0] is 18446744073709551617, not in"},
    {"size that is a real", "{\"a\":" ENTRY("U8", "1.0", "0", "1") "}", 1, "tensor 'a': shape[0] is not an integer"},
    {"size with an exponent", "{\"a\":" ENTRY("U8", "1e0", "0", "1") "}", 1, "tensor 'a': shape[0] is not an integer"},
    {"size that is a text", "{\"a\":" ENTRY("U8", "\"1\"", "0", "1") "}", 1, "shape[0] is not an integer"},
    {"size that is true", "{\"a\":" ENTRY("U8", "true", "0", "1") "}", 1, "shape[0] is not an integer"},
    {"product of 2^64", "{\"a\":" ENTRY("U8", "4294967296,4294967296", "0", "0") "}", 0, "tensor 'a': shape [42949"},
    {"product of 2^64 by the dtype", "{\"a\":" ENTRY("F64", "2147483648,1073741824", "0", "0") "}", 0, "too large"},
    {"shape larger than the offsets", "{\"a\":" ENTRY("F32", "4, 5", "0", "76") "}", 76,
     "tensor 'a': shape [4, 5] of F32 needs 80 bytes, offsets give 76"},
    {"shape smaller than the offsets", "{\"a\":" ENTRY("F16", "1", "0", "4") "}", 4, "needs 2 bytes, offsets give 4"},
    {"no offsets", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "tensor 'a': data_offsets is missing"},
    {"one offset", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1]}}", 1, "data_offsets has 1 numbers"},
    {"three offsets", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,2]}}", 1,
     "data_offsets has more than 2 numbers"},
    {"negative offset", "{\"a\":" ENTRY("U8", "2", "-1", "1") "}", 1, "tensor 'a': data_offsets[0] is -1"},
    {"begin behind the end", "{\"a\":" ENTRY("U8", "1", "1", "0") "}", 1, "tensor 'a': data_offsets begin at 1"},
    {"end behind the file", "{\"a\":" ENTRY("U8", "2", "0", "2") "}", 1, "tensor 'a': ends at byte 2 of the data"},
    {"end far behind the file", "{\"a\":" ENTRY("U8", "9007199254740992", "0", "9007199254740992") "}", 1,
     "tensor 'a': ends at byte 9007199254740992"},
    {"hole in front", "{\"a\":" ENTRY("U8", "1", "1", "2") "}", 2, "tensor 'a': hole: begins at byte 1"},
    {"hole between", "{\"a\":" ENTRY("U8", "1", "0", "1") ",\"b\":" ENTRY("U8", "1", "2", "3") "}", 3,
     "tensor 'b': hole: begins at byte 2 of the data, the tensors before it end at 1"},
    {"overlap", "{\"a\":" ENTRY("U8", "2", "0", "2") ",\"b\":" ENTRY("U8", "2", "1", "3") "}", 3,
     "tensor 'b': overlap"},
    {"same place twice", "{\"a\":" ENTRY("U8", "1", "0", "1") ",\"b\":" ENTRY("U8", "1", "0", "1") "}", 1, "overlap"},
    {"empty tensor inside another", "{\"a\":" ENTRY("U8", "2", "0", "2") ",\"b\":" ENTRY("U8", "0", "1", "1") "}", 2,
     "tensor 'b': overlap"},
    {"tail", "{\"a\":" ENTRY("U8", "1", "0", "1") "}", 3, "2 bytes of data after the last tensor"},
    {"tail without tensors", "{}", 1, "1 bytes of data after the last tensor"},
};

static void every_broken_rule_is_named_with_file_and_tensor(void **state)
{
    for (size_t i = 0; i < COUNT(bad_headers); i++) {
        write_with_header(scratch(FILE_NAME), bad_headers[i].header, bad_headers[i].data);
        assert_refused(FILE_NAME, bad_headers[i].rule, MGLU_ERROR_CORRUPT_FILE, bad_headers[i].says);
    }
}

static void a_wrong_length_of_the_header_is_refused(void **state)
{
    static const struct {
        const char *rule;
        const char *bytes;
        size_t size;
        const char *says;
    } cases[] = {
        {"empty file", "", 0, "0 bytes are too few"},
        {"short file", "\2\0\0\0\0\0\0", 7, "7 bytes are too few"},
        {"nothing but the length", "\2\0\0\0\0\0\0\0", 8, "header of 2 bytes in a file of 8"},
        {"header of 0 bytes", "\0\0\0\0\0\0\0\0", 8, "does not begin"},
        {"header one byte longer than the file", "\3\0\0\0\0\0\0\0{}", 10, "header of 3 bytes in a file of 10"},
        {"header of 2^64 - 1 bytes", "\377\377\377\377\377\377\377\377{}", 10, "at most 100000000"},
        {"header of 2^63 bytes", "\0\0\0\0\0\0\0\200{}", 10, "at most 100000000"},
        {"header of 100000001 bytes", "\1\341\365\5\0\0\0\0{}", 10, "header of 100000001 bytes, at most 100000000"},
        {"NUL in a name", "\17\0\0\0\0\0\0\0{\"a\0b\":{\"x\":1}}", 23, "header byte 3: control character"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        write_bytes(scratch(FILE_NAME), cases[i].bytes, cases[i].size);
        assert_refused(FILE_NAME, cases[i].rule, MGLU_ERROR_CORRUPT_FILE, cases[i].says);
    }
}

/* A file with masked and plain layers, down-projection, router, biases and metadata: 40 columns, so there is padding.
 */
static void write_small_layers(const char *path)
{
    static const struct part parts[] = {
        {"m.up_proj.weight", "F16", "1,40", NULL, 80}, {"m.up_proj.mask_bits", "I32", "1,2,2", NULL, 16},
        {"m.down_proj.weight", "F16", "3,1", NULL, 6}, {"m.up_proj.router.weight", "F32", "2,40", NULL, 320},
        {"t.weight", "F32", "2,3", NULL, 24},          {"t.mask", "BOOL", "2,3", NULL, 6},
        {"t.gate_bias", "F32", "2", NULL, 8},          {"p.gate_proj.weight", "BF16", "2,2", NULL, 8},
        {"p.up_proj.weight", "BF16", "2,2", NULL, 8},
    };

    write_parts(path, "{\"mglu.version\":\"1\",\"mglu.activation\":\"relu\"}", parts, COUNT(parts));
}

static void a_file_cut_short_anywhere_is_refused(void **state)
{
    mglu_file *file;
    size_t size;
    unsigned char *bytes;

    write_small_layers(scratch("whole"));
    assert_ok(mglu_file_open(scratch("whole"), 0, &file));
    use_everything(file, "whole");
    mglu_file_close(&file);
    bytes = read_bytes(scratch("whole"), &size);
    assert_refused_when_cut(FILE_NAME, bytes, size);
    free(bytes);
}

static void a_flipped_bit_in_the_header_is_refused_or_harmless(void **state)
{
    size_t size, header;
    unsigned char *bytes;

    write_small_layers(scratch("whole"));
    bytes = read_bytes(scratch("whole"), &size);
    header = 8 + bytes[0] + 256 * (size_t)bytes[1];
    assert_harmless_when_flipped(FILE_NAME, bytes, size, header, MGLU_ERROR_CORRUPT_FILE);
    free(bytes);
}

/* A long name does not cut off the reason, and a name cannot add a line. */
static void hostile_names_do_not_spoil_the_error(void **state)
{
    char header[2000], name[1000];

    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    snprintf(header, sizeof header, "{\"%s\":" ENTRY("U9", "1", "0", "1") "}", name);
    write_with_header(scratch(FILE_NAME), header, 1);
    assert_refused(FILE_NAME, "long name", MGLU_ERROR_CORRUPT_FILE, "nnn...': unknown dtype 'U9'");
    write_with_header(scratch(FILE_NAME), "{\"a\\nb\\u001b[2J\":" ENTRY("U9", "1", "0", "1") "}", 1);
    assert_refused(FILE_NAME, "control characters in a name", MGLU_ERROR_CORRUPT_FILE,
                   "tensor 'a?b?[2J': unknown dtype");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_scratch, remove_scratch)
    const struct CMUnitTest tests[] = {
        TEST(every_broken_rule_is_named_with_file_and_tensor),
        TEST(a_wrong_length_of_the_header_is_refused),
        TEST(a_file_cut_short_anywhere_is_refused),
        TEST(a_flipped_bit_in_the_header_is_refused_or_harmless),
        TEST(hostile_names_do_not_spoil_the_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
