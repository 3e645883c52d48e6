/* SPDX-License-Identifier: MIT */
#include "tests/unit/io/gguf_bytes.h"
#include "tests/unit/io/hostile.h"

#include <stdio.h>
#include <unistd.h>

/* What a hostile header costs: it is refused before memory or time in proportion to what it claims is spent. */

#define FILE_NAME "hostile"
#define ENTRY(dtype, shape, begin, end)                                                                                \
    "{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" begin "," end "]}"

/* 16 sizes of a shape. */
#define ONES "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1"

enum { SIZE = 8 << 20 };

static struct gguf_bytes built;

/* Writes a header of `size` bytes: first, then `repeated` as often as fits, then last, then spaces. */
static void write_long_header(const char *first, const char *repeated, const char *last, size_t size)
{
    FILE *file = fopen(scratch(FILE_NAME), "wb");
    size_t used = strlen(first), room = strlen(repeated) + strlen(last) + 20;

    assert_non_null(file);
    for (int i = 0; i < 8; i++)
        fputc((int)(size >> (8 * i) & 0xff), file);
    fputs(first, file);
    for (size_t i = 0; used + room < size; i++)
        used += (size_t)fprintf(file, repeated, i);
    fprintf(file, "%-*s", (int)(size - used), last);
    assert_int_equal(fclose(file), 0);
}

static const struct {
    const char *name, *first, *repeated, *last;
} long_headers[] = {
    {"long array", "{\"a\":{\"shape\":[0", ",0", "]}}"},
    {"deep array", "{\"a\":{\"shape\":[0", "[", ""},
    {"deep objects", "{\"a\":", "{\"a\":", ""},
    {"many keys in an entry", "{\"a\":{\"k\":0", ",\"%zx\":0", "}}"},
    {"long name", "{\"", "a", "\":0}"},
    {"long entry", "{\"a\":{\"dtype\":\"", "\\\\", "\"}}"},
    {"many tensors", "{\"x\":" ENTRY("U8", "0", "0", "0"), ",\"%zu\":" ENTRY("U8", "0", "0", "0"), ",\"x\":{}}"},
    {"many metadata", "{\"__metadata__\":{\"k\":\"\"", ",\"%zu\":\"\"", ",\"k\":\"\"}}"},
    {"many sizes", "{\"x\":" ENTRY("U8", "0", "0", "0"), ",\"%zu\":" ENTRY("U8", "0," ONES "," ONES, "0", "0"), "}"},
    {"many quotes", "{", "\"", "}"},
};

static void a_long_header_is_cheap_to_refuse(void **state)
{
    for (size_t i = 0; i < COUNT(long_headers); i++) {
        write_long_header(long_headers[i].first, long_headers[i].repeated, long_headers[i].last, SIZE);
        assert_cheaply_refused(FILE_NAME, long_headers[i].name, MGLU_ERROR_CORRUPT_FILE, SIZE);
    }
}

/* An array of 100 MB of bytes, in a file with gaps in place of them. */
static void a_header_of_more_than_100_MB_is_refused(void **state)
{
    gguf_begin(&built, 0, 1);
    gguf_key(&built, "a", GGUF_ARRAY);
    gguf_put(&built, GGUF_U8, 4);
    gguf_put(&built, 99999990, 8);
    write_bytes(scratch(FILE_NAME), built.bytes, built.size);
    assert_int_equal(truncate(scratch(FILE_NAME), 110000000), 0);
    assert_refused(FILE_NAME, "long array", MGLU_ERROR_CORRUPT_FILE, "only 99999951 bytes follow");
    gguf_begin(&built, 0, 1);
    gguf_entry(&built, "a", "");
    built.size -= 8;
    gguf_put(&built, 100000000, 8);
    write_bytes(scratch(FILE_NAME), built.bytes, built.size);
    assert_int_equal(truncate(scratch(FILE_NAME), 110000000), 0);
    assert_refused(FILE_NAME, "long text", MGLU_ERROR_CORRUPT_FILE, "longer than 100000000 bytes");
}

/* A file of `size` bytes: `built`, then `unit` again and again. */
static void write_repeated(const void *unit, size_t unit_bytes, size_t size)
{
    FILE *file = fopen(scratch(FILE_NAME), "wb");

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
    write_repeated("\0", 1, built.size + 3 * 12 * 8192);
    assert_refused(FILE_NAME, "very many experts", MGLU_ERROR_UNSUPPORTED, "too many layers");
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
        write_repeated("\1\0\0\0\0\0\0\0", 8, 2 << 20);
        assert_refused(FILE_NAME, "many entries", MGLU_ERROR_CORRUPT_FILE, cases[i].says);
    }
}

/* Entries of a GGUF file: `unit` again and again, behind a key of an array where there is one. */
static const struct {
    const char *name;
    uint64_t tensors, texts;
    const char *key;
    uint32_t type;
    uint64_t count;
    const char *unit;
    size_t unit_bytes;
    mglu_status status;
} gguf_headers[] = {
    {"empty strings", 0, 1, "a", GGUF_STRING, 1 << 20, "\0\0\0\0\0\0\0\0", 8, MGLU_ERROR_CORRUPT_FILE},
    {"empty arrays", 0, 1, "a", GGUF_ARRAY, 1 << 19, "\0\0\0\0\0\0\0\0\0\0\0\0", 12, MGLU_ERROR_UNSUPPORTED},
    {"nested arrays", 0, 1, "a", GGUF_ARRAY, 1, "\11\0\0\0\1\0\0\0\0\0\0\0", 12, MGLU_ERROR_CORRUPT_FILE},
    {"many texts", 0, 65536, NULL, 0, 0, "\11\0\0\0\0\0\0\0general.a\10\0\0\0\1\0\0\0\0\0\0\0x", 30,
     MGLU_ERROR_CORRUPT_FILE},
    {"many tensors", 65536, 0, NULL, 0, 0, "\1\0\0\0\0\0\0\0x\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 25,
     MGLU_ERROR_CORRUPT_FILE},
};

static void very_many_entries_are_cheap_to_refuse(void **state)
{
    for (size_t i = 0; i < COUNT(gguf_headers); i++) {
        gguf_begin(&built, gguf_headers[i].tensors, gguf_headers[i].texts);
        if (gguf_headers[i].key) {
            gguf_key(&built, gguf_headers[i].key, GGUF_ARRAY);
            gguf_put(&built, gguf_headers[i].type, 4);
            gguf_put(&built, gguf_headers[i].count, 8);
        }
        write_repeated(gguf_headers[i].unit, gguf_headers[i].unit_bytes, SIZE);
        assert_cheaply_refused(FILE_NAME, gguf_headers[i].name, gguf_headers[i].status, SIZE);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_scratch, remove_scratch)
    const struct CMUnitTest tests[] = {
        TEST(a_long_header_is_cheap_to_refuse),        TEST(very_many_entries_are_cheap_to_refuse),
        TEST(a_header_of_more_than_100_MB_is_refused), TEST(a_stack_of_very_many_experts_is_refused),
        TEST(more_entries_than_are_read_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
