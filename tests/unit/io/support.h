/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_IO_SUPPORT_H
#define MGLU_TEST_IO_SUPPORT_H

#include "tests/unit/check.h"

#include <mglu/io.h>

/* Files are built here byte by byte, without the library's own writer. */

/* cmocka fixtures: an empty folder for each test, which is removed with its content. */
int make_scratch(void **state);
int remove_scratch(void **state);

/* Path of a file in the folder; valid until the folder is removed. */
const char *scratch(const char *name);

/* Number of files in the folder. */
size_t scratch_count(void);

void write_bytes(const char *path, const void *bytes, size_t size);

/* The whole file, to be freed. */
unsigned char *read_bytes(const char *path, size_t *size);

/* Path of a file of tests/data. */
const char *test_data(const char *name);

/* Writes a file with this header text and `data_size` bytes of data, 0, 1, 2 ... */
void write_with_header(const char *path, const char *header, size_t data_size);

/* A tensor to be written; data NULL: bytes 0. */
struct part {
    const char *name;
    const char *dtype;
    const char *shape; /* "4, 5" */
    const void *data;
    size_t bytes;
};

/* Writes a file of `count` tensors in this order; `metadata` is JSON or NULL. */
void write_parts(const char *path, const char *metadata, const struct part *parts, size_t count);

/* As many of these as have a name. */
enum { MOST_PARTS = 6 };
void write_some(const char *path, const char *metadata, const struct part parts[MOST_PARTS]);

/* A layer that can be packed. */
extern const struct part packable_layer[MOST_PARTS];

/* Writes such a file in the folder and opens it. */
mglu_file *open_parts(uint32_t flags, const char *metadata, const struct part parts[MOST_PARTS]);

/* The shape of a tensor. */
#define SHAPE(...) ((const int64_t[]){__VA_ARGS__})

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

#endif
