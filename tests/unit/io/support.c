/* SPDX-License-Identifier: MIT */
#include "tests/unit/io/support.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[512];

int make_scratch(void **state)
{
    const char *parent = getenv("TMPDIR");

    snprintf(folder, sizeof folder, "%s/mglu-test-XXXXXX", parent && *parent ? parent : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}

/* Calls `visit` with each file's path; returns how many there are. */
static size_t for_each_file(int (*visit)(const char *))
{
    DIR *opened = opendir(folder);
    size_t count = 0;

    assert_non_null(opened);
    for (struct dirent *entry = readdir(opened); entry; entry = readdir(opened)) {
        char path[sizeof folder + sizeof entry->d_name];

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        count++;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (visit)
            visit(path);
    }
    closedir(opened);
    return count;
}

int remove_scratch(void **state)
{
    for_each_file(remove);
    return rmdir(folder);
}

size_t scratch_count(void)
{
    return for_each_file(NULL);
}

const char *scratch(const char *name)
{
    static char paths[4][sizeof folder + 300];
    static unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

const char *test_data(const char *name)
{
    static char path[1024];
    const char *data = getenv("MGLU_TEST_DATA");

    if (!data)
        fail_msg("set MGLU_TEST_DATA to the folder tests/data");
    snprintf(path, sizeof path, "%s/%s", data, name);
    return path;
}

/* A new file each time: some file systems flush one that is truncated and written again, which takes a while. */
static FILE *create(const char *path)
{
    FILE *file;

    remove(path);
    file = fopen(path, "wb");
    assert_non_null(file);
    return file;
}

void write_bytes(const char *path, const void *bytes, size_t size)
{
    FILE *file = create(path);

    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

unsigned char *read_bytes(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    unsigned char *bytes;

    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *size = (size_t)ftell(file);
    rewind(file);
    bytes = malloc(*size + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *size, file), *size);
    fclose(file);
    return bytes;
}

static void write_length(FILE *file, size_t length)
{
    for (int i = 0; i < 8; i++)
        fputc((int)((uint64_t)length >> (8 * i) & 0xff), file);
}

void write_with_header(const char *path, const char *header, size_t data_size)
{
    FILE *file = create(path);

    write_length(file, strlen(header));
    fputs(header, file);
    for (size_t i = 0; i < data_size; i++)
        fputc((int)(i & 0xff), file);
    assert_int_equal(fclose(file), 0);
}

void write_parts(const char *path, const char *metadata, const struct part *parts, size_t count)
{
    char *header;
    size_t length, offset = 0;
    FILE *text = open_memstream(&header, &length), *file = create(path);

    assert_non_null(text);
    fprintf(text, "{%s%s", metadata ? "\"__metadata__\":" : "", metadata ? metadata : "");
    for (size_t i = 0; i < count; i++) {
        fprintf(text, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}", i || metadata ? "," : "",
                parts[i].name, parts[i].dtype, parts[i].shape, offset, offset + parts[i].bytes);
        offset += parts[i].bytes;
    }
    fprintf(text, "}");
    fclose(text);
    write_length(file, length);
    fwrite(header, 1, length, file);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < parts[i].bytes; k++)
            fputc(parts[i].data ? ((const unsigned char *)parts[i].data)[k] : 0, file);
    assert_int_equal(fclose(file), 0);
    free(header);
}

const struct part packable_layer[MOST_PARTS] = {
    {"P.weight", "F32", "1, 3", NULL, 12},
    {"P.mask", "U8", "1, 3", NULL, 3},
};

void write_some(const char *path, const char *metadata, const struct part parts[MOST_PARTS])
{
    size_t count = 0;

    while (count < MOST_PARTS && parts[count].name)
        count++;
    write_parts(path, metadata, parts, count);
}

mglu_file *open_parts(uint32_t flags, const char *metadata, const struct part parts[MOST_PARTS])
{
    mglu_file *file;

    write_some(scratch("model.st"), metadata, parts);
    assert_ok(mglu_file_open(scratch("model.st"), flags, &file));
    return file;
}
