/* SPDX-License-Identifier: MIT */
#ifndef MGLU_TEST_IO_GGUF_BYTES_H
#define MGLU_TEST_IO_GGUF_BYTES_H

#include <stdint.h>
#include <string.h>

/* Builds GGUF files byte by byte in memory, without the library. */

struct gguf_bytes {
    unsigned char bytes[1 << 18];
    size_t size;
};

/* Types of metadata and of tensors, by their number in files. */
enum { GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL, GGUF_STRING, GGUF_ARRAY };
enum { GGML_F32 = 0, GGML_F16 = 1, GGML_Q4_0 = 2, GGML_Q8_0 = 8, GGML_Q6_K = 14, GGML_I8 = 24, GGML_BF16 = 30 };

static inline void gguf_put(struct gguf_bytes *file, uint64_t value, size_t width)
{
    for (size_t i = 0; i < width; i++)
        file->bytes[file->size++] = (unsigned char)(value >> (8 * i) & 0xff);
}

static inline void gguf_text(struct gguf_bytes *file, const char *text)
{
    gguf_put(file, strlen(text), 8);
    memcpy(file->bytes + file->size, text, strlen(text));
    file->size += strlen(text);
}

static inline void gguf_begin(struct gguf_bytes *file, uint64_t tensors, uint64_t texts)
{
    file->size = 0;
    gguf_put(file, 0x46554747, 4);
    gguf_put(file, 3, 4);
    gguf_put(file, tensors, 8);
    gguf_put(file, texts, 8);
}

/* A key with a text as its value. */
static inline void gguf_entry(struct gguf_bytes *file, const char *key, const char *value)
{
    gguf_text(file, key);
    gguf_put(file, GGUF_STRING, 4);
    gguf_text(file, value);
}

/* A key and the type of its value, which follows. */
static inline void gguf_key(struct gguf_bytes *file, const char *key, uint32_t type)
{
    gguf_text(file, key);
    gguf_put(file, type, 4);
}

struct gguf_tensor {
    const char *name;
    uint32_t type;
    uint32_t rank;
    uint64_t size[4]; /* columns first */
};

static inline void gguf_info(struct gguf_bytes *file, const struct gguf_tensor *tensor, uint64_t offset)
{
    gguf_text(file, tensor->name);
    gguf_put(file, tensor->rank, 4);
    for (uint32_t i = 0; i < tensor->rank; i++)
        gguf_put(file, tensor->size[i], 8);
    gguf_put(file, tensor->type, 4);
    gguf_put(file, offset, 8);
}

static inline uint64_t gguf_tensor_bytes(const struct gguf_tensor *tensor)
{
    uint64_t count = 1;

    for (uint32_t i = 0; i < tensor->rank; i++)
        count *= tensor->size[i];
    switch (tensor->type) {
    case GGML_Q8_0:
        return count / 32 * 34;
    case GGML_Q4_0:
        return count / 32 * 18;
    case GGML_Q6_K:
        return count / 256 * 210;
    case GGML_I8:
        return count;
    default:
        return tensor->type == GGML_F32 ? 4 * count : 2 * count;
    }
}

static inline void gguf_align(struct gguf_bytes *file)
{
    while (file->size % 32 != 0)
        gguf_put(file, 0, 1);
}

/*
 * The infos and the data of tensors, each at a multiple of 32 bytes; no padding after the last. The scales of blocks,
 * and all floats, are finite: no exponent is above 0x3f.
 */
static inline void gguf_tensors(struct gguf_bytes *file, const struct gguf_tensor *tensors, size_t count)
{
    uint64_t offset = 0;
    unsigned state = 1;

    for (size_t i = 0; i < count; i++) {
        gguf_info(file, &tensors[i], offset);
        offset += (gguf_tensor_bytes(&tensors[i]) + 31) / 32 * 32;
    }
    for (size_t i = 0; i < count; i++) {
        gguf_align(file);
        for (uint64_t k = 0; k < gguf_tensor_bytes(&tensors[i]); k++)
            gguf_put(file, (state = state * 1664525 + 1013904223) >> 24 & 0x3f, 1);
    }
}

#endif
