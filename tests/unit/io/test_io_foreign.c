/* SPDX-License-Identifier: MIT */
#include "tests/unit/io/support.h"

#include <mglu/io.h>

/* Files that people give as a model and that are none are called what they are. */

#define TEXT(text) text, sizeof text - 1

static void a_file_of_another_kind_is_called_what_it_is(void **state)
{
    static const struct {
        const char *kind, *start;
        size_t size;
        const char *says;
    } cases[] = {
        {"login page", TEXT("\n  <!DOCTYPE html>\n<html lang=\"en\">"), "a web page"},
        {"page without a type", TEXT("<HTML><head></head></HTML>"), "a web page"},
        {"error of a storage service", TEXT("<?xml version=\"1.0\"?><Error/>"), "XML, not a model"},
        {"LFS pointer", TEXT("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"), "git lfs pull"},
        {"index", TEXT("{\"metadata\": {\"total_size\": 1}, \"weight_map\": {}}"), "an index of shards"},
        {"index with a byte order mark", TEXT("\xef\xbb\xbf{\"weight_map\": {}}"), "an index of shards"},
        {"config", TEXT("{\n  \"hidden_act\": \"silu\"\n}"), "JSON, not a model"},
        {"pickle, protocol 2", TEXT("\x80\2}q\0(X\1\0\0\0aq"), "a Python pickle"},
        {"pickle, protocol 4", TEXT("\x80\4\x95\x34\x12\0\0\0\0\0\0}"), "a Python pickle"},
        {"pickle, protocol 5", TEXT("\x80\5\x95\x34\0\0\0\0\0\0\0}"), "a Python pickle"},
        {"torch.save", TEXT("PK\3\4\0\0\x08\x08\0\0\0\0\0\0"), "a zip archive"},
        {"old GGML", TEXT("tjgg\3\0\0\0\0\x7d\0\0"), "from before GGUF"},
        {"array of NumPy", TEXT("\x93NUMPY\1\0v\0{'descr'"), "a NumPy array"},
        {"HDF5", TEXT("\x89HDF\r\n\x1a\n"), "an HDF5 file"},
        {"gzip", TEXT("\x1f\x8b\x08\0\0\0\0\0\0\3"), "compressed by gzip"},
        {"zstd", TEXT("\x28\xb5\x2f\xfd\x04\x58\x41\0"), "compressed by zstd"},
    };

    for (size_t i = 0; i < COUNT(cases); i++)
        for (uint32_t flags = 0; flags <= MGLU_FILE_MMAP; flags += MGLU_FILE_MMAP) {
            mglu_file *file;
            mglu_status status;

            write_bytes(scratch("model"), cases[i].start, cases[i].size);
            status = mglu_file_open(scratch("model"), flags, &file);
            if (status != MGLU_ERROR_CORRUPT_FILE || !strstr(mglu_last_error(), "model: ") ||
                !strstr(mglu_last_error(), cases[i].says))
                fail_msg("%s: %s (%s)", cases[i].kind, mglu_status_string(status), mglu_last_error());
            assert_null(file);
        }
}

/* A header whose length begins like another kind: 123 is '{', and 0x8b1f the mark of gzip. */
static void a_safetensors_file_is_read_whatever_its_length_looks_like(void **state)
{
    static const int lengths[] = {123, 0x8b1f, 0x0280, 0x3c};
    static char header[0x8b1f + 1];

    for (size_t i = 0; i < COUNT(lengths); i++) {
        mglu_file *file;

        memset(header, ' ', (size_t)lengths[i]);
        header[lengths[i]] = '\0';
        memcpy(header, "{}", 2);
        write_with_header(scratch("model"), header, 0);
        assert_ok(mglu_file_open(scratch("model"), 0, &file));
        mglu_file_close(&file);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_scratch, remove_scratch)
    const struct CMUnitTest tests[] = {
        TEST(a_file_of_another_kind_is_called_what_it_is),
        TEST(a_safetensors_file_is_read_whatever_its_length_looks_like),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
